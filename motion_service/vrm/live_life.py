"""Signs of life of an endless motion, as functions of the frame's number: whatever is cut and made anew stays in step.

Breathing moves the trunk a little, always; a still figure that does not breathe looks frozen. Fingers, blinks, glances
and mood come from :mod:`motion_service.vrm.life`, in blocks of :data:`BLOCK_S`. All of it for B streams together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.geometry.planes import Planes, multiply
from motion_service.geometry.rotation import quat_identity
from motion_service.live_frames import Floats
from motion_service.vrm.life import FINGER_BONES, MOODS, MOUTH, add_life, draw_sways

BLOCK_S: Final = 30.0
MOOD_WEIGHT: Final = 0.7
_MOOD_S: Final = 0.5
"""How long a mood takes to come or go."""
_BREATH_HZ: Final = (0.21, 0.27)
_SWAY_HZ: Final = (0.06, 0.09)
_BREATH_DEG: Final[Mapping[str, tuple[float, float, float]]] = {
    # pitch about X and roll about Z at the height of a breath: the chest opens, the shoulders rise, the head stays;
    # and roll of a slow lean of the trunk from side to side, above which the head stays, too
    "spine": (0.3, 0.0, 0.5),
    "chest": (-0.9, 0.0, 0.0),
    "neck": (0.6, 0.0, -0.5),
    "leftShoulder": (0.0, 0.8, 0.0),
    "rightShoulder": (0.0, -0.8, 0.0),
}
_BLOCKS_KEPT: Final = 8192


@dataclass(frozen=True, slots=True)
class Temper:
    """What of the signs of life is one stream's own, drawn from its seed."""

    seed: int
    breath: tuple[float, float, float, float]
    """Rate in Hz and phase in turns of breathing, and of swaying."""
    sways: Tensor
    """(10, 2) of the fingers, see :func:`~motion_service.vrm.life.draw_sways`."""
    breathes: bool = True


def new_temper(seed: int, *, breathes: bool = True) -> Temper:
    """That of a seed."""
    drawn = torch.rand(4, generator=torch.Generator().manual_seed(seed % 2**63)).tolist()
    rate = _BREATH_HZ[0] + (_BREATH_HZ[1] - _BREATH_HZ[0]) * drawn[0]
    sway = _SWAY_HZ[0] + (_SWAY_HZ[1] - _SWAY_HZ[0]) * drawn[2]
    fingers = draw_sways(torch.Generator().manual_seed(seed % 2**63))
    return Temper(seed, (rate, drawn[1], sway, drawn[3]), fingers, breathes)


def breathe(local: Planes, bones: tuple[str, ...], tempers: Sequence[Temper], time: Planes) -> None:
    """Let the trunks breathe and hardly sway, in place: rotations (4, J, B, T) of ``bones`` at ``time`` (B, T) s."""
    columns, pitches, rolls, leans = _breathing(bones)
    rates, phases = np.array([temper.breath for temper in tempers]).reshape(-1, 2, 2).T[..., None]  # (2, B, 1)
    breath, sway = np.sin(2 * math.pi * (rates * time + phases)).astype(local.dtype)
    alive = np.array([temper.breathes for temper in tempers], local.dtype)[:, None]
    pitch, roll = alive * (pitches * breath), alive * (rolls * breath + leans * sway)  # (n, B, T) half of the turn
    angle = np.sqrt(pitch * pitch + roll * roll)
    share = np.sinc(angle / math.pi)  # of so small a turn its sine is all but itself
    turn = np.array([pitch * share, np.zeros_like(roll), roll * share, np.cos(angle)], local.dtype)
    local[:, columns] = multiply(local[:, columns], turn)


@lru_cache(maxsize=64)
def _breathing(bones: tuple[str, ...]) -> tuple[list[int], Planes, Planes, Planes]:
    """Which of ``bones`` breathe, and half of how far they do: pitch, roll, roll of the lean, (n, 1, 1) rad each."""
    columns = [bones.index(bone) for bone in _BREATH_DEG if bone in bones]
    degrees = np.array([_BREATH_DEG[bones[column]] for column in columns], np.float32).reshape(-1, 3)
    pitches, rolls, leans = np.deg2rad(degrees).T[..., None, None] / 2
    return columns, pitches, rolls, leans


@dataclass(frozen=True)
class LiveLife:
    """What avatars of the same bones and expressions show besides the motion."""

    fingers: tuple[str, ...]
    """Bones that they have and the motion lacks."""
    names: tuple[str, ...]
    """Of the expressions."""
    moods: tuple[str, ...]
    """The emotions they can show."""
    columns: tuple[int, ...]
    """For each name, what it shows: 0 the eyelids, else 1 + the place of its mood."""
    has_gaze: bool

    def show(
        self, tempers: Sequence[Temper], frames: Sequence[int], moods: Floats, fps: float
    ) -> tuple[Floats, Floats]:
        """Weights (B, T, E) and gaze (B, T, 2) rad of streams whose first frames are number ``frames`` of their
        motions; ``moods`` (B, T, M) from :meth:`feel`."""
        count = moods.shape[1]
        eyes = np.stack([_eyes(temper.seed, fps, frame, count) for temper, frame in zip(tempers, frames, strict=True)])
        shown = np.concatenate([eyes[..., :1], moods], axis=-1)
        return shown[..., list(self.columns)], eyes[..., 1:]

    def feel(self, moods: Sequence[str | None], before: Floats, num_frames: int, fps: float) -> Floats:
        """Weights (B, T, M) of :attr:`moods` that move from ``before`` (B, M) towards those asked for."""
        goal = np.array([[MOOD_WEIGHT * (name == mood) for name in self.moods] for mood in moods], np.float32)
        most = (MOOD_WEIGHT / (_MOOD_S * fps) * np.arange(1, num_frames + 1, dtype=np.float32))[:, None]
        felt: Floats = before[:, None] + (goal - before)[:, None].clip(-most, most)
        return felt


def new_life(
    moved: tuple[str, ...],
    bones: frozenset[str],
    expressions: frozenset[str],
    own_names: tuple[tuple[str, str], ...],
    has_gaze: bool,
) -> LiveLife:
    """The life of an avatar that has ``bones`` and ``expressions`` in a motion of the bones ``moved``.

    ``own_names``: (preset, the avatar's own spelling) of expressions.
    """
    eyelids = ("blink",) if "blink" in expressions else ("blinkLeft", "blinkRight")
    moods = tuple(mood for mood in MOODS if mood in expressions)
    sources = {name: 0 for name in eyelids if name in expressions - MOUTH}
    sources |= {mood: 1 + i for i, mood in enumerate(moods)}
    sources |= {own: sources[preset] for preset, own in own_names if preset in sources}
    fingers = tuple(bone for bone in FINGER_BONES if bone in bones and bone not in moved)
    return LiveLife(fingers, tuple(sources), moods, tuple(sources.values()), has_gaze)


def look_about(seed: int, fps: float, frame: int, num_frames: int) -> Tensor:
    """Small glances about the viewer: yaw and pitch (T, 2) rad of frames from number ``frame`` on."""
    return torch.from_numpy(_eyes(seed, fps, frame, num_frames)[:, 1:])


def _eyes(seed: int, fps: float, frame: int, num_frames: int) -> Floats:
    """Eyelids, yaw and pitch of the gaze, (T, 3), from frame number ``frame`` on."""
    length = round(BLOCK_S * fps)
    first, last = frame // length, (frame + num_frames - 1) // length
    blocks = [_block(seed, fps, block, length) for block in range(first, last + 1)]
    start = frame - first * length
    return (blocks[0] if first == last else np.concatenate(blocks))[start : start + num_frames]


@lru_cache(maxsize=_BLOCKS_KEPT)
def _block(seed: int, fps: float, block: int, length: int) -> Floats:
    """Eyelids and gaze of one block, (length, 3)."""
    hips = torch.tensor([[0.0, 1.0, 0.0]]).expand(length, -1)
    still = VrmClip({"hips": quat_identity(length)}, hips, torch.zeros(length, 4), fps, 1.0)
    alive = add_life(still, (), ("blink",), True, None, seed, block=block)
    assert alive.gaze is not None
    eyes: Floats = torch.cat([alive.expressions["blink"][:, None], alive.gaze], dim=1).numpy()
    return eyes
