"""The loudness of speech over time: where it peaks, where it pauses, where it begins and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SMOOTH_S: Final = 0.04
"""Standard deviation of the smoothing: a syllable lasts some 0.15 s, and one has one peak."""
PEAK_GAP_S: Final = 0.2
"""Peaks are at least so far apart, s; of closer ones the louder stays."""
_PEAK_SHARE: Final = 0.35
"""Peaks are at least so loud, as a share of the loud parts."""
_SILENT_SHARE: Final = 0.08
_PAUSE_S: Final = 0.12


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is used of it."""

    peaks: tuple[tuple[float, float], ...]
    """(time in s, loudness as a share of the loud parts) of peaks, in order of time."""
    pauses: tuple[tuple[float, float], ...]
    """(start, end) in s of silence between what is said."""
    start: float
    end: float
    """When the voice is first and last heard, s."""


def read_envelope(loudness: Array, rate: float) -> Envelope | None:
    """``loudness`` (N,) RMS in any unit at ``rate`` Hz, value i at i / rate s. None when nothing is heard."""
    smooth = _smooth(loudness, SMOOTH_S * rate)
    loud = float(np.quantile(smooth, 0.95)) if len(smooth) else 0.0
    heard = np.flatnonzero(smooth > _SILENT_SHARE * loud)
    if loud <= 1e-9 or not len(heard):
        return None
    start, end = float(heard[0] / rate), float((heard[-1] + 1) / rate)
    gaps = np.flatnonzero(np.diff(heard) > max(1.0, _PAUSE_S * rate))
    pauses = tuple((float((heard[gap] + 1) / rate), float(heard[gap + 1] / rate)) for gap in gaps)
    return Envelope(_peaks(smooth / loud, rate), pauses, start, end)


def _smooth(values: Array, sigma: float) -> Array:
    """By a Gaussian of ``sigma`` values; the ends are mirrored."""
    if sigma < 0.3 or len(values) < 2:
        return values
    reach = min(int(np.ceil(3 * sigma)), len(values) - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="reflect"), weights / weights.sum(), mode="valid")


def _peaks(values: Array, rate: float) -> tuple[tuple[float, float], ...]:
    """Places where ``values`` are greatest nearby."""
    if len(values) < 3:
        return ()
    inner = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])) + 1
    kept: list[int] = []
    for place in sorted(inner, key=lambda i: -values[i]):
        if values[place] >= _PEAK_SHARE and all(abs(place - other) >= PEAK_GAP_S * rate for other in kept):
            kept.append(int(place))
    return tuple((place / rate, float(values[place])) for place in sorted(kept))
