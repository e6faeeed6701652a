"""A clip as exporters want it: fitted to a body, in unit quaternions, or posed on the canonical body."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.rotation import normalize, quat_identity, quat_multiply
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT
from motion_service.vrm.body import Body, clip_to_body

_ROUNDING: Final = 2e-5
"""Farther from 1 the length of a unit quaternion with five decimals never is."""


def unit_quats(track: Tensor) -> Tensor:
    """Quaternions (..., 4) made unit, signs kept.

    One that only rounding put off unit length, as in a clip read from a file, stays as it is, so that its digits do.
    """
    square = track.square() @ track.new_ones(4)
    shortest, longest = torch.aminmax(square)
    if (1 - _ROUNDING) ** 2 < float(shortest) and float(longest) < (1 + _ROUNDING) ** 2:
        return track
    kept = (square.sqrt() - 1).abs() < _ROUNDING
    return torch.where(kept[..., None], track, normalize(track))


def clip_for_body(clip: VrmClip, body: Body) -> VrmClip:
    """The clip on ``body``; one that was made for it keeps every number."""
    if clip.rest_hips_height != body.hips_height or not set(clip.rotations) <= set(body.bones):
        return clip_to_body(clip, body)
    return replace(clip, rotations={bone: unit_quats(track) for bone, track in clip.rotations.items()})


def clip_to_pose(clip: VrmClip) -> tuple[Tensor, Tensor]:
    """World positions (T, 21, 3) m and orientations (T, 21, 4) xyzw of the canonical bones.

    A bone that the clip lacks keeps its rest rotation; upperChest, which the body lacks, is folded into the chest. The
    hips are scaled from the clip's body to this one, so feet stay on the floor. Expects a clip that faces +Z at rest.
    """
    local = torch.stack([_local_quat(clip, bone) for bone in CANONICAL_BONES], dim=1)  # (T, J, 4)
    return canonical_fk(normalize(local), clip.hips.cpu().float() * (CANONICAL_HIPS_HEIGHT / clip.rest_hips_height))


def _local_quat(clip: VrmClip, bone: str) -> Tensor:
    track = clip.rotations.get(bone)
    quat = quat_identity(clip.num_frames) if track is None else track.cpu().float()  # (T, 4)
    if bone == "chest" and "upperChest" in clip.rotations:
        return quat_multiply(quat, clip.rotations["upperChest"].cpu().float())
    return quat
