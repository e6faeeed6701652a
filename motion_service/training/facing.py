"""Batched poses of the canonical body as matrices: forward kinematics, steps between frames, features of both.

The facing frame of :mod:`motion_service.features.vrm_native`: the world turned by minus the heading, root x and z taken
out. Written for training: differentiable, no constants that travel to the device, so that a compiler can fuse it and a
CUDA graph can hold it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from motion_service.features.vrm_native import (
    CONTACT_HEIGHT,
    CONTACT_SPEED,
    NUM_BONES,
    OFFSETS,
    VRM_FPS,
)
from motion_service.geometry.rotation import rotmat_to_rot6d
from motion_service.humanoid import CANONICAL_PARENTS, CANONICAL_REST, CONTACT_BONES, canonical_index

_FEET: Final = tuple(canonical_index(bone) for bone in CONTACT_BONES)


def _depth(bone: int) -> int:
    return 0 if CANONICAL_PARENTS[bone] < 0 else 1 + _depth(CANONICAL_PARENTS[bone])


_LEVELS: Final = tuple(
    tuple(bone for bone in range(NUM_BONES) if _depth(bone) == depth)
    for depth in range(1 + max(_depth(bone) for bone in range(NUM_BONES)))
)
"""Bones by distance from the hips: one matrix product a level instead of one a bone."""


class FacingBody(nn.Module):
    """Forward kinematics of the canonical body, hips at x = z = 0. Holds nothing but the rest offsets."""

    feet_rest: Tensor

    def __init__(self) -> None:
        super().__init__()
        for depth, level in enumerate(_LEVELS):
            self.register_buffer(f"offsets_{depth}", OFFSETS[list(level)].clone(), persistent=False)  # (n, 3)
        rest = torch.tensor([CANONICAL_REST[bone][1] for bone in _FEET])
        self.register_buffer("feet_rest", rest, persistent=False)  # (4,)

    def forward(self, local: Tensor, height: Tensor) -> Tensor:
        """Positions (..., 21, 3) m from local matrices (..., 21, 3, 3) and the hips height (...,) m."""
        zero = torch.zeros_like(height)
        turns = {0: local[..., 0, :, :]}
        places = {0: torch.stack([zero, height, zero], dim=-1)}
        for depth, level in enumerate(_LEVELS[1:], start=1):
            parents = [CANONICAL_PARENTS[bone] for bone in level]
            turn = torch.stack([turns[parent] for parent in parents], dim=-3)  # (..., n, 3, 3)
            offsets = self.get_buffer(f"offsets_{depth}")[:, None, :]  # (n, 1, 3)
            place = torch.stack([places[parent] for parent in parents], dim=-2) + (turn * offsets).sum(-1)
            places.update(zip(level, place.unbind(-2), strict=True))
            own = torch.stack([local[..., bone, :, :] for bone in level], dim=-3)
            # Elementwise and not matmul: it stays float32 under autocast and fuses.
            world = (turn[..., :, :, None] * own[..., None, :, :]).sum(-2)
            turns.update(zip(level, world.unbind(-3), strict=True))
        return torch.stack([places[bone] for bone in range(NUM_BONES)], dim=-2)

    def clearance(self, positions: Tensor) -> Tensor:
        """Height of the four contact joints above their rest height, m. (..., 4)"""
        return feet(positions)[..., 1] - self.feet_rest

    def lowest(self, soles: Tensor) -> Tensor:
        """Clearance (...,) m of the lowest contact joint; ``soles`` (..., 4, 3) positions of :func:`feet`."""
        return (soles[..., 1] - self.feet_rest).amin(-1)

    def contacts(self, positions: Tensor, steps: Tensor) -> Tensor:
        """Contact labels (B, T, 4), 0 or 1, by the rule of ``foot_contacts``; ``steps`` of :func:`bone_steps`."""
        back = torch.linalg.vector_norm(feet(steps), dim=-1)  # (B, T, 4)
        ahead = torch.cat([back[:, 1:], back[:, -1:]], dim=1)
        slow = torch.minimum(back, ahead) * VRM_FPS < CONTACT_SPEED
        return (slow & (self.clearance(positions) < CONTACT_HEIGHT)).to(positions.dtype)


def feet(positions: Tensor) -> Tensor:
    """The four contact joints of positions or steps (..., 21, 3). (..., 4, 3)"""
    return torch.stack([positions[..., bone, :] for bone in _FEET], dim=-2)


def turn_about_y(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Vectors (..., 3) turned about +Y by ``yaw`` (...,) radians; positive takes +Z to +X."""
    cos, sin = torch.cos(yaw), torch.sin(yaw)
    x, y, z = vectors.unbind(-1)
    return torch.stack([x * cos + z * sin, y.expand_as(x * cos), z * cos - x * sin], dim=-1)


def bone_steps(positions: Tensor, before: Tensor, yaw_step: Tensor, root_step: Tensor) -> Tensor:
    """World displacement of each bone since the frame before, seen in this frame's facing frame, m. (B, T, 21, 3)

    ``positions`` (B, T, 21, 3) in the facing frame, ``before`` (B, 21, 3) those of the frame before the first,
    ``yaw_step`` (B, T) radians, ``root_step`` (B, T, 2) x and z displacement of the hips in this frame's facing frame.
    """
    earlier = torch.cat([before[:, None], positions[:, :-1]], dim=1)
    moved = torch.stack([root_step[..., 0], torch.zeros_like(yaw_step), root_step[..., 1]], dim=-1)  # (B, T, 3)
    return positions - turn_about_y(earlier, -yaw_step[..., None]) + moved[:, :, None]


def assemble_features(
    rates: Tensor, height: Tensor, local: Tensor, positions: Tensor, steps: Tensor, contacts: Tensor
) -> Tensor:
    """Features (B, T, 260) in the layout ``vrm``; ``rates`` (B, T, 3) as in its first slices."""
    return torch.cat(
        [
            rates,
            height[..., None],
            rotmat_to_rot6d(local).flatten(-2),
            positions.flatten(-2),
            steps.flatten(-2) * VRM_FPS,
            contacts,
        ],
        dim=-1,
    )
