"""Where a speaker's beats fall: on the starts of phrases, and on the peaks of the voice where it is known.

The stroke of a gesture comes down with the stressed syllable, most within 0.1 s of it (McNeill 1992, Hand and Mind;
Leonard and Cummins 2011, https://doi.org/10.1080/01690965.2010.500218).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from motion_service.speak.envelope import Envelope
from motion_service.speak.phrases import Phrase

ACCENT_S: Final = 0.16
"""A phrase is stressed about so long after its start, where nothing is known of the voice, s."""
BEAT_S: Final = (0.7, 1.3)
"""Beats are so far apart, s: gestures of beat come about once a second."""
NEAR_S: Final = 0.4
"""A peak so close to the start of a phrase is its stress."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One stress."""

    time: float
    strength: float
    """1 is usual."""
    phrase: int


def find_beats(
    phrases: Sequence[Phrase], envelope: Envelope | None, tempo: float, random: np.random.Generator
) -> tuple[Beat, ...]:
    """Beats of all phrases, in order of time."""
    beats = list[Beat]()
    for number, phrase in enumerate(phrases):
        found = _known(phrase, envelope, tempo) if envelope is not None else _guessed(phrase, tempo, random)
        last = beats[-1].time if beats else -1.0
        beats += [Beat(time, strength, number) for time, strength in found if time - last > 0.3]
    return tuple(beats)


def _known(phrase: Phrase, envelope: Envelope, tempo: float) -> list[tuple[float, float]]:
    """The first peak of a phrase, then the loudest ones at a distance."""
    inside = [peak for peak in envelope.peaks if phrase.start - 0.05 <= peak[0] <= phrase.end]
    first = next((peak for peak in inside if peak[0] - phrase.start <= NEAR_S), None)
    kept = [first] if first is not None else []
    for peak in sorted(inside, key=lambda peak: -peak[1]):
        if all(abs(peak[0] - other[0]) >= BEAT_S[0] / tempo for other in kept):
            kept.append(peak)
    return [(time, min(1.4, 0.5 + 0.7 * loud)) for time, loud in sorted(kept)]


def _guessed(phrase: Phrase, tempo: float, random: np.random.Generator) -> list[tuple[float, float]]:
    time, found = phrase.start + min(ACCENT_S, 0.4 * (phrase.end - phrase.start)), list[tuple[float, float]]()
    while time < phrase.end - 0.15 or not found:
        found.append((time, 1.1 if not found else float(random.uniform(0.6, 1.0))))
        time += float(random.uniform(*BEAT_S)) / tempo
    return found
