"""An answer of the service as a stranger reads it: numpy and scipy, and nothing of the package but the table of bones.

Whatever convention the tracks are in, what comes out has VRM 1.0 axes: facing +Z, left = +X, +Y up, metres.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from motion_service.humanoid import VRM_PARENT

Array = npt.NDArray[np.float64]
Json = dict[str, Any]
Place = Sequence[float]

SIDES = ("left", "right")
JOINTS = (
    "hips leftUpperLeg rightUpperLeg spine leftLowerLeg rightLowerLeg chest leftFoot rightFoot upperChest leftToes "
    "rightToes neck leftShoulder rightShoulder head leftUpperArm rightUpperArm leftLowerArm rightLowerArm leftHand "
    "rightHand"
).split()
"""The 22 joints of HumanML3D in order, by the VRM bone that starts there."""
LIMBS = [f"{side}{bone}" for side in SIDES for bone in ("UpperArm", "LowerArm", "UpperLeg", "LowerLeg")]
HALF_TURN = np.array([-1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Played:
    """What the tracks of an answer do to normalised bones."""

    answer: Json
    local: dict[str, Rotation]
    """{bone: T rotations}, only of bones with a track."""
    hips: Array
    """(T, 3) m"""
    times: Array
    """(T,) s"""

    def world(self, bone: str) -> Rotation:
        """Orientation of a bone, or of where it would be, over all ancestors that have tracks."""
        total = Rotation.identity(len(self.times))
        name: str | None = bone
        while name is not None:
            total = self.local[name] * total if name in self.local else total
            name = VRM_PARENT[name]
        return total

    def places(self, rest: Mapping[str, Place]) -> dict[str, Array]:
        """{bone: (T, 3) m} of a body with these rest places; it must have all bones that have tracks."""
        found = {"hips": self.hips}
        for bone in (bone for bone in VRM_PARENT if bone in rest and bone != "hips"):
            parent = VRM_PARENT[bone]
            while parent not in rest:
                parent = VRM_PARENT[str(parent)]
            offset = np.subtract(rest[bone], rest[str(parent)])
            found[bone] = found[str(parent)] + self.world(str(parent)).apply(offset)
        return found


def play(answer: Json) -> Played:
    """Read the tracks, and turn them about if they are for VRM 0.x."""
    turned = answer["metadata"]["target"] == "vrm0"
    about = Rotation.from_rotvec([0, np.pi, 0]) if turned else Rotation.identity()
    local = {}
    for bone, keys in answer["tracks"].items():
        quats = Rotation.from_quat([[key[axis] for axis in "xyzw"] for key in keys])
        local[bone] = about * quats * about.inv()
    hips = np.array([[key[axis] for axis in "xyz"] for key in answer["root_position"]])
    times = np.array([key["t"] for key in answer["root_position"]])
    return Played(answer, local, about.apply(hips), times)


def joints_of(results: bytes) -> Array:
    """(T, 22, 3) m of the first motion in a ``results.npy``."""
    stored = np.load(io.BytesIO(results), allow_pickle=True).item()
    motion: Array = stored["motion"][0].transpose(2, 0, 1)[: int(stored["lengths"][0])]
    return motion.astype(np.float64)


def degrees_between(a: Array, b: Array) -> Array:
    """Angle between directions (..., 3)."""
    across = np.linalg.norm(np.cross(a, b), axis=-1)
    angle: Array = np.degrees(np.arctan2(across, (a * b).sum(-1)))
    return angle


def degrees_of_steps(track: Rotation) -> Array:
    """(T - 1,) how far a bone turns from frame to frame."""
    angle: Array = np.degrees((track[:-1].inv() * track[1:]).magnitude())
    return angle
