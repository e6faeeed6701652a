"""What a source made -> bones: the step between sampling and the answer, outside the model's thread."""

from __future__ import annotations

from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.features.humanml3d import features_to_clip
from motion_service.features.vrm_native import features_to_vrm
from motion_service.source import SourceClip
from motion_service.vrm.retarget import joints_to_vrm


def decode(made: SourceClip) -> tuple[VrmClip, Tensor | None]:
    """The bones of a source's clip, and its joints (T, 22, 3) m where the model makes joints.

    Raises GenerationFailed for features whose numbers are finite but make no pose.
    """
    if isinstance(made.clip, VrmClip):
        return made.clip, made.joints
    if made.clip.layout == "vrm":
        return features_to_vrm(made.clip), None
    joints = features_to_clip(made.clip)
    return joints_to_vrm(joints), joints.positions
