"""From VRM bones to joint positions: the inverse of :mod:`motion_service.vrm.retarget`.

The joints are those of a HumanML3D figure that takes the clip's pose, its pelvis and chest shaped like that figure's
own, as the official models know it; joints of the mannequin would lean by the degrees that its rest pose differs.
"""

from __future__ import annotations

from typing import Final

import torch

from motion_service.clips import JointClip, VrmClip
from motion_service.features.skeleton import target_offsets
from motion_service.geometry.rotation import quat_rotate
from motion_service.vrm.body import MANNEQUIN_BODY, clip_to_body, pose_body
from motion_service.vrm.source_rest import JOINT_BONES, JOINT_PARENTS, REST_DIRECTIONS

_INDEX: Final = [MANNEQUIN_BODY.index(bone) for bone in JOINT_BONES]
_LENGTHS: Final = torch.linalg.vector_norm(target_offsets(), dim=-1).double()
"""(22,) m"""
_RIGHT_LEG: Final = [JOINT_BONES.index("rightLowerLeg"), JOINT_BONES.index("rightFoot")]


def vrm_to_joints(clip: VrmClip) -> JointClip:
    """The clip as joints of the 22-joint skeleton, at its own rate, in VRM 1.0 axes.

    Bones that the clip lacks rest; fingers, eyes and jaw have no joint. The path is scaled by the length of the legs.
    """
    fitted = clip_to_body(clip, MANNEQUIN_BODY)
    world = pose_body(MANNEQUIN_BODY, fitted)[1][:, _INDEX].double()  # (T, 22, 4)
    bones = quat_rotate(world[:, JOINT_PARENTS], REST_DIRECTIONS * _LENGTHS[:, None])  # (T, 22, 3)
    own = MANNEQUIN_BODY.offsets[[_INDEX[joint] for joint in _RIGHT_LEG]].double().norm(dim=-1).sum()
    places = [fitted.hips.double() * (_LENGTHS[_RIGHT_LEG].sum() / own)]
    for joint in range(1, len(JOINT_BONES)):
        places.append(places[JOINT_PARENTS[joint]] + bones[:, joint])
    return JointClip(torch.stack(places, dim=1).float(), clip.contacts, clip.fps)
