"""What viewers expect of the numbers: the axes of VRM 0.x, and signs that a certain viewer leaves alone.

Apply these last: whatever chooses quaternion signs anew (resampling, folding) undoes :func:`boost_safe`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch

from motion_service.clips import VrmClip

BOOST_BELOW_DEG: Final = 8.0
_MARGIN_DEG: Final = 0.5  # digits are cut on the way, and near w = 1 the arc cosine magnifies that


def to_vrm0(clip: VrmClip) -> VrmClip:
    """The same motion for an avatar that faces -Z at rest, as VRM 0.x ones do; its own inverse.

    Conjugation by a half turn about Y: q' = (-x, y, -z, w) and p' = (-x, y, -z). three-vrm-animation does the same when
    it plays a VRMA on VRM 0.x (https://github.com/pixiv/three-vrm, createVRMAnimationClip.ts). Gaze is told against the
    head, left and down, so it stays.
    """
    turn = clip.hips.new_tensor([-1.0, 1.0, -1.0])
    turn_quat = clip.hips.new_tensor([-1.0, 1.0, -1.0, 1.0])
    rotations = {bone: track * turn_quat for bone, track in clip.rotations.items()}
    return replace(clip, rotations=rotations, hips=clip.hips * turn)


def boost_safe(clip: VrmClip) -> VrmClip:
    """The same rotations with w < 0 in every track that stays below 8 degrees.

    ``motionJsonToClip`` of KingYoSun/fullstack-vrm-assistant (frontend/src/utils/vrmaLoader.ts,
    ROTATION_BOOST_THRESHOLD_DEG 8, ROTATION_BOOST_FACTOR 4) takes the largest 2 acos(w) of a track and, under 8
    degrees, turns every frame four times as far, which makes breathing and small nods grotesque. -q is the same
    rotation as q, but there it measures 351 degrees or more, so the track is played as it is.
    """
    limit = BOOST_BELOW_DEG + _MARGIN_DEG
    rotations = {}
    for bone, track in clip.rotations.items():
        widest = math.degrees(2 * float(torch.acos(track[:, 3].clamp(-1, 1)).max()))
        rotations[bone] = -track if widest < limit else track
    return replace(clip, rotations=rotations)
