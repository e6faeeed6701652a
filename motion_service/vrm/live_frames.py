"""Frames of an avatar as blocks of numbers: what a stream keeps, cuts and sends many times a second.

A :class:`~motion_service.clips.VrmClip` is checked at birth and holds a track a bone; here all bones lie in one block,
and nothing is checked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.geometry.rotation import quat_slerp, quat_unroll

_VRM0_QUAT: Final = torch.tensor([-1.0, 1.0, -1.0, 1.0])
_VRM0_PLACE: Final = torch.tensor([-1.0, 1.0, -1.0])


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """T frames; axes, units and order of components as in a VrmClip."""

    bones: tuple[str, ...]
    rotations: Tensor
    """(T, J, 4) xyzw."""
    hips: Tensor
    """(T, 3) m."""
    contacts: Tensor
    """(T, 4)."""
    names: tuple[str, ...]
    """Of the expressions."""
    weights: Tensor
    """(T, E)."""
    gaze: Tensor | None
    """(T, 2) rad."""

    def __len__(self) -> int:
        return len(self.hips)

    def _each(self, change: Callable[[Tensor], Tensor]) -> LiveFrames:
        gaze = None if self.gaze is None else change(self.gaze)
        blocks = (change(block) for block in (self.rotations, self.hips, self.contacts, self.weights))
        rotations, hips, contacts, weights = blocks
        return replace(self, rotations=rotations, hips=hips, contacts=contacts, weights=weights, gaze=gaze)

    def part(self, start: int, stop: int) -> LiveFrames:
        """Frames ``start`` to ``stop - 1``."""
        return self._each(lambda block: block[start:stop])

    def then(self, after: LiveFrames) -> LiveFrames:
        """These frames and those; of the same bones, expressions and gaze. Quaternion signs go on as they end here."""
        flip = torch.where((after.rotations[:1] * self.rotations[-1:]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        return LiveFrames(
            self.bones,
            torch.cat([self.rotations, after.rotations * flip]),
            torch.cat([self.hips, after.hips]),
            torch.cat([self.contacts, after.contacts]),
            self.names,
            torch.cat([self.weights, after.weights]),
            None if self.gaze is None or after.gaze is None else torch.cat([self.gaze, after.gaze]),
        )

    def between(self, at: Tensor) -> LiveFrames:
        """Frames at the places ``at`` (n,) float64, counted in frames: rotations by slerp, the rest linearly."""
        last = len(self) - 1
        left = (at + 1e-9).floor().long().clamp(0, last)
        share = (at - left).clamp(0, 1).float()
        if not bool((share > 1e-6).any()):
            return self._each(lambda block: block[left])
        right = (left + 1).clamp(max=last)

        def linear(block: Tensor) -> Tensor:
            return torch.lerp(block[left], block[right], share[:, None])

        turned = quat_slerp(self.rotations[left], self.rotations[right], share[:, None, None])
        near = torch.where((turned * self.rotations[left]).sum(-1, keepdim=True) < 0, -turned, turned)
        mixed = self._each(lambda block: linear(block) if block.ndim == 2 else near)
        return replace(mixed, rotations=near)

    def to_vrm0(self) -> LiveFrames:
        """The same for an avatar that faces -Z at rest (:func:`motion_service.vrm.convention.to_vrm0`)."""
        return replace(self, rotations=self.rotations * _VRM0_QUAT, hips=self.hips * _VRM0_PLACE)

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
    tracks = torch.stack([*clip.rotations.values()])  # (J, T, 4)
    weights = [*clip.expressions.values()]
    return LiveFrames(
        tuple(clip.rotations),
        quat_unroll(tracks).transpose(0, 1).contiguous(),
        clip.hips,
        clip.contacts,
        tuple(clip.expressions),
        torch.stack(weights, dim=1) if weights else clip.hips.new_zeros(clip.num_frames, 0),
        clip.gaze,
    )
