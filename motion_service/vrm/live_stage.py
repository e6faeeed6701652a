"""Root modes of endless motion: what :mod:`motion_service.vrm.stage` does to a whole clip, looking back only.

Travel is taken out of the path by a filter of second order, ``s^2 / (s + w)^2``: sway passes, a constant speed comes to
nothing, and the figure is drawn back to where it started. ``in_place`` does that quickly, ``bounded`` slowly, so that
single steps survive, and within :data:`~motion_service.vrm.stage.BOUND`. The filter remembers six numbers a frame, so
the motion can be cut and continued anywhere.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from motion_service.vrm.stage import BOUND, BOUND_HEIGHT, RootMode

MEMORY: Final = 6
"""Numbers remembered after a frame: place and speed of the filtered path, speed of the path itself, x and z each."""

_RATE: Final = {"in_place": 3.0, "bounded": 0.6}
"""How quickly travel is taken out, rad/s: after a start to walk at 1.4 m/s ``in_place`` gives way by 0.17 m."""


def stage_live(
    hips: Tensor, before: Tensor, memory: Tensor, mode: RootMode, rest_height: float, bound_height: float, fps: float
) -> tuple[Tensor, Tensor]:
    """Hips (T, 3) m that stay near the origin of x and z, and the memory after each frame, (T, 6).

    ``before`` (3,): the hips one frame earlier, as they came; ``memory`` (6,) of then. ``free`` changes nothing.
    ``rest_height`` of the hips, and how far ``bounded`` lets them rise and sink, m.
    """
    if mode == "free":
        return hips, memory.expand(len(hips), -1)
    speeds = (torch.diff(torch.cat([before[None], hips]), dim=0)[:, [0, 2]] * fps).double()
    ways = [_filter(speeds[:, i].tolist(), memory[i::2].tolist(), _RATE[mode], fps) for i in range(2)]
    remembered = torch.tensor(ways, dtype=torch.float64).permute(1, 2, 0).flatten(1)  # (T, 6)
    path, height = limit(remembered[:, :2].to(hips), BOUND), hips[:, 1]
    if mode == "bounded":
        height = rest_height + limit((height - rest_height)[:, None], bound_height)[:, 0]
    return torch.stack([path[:, 0], height, path[:, 1]], dim=-1), remembered.to(memory)


def _filter(speeds: list[float], memory: list[float], rate: float, fps: float) -> list[tuple[float, float, float]]:
    """(place, speed, speed of the path itself) along one axis after each frame."""
    place, speed, raw = memory
    decay, step = math.exp(-rate / fps), 1 / fps
    rows = []
    for now in speeds:
        speed += now - raw
        hurry = speed + rate * place  # free decay of a critically damped spring, solved over one frame
        place, speed, raw = (place + hurry * step) * decay, (speed - rate * hurry * step) * decay, now
        rows.append((place, speed, raw))
    return rows


def limit(way: Tensor, bound: float) -> Tensor:
    """``way`` (T, n) made no longer than ``bound``: the first half as it is, the rest ever shorter."""
    length = torch.linalg.vector_norm(way, dim=-1, keepdim=True)
    half = bound / 2
    soft = half + half * torch.tanh((length - half) / half)
    return torch.where(length > half, way * (soft / length.clamp_min(1e-9)), way)


def height_bound(scale: float) -> float:
    """How far the hips of a bounded figure rise and sink, m; ``scale`` of the figure over the canonical body."""
    return BOUND_HEIGHT * scale
