"""The VRM humanoid as typed tables: bone names, parents, required set, and the canonical body every clip is posed on.

Sources: VRMC_vrm-1.0 ``humanoid.md`` (https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm-1.0/humanoid.md)
for names, parents and the required set. World: right-handed, +Y up, +Z forward, +X is the figure's left, metres. The
rest pose is the VRM T-pose: arms along X, palms down, legs along -Y, feet along +Z, soles at y = 0; every bone's rest
rotation is the identity (normalised bones).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SIDES: Final = ("left", "right")
_FINGERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "Thumb": ("Metacarpal", "Proximal", "Distal"),
    "Index": ("Proximal", "Intermediate", "Distal"),
    "Middle": ("Proximal", "Intermediate", "Distal"),
    "Ring": ("Proximal", "Intermediate", "Distal"),
    "Little": ("Proximal", "Intermediate", "Distal"),
}


def _side_parents(side: str) -> dict[str, str]:
    parents = {
        f"{side}Eye": "head",
        f"{side}Shoulder": "upperChest",
        f"{side}UpperArm": f"{side}Shoulder",
        f"{side}LowerArm": f"{side}UpperArm",
        f"{side}Hand": f"{side}LowerArm",
        f"{side}UpperLeg": "hips",
        f"{side}LowerLeg": f"{side}UpperLeg",
        f"{side}Foot": f"{side}LowerLeg",
        f"{side}Toes": f"{side}Foot",
    }
    for finger, segments in _FINGERS.items():
        chain = [f"{side}Hand", *(f"{side}{finger}{segment}" for segment in segments)]
        parents |= dict(zip(chain[1:], chain, strict=False))
    return parents


VRM_PARENT: Final[Mapping[str, str | None]] = {
    "hips": None,
    "spine": "hips",
    "chest": "spine",
    "upperChest": "chest",
    "neck": "upperChest",
    "head": "neck",
    "jaw": "head",
    **_side_parents("left"),
    **_side_parents("right"),
}
"""Parent of each of the 55 VRM 1.0 humanoid bones. A missing optional parent means: take the next ancestor."""

VRM_REQUIRED: Final = frozenset(
    ["hips", "spine", "head"]
    + [f"{side}{bone}" for side in _SIDES for bone in ("UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand")]
)
"""The 15 bones that every VRM 1.0 avatar has."""


# --- canonical body -------------------------------------------------------------------------------------------------

_REST: Final[Mapping[str, tuple[str | None, tuple[float, float, float]]]] = {
    # bone: (parent, rest world position in m)
    "hips": (None, (0.0, 0.95, 0.0)),
    "spine": ("hips", (0.0, 1.05, -0.01)),
    "chest": ("spine", (0.0, 1.17, -0.02)),
    "neck": ("chest", (0.0, 1.46, -0.02)),
    "head": ("neck", (0.0, 1.54, 0.0)),
    "leftShoulder": ("chest", (0.03, 1.41, -0.02)),
    "leftUpperArm": ("leftShoulder", (0.17, 1.41, -0.02)),
    "leftLowerArm": ("leftUpperArm", (0.44, 1.41, -0.02)),
    "leftHand": ("leftLowerArm", (0.69, 1.41, -0.02)),
    "rightShoulder": ("chest", (-0.03, 1.41, -0.02)),
    "rightUpperArm": ("rightShoulder", (-0.17, 1.41, -0.02)),
    "rightLowerArm": ("rightUpperArm", (-0.44, 1.41, -0.02)),
    "rightHand": ("rightLowerArm", (-0.69, 1.41, -0.02)),
    "leftUpperLeg": ("hips", (0.09, 0.90, 0.0)),
    "leftLowerLeg": ("leftUpperLeg", (0.09, 0.49, 0.0)),
    "leftFoot": ("leftLowerLeg", (0.09, 0.08, 0.0)),
    "leftToes": ("leftFoot", (0.09, 0.03, 0.13)),
    "rightUpperLeg": ("hips", (-0.09, 0.90, 0.0)),
    "rightLowerLeg": ("rightUpperLeg", (-0.09, 0.49, 0.0)),
    "rightFoot": ("rightLowerLeg", (-0.09, 0.08, 0.0)),
    "rightToes": ("rightFoot", (-0.09, 0.03, 0.13)),
}

CANONICAL_BONES: Final[tuple[str, ...]] = tuple(_REST)
"""The 21 bones of the canonical body, parents before children. This is the bone order J of every (T, J, ...) tensor."""

CANONICAL_PARENTS: Final[tuple[int, ...]] = tuple(
    -1 if parent is None else CANONICAL_BONES.index(parent) for parent, _ in _REST.values()
)
"""Index of each canonical bone's parent, -1 for the hips."""

CANONICAL_REST: Final[tuple[tuple[float, float, float], ...]] = tuple(position for _, position in _REST.values())
"""Rest world position of each canonical bone, metres. Legs point exactly along -Y, arms exactly along X."""

CANONICAL_HIPS_HEIGHT: Final = 0.95
"""Rest height of the hips, metres."""

UPPER_CHEST_REST: Final = (0.0, 1.29, -0.02)
"""Where the mannequin file's upperChest lies. The canonical body has it in its neck and shoulders."""

HAND_TIP: Final = 0.16
"""Length from the wrist to the finger tips along the rest X axis, metres (drawing only)."""

HEAD_TOP: Final = 0.20
"""Height of the crown above the head bone, metres (drawing only)."""

LEFT_RIGHT: Final[tuple[int, ...]] = tuple(
    CANONICAL_BONES.index(
        bone.replace("left", "right", 1) if bone.startswith("left") else bone.replace("right", "left", 1)
    )
    for bone in CANONICAL_BONES
)
"""Index of the mirror partner of each canonical bone (itself for the trunk)."""

CONTACT_BONES: Final[tuple[str, str, str, str]] = ("leftFoot", "leftToes", "rightFoot", "rightToes")
"""The bones behind the four contact labels, in their order: left ankle, left toe, right ankle, right toe."""


def canonical_index(bone: str) -> int:
    """Position of ``bone`` in :data:`CANONICAL_BONES`."""
    return CANONICAL_BONES.index(bone)
