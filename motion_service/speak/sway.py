"""Small movement that never stops and never repeats: slow waves whose lengths have nothing in common.

A standing person shifts, leans and looks about all the time (Duarte and Zatsiorsky 1999, patterns of centre of pressure
migration during prolonged unconstrained standing, Motor Control 3); a speaker's head moves with every stress (Hadar et
al. 1983, https://doi.org/10.1177/002383098302600202).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Level = Literal["body", "head", "voice"]

WAVES: Final[Mapping[str, tuple[tuple[Level, float, float, float], ...]]] = {
    # channel (stir: of a hand, led or not): of each part its level, greatest size (degrees; m), slowest and quickest
    # wave in Hz
    "hips_aside": (("body", 0.010, 0.04, 0.12),),
    "hips_ahead": (("body", 0.006, 0.06, 0.2),),
    "trunk_pitch": (("body", 1.2, 0.05, 0.17), ("voice", 1.0, 0.25, 0.6)),
    "trunk_yaw": (("body", 2.2, 0.05, 0.17), ("voice", 1.8, 0.2, 0.5)),
    "trunk_roll": (("body", 1.0, 0.05, 0.15), ("voice", 0.8, 0.2, 0.5)),
    "head_pitch": (("head", 2.2, 0.1, 0.35), ("voice", 2.0, 0.5, 1.2)),
    "head_yaw": (("head", 5.0, 0.07, 0.26), ("voice", 2.5, 0.3, 0.9)),
    "head_roll": (("head", 2.0, 0.08, 0.26), ("voice", 1.8, 0.3, 0.8)),
    "left_stir_out": (("body", 0.008, 0.07, 0.2),),
    "right_stir_out": (("body", 0.008, 0.07, 0.2),),
    "left_stir_ahead": (("body", 0.015, 0.07, 0.25),),
    "right_stir_ahead": (("body", 0.015, 0.07, 0.25),),
    "left_stir_roll": (("body", 5.0, 0.05, 0.2),),
    "right_stir_roll": (("body", 5.0, 0.05, 0.2),),
    "left_stir_bend": (("body", 4.0, 0.07, 0.25),),
    "right_stir_bend": (("body", 4.0, 0.07, 0.25),),
}
_SINES: Final = 4


@dataclass(frozen=True, slots=True)
class _Waves:
    """Waves of one part of one channel."""

    level: Level
    size: float
    hz: Array
    phase: Array
    """rad."""

    def at(self, times: Array) -> Array:
        """(T,)"""
        waves = np.sin(2 * math.pi * self.hz * times[:, None] + self.phase).sum(-1)
        values: Array = self.size * waves / math.sqrt(_SINES)
        return values


def sway(seed: int, times: Array, levels: Mapping[Level, Array]) -> dict[str, Array]:
    """What each channel of :data:`WAVES` adds at ``times`` (T,) s; ``levels`` (T,) of 0 to 1."""
    return {
        channel: np.asarray(sum(levels[part.level] * part.at(times) for part in parts), np.float64)
        for channel, parts in _draw(seed).items()
    }


@lru_cache(maxsize=4096)
def _draw(seed: int) -> dict[str, tuple[_Waves, ...]]:
    """The waves of a seed."""
    random = np.random.default_rng([seed % 2**63, 1])
    drawn = {}
    for channel, parts in WAVES.items():
        waves = []
        for level, size, slow, quick in parts:
            hz = slow * (quick / slow) ** random.random(_SINES)
            waves.append(_Waves(level, size, hz, random.uniform(0, 2 * math.pi, _SINES)))
        drawn[channel] = tuple(waves)
    return drawn
