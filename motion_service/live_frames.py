"""Frames of an avatar as blocks of numbers: what streams keep, cut, fit and send many times a second.

A :class:`~motion_service.clips.VrmClip` is checked at birth and holds a track a bone; here all numbers of a frame lie
side by side in one row, so that frames of many streams are handled together, and nothing is checked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.geometry.rotation import quat_slerp, quat_unroll

Floats = npt.NDArray[np.float32]

_VRM0_QUAT: Final = (-1.0, 1.0, -1.0, 1.0)
_VRM0_PLACE: Final = (-1.0, 1.0, -1.0)


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """What stands where in a row: rotations of the bones (J x 4, xyzw), hips (3), contacts (4), weights (E), gaze."""

    bones: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Of the expressions."""
    has_gaze: bool = False

    @property
    def hips(self) -> int:
        """Where the rotations end and the hips begin."""
        return 4 * len(self.bones)

    @property
    def weights(self) -> int:
        """Where the contacts end and the weights begin."""
        return self.hips + 7

    @property
    def gaze(self) -> int:
        """Where the weights end and the gaze begins."""
        return self.weights + len(self.names)

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.gaze + 2 * self.has_gaze


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """T frames of one stream, or of several alike with an axis in front; axes and units as in a VrmClip."""

    layout: FrameLayout
    block: Floats
    """(..., T, width)."""

    def __len__(self) -> int:
        return int(self.block.shape[-2])

    @property
    def bones(self) -> tuple[str, ...]:
        return self.layout.bones

    @property
    def names(self) -> tuple[str, ...]:
        return self.layout.names

    @property
    def rotations(self) -> Tensor:
        """(..., T, J, 4) xyzw, like all that follow a view of the block."""
        rotations: Tensor = torch.from_numpy(self.block)[..., : self.layout.hips].unflatten(-1, (-1, 4))
        return rotations

    @property
    def hips(self) -> Tensor:
        """(..., T, 3) m."""
        return torch.from_numpy(self.block)[..., self.layout.hips : self.layout.hips + 3]

    @property
    def contacts(self) -> Tensor:
        """(..., T, 4)."""
        return torch.from_numpy(self.block)[..., self.layout.hips + 3 : self.layout.weights]

    @property
    def weights(self) -> Tensor:
        """(..., T, E)."""
        return torch.from_numpy(self.block)[..., self.layout.weights : self.layout.gaze]

    @property
    def gaze(self) -> Tensor | None:
        """(..., T, 2) rad."""
        return torch.from_numpy(self.block)[..., self.layout.gaze :] if self.layout.has_gaze else None

    def part(self, start: int, stop: int) -> LiveFrames:
        """Frames ``start`` to ``stop - 1``."""
        return LiveFrames(self.layout, self.block[..., start:stop, :])

    def then(self, after: LiveFrames, most: int) -> LiveFrames:
        """These frames and those, which have the same layout; of them the last ``most``."""
        return LiveFrames(self.layout, append(self.block, after.block, most))

    def between(self, at: npt.NDArray[np.float64]) -> LiveFrames:
        """Frames at the places ``at`` (n,), counted in frames: rotations by slerp, the rest linearly."""
        last = len(self) - 1
        left = np.floor(at + 1e-9).astype(np.int64).clip(0, last)
        share = (at - left).clip(0, 1).astype(np.float32)
        before = LiveFrames(self.layout, self.block[left])
        if not (share > 1e-6).any():
            return before
        after = LiveFrames(self.layout, self.block[(left + 1).clip(max=last)])
        mixed = LiveFrames(self.layout, before.block + (after.block - before.block) * share[:, None])
        turned = quat_slerp(before.rotations, after.rotations, torch.from_numpy(share)[:, None, None])
        near = torch.where((turned * before.rotations).sum(-1, keepdim=True) < 0, -turned, turned)
        mixed.rotations.copy_(near)
        return mixed

    def to_vrm0(self) -> LiveFrames:
        """The same for an avatar that faces -Z at rest (:func:`motion_service.vrm.convention.to_vrm0`)."""
        return LiveFrames(self.layout, self.block * _vrm0_signs(self.layout))

    def to_clip(self, fps: float, rest_hips_height: float) -> VrmClip:
        """As a clip, checked."""
        return VrmClip(
            dict(zip(self.bones, self.rotations.unbind(1), strict=True)),
            self.hips,
            self.contacts,
            fps,
            rest_hips_height,
            dict(zip(self.names, self.weights.unbind(1), strict=True)),
            self.gaze,
        )


def clip_to_frames(clip: VrmClip) -> LiveFrames:
    """The frames of a clip, quaternion signs continuous."""
    layout = FrameLayout(tuple(clip.rotations), tuple(clip.expressions), clip.gaze is not None)
    frames = LiveFrames(layout, np.empty((clip.num_frames, layout.width), np.float32))
    frames.rotations.copy_(quat_unroll(torch.stack([*clip.rotations.values()])).transpose(0, 1))
    frames.hips.copy_(clip.hips)
    frames.contacts.copy_(clip.contacts)
    if clip.expressions:
        frames.weights.copy_(torch.stack([*clip.expressions.values()], dim=1))
    if frames.gaze is not None and clip.gaze is not None:
        frames.gaze.copy_(clip.gaze)
    return frames


def turns_of(block: Floats, bones: int) -> Floats:
    """Rotations of the first J bones of rows (..., W) as planes (4, J, ...), a view."""
    turns = block[..., : 4 * bones].reshape(*block.shape[:-1], bones, 4)
    return np.moveaxis(turns, (-1, -2), (0, 1))


def append(past: npt.NDArray[np.floating], new: npt.NDArray[np.floating], most: int) -> npt.NDArray[np.floating]:
    """The last ``most`` rows of both, one after the other. Never a view of either."""
    return np.concatenate([past[max(0, len(past) + len(new) - most) :], new[-most:]])


@lru_cache(maxsize=64)
def _vrm0_signs(layout: FrameLayout) -> Floats:
    """(width,) what to multiply a row with."""
    rest = [1.0] * (layout.width - layout.hips - 3)
    return np.array([*_VRM0_QUAT * len(layout.bones), *_VRM0_PLACE, *rest], np.float32)
