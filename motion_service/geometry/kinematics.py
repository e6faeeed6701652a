"""Forward kinematics of a tree of bones, and changes of frame rate. Rest orientation of every bone is the identity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from motion_service.geometry.rotation import quat_conjugate, quat_multiply, quat_rotate, quat_slerp, quat_unroll


def local_to_world_quat(local: Tensor, parents: Sequence[int]) -> Tensor:
    """World orientation of each bone from local ones (..., J, 4) xyzw; parents stand before children, -1 = root."""
    world: list[Tensor] = []
    for bone, parent in enumerate(parents):
        q = local[..., bone, :]
        world.append(q if parent < 0 else quat_multiply(world[parent], q))
    return torch.stack(world, dim=-2)


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
    world = local_to_world_quat(local, parents)
    positions: list[Tensor] = []
    for bone, parent in enumerate(parents):
        if parent < 0:
            positions.append(root)
        else:
            positions.append(positions[parent] + quat_rotate(world[..., parent, :], offsets[bone]))
    return torch.stack(positions, dim=-2), world


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
