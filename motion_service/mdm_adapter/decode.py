"""What a source made -> bones: the step between sampling and the answer, outside the model's thread."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import NonFiniteOutput
from motion_service.features.humanml3d import features_to_clip
from motion_service.features.vrm_native import features_to_vrm
from motion_service.source import SourceClip
from motion_service.vrm.retarget import joints_to_vrm

LARGEST: Final = 1e6
"""Metres, metres a second, radians a second: no motion has such numbers."""


def decode(made: SourceClip) -> tuple[VrmClip, Tensor | None]:
    """The bones of a source's clip, and its joints (T, 22, 3) m where the model makes joints.

    Raises GenerationFailed for features whose numbers are finite but make no pose.
    """
    if isinstance(made.clip, VrmClip):
        return made.clip, made.joints
    if float(made.clip.features.abs().max()) > LARGEST:
        raise NonFiniteOutput("the model returned numbers that are no motion; are its weights damaged?")
    if made.clip.layout == "vrm":
        return features_to_vrm(made.clip), None
    joints = features_to_clip(made.clip)
    return joints_to_vrm(joints), joints.positions
