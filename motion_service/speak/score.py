"""The score of a body: one track for every number that moves it, and strokes put on them in order of time.

Degrees and metres on the canonical body. Pitch is forwards and down, yaw to the figure's left, roll to its right;
``aside`` is +X, ``lift`` raises both shoulders. Hands as in :mod:`~motion_service.speak.arms`; ``reach`` says how much
of an arm is led from here, 0 to 1. ``body``, ``head`` and ``voice`` are levels of :mod:`~motion_service.speak.sway`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.speak.arms import SIDES
from motion_service.speak.strokes import Track

Array = npt.NDArray[np.float64]

WAIST: Final[Mapping[str, float]] = {"out": 0.05, "up": -0.25, "ahead": 0.22, "roll": -20.0, "bend": 0.0}
"""Where a hand is first led to. A hand that hangs is not led at all: a straight arm turns too fast for its hand."""
REST: Final[Mapping[str, float]] = {
    **dict.fromkeys(("body", "head", "voice"), 0.0),
    **{f"{part}_{turn}": 0.0 for part in ("trunk", "head") for turn in ("pitch", "yaw", "roll")},
    **dict.fromkeys(("hips_aside", "hips_ahead", "lift", "gaze_yaw", "gaze_pitch"), 0.0),
    **{f"{side}_{part}": value for side in SIDES for part, value in {"reach": 0.0, **WAIST}.items()},
}
"""Every channel, and its value when nothing is asked of it."""
KEPT_S: Final = 20.0
"""Strokes older than that are forgotten, s; longer than any history of a stream."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A stroke of a channel."""

    channel: str
    goal: float
    start: float
    """s."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Score:
    """Tracks by channel; a channel without one rests."""

    tracks: Mapping[str, Track] = field(default_factory=dict)

    def with_asks(self, asks: Iterable[Ask]) -> Score:
        """These strokes put on the tracks."""
        tracks = dict(self.tracks)
        for ask in sorted(asks, key=lambda ask: ask.start):
            track = tracks.get(ask.channel) or Track(REST[ask.channel])
            tracks[ask.channel] = track.to(ask.goal, ask.start, ask.seconds)
        return Score(tracks)

    def before(self, time: float) -> Score:
        """What had begun before ``time`` s."""
        return Score({channel: track.before(time) for channel, track in self.tracks.items()})

    def since(self, time: float) -> Score:
        """What is still of use from ``time`` s on."""
        return Score({channel: track.since(time) for channel, track in self.tracks.items()})

    def goal(self, channel: str) -> float:
        """Where a channel comes to rest in the end."""
        track = self.tracks.get(channel)
        return REST[channel] if track is None else track.goal

    def at(self, times: Array) -> dict[str, Array]:
        """Every channel at ``times`` (T,) s."""
        return {
            channel: self.tracks[channel].at(times) if channel in self.tracks else np.full(len(times), rest)
            for channel, rest in REST.items()
        }


def ask_all(goals: Mapping[str, float], start: float, seconds: float) -> list[Ask]:
    """Strokes of several channels at once."""
    return [Ask(channel, goal, start, seconds) for channel, goal in goals.items()]
