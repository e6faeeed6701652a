"""How an emotion changes the way a body speaks, listens and stands: size and tempo of what it does, and its posture.

Directions as Wallbott 1998 (https://doi.org/10.1002/(SICI)1099-0992(1998110)28:6<879::AID-EJSP901>3.0.CO;2-W) and
Gross, Crane and Fredrickson 2010 (https://doi.org/10.1007/s10919-010-0094-x) found them: joy is expansive and quick,
sadness slow, small and collapsed, with the head down; anger is forceful, with shoulders up. The figures are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from motion_service.speak_schemas import Emotion


@dataclass(frozen=True, slots=True)
class Style:
    """Factors over neutral, and offsets of the posture in degrees."""

    size: float = 1.0
    """Of gestures and nods."""
    tempo: float = 1.0
    """Of strokes and of what happens by itself."""
    hands: float = 0.72
    """Share of phrases with a hand raised so high that a head-and-shoulders picture shows it."""
    stoop: float = 0.0
    """Of the trunk, forwards."""
    bow: float = 0.0
    """Of the head, downwards."""
    tilt: float = 0.0
    """Of the head, to the side."""
    lift: float = 0.0
    """Of the shoulders."""
    shun: float = 0.0
    """0 to 1: how much the eyes keep off the other."""
    mood: str | None = None
    """VRM expression that goes with it."""


STYLES: Final[Mapping[Emotion, Style]] = {
    "neutral": Style(),
    "happy": Style(1.15, 1.1, 0.8, stoop=-1.5, bow=-2.0, tilt=2.0, mood="happy"),
    "sad": Style(0.6, 0.75, 0.45, stoop=4.0, bow=7.0, shun=0.6, mood="sad"),
    "angry": Style(1.2, 1.25, 0.75, stoop=2.0, bow=2.0, lift=3.0, mood="angry"),
    "shy": Style(0.6, 0.9, 0.5, stoop=2.0, bow=4.0, tilt=5.0, lift=2.0, shun=0.8, mood="relaxed"),
    "tired": Style(0.65, 0.7, 0.4, stoop=4.0, bow=4.0, tilt=2.0, lift=-1.5, shun=0.3, mood="relaxed"),
    "energetic": Style(1.3, 1.25, 0.85, stoop=-2.0, bow=-2.0, lift=1.0, mood="happy"),
}
