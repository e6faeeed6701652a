"""A clip at another frame rate."""

from __future__ import annotations

from dataclasses import replace

import torch

from motion_service.clips import VrmClip
from motion_service.geometry.kinematics import resample_linear, resample_quat


def resample_clip(clip: VrmClip, fps: float | None) -> VrmClip:
    """The clip at another rate: rotations by slerp, the rest linearly; seconds are kept. None = leave it."""
    if fps is None or fps == clip.fps:
        return clip
    tracks = resample_quat(torch.stack([*clip.rotations.values()], dim=1), clip.fps, fps)  # (T, J, 4)
    return replace(
        clip,
        rotations=dict(zip(clip.rotations, tracks.unbind(1), strict=True)),
        hips=resample_linear(clip.hips, clip.fps, fps),
        contacts=resample_linear(clip.contacts, clip.fps, fps),
        fps=fps,
        expressions={name: resample_linear(track, clip.fps, fps) for name, track in clip.expressions.items()},
        gaze=None if clip.gaze is None else resample_linear(clip.gaze, clip.fps, fps),
    )
