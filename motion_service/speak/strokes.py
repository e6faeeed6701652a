"""Minimum-jerk strokes: how a hand, the head or any other number gets from where it is to where it is wanted.

A reaching movement of a person follows the smoothest path in time, the one of least jerk, which is a polynomial of the
fifth degree (Flash and Hogan 1985, https://doi.org/10.1523/JNEUROSCI.05-07-01688.1985). A stroke here starts with
whatever place, speed and acceleration the one before has at that moment, so that strokes may begin before others have
ended, and a change of plan at any moment is continuous in all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_POWERS: Final = np.arange(6.0)


@dataclass(frozen=True, slots=True)
class Stroke:
    """To ``goal`` within ``seconds`` from ``start``, where it comes to rest."""

    start: float
    """s."""
    seconds: float
    goal: float


@dataclass(frozen=True, slots=True)
class Track:
    """One number over time: strokes in order of their starts, and what lies between."""

    rest: float = 0.0
    """Its value before the first stroke."""
    strokes: tuple[Stroke, ...] = ()
    curves: tuple[tuple[float, ...], ...] = ()
    """Of each stroke the six coefficients of its polynomial, in seconds since its start."""

    @property
    def goal(self) -> float:
        """Where it comes to rest in the end."""
        return self.strokes[-1].goal if self.strokes else self.rest

    def to(self, goal: float, start: float, seconds: float) -> Track:
        """With one more stroke. One that starts before the last one's start takes its place."""
        kept = self.before(start)
        curve = _least_jerk(*kept.state(start), goal, seconds)
        return Track(kept.rest, (*kept.strokes, Stroke(start, seconds, goal)), (*kept.curves, curve))

    def before(self, time: float) -> Track:
        """Without the strokes that start at ``time`` or later."""
        count = sum(stroke.start < time for stroke in self.strokes)
        return self if count == len(self.strokes) else Track(self.rest, self.strokes[:count], self.curves[:count])

    def since(self, time: float) -> Track:
        """Without the strokes that others had taken over from before ``time``."""
        gone = max(0, sum(stroke.start <= time for stroke in self.strokes) - 1)
        return Track(self.rest, self.strokes[gone:], self.curves[gone:]) if gone else self

    def state(self, time: float) -> tuple[float, float, float]:
        """Place, speed and acceleration at ``time`` s."""
        if not self.strokes:
            return self.rest, 0.0, 0.0
        number = max(0, sum(stroke.start <= time for stroke in self.strokes) - 1)
        stroke, curve = self.strokes[number], np.array(self.curves[number])
        t = time - stroke.start
        if t >= stroke.seconds:
            return stroke.goal, 0.0, 0.0
        if t < 0:
            return float(curve[0]), 0.0, 0.0
        powers = t**_POWERS
        first, second = curve[1:] * _POWERS[1:], curve[2:] * _POWERS[2:] * _POWERS[1:-1]
        return float(curve @ powers), float(first @ powers[:-1]), float(second @ powers[:-2])

    def at(self, times: Array) -> Array:
        """Its values at ``times`` (T,) s."""
        if not self.strokes:
            return np.full(len(times), self.rest)
        starts = np.array([stroke.start for stroke in self.strokes])
        number = (np.searchsorted(starts, times, side="right") - 1).clip(0)
        lengths = np.array([stroke.seconds for stroke in self.strokes])
        since = (times - starts[number]).clip(0, lengths[number])
        values: Array = (np.array(self.curves)[number] * since[:, None] ** _POWERS).sum(-1)
        return values


def _least_jerk(place: float, speed: float, pull: float, goal: float, seconds: float) -> tuple[float, ...]:
    """Coefficients of the quintic from a state to rest at ``goal`` after ``seconds``. ``pull``: acceleration."""
    way, v, a = goal - place, speed * seconds, pull * seconds**2
    c3, c4, c5 = 10 * way - 6 * v - 1.5 * a, -15 * way + 8 * v + 1.5 * a, 6 * way - 3 * v - 0.5 * a
    return place, speed, pull / 2, c3 / seconds**3, c4 / seconds**4, c5 / seconds**5
