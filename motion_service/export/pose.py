"""A clip on the canonical body: where its 21 bones are, whatever bones the clip itself carries."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.rotation import normalize, quat_identity, quat_multiply
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT


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
