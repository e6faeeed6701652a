"""Forward kinematics of a tree of bones, and changes of frame rate. Rest orientation of every bone is the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from motion_service.geometry.rotation import quat_conjugate, quat_multiply, quat_rotate, quat_slerp, quat_unroll


@dataclass(frozen=True, slots=True)
class _Levels:
    """The bones of a tree by their distance from the root, so that all of one level are turned in one operation."""

    bones: tuple[Tensor, ...]
    """For each level but the first, which holds bone 0 alone, the indices of its bones."""
    parents: tuple[Tensor, ...]
    """For each of them the place of its parent among the bones of the level above."""
    order: Tensor
    """(J,) where each bone stands when the levels are put one after the other."""
    parent_of: Tensor
    """(J,) index of each bone's parent, 0 for the root."""


@lru_cache(maxsize=64)
def _levels(parents: tuple[int, ...], device: torch.device) -> _Levels:
    """The levels of a tree; parents stand before children, -1 = the root, which is bone 0."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    levels = [[bone for bone, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
    if levels[0] != [0]:
        raise ValueError("a tree of bones has one root, and it is bone 0")
    above = [[levels[i].index(parents[bone]) for bone in level] for i, level in enumerate(levels[1:])]
    flat = [bone for level in levels for bone in level]
    order = [flat.index(bone) for bone in range(len(parents))]

    def index(numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=device)

    with torch.inference_mode(False):  # kept beyond this call, whoever makes it
        return _Levels(
            tuple(map(index, levels[1:])),
            tuple(map(index, above)),
            index(order),
            index([max(parent, 0) for parent in parents]),
        )


def local_to_world_quat(local: Tensor, parents: Sequence[int]) -> Tensor:
    """World orientation of each bone from local ones (..., J, 4) xyzw; parents stand before children, -1 = root."""
    levels = _levels(tuple(parents), local.device)
    world = [local[..., :1, :]]
    for bones, above in zip(levels.bones, levels.parents, strict=True):
        world.append(quat_multiply(world[-1].index_select(-2, above), local.index_select(-2, bones)))
    return torch.cat(world, dim=-2).index_select(-2, levels.order)


def world_to_local_quat(world: Tensor, parents: Sequence[int]) -> Tensor:
    """Inverse of :func:`local_to_world_quat`. (..., J, 4)"""
    local = [
        world[..., bone, :] if parent < 0 else quat_multiply(quat_conjugate(world[..., parent, :]), world[..., bone, :])
        for bone, parent in enumerate(parents)
    ]
    return torch.stack(local, dim=-2)


def forward_kinematics(local: Tensor, root: Tensor, offsets: Tensor, parents: Sequence[int]) -> tuple[Tensor, Tensor]:
    """World positions (..., J, 3) and orientations (..., J, 4) of a skeleton.

    ``local`` (..., J, 4) xyzw, ``root`` (..., 3) world position of bone 0, ``offsets`` (J, 3) rest offset of each bone
    from its parent in metres (row 0 is not used).
    """
    levels = _levels(tuple(parents), local.device)
    world = local_to_world_quat(local, parents)
    steps = quat_rotate(world.index_select(-2, levels.parent_of), offsets)  # (..., J, 3) from the parent, in the world
    positions = [root[..., None, :]]
    for bones, above in zip(levels.bones, levels.parents, strict=True):
        positions.append(positions[-1].index_select(-2, above) + steps.index_select(-2, bones))
    return torch.cat(positions, dim=-2).index_select(-2, levels.order), world


def _sample_places(num_frames: int, fps: float, new_fps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Left neighbour, right neighbour and fraction of each new frame. The new clip keeps the old one's seconds."""
    count = max(1, round(num_frames * new_fps / fps))
    place = (torch.arange(count, dtype=torch.float64) * (fps / new_fps)).clamp(max=num_frames - 1)
    left = place.floor().long()
    return left, (left + 1).clamp(max=num_frames - 1), (place - left).float()


def resample_quat(q: Tensor, fps: float, new_fps: float) -> Tensor:
    """Quaternion tracks (T, ..., 4) at another rate by slerp; seconds are kept, the last pose is held."""
    left, right, fraction = _sample_places(q.shape[0], fps, new_fps)
    smooth = quat_unroll(q.movedim(0, -2)).movedim(-2, 0)
    amount = fraction.reshape(-1, *[1] * (q.ndim - 1)).expand(*smooth[left].shape[:-1], 1)
    return quat_unroll(quat_slerp(smooth[left], smooth[right], amount).movedim(0, -2)).movedim(-2, 0)


def resample_linear(values: Tensor, fps: float, new_fps: float) -> Tensor:
    """Any track (T, ...) at another rate by linear interpolation; seconds are kept, the last value is held."""
    left, right, fraction = _sample_places(values.shape[0], fps, new_fps)
    amount = fraction.reshape(-1, *[1] * (values.ndim - 1))
    return values[left] * (1 - amount) + values[right] * amount
