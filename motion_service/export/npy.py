"""Motion to ``results.npy``, the file of the official MDM program: joint positions of the 22-joint HumanML3D skeleton.

The file is a pickled 0-d object array with a dictionary: ``motion`` (N, 22, 3, T) float32, metres, 20 fps, +Y up;
``text``; ``lengths`` (N,) int64 frames; ``num_samples``; ``num_repetitions``. Row = repetition * num_samples + sample.
Layout: ``sample/generate.py`` of https://github.com/GuyTevet/motion-diffusion-model. Readers need numpy >= 1.26 and
``allow_pickle=True``, as for the original.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.export.pose import clip_to_pose
from motion_service.geometry.kinematics import resample_linear
from motion_service.humanoid import CANONICAL_REST, canonical_index

RESULTS_FILE: Final = "results.npy"
TEXTS_FILE: Final = "results.txt"
LENGTHS_FILE: Final = "results_len.txt"
RESULTS_FPS: Final = 20.0
"""The file does not say its rate; every reader of it assumes HumanML3D's."""


@dataclass(frozen=True, slots=True)
class Results:
    """One run of the official program. Rows are in order of repetitions, in each of them in order of samples.

    Raises ValueError when the numbers of rows do not agree.
    """

    motion: Tensor
    """(N, 22, 3, T) m."""
    texts: Sequence[str | Sequence[str]]
    """N texts; a sample that follows several prompts has a list of them."""
    lengths: Sequence[int]
    """N lengths in frames."""
    num_samples: int
    num_repetitions: int

    def __post_init__(self) -> None:
        rows = self.num_samples * self.num_repetitions
        if not (len(self.motion) == len(self.texts) == len(self.lengths) == rows) or self.motion.shape[1:3] != (22, 3):
            raise ValueError(f"motion {tuple(self.motion.shape)} is not ({rows}, 22, 3, T), or texts or lengths differ")


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


def clip_to_joints(clip: VrmClip) -> Tensor:
    """HumanML3D joints (T, 22, 3) m of the canonical body in this motion, at :data:`RESULTS_FPS`."""
    joints = pose_to_joints(clip_to_pose(clip)[0])
    return joints if clip.fps == RESULTS_FPS else resample_linear(joints, clip.fps, RESULTS_FPS)


def clip_to_results(clip: VrmClip, text: str) -> bytes:
    """The file of one sample, its joints from :func:`clip_to_joints`."""
    return joints_to_results([clip_to_joints(clip)], text)


def joints_to_results(joints: Sequence[Tensor], text: str) -> bytes:
    """The file of one sample in several repetitions, each (T, 22, 3) m at 20 fps.

    Shorter ones stand still at their last frame, as in the official videos; ``lengths`` tells how long each really is.
    """
    longest = max(len(repetition) for repetition in joints)
    frames = torch.arange(longest)
    held = [repetition[frames.clamp(max=len(repetition) - 1)] for repetition in joints]
    motion = torch.stack(held).permute(0, 2, 3, 1)  # (N, 22, 3, T)
    lengths = [len(repetition) for repetition in joints]
    return _pack(Results(motion, [text] * len(joints), lengths, num_samples=1, num_repetitions=len(joints)))


def write_results(directory: Path, results: Results) -> None:
    """Write ``results.npy``, ``results.txt`` (a text a line) and ``results_len.txt`` into ``directory``, UTF-8.

    Prompts of one sample are joined by ``#``. No file ends with a newline: all as the official program has it.
    """
    lines = [text if isinstance(text, str) else "#".join(text) for text in results.texts]
    (directory / RESULTS_FILE).write_bytes(_pack(results))
    (directory / TEXTS_FILE).write_bytes("\n".join(lines).encode())
    (directory / LENGTHS_FILE).write_bytes("\n".join(map(str, results.lengths)).encode())


def _pack(results: Results) -> bytes:
    """A pickled 0-d object array that holds the official dictionary."""
    content = {
        "motion": np.ascontiguousarray(results.motion.numpy(), dtype=np.float32),
        "text": [text if isinstance(text, str) else [*text] for text in results.texts],
        "lengths": np.array(results.lengths, dtype=np.int64),
        "num_samples": results.num_samples,
        "num_repetitions": results.num_repetitions,
    }
    buffer = io.BytesIO()
    np.save(buffer, np.array(content, dtype=object), allow_pickle=True)
    return buffer.getvalue()
