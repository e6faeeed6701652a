"""A reply cut into phrases with their times, and the bodily actions that it asks for at their places.

Phrases end at punctuation; long ones are cut again where a clause ends. What stands in brackets or asterisks and names
an action is acted, not said. Where nobody says how long the speech is, it is estimated from morae or syllables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from motion_service.clips import Language, PromptPlan
from motion_service.errors import PromptInvalid
from motion_service.prompt.language import detect_language
from motion_service.prompt.plan import prompt_to_plan
from motion_service.prompt.stage import split_directions
from motion_service.prompt.times import times_to_seconds
from motion_service.speak.envelope import Envelope
from motion_service.speak.morae import count_morae, count_syllables

MORA_S: Final = 0.124
"""A mora of an even voice, s: some 8 a second, as synthetic voices and careful speakers have
(docs/speak.md)."""
SYLLABLE_S: Final = 0.2
"""An English syllable, s."""
COMMA_S: Final = 0.45
STOP_S: Final = 0.55
"""Pauses within a sentence and between sentences, s."""
SHORTEST_S: Final = 0.3
NO_ACTION: Final = frozenset({None, "none", "idle", "talk", "think", "look", "laugh", "cry"})
"""Readings of a text that ask for no action of the body beyond what talking has."""
HEAD_ACTS: Final = frozenset({"nod", "shake-head"})
"""Actions that are done here and not by a model."""
ACTION_S: Final = 2.2
HEAD_ACTION_S: Final = 1.0
"""How long an action lasts of which nothing is said, s, and one of the head alone."""

_MARK: Final = re.compile(r"[、。，．,.!?！？…;；:：\n]+|(?<=\s)[-–—]+(?=\s)|[〜～]+(?=$|\s)")
_STOP: Final = re.compile(r"[。．.!?！？…\n]")
_SPOKEN: Final = re.compile(r"\w")
_LONG: Final[Mapping[Language, float]] = {"ja": 22.0, "en": 14.0, "other": 14.0}
"""Units after which a phrase is cut where a clause ends."""
_CLAUSE: Final[Mapping[Language, re.Pattern[str]]] = {
    "ja": re.compile(
        r"(?:(?<=ので)|(?<=から)|(?<=けど)|(?<=ても)|(?<=ては)|(?<=たら)|(?<=れば)|(?<=って)|(?<=して)|(?<=には)|(?<=とは)|(?<=のは)|(?<=ながら))(?=[^ぁ-んー])"
    ),
    "en": re.compile(r"\s(?=(?:and|but|because|so|which|that|when|while|if|or|to|with|for)\s)", re.IGNORECASE),
}
_URL: Final = re.compile(r"https?://\S+|[`#*_]+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that are said in one go."""

    text: str
    start: float
    end: float
    """s."""
    is_last: bool
    """Of its sentence."""


@dataclass(frozen=True, slots=True)
class Act:
    """A bodily action at its place."""

    plan: PromptPlan
    """Of the action alone."""
    start: float
    seconds: float

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text as it is said."""

    language: Language
    seconds: float
    phrases: tuple[Phrase, ...]
    acts: tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A phrase or an action before it has a time."""

    text: str
    units: float
    """Seconds at the usual rate."""
    pause: float
    plan: PromptPlan | None = None


def text_to_spoken(text: str, seconds: float | None = None, envelope: Envelope | None = None) -> Spoken:
    """Phrases and actions of ``text`` in time. ``seconds``: its length; None: the envelope's, else estimated."""
    language = detect_language(text) if _SPOKEN.search(text) else "en"
    parts = _asked_for(text, _parts(text, language))
    own = sum(part.units + part.pause for part in parts if part.plan is None) - _last_pause(parts)
    if seconds is None:
        acted = sum(_act_seconds(part.plan) for part in parts if part.plan is not None)
        seconds = envelope.end if envelope is not None else max(own, acted, SHORTEST_S)
    start, end = (envelope.start, min(envelope.end, seconds)) if envelope is not None else (0.0, seconds)
    scale = max(0.0, end - start) / max(own, 1e-6)
    phrases, acts, time = list[Phrase](), list[Act](), start
    for part in parts:
        if part.plan is not None:
            length = min(_act_seconds(part.plan), seconds)
            place = phrases[-1].end if phrases else start
            acts.append(Act(part.plan, min(place, max(0.0, seconds - length)), length))
            continue
        phrases.append(Phrase(part.text, time, time + part.units * scale, part.pause >= STOP_S))
        time += (part.units + part.pause) * scale
    if envelope is not None:
        phrases = _snap(phrases, envelope)
    return Spoken(language, seconds, tuple(phrases), _without_overlap(acts))


def estimate_seconds(text: str) -> float:
    """How long it takes to say ``text``, s."""
    return text_to_spoken(text).seconds


def _last_pause(parts: Sequence[_Part]) -> float:
    said = [part.pause for part in parts if part.plan is None]
    return said[-1] if said else 0.0


def _parts(text: str, language: Language) -> list[_Part]:
    """Phrases, and what stands set off from them and names an action."""
    parts = list[_Part]()
    for words, set_off in split_directions(text):
        plan = _plan_of(words) if set_off else None
        if set_off and plan is not None and plan.action not in NO_ACTION:
            parts.append(_Part(words, 0.0, 0.0, plan))
        elif set_off != "bracket":
            parts += _phrases(_URL.sub(" ", words), language)
    return parts


def _phrases(words: str, language: Language) -> list[_Part]:
    parts, at = list[_Part](), 0
    marks = [*_MARK.finditer(words), None]
    for mark in marks:
        stop = len(words) if mark is None else mark.start()
        if (
            mark is not None
            and mark.group() in {".", ","}
            and words[stop - 1 : stop].isdigit()
            and (words[mark.end() : mark.end() + 1].isdigit())
        ):
            continue  # a number's own
        pause = 0.0 if mark is None else STOP_S if _STOP.search(mark.group()) else COMMA_S
        pieces = _cut(words[at:stop], language)
        for i, piece in enumerate(pieces):
            parts.append(_Part(piece.strip(), _units(piece, language), pause if i == len(pieces) - 1 else 0.0))
        at = stop if mark is None else mark.end()
    return [part for part in parts if part.units > 0]


def _cut(words: str, language: Language) -> list[str]:
    """A long phrase in two or more, where a clause ends."""
    pieces, rest = list[str](), words
    pattern = _CLAUSE.get(language)
    for match in [] if pattern is None else [*pattern.finditer(words)]:
        head, tail = rest[: match.start() - (len(words) - len(rest))], words[match.start() :]
        unit = MORA_S if language == "ja" else SYLLABLE_S
        if min(_units(head, language), _units(tail, language)) > 0.45 * _LONG[language] * unit:
            pieces.append(head)
            rest = tail
    return [*pieces, rest]


def _units(words: str, language: Language) -> float:
    """Seconds that ``words`` take at the usual rate."""
    return MORA_S * count_morae(words) if language == "ja" else SYLLABLE_S * count_syllables(words)


def _plan_of(words: str) -> PromptPlan | None:
    try:
        return prompt_to_plan(words)
    except PromptInvalid:
        return None


def _asked_for(text: str, parts: list[_Part]) -> list[_Part]:
    """``parts`` with the actions put in that the words themselves ask for."""
    if any(part.plan is not None for part in parts):
        return parts
    whole = _plan_of(text) if len(text.strip()) > 1 or not text.isalpha() else None
    wanted = {part.action for part in whole.segments} - NO_ACTION if whole is not None else set()
    if whole is None or not wanted:
        return parts
    placed = list[_Part]()
    for part in parts:
        plan = _plan_of(part.text)
        if plan is not None and plan.action in wanted:
            wanted.discard(plan.action)
            placed.append(_Part("", 0.0, 0.0, plan))
        placed.append(part)
    return placed if len(placed) > len(parts) else [_Part("", 0.0, 0.0, whole), *parts]


def _act_seconds(plan: PromptPlan | None) -> float:
    if plan is None:
        return 0.0
    counted = times_to_seconds(plan.action, plan.times) if plan.times else None
    usual = HEAD_ACTION_S if plan.action in HEAD_ACTS else ACTION_S * max(1, len(plan.segments))
    return plan.seconds or counted or usual


def _without_overlap(acts: Sequence[Act]) -> tuple[Act, ...]:
    """Each begins after the one before."""
    placed = list[Act]()
    for act in acts:
        start = max(act.start, placed[-1].end) if placed else act.start
        placed.append(Act(act.plan, start, act.seconds))
    return tuple(placed)


def _snap(phrases: list[Phrase], envelope: Envelope) -> list[Phrase]:
    """Ends and starts of phrases moved to the nearest silence, where one is near."""
    snapped = list(phrases)
    free = list(envelope.pauses)
    for i in range(len(snapped) - 1):
        here, following = snapped[i], snapped[i + 1]
        middle = (here.end + following.start) / 2
        near = min(free, key=lambda pause: abs((pause[0] + pause[1]) / 2 - middle), default=None)
        if near is None or abs((near[0] + near[1]) / 2 - middle) > 0.5 or near[0] <= here.start:
            continue
        free = [pause for pause in free if pause[0] > near[0]]
        snapped[i] = Phrase(here.text, here.start, near[0], here.is_last)
        end = max(following.end, near[1] + 0.05)
        snapped[i + 1] = Phrase(following.text, near[1], end, following.is_last)
    return snapped
