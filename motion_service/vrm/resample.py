"""A clip at another frame rate."""

from __future__ import annotations

from dataclasses import replace

from motion_service.clips import VrmClip
from motion_service.geometry.kinematics import resample_linear, resample_quat


def resample_clip(clip: VrmClip, fps: float | None) -> VrmClip:
    """The clip at another rate: rotations by slerp, the rest linearly; seconds are kept. None = leave it."""
    if fps is None or fps == clip.fps:
        return clip
    return replace(
        clip,
        rotations={bone: resample_quat(track, clip.fps, fps) for bone, track in clip.rotations.items()},
        hips=resample_linear(clip.hips, clip.fps, fps),
        contacts=resample_linear(clip.contacts, clip.fps, fps),
        fps=fps,
        expressions={name: resample_linear(track, clip.fps, fps) for name, track in clip.expressions.items()},
        gaze=None if clip.gaze is None else resample_linear(clip.gaze, clip.fps, fps),
    )
