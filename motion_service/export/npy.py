"""A clip to ``results.npy``, the file of the official MDM program: joint positions of the 22-joint HumanML3D skeleton.

Layout: ``sample/generate.py`` of https://github.com/GuyTevet/motion-diffusion-model. Readers need numpy >= 1.26 and
``allow_pickle=True``, as for the original.
"""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.export.pose import clip_to_pose
from motion_service.geometry.kinematics import resample_linear
from motion_service.humanoid import CANONICAL_REST, canonical_index

RESULTS_FPS: Final = 20.0
"""The file does not say its rate; every reader of it assumes HumanML3D's."""

HUMANML3D_SOURCE: Final[tuple[str | float, ...]] = (
    "hips", "leftUpperLeg", "rightUpperLeg", 0.239, "leftLowerLeg", "rightLowerLeg", 0.498, "leftFoot", "rightFoot",
    0.602, "leftToes", "rightToes", "neck", "leftShoulder", "rightShoulder", "head", "leftUpperArm", "rightUpperArm",
    "leftLowerArm", "rightLowerArm", "leftHand", "rightHand",
)  # fmt: skip
"""Where each of the 22 joints, in HumanML3D's order, comes from: a canonical bone, or for spine1, spine2 and spine3 a
fraction of the length of the line hips - spine - chest - neck."""

_SPINE: Final = [canonical_index(bone) for bone in ("hips", "spine", "chest", "neck")]
_SPINE_LENGTHS: Final = [
    math.dist(CANONICAL_REST[a], CANONICAL_REST[b]) for a, b in zip(_SPINE, _SPINE[1:], strict=False)
]


def _spine_point(positions: Tensor, fraction: float) -> Tensor:
    """The point (T, 3) at ``fraction`` of the spine's length; bones are rigid, so it sits at a fixed place of one."""
    distance = fraction * sum(_SPINE_LENGTHS)
    for start, end, length in zip(_SPINE, _SPINE[1:], _SPINE_LENGTHS, strict=False):
        if distance <= length:
            return torch.lerp(positions[:, start], positions[:, end], distance / length)
        distance -= length
    return positions[:, _SPINE[-1]]


def pose_to_joints(positions: Tensor) -> Tensor:
    """Canonical bone positions (T, 21, 3) to HumanML3D joints (T, 22, 3), metres."""
    joints = [
        positions[:, canonical_index(source)] if isinstance(source, str) else _spine_point(positions, source)
        for source in HUMANML3D_SOURCE
    ]
    return torch.stack(joints, dim=1)


def clip_to_results(clip: VrmClip, text: str) -> bytes:
    """A pickled 0-d object array with the official dictionary for one sample: motion (1, 22, 3, T), text, lengths."""
    positions, _ = clip_to_pose(clip)
    joints = pose_to_joints(positions)  # (T, 22, 3)
    if clip.fps != RESULTS_FPS:
        joints = resample_linear(joints, clip.fps, RESULTS_FPS)
    motion = np.ascontiguousarray(joints.permute(1, 2, 0)[None].numpy(), dtype=np.float32)  # (1, 22, 3, T)
    results = {
        "motion": motion,
        "text": [text],
        "lengths": np.array([motion.shape[-1]]),
        "num_samples": 1,
        "num_repetitions": 1,
    }
    buffer = io.BytesIO()
    np.save(buffer, np.array(results, dtype=object), allow_pickle=True)
    return buffer.getvalue()
