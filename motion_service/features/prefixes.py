"""What DiP continues from when nothing went before: 20 frames of standing, walking, sitting, ... on HumanML3D's body.

The official program takes a random clip of its data set; those are not free to ship. Ours are cut from CMU and
Mesh2Motion clips (scripts/motion/make_dip_prefixes). The file holds one pose more than a prefix has frames, and the
turn of each facing frame; the features follow from them, so its bones have exactly HumanML3D's lengths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.features.humanml3d import facing_frames, place_at_start, poses_to_features, to_skeleton
from motion_service.features.skeleton import target_offsets
from motion_service.geometry.rotation import quat_conjugate, quat_multiply, quat_rotate, yaw_to_quat

PREFIX_FILE: Final = Path(__file__).with_name("dip_prefixes.npz")
PREFIX_FRAMES: Final = 20
DEFAULT_PREFIX: Final = "stand"

_AHEAD_FRAMES: Final = 80
"""How far the smoothing of the facing direction reaches."""

_WORDS: Final[Mapping[str, str]] = {
    "sit": r"sit|sits|sitting|sat|seated|(gets?|stands?|rises?) (up )?from",
    "walk-back": r"(walk|step|mov|go|run|jog)\w*( \w+)? back(wards?)?(?! and forth)|back(s|ing)? (up|away)|walk-back",
    "turn-left": r"(turn|spin|rotat)\w* (\w+ ){0,3}left|turn-left",
    "turn-right": r"(turn|spin|rotat)\w* (\w+ ){0,3}right|turn-right",
    "run": r"run|runs|running|sprint\w*|dash\w*",
    "jog": r"jog|jogs|jogging",
    "walk": r"walk|walks|walking|stroll\w*|march\w*|strid\w*|wander\w*",
    "wave": r"(wav(e|es|ing)|bye|byebye|greet\w*)(?!.*\b(left|both))",
    "talk": r"talk\w*|speak\w*|explain\w*|chat\w*",
}
"""Prefix -> words that ask for it. The word that comes first in a text decides: what comes later is for later. The
waving hand is the right one, so texts that name the left or both start from standing."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Poses to start from, placed at the origin, the first facing +Z, the floor at y = 0, 20 fps."""

    joints: Tensor
    """(21, 22, 3) m."""
    half_turns: Tensor
    """(21,) half the turn of each facing frame about +Y, radians; the first is 0."""
    source: str
    """The clip it was cut from."""
    licence: str

    @property
    def features(self) -> Tensor:
        """(20, 263) float32, de-normalised."""
        return poses_to_features(self.joints.double(), yaw_to_quat(2 * self.half_turns.double()))


def cut_prefix(positions: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Joints (21, 22, 3) and half turns (21,) of a :class:`Prefix` from frame ``first`` of a motion (T, 22, 3), 20 fps.

    Facing is smoothed over what follows too; the frame before the cut takes the odd facing that the encoder gives the
    first frame of a clip. Raises BadRequest when the motion is too short.
    """
    if not 1 <= first <= len(positions) - PREFIX_FRAMES - 1:
        raise BadRequest(f"a prefix from frame {first} needs one frame before and {PREFIX_FRAMES} after it")
    part = positions[first - 1 : first + PREFIX_FRAMES + 1 + _AHEAD_FRAMES].double()
    joints = place_at_start(to_skeleton(part, target_offsets()))
    r, joints = facing_frames(joints)[1 : PREFIX_FRAMES + 2], joints[1 : PREFIX_FRAMES + 2]
    shift = torch.stack([joints[0, 0, 0], joints[..., 1].min(), joints[0, 0, 2]])
    joints = quat_rotate(r[0], joints - shift)
    turned = quat_multiply(r, quat_conjugate(r[0]))
    return joints.float(), torch.atan2(turned[:, 1], turned[:, 3]).float()


def write_library(path: Path, library: Mapping[str, Prefix]) -> None:
    """Write prefixes into one file; sources and licences are in it as JSON."""
    about = {name: {"source": prefix.source, "licence": prefix.licence} for name, prefix in library.items()}
    np.savez_compressed(
        path,
        joints=torch.stack([prefix.joints for prefix in library.values()]).numpy(),
        half_turns=torch.stack([prefix.half_turns for prefix in library.values()]).numpy(),
        about=np.array(json.dumps(about)),
    )


@cache
def load_library(path: Path = PREFIX_FILE) -> dict[str, Prefix]:
    """All prefixes by name, with their sources and licences."""
    with np.load(path, allow_pickle=False) as file:
        joints, half_turns = torch.from_numpy(file["joints"]), torch.from_numpy(file["half_turns"])
        about = json.loads(str(file["about"]))
    return {
        name: Prefix(*rows, **facts) for (name, facts), *rows in zip(about.items(), joints, half_turns, strict=True)
    }


@cache
def load_prefixes() -> dict[str, Tensor]:
    """De-normalised features (20, 263) float32 of every shipped prefix by name."""
    return {name: prefix.features for name, prefix in load_library().items()}


def choose_prefix(text: str) -> str:
    """Name of the prefix that suits an English text or an action's name; :data:`DEFAULT_PREFIX` when none does."""
    found = {name: match for name, words in _WORDS.items() if (match := re.search(rf"\b(?:{words})\b", text.lower()))}
    return min(found, key=lambda name: found[name].start(), default=DEFAULT_PREFIX)
