"""Root modes of endless motion: what :mod:`motion_service.vrm.stage` does to a whole clip, looking back only.

Travel is taken out of the path by a filter of second order, ``s^2 / (s + w)^2``: sway passes, a constant speed comes to
nothing, and the figure is drawn back to where it started. ``in_place`` does that quickly, ``bounded`` slowly, so that
single steps survive, and within :data:`~motion_service.vrm.stage.BOUND`. The filter remembers six numbers a frame, so
the motion can be cut and continued anywhere. The figures of B streams go through it together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.vrm.stage import BOUND, BOUND_HEIGHT, RootMode

MEMORY: Final = 6
"""Numbers remembered after a frame: place and speed of the filtered path, speed of the path itself, x and z each."""

_RATE: Final = {"in_place": 3.0, "bounded": 0.6}
"""How quickly travel is taken out, rad/s: after a start to walk at 1.4 m/s ``in_place`` gives way by 0.17 m."""

Array = npt.NDArray[np.float64]


def stage_live(
    hips: Array, before: Array, memory: Array, modes: Sequence[RootMode], rest_height: Array, scale: Array, fps: float
) -> tuple[Array, Array]:
    """Hips (B, T, 3) m that stay near the origin of x and z, and the memory after each frame, (B, T, 6).

    ``before`` (B, 3): the hips one frame earlier, as they came; ``memory`` (B, 6) of then; ``rest_height`` (B,) of the
    hips, m, and ``scale`` (B,) of the figures over the canonical body. ``free`` changes nothing.
    """
    staged, after = hips.copy(), np.repeat(memory[:, None], hips.shape[1], axis=1)
    held = [i for i, mode in enumerate(modes) if mode != "free"]
    if not held:
        return staged, after
    rates = np.array([_RATE[modes[i]] for i in held])[:, None]  # (H, 1)
    speeds = np.diff(hips[held], axis=1, prepend=before[held, None])[..., [0, 2]] * fps  # (H, T, 2)
    after[held] = _without_travel(speeds, memory[held], rates, fps)
    staged[np.ix_(held, range(hips.shape[1]), [0, 2])] = limit(after[held, :, :2], BOUND)
    for i in held:
        if modes[i] == "bounded":
            rise = limit(hips[i, :, 1:2] - rest_height[i], BOUND_HEIGHT * scale[i])
            staged[i, :, 1] = rest_height[i] + rise[:, 0]
    return staged, after


def _without_travel(speeds: Array, memory: Array, rates: Array, fps: float) -> Array:
    """The memory after each frame (H, T, 6) of a path of ``speeds`` (H, T, 2) m/s. ``rates`` (H, 1)"""
    place, speed, raw = memory[:, :2], memory[:, 2:4], memory[:, 4:]
    decay, step = np.exp(-rates / fps), 1 / fps
    after = np.empty((*speeds.shape[:2], MEMORY))
    for t in range(speeds.shape[1]):
        now = speeds[:, t]
        speed = speed + (now - raw)
        hurry = speed + rates * place  # free decay of a critically damped spring, solved over one frame
        place, speed, raw = (place + hurry * step) * decay, (speed - rates * hurry * step) * decay, now
        after[:, t, :2], after[:, t, 2:4], after[:, t, 4:] = place, speed, raw
    return after


def limit(way: Array, bound: float) -> Array:
    """``way`` (..., n) made no longer than ``bound``: the first half as it is, the rest ever shorter."""
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    half = bound / 2
    soft = half + half * np.tanh((length - half) / half)
    limited: Array = np.where(length > half, way * (soft / length.clip(1e-9)), way)
    return limited
