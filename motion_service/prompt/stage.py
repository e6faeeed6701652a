"""Stage directions and emoji: what a text shows instead of saying it. "Hello! (waves)", 「どうぞ（お辞儀）」, "Bye 👋".

An assistant's reply may carry its gesture in brackets or asterisks. Such a span is read alone when it names an action
and the words around it do not, or when it stands by itself between sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

_SPAN: Final = re.compile(
    r"\*\*\*(?P<c>[^*\n]{1,200})\*\*\*|\*\*(?P<a>[^*\n]{1,200})\*\*|\*(?P<b>[^*\n]{1,200})\*"
    r"|(?<!\w)_(?P<f>[^_\n]{1,200})_(?!\w)|(?P<w>[（(])(?P<d>[^（）()\n]{1,200})[)）]|[\[［【](?P<e>[^\[\]［］【】\n]{1,200})[\]］】]"
    r"|<(?P<g>[a-z][^<>/\n]{1,60})>"
)
_SENTENCE_END: Final = re.compile(r"(?:^|[.!?。！？…~～♪\n\"”」』)*）\]]|[^\w\s,、;:])\s*$")
_SPEECH: Final = re.compile(
    r"\b(?:say|says|said|saying|shout|shouts|shouted|shouting|ask|asks|asked|yell|yells|yelling|whisper|whispers|reads?"
    r"|add|spell|play|translate|type|write|define|search(?: for)?|called|titled|named|song|movie|book|word|phrase)\b"
    r"\s*[,:]?\s*([\"“][^\"“”]{1,300}[\"”])",
    re.IGNORECASE,
)

EMOJI: Final = {
    "👋": "wave", "🙇": "bow", "💃": "dance", "🕺": "dance", "👏": "clap", "🙌": "cheer", "🙋": "raise", "✋": "raise",
    "🏃": "run", "🚶": "walk", "🤷": "shrug", "🤔": "think", "🫡": "salute", "🤗": "hug", "🫂": "hug", "🧎": "crouch",
    "🧍": "idle", "🏊": "swim", "🧗": "climb", "🤸": "cartwheel", "👊": "punch", "🤜": "punch", "🥊": "punch",
    "⚔": "slash", "🗡": "slash", "🏹": "aim", "🤾": "throw", "👉": "point", "👈": "point", "☝": "point", "🫵": "point",
    "🤺": "slash",
}  # fmt: skip
"""Emoji that show what a body does."""
_FACES: Final = {
    "😂": "laugh",
    "🤣": "laugh",
    "😆": "laugh",
    "😭": "cry",
    "😢": "cry",
    "🎉": "cheer",
    "🥳": "cheer",
    "🕴": "idle",
}
"""Emoji of a mood: an action only in a prompt without words."""


@dataclass(frozen=True, slots=True)
class Direction:
    """A span set off from the text."""

    words: str
    alone: bool
    """Stands between sentences, not within one."""
    bracket: bool
    """In brackets, not asterisks, which may also be mere emphasis."""


def split_directions(text: str) -> list[tuple[str, Literal["", "bracket", "mark"]]]:
    """``text`` as typed, in pieces: its words ("") and the spans set off from them, in order."""
    pieces: list[tuple[str, Literal["", "bracket", "mark"]]] = []
    at = 0
    for match in _SPAN.finditer(text):
        words = next(match[name] for name in "abcdefg" if match[name])
        bracket = match["w"] or match["e"] or match["g"]
        pieces += [(text[at : match.start()], ""), (words, "bracket" if bracket else "mark")]
        at = match.end()
    return [(words, kind) for words, kind in [*pieces, (text[at:], "")] if words.strip()]


def find_directions(text: str) -> tuple[str, list[Direction]]:
    """``text`` without its set-off spans, and those, in order. ``text`` is as typed, not normalised."""
    found: list[Direction] = []
    rest: list[str] = []
    last = 0
    for match in _SPAN.finditer(text):
        words = next(match[name] for name in "abcdefg" if match[name])
        alone = _stands_alone(text, match)
        found.append(Direction(words, alone, bool(match["w"] or match["e"] or match["g"])))
        rest += [text[last : match.start()], "\n" if alone else " "]
        last = match.end()
    return "".join(rest) + text[last:], found


def _stands_alone(text: str, match: re.Match[str]) -> bool:
    return bool(_SENTENCE_END.search(text[: match.start()]))


def without_speech(text: str) -> str:
    """``text`` without what somebody in it says: she says "wave your hand" asks for no wave."""
    return _SPEECH.sub(lambda match: match.group().replace(match[1], " "), text)


def emoji_actions(text: str, *, faces: bool) -> list[str]:
    """Actions that the emoji of ``text`` show, in order, each once in a row. ``faces``: moods count too."""
    table = EMOJI | _FACES if faces else EMOJI
    actions = [table[character] for character in text if character in table]
    return [action for number, action in enumerate(actions) if number == 0 or actions[number - 1] != action]
