"""A prompt to a :class:`~motion_service.clips.PromptPlan`: language, length, actions in order, English captions.

Rules only: pure, without a model, a few milliseconds. Japanese is read by :mod:`~motion_service.prompt.ja`, English by
:mod:`~motion_service.prompt.en`; of another language only lengths and emoji are understood.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from motion_service.clips import Language, PromptPlan, Segment
from motion_service.errors import PromptInvalid
from motion_service.prompt import en, ja
from motion_service.prompt.actions import caption
from motion_service.prompt.language import detect_language
from motion_service.prompt.length import find_lengths, spell_lengths
from motion_service.prompt.reading import MAX_SEGMENTS, Reading
from motion_service.prompt.stage import emoji_actions, find_directions, without_speech
from motion_service.prompt.times import find_times
from motion_service.wording import normalise_text

_STAGED: Final = 0.95
"""How sure a stage direction that names an action makes the reader."""
_SHOWN: Final = 0.6
"""How sure an emoji makes the reader."""
_BULLET: Final = re.compile(r"^\s*\d{1,2}[.)]\s+")
"""The number of a line of a list."""


def prompt_to_plan(prompt: str) -> PromptPlan:
    """Read ``prompt``. Raises :class:`~motion_service.errors.PromptInvalid` when there is nothing to read.

    A length in words is given as it was asked for, however long; the segments' texts are without it.
    """
    typed = unicodedata.normalize("NFC", prompt)
    text = normalise_text(typed)
    shown = emoji_actions(typed, faces=not text)
    if not text and not shown:
        raise PromptInvalid("prompt is empty: write what the figure should do", field="prompt")
    language: Language = detect_language(text) if text else "en"
    reading = _read_all(typed, text, language) if text else Reading((Segment(""),), None, 0.0)
    if shown and reading.segments[0].action in ("none", None) and (language != "other" or not text):
        reading = _emoji_reading(shown, reading)
    first = reading.segments[0]
    captions = tuple(segment.caption for segment in reading.segments if segment.caption)
    alone = len(reading.segments) == 1 and first.action not in (None, "none", "idle")
    return PromptPlan(
        prompt=text or prompt.strip(),
        language=language,
        segments=reading.segments,
        seconds=reading.seconds,
        action=first.action,
        confidence=reading.confidence,
        times=find_times(text, language) if alone else None,
        captions=captions,
    )


def _read_all(typed: str, text: str, language: Language) -> Reading:
    """The words, or only the stage directions among them."""
    if language == "other":
        lengths = find_lengths(text)
        return Reading((Segment(text),), lengths[0].seconds if len(lengths) == 1 else None, 0.0)
    rest, directions = find_directions(typed)
    staged = [(direction, _read(direction.words, language)) for direction in directions]
    acting = [(direction, reading) for direction, reading in staged if _acts(reading)]
    if acting:
        spoken = _read(rest, language)
        if not _acts(spoken) or all(direction.alone and direction.bracket for direction, _ in acting):
            return _joined([reading for _, reading in acting])
        if all(direction.alone for direction, _ in acting) and spoken.confidence < _STAGED:
            return _joined([reading for _, reading in acting])
    reading = _read(typed, language)
    if _says_nothing(reading):  # "Well, well. *strokes a cat*"
        unnamed = [staged for direction, staged in staged if not _says_nothing(staged)]
        return _joined(unnamed) if unnamed else reading
    return reading


def _says_nothing(reading: Reading) -> bool:
    return reading.segments[0].action == "none"


def _read(words: str, language: Language) -> Reading:
    """``words`` as typed, normalised line by line so that a line break still ends a sentence."""
    typed = without_speech(spell_lengths(words) if language == "en" else words).splitlines()
    body = [line for line in typed if not line.startswith("#")] or typed  # without headings
    lines = [_normalised(_BULLET.sub("", line), language) for line in body]
    text = " ".join(line if line[-1] in ".!?。！？,、" else f"{line}." for line in lines if line).removesuffix(".")
    if not text:
        return Reading((Segment(normalise_text(words), "none"),), None, 0.0)
    reading = ja.read(text) if language == "ja" else en.read(text)
    return _with_captions(reading)


def _normalised(line: str, language: Language) -> str:
    """One line, in English with its question mark, which tells a question from a wish."""
    text = normalise_text(line)
    return f"{text}?" if text and language == "en" and line.rstrip(" \"'”’)").endswith("?") else text


def _with_captions(reading: Reading) -> Reading:
    segments = tuple(
        part
        if part.caption or part.action is None
        else Segment(part.text, part.action, part.detail, part.seconds, caption(part.action, part.detail))
        for part in reading.segments
    )
    return Reading(segments, reading.seconds, reading.confidence)


def _acts(reading: Reading) -> bool:
    return any(segment.action not in (None, "none") for segment in reading.segments)


def _joined(readings: list[Reading]) -> Reading:
    """Several stage directions, one after the other."""
    every = [segment for reading in readings for segment in reading.segments]
    segments = tuple(part for at, part in enumerate(every) if at == 0 or part != every[at - 1])[:MAX_SEGMENTS]
    lengths = [segment.seconds for segment in segments]
    whole = readings[0].seconds if len(readings) == 1 else None
    if whole is None and all(lengths):
        whole = sum(seconds or 0.0 for seconds in lengths)
    return Reading(segments, whole, max(_STAGED, readings[0].confidence))


def _emoji_reading(actions: list[str], reading: Reading) -> Reading:
    segments = tuple(Segment(caption(action), action, (), None, caption(action)) for action in actions)
    return Reading(segments, reading.seconds, _SHOWN)
