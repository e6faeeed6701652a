"""The 22-joint skeleton of HumanML3D: names, tree, rest directions, and the bone lengths its motions are put on.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, and
https://github.com/EricGuo5513/HumanML3D. World as everywhere: +Y up, +Z forward, +X the figure's left, metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

JOINT_NAMES: Final[tuple[str, ...]] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
NUM_JOINTS: Final = len(JOINT_NAMES)

CHAINS: Final[tuple[tuple[int, ...], ...]] = (
    (0, 2, 5, 8, 11),
    (0, 1, 4, 7, 10),
    (0, 3, 6, 9, 12, 15),
    (9, 14, 17, 19, 21),
    (9, 13, 16, 18, 20),
)
"""Right leg, left leg, spine and head, right arm, left arm: each starts at a joint of an earlier chain."""


def _parents() -> tuple[int, ...]:
    parent = {child: joint for chain in CHAINS for joint, child in zip(chain, chain[1:], strict=False)}
    return tuple(parent.get(joint, -1) for joint in range(NUM_JOINTS))


PARENTS: Final[tuple[int, ...]] = _parents()
"""Index of each joint's parent, -1 for the pelvis. Parents stand before children."""

TURNED_BY: Final[tuple[int, ...]] = tuple(
    0 if parent == 9 and joint != 12 else parent for joint, parent in enumerate(PARENTS)
)
"""Joint whose orientation a joint's stored rotation is relative to: its parent, but the root for the two collars,
because every chain, the arms too, starts from the root's orientation."""

_AXIS: Final[Mapping[str, tuple[float, float, float]]] = {
    "0": (0, 0, 0),
    "left": (1, 0, 0),
    "right": (-1, 0, 0),
    "up": (0, 1, 0),
    "down": (0, -1, 0),
    "ahead": (0, 0, 1),
}
RAW_DIRECTIONS: Final[tuple[tuple[float, float, float], ...]] = tuple(
    _AXIS[name]
    for name in (
        "0", "left", "right", "up", "down", "down", "up", "down", "down", "up", "ahead", "ahead", "up", "left", "right",
        "ahead", "down", "down", "down", "down", "down", "down",
    )
)  # fmt: skip
"""Direction of the bone that ends at each joint when its rotation is the identity: arms hang, the head bone points
ahead."""

BONE_LENGTHS: Final[tuple[float, ...]] = (
    0.0, 0.10307395, 0.10988335, 0.13156825, 0.39362314, 0.39018813, 0.14319026, 0.43243298, 0.42564332, 0.057364706,
    0.14338174, 0.14941867, 0.21936, 0.13748683, 0.14338283, 0.10303927, 0.13161398, 0.122984305, 0.25683984,
    0.26309186, 0.26601186, 0.2698763,
)  # fmt: skip
"""Length of the bone that ends at each joint, m: the body that all HumanML3D motions were put on (measured on the
first frame of its reference clip 000021)."""

LEFT_HIP: Final = JOINT_NAMES.index("left_hip")
RIGHT_HIP: Final = JOINT_NAMES.index("right_hip")
LEFT_SHOULDER: Final = JOINT_NAMES.index("left_shoulder")
RIGHT_SHOULDER: Final = JOINT_NAMES.index("right_shoulder")
FEET: Final[tuple[int, int, int, int]] = (7, 10, 8, 11)
"""The joints behind the four contact labels: left ankle, left toe, right ankle, right toe."""

LOWER_BODY: Final[tuple[int, ...]] = (0, 1, 2, 4, 5, 7, 8, 10, 11)
"""Pelvis and legs: what upper-body editing keeps."""

HUMANIK_NAMES: Final[tuple[str, ...]] = (
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
    "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
    "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
)  # fmt: skip
"""The 22 joints under the names of Autodesk HumanIK, for the JSON that the official program writes."""


def target_offsets() -> Tensor:
    """(22, 3) m: rest offset of each joint from its parent on HumanML3D's body, float32."""
    return torch.tensor(RAW_DIRECTIONS) * torch.tensor(BONE_LENGTHS)[:, None]
