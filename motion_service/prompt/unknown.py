"""English sentences that ask a body for something no word list names: "milks a cow", "her jaw drops".

A text in which no known action is found is chat, unless its form says that somebody does something: a caption without
speaker ("conducts an orchestra"), a part of the body that is moved, a way to go. Then the action is unknown, not none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from motion_service.prompt.sentence import belongs, is_adverb
from motion_service.prompt.words import OTHER, Token, load_lexicon

_LONGEST: Final = 14
"""Words of a caption or command; what is longer and names nothing known is talk."""
_OPENINGS: Final = re.compile(
    r"(?:(?:please|kindly|now|then|just|ok|okay|hey|and|quickly|slowly|go ahead and|try to|(?:can|could|would|will) you"
    r"|have (?:him|her|them)|make (?:him|her|them|it)|let (?:him|her|them)|i want you to|let's see you)\b,? )+"
)
_OWN: Final = r"(?:his|her|their|your|its|both|the|one|left|right)"
_PART: Final = (
    r"(?:heads?|necks?|shoulders?|arms?|elbows?|forearms?|wrists?|hands?|palms?|fists?|fingers?|fingertips?|thumbs?"
    r"|knuckles|chest|torso|back|spine|belly|stomach|tummy|waist|hips?|bottom|bum|buttocks?|behind|legs?|thighs?|knees?"
    r"|shins?|calf|calves|ankles?|foot|feet|heels?|toes?|face|forehead|eyes?|eyelids?|eyebrows?|brows?|ears?|nose|lips?"
    r"|mouth|tongue|teeth|jaw|chin|cheeks?|hair|limbs?|body|tail|wings?|biceps?|muscles?)"
)
_MOVED_PART: Final = re.compile(rf"\b(?:his|her|their|your|its|both)\s+(?:\w+\s+)?{_PART}\b")
_PART_MOVES: Final = re.compile(
    rf"(?:{_OWN}\s+)*(?:\w+\s+)?{_PART}\s+(?:\w+ly\s+)?(?!(?:is|was|has|does|hurts|aches|itches|looks|feels|needs|seems|this"
    r"|pains|gets|lotions?|masks?|pads?|problems|injuries|muscles)\b)"
    r"(?:\w{3,}s|\w{2,}ing|up|down|out|wide|back|forward|together|apart|closed|clenched|open|spread|behind|bent|folded)\b"
)
_WAY: Final = re.compile(
    r"\b(?:forwards?|backwards?|sideways|in circles|in a circle|on the spot|in place|side to side"
    r"|(?:across|through|around) the (?:room|stage|air|floor|hall)"
    r"|on the (?:floor|ground)|in the air|to the (?:left|right)"
    r"|(?:like|as) an? \w+|as if|as though|with (?:glee|joy|fear|rage|delight|a flourish|both hands|gusto))\b"
)
_PERFORMED: Final = re.compile(
    r"(?:do|does|doing|perform|performs|performing|execute|executes|practise|practises|practice|practices|imitate|imitates"
    r"|mimic|mimics|demonstrate|demonstrates|attempt|attempts|strike|strikes|pull|pulls)\s+"
    r"(?:an?|the|some|his|her|their|your|\d+)\s+(?!(?:\w+\s+)?(?:favou?rs?|maths?|homework|research|tax(?:es)?|search|sums?|check"
    r"|summary|review|test|backup|job|best|thing|calculation|analysis|comparison|scan|interview|survey|experiment)\b)\w"
)
_SHOWN: Final = re.compile(r"\b(?:pose|gesture|motion|animation|stance|impression|stunt|twitch|flourish|shimmy)$")
_WORKERS: Final = re.compile(r"(?:ist|man|woman|men|women|smith|keeper|ician|boy|girl|maker|fighter|worker)$")


def find_deed(tokens: Sequence[Token], spans: Sequence[tuple[int, int]]) -> int | None:
    """Index of the first token of the sentence that asks for an unknown deed; None when the text is talk.

    ``spans``: (first, after the last) token of each sentence.
    """
    if not 1 <= len(spans) <= 2:
        return None
    found = None
    for first, end in spans:
        words = [token.word for token in tokens[first:end]]
        asks = end < len(tokens) and tokens[end].word == "?"
        if _is_talk(words, asks):
            return None
        if found is None and _is_deed(words):
            found = first
    return found


def _is_talk(words: Sequence[str], asks: bool) -> bool:
    """Whether a speaker or a statement shows: "I", "is", a question."""
    polite = words[0] in ("can", "could", "would", "will") and words[1:2] == ["you"]
    if asks and not polite:
        return True
    rest = words[2:] if polite else words
    if any(word in ("me", "us") or belongs(word, "negations") for word in rest) or len(words) > _LONGEST:
        return True
    chats = [index for index, word in enumerate(rest) if belongs(word, "chatty", "finite") and word != "our"]
    return any(not rest[index + 1 : index + 2] or not _is_running(rest, index) for index in chats)


def _is_running(words: Sequence[str], index: int) -> bool:
    """ "the man is hammering": a statement that is a caption all the same."""
    return words[index] in ("is", "are") and words[index + 1].endswith("ing") and _is_figure(words[:index])


def _is_figure(words: Sequence[str]) -> bool:
    """Whether a noun phrase names who acts: "the old blacksmith", "she"."""
    if not words or len(words) > 5:
        return False
    if len(words) == 1 and belongs(words[0], "subjects"):
        return True
    return belongs(words[0], "determiners", "numbers") and _is_person(words[-1])


def _is_person(word: str) -> bool:
    return belongs(word, "figures") or bool(_WORKERS.search(word))


def _is_deed(words: Sequence[str]) -> bool:
    text = " ".join(words)
    bare = text[match.end() :] if (match := _OPENINGS.match(text)) else text
    if _PART_MOVES.match(bare) or _PERFORMED.match(bare) or _SHOWN.search(bare):
        return True
    return _is_caption(bare.split()) or _is_command(bare)


def _is_caption(words: Sequence[str]) -> bool:
    """ "the smith shoes a horse", "milks a cow", "motoring about"."""
    for index in range(min(len(words), 5)):
        if _is_figure(words[: index + 1]):
            verb = next((word for word in words[index + 1 :] if not is_adverb(word) and word not in ("is", "are")), "")
            return _is_verb(verb)
    verbs = [index for index, word in enumerate(words[:3]) if not is_adverb(word)]
    if not verbs or not _is_verb(words[verbs[0]]):
        return False
    following = words[verbs[0] + 1 : verbs[0] + 2]
    return (
        not following
        or belongs(following[0], "objects_or_ways")
        or is_adverb(following[0])
        or not following[0][0].isalnum()
    )


def _is_verb(word: str) -> bool:
    if word.endswith("ing"):
        if any(entry.after is None and entry.action != OTHER for entry in load_lexicon().entries.get(word, ())):
            return False  # a known verb in a meaning that is no action: "running a stall"
        return len(word) > 4 and not belongs(word, "no_deeds")
    is_third = word.endswith("s") and not word.endswith(("ss", "us", "'s"))
    return is_third and len(word) > 3 and not belongs(word, "stative", "things", "figures")


def _is_command(text: str) -> bool:
    """A base form with a part of the body or a way: "crinkle your nose", "zigzag across the room"."""
    verb, _, rest = text.partition(" ")
    if not verb.isalpha() or belongs(verb, "determiners", "numbers", "pronouns", "prepositions", "things"):
        return False
    if _MOVED_PART.search(rest):
        return verb not in ("love", "like", "nice", "is", "are", "what", "how", "check", "see", "protect", "use")
    return not belongs(verb, "errands", "stative") and bool(_WAY.search(rest))
