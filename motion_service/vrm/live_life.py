"""Signs of life of an endless motion, as functions of the frame's number: whatever is cut and made anew stays in step.

Breathing moves the trunk a little, always; a still figure that does not breathe looks frozen. Fingers, blinks, glances
and mood come from :mod:`motion_service.vrm.life`, in blocks of :data:`BLOCK_S`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.geometry.rotation import quat_identity, quat_multiply, rotvec_to_quat
from motion_service.vrm.life import MOODS, add_life

BLOCK_S: Final = 30.0
MOOD_WEIGHT: Final = 0.7
_MOOD_S: Final = 0.5
"""How long a mood takes to come or go."""
_BREATH_HZ: Final = (0.21, 0.27)
_BREATH_DEG: Final[Mapping[str, tuple[float, float]]] = {
    # pitch about X and roll about Z at the height of a breath: the chest opens, the shoulders rise, the head stays
    "spine": (0.3, 0.0),
    "chest": (-0.9, 0.0),
    "neck": (0.6, 0.0),
    "leftShoulder": (0.0, 0.8),
    "rightShoulder": (0.0, -0.8),
}
_SWAY_DEG: Final = 0.5
"""Slow lean of the trunk from side to side while breathing."""
_LEANS: Final = {"spine": 1, "neck": -1}
"""Which way: the head stays above the hips."""


def breathe(clip: VrmClip, frame: int, seed: int) -> VrmClip:
    """The clip, whose first frame is number ``frame`` of the motion, with a trunk that breathes and hardly sways."""
    time = (frame + torch.arange(clip.num_frames, dtype=torch.float64)) / clip.fps
    drawn = torch.rand(4, generator=torch.Generator().manual_seed(seed % 2**63)).tolist()
    rate = _BREATH_HZ[0] + (_BREATH_HZ[1] - _BREATH_HZ[0]) * drawn[0]
    breath = torch.sin(2 * math.pi * (rate * time + drawn[1])).float()
    sway = torch.sin(2 * math.pi * ((0.06 + 0.03 * drawn[2]) * time + drawn[3])).float()
    bones = [bone for bone in _BREATH_DEG if bone in clip.rotations]
    if not bones:
        return clip
    size = torch.deg2rad(torch.tensor([(*_BREATH_DEG[bone], _SWAY_DEG * _LEANS.get(bone, 0)) for bone in bones]))
    pitch, roll, lean = (column[:, None] for column in size.unbind(1))  # (B, 1) each
    turns = torch.stack([pitch * breath, torch.zeros(len(bones), len(time)), roll * breath + lean * sway], dim=-1)
    moved = quat_multiply(torch.stack([clip.rotations[bone] for bone in bones]), rotvec_to_quat(turns))  # (B, T, 4)
    return replace(clip, rotations={**clip.rotations, **dict(zip(bones, moved.unbind(0), strict=True))})


@dataclass(frozen=True)
class LiveLife:
    """What an avatar of these bones and expressions shows besides the motion."""

    bones: frozenset[str]
    expressions: frozenset[str]
    own_names: tuple[tuple[str, str], ...]
    """(preset, the avatar's own spelling) of expressions."""
    has_gaze: bool
    seed: int
    fps: float

    @cached_property
    def moods(self) -> tuple[str, ...]:
        """The emotions it can show."""
        return tuple(mood for mood in MOODS if mood in self.expressions)

    def add(self, clip: VrmClip, frame: int, moods: Tensor) -> VrmClip:
        """The clip, whose first frame is number ``frame``, alive. ``moods`` (T, M) from :meth:`feel`."""
        length = round(BLOCK_S * self.fps)
        blocks = range(frame // length, (frame + clip.num_frames - 1) // length + 1)
        alive = [_block(self, block, length) for block in blocks]
        rows = slice(frame - blocks[0] * length, frame - blocks[0] * length + clip.num_frames)
        fingers = {
            bone: torch.cat([part.rotations[bone] for part in alive])[rows]
            for bone in alive[0].rotations
            if bone not in clip.rotations
        }
        faces = {name: torch.cat([part.expressions[name] for part in alive])[rows] for name in alive[0].expressions}
        faces |= {mood: moods[:, i] for i, mood in enumerate(self.moods)}
        faces |= {own: faces[preset] for preset, own in self.own_names if preset in faces}
        gaze = (
            None if alive[0].gaze is None else torch.cat([part.gaze for part in alive if part.gaze is not None])[rows]
        )
        return replace(clip, rotations={**clip.rotations, **fingers}, expressions=faces, gaze=gaze)

    def feel(self, mood: str | None, before: Tensor, num_frames: int) -> Tensor:
        """Weights (T, M) of :attr:`moods` that move from ``before`` (M,) towards ``mood``."""
        goal = torch.tensor([MOOD_WEIGHT * (name == mood) for name in self.moods])
        most = MOOD_WEIGHT / (_MOOD_S * self.fps) * torch.arange(1, num_frames + 1)[:, None]
        return before + (goal - before).clamp(-most, most)


@lru_cache(maxsize=256)
def _block(life: LiveLife, block: int, length: int) -> VrmClip:
    """Fingers, blinks and gaze of one block, on a figure at rest."""
    still = VrmClip(
        {"hips": quat_identity(length)},
        torch.tensor([[0.0, 1.0, 0.0]]).expand(length, -1),
        torch.zeros(length, 4),
        life.fps,
        1.0,
    )
    return add_life(still, life.bones, life.expressions, life.has_gaze, None, life.seed, block=block)
