"""A ``.vrm`` file to what motion needs to know of it: bones and their rest places, expressions, and what looks wrong.

VRM 1.0 (extension VRMC_vrm) and 0.x (extension VRM) come out alike: axes, bone names and expression names of VRM 1.0.
Meshes, textures and scripts are never looked at.
Specifications: https://github.com/vrm-c/vrm-specification, directories VRMC_vrm-1.0 and 0.0.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Final, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from motion_service.errors import BadRequest, UnsupportedFormat
from motion_service.humanoid import VRM_PARENT, VRM_REQUIRED
from motion_service.vrm.body import Body, Vector
from motion_service.vrm.glb import FIELD, read_glb
from motion_service.vrm.gltf import (
    Gltf,
    Index,
    Matrix,
    Node,
    Part,
    ancestors,
    check_sizes,
    find_parents,
    parse_gltf,
    rest_transforms,
)

ID_DIGITS: Final = 32
MAX_NAME: Final = 80  # characters
MAX_EXPRESSIONS: Final = 256
MAX_HUMAN_BONES: Final = 200
HIPS_RANGE: Final = (0.05, 20.0)  # m
MAX_REACH: Final = 50.0
"""Furthest that a bone may rest from the hips, m."""
MIN_LIMB: Final = 0.01
"""Shortest limb bone as a share of the hips height. A foot lock cannot bend a leg of no length."""
T_POSE_TOLERANCE: Final = 20.0  # degrees
SOLE_RANGE: Final = (-0.05, 0.25)
"""Where the lowest foot bone may lie as a share of the hips height; outside, the figure floats or sinks."""

PRESETS_0X: Final[Mapping[str, str]] = {
    "neutral": "neutral",
    "joy": "happy",
    "angry": "angry",
    "sorrow": "sad",
    "fun": "relaxed",
    "a": "aa",
    "i": "ih",
    "u": "ou",
    "e": "ee",
    "o": "oh",
    "blink": "blink",
    "blink_l": "blinkLeft",
    "blink_r": "blinkRight",
    "lookup": "lookUp",
    "lookdown": "lookDown",
    "lookleft": "lookLeft",
    "lookright": "lookRight",
}
"""VRM 0.x blendShapePresetName -> VRM 1.0 expression preset."""
PRESETS: Final = frozenset([*PRESETS_0X.values(), "surprised"])
"""The expressions that VRM 1.0 names
(https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm-1.0/expressions.md)."""
LOOKS: Final = frozenset(["lookUp", "lookDown", "lookLeft", "lookRight"])

_LIMBS: Final = [
    (f"{side}{upper}", f"{side}{lower}")
    for side in ("left", "right")
    for upper, lower in [("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot"), ("UpperArm", "LowerArm"), ("LowerArm", "Hand")]
]
_THUMBS_0X: Final = {"ThumbProximal": "ThumbMetacarpal", "ThumbIntermediate": "ThumbProximal"}
"""VRM 0.x counts the three bones of a thumb like those of a finger; 1.0 begins with the metacarpal."""


@dataclass(frozen=True, slots=True)
class RestPose:
    """How far the file's own rest pose is from a normalised T-pose."""

    largest_rotation_deg: float
    """Largest turn of a bone from the world axes at rest. 0 in VRM 0.x; anything is allowed in VRM 1.0."""
    arms_off_deg: float
    """Largest angle between an arm bone and the X axis."""
    t_pose: bool
    """Whether the arms are within 20 degrees."""


@dataclass(frozen=True)
class Avatar:
    """One VRM avatar."""

    id: str
    """The first 32 digits of the SHA-256 of the file, lower-case hexadecimal."""
    name: str
    """Its title as its author wrote it, at most 80 characters; may be empty."""
    vrm_version: Literal["0.x", "1.0"]
    body: Body
    expressions: tuple[str, ...]
    """Names that viewers know: VRM 1.0 presets, then the author's own."""
    has_look_at: bool
    """Whether its eyes can move, by bones or expressions."""
    rest_pose: RestPose
    warnings: tuple[str, ...]
    """What will look wrong, with the remedy."""

    @property
    def bones(self) -> tuple[str, ...]:
        """The bones that the avatar has, parents before children."""
        return self.body.bones

    @property
    def missing_optional(self) -> tuple[str, ...]:
        """VRM 1.0 bones that it lacks."""
        return tuple(bone for bone in VRM_PARENT if bone not in self.body.rest)

    @property
    def hips_height(self) -> float:
        """Rest height of the hips, m."""
        return self.body.hips_height


# --- what the extensions say ----------------------------------------------------------------------------------------


class _HumanBone(Part):
    node: Index


class _NamedHumanBone(_HumanBone):
    bone: str


def _refuse_many(bones: object) -> object:
    """pydantic would check every entry of a dictionary before it counts them."""
    if isinstance(bones, dict) and len(bones) > MAX_HUMAN_BONES:
        raise ValueError(f"at most {MAX_HUMAN_BONES} bones")
    return bones


class _Humanoid1(Part):
    humanBones: Annotated[dict[str, _HumanBone], BeforeValidator(_refuse_many)]


class _Humanoid0(Part):
    humanBones: Annotated[list[_NamedHumanBone], Field(max_length=MAX_HUMAN_BONES, fail_fast=True)]


class _Expressions(Part):
    preset: dict[str, object] | None = None
    custom: dict[str, object] | None = None


class _BlendShapeGroup(Part):
    name: str | None = None
    presetName: str | None = None


class _BlendShapeMaster(Part):
    blendShapeGroups: Annotated[list[_BlendShapeGroup], Field(fail_fast=True)] | None = None


class _Meta(Part):
    name: str | None = None  # VRM 1.0
    title: str | None = None  # VRM 0.x


class _Vrm1(Part):
    specVersion: str
    meta: _Meta | None = None
    humanoid: _Humanoid1
    expressions: _Expressions | None = None


class _Vrm0(Part):
    meta: _Meta | None = None
    humanoid: _Humanoid0
    blendShapeMaster: _BlendShapeMaster | None = None


class _Extensions(Part):
    VRMC_vrm: _Vrm1 | None = None
    VRM: _Vrm0 | None = None


class _Document(Gltf):
    extensions: _Extensions | None = None


@dataclass(frozen=True, slots=True)
class _Extension:
    """What both versions say, in the words of VRM 1.0."""

    version: Literal["0.x", "1.0"]
    title: str
    bones: list[tuple[str, int]]
    """(bone, node), as the file has them."""
    expressions: list[str]


def _read_extension(document: _Document) -> _Extension:
    """The VRM extension of the document; 1.0 wins when a file has both."""
    extensions = document.extensions or _Extensions()
    if extensions.VRMC_vrm is not None:
        return _read_vrm1(extensions.VRMC_vrm)
    if extensions.VRM is not None:
        return _read_vrm0(extensions.VRM)
    raise UnsupportedFormat("the file is glTF without a VRM extension: export it as VRM 1.0 or 0.x", field=FIELD)


def _read_vrm1(vrm: _Vrm1) -> _Extension:
    if not vrm.specVersion.startswith("1.0"):
        raise UnsupportedFormat("the file has an unknown VRM version: export it as VRM 1.0 or 0.x", field=FIELD)
    bones = [(bone, entry.node) for bone, entry in vrm.humanoid.humanBones.items()]
    if any(bone.endswith("ThumbIntermediate") for bone, _ in bones):  # the beta of VRM 1.0 had the thumbs of 0.x
        bones = [(_rename_thumb(bone), node) for bone, node in bones]
    named = vrm.expressions or _Expressions()
    presets = [name for name in named.preset or {} if name in PRESETS]
    return _Extension("1.0", (vrm.meta or _Meta()).name or "", bones, [*presets, *(named.custom or {})])


def _read_vrm0(vrm: _Vrm0) -> _Extension:
    bones = [(_rename_thumb(entry.bone), entry.node) for entry in vrm.humanoid.humanBones]
    presets, custom = [], []
    for group in (vrm.blendShapeMaster or _BlendShapeMaster()).blendShapeGroups or []:
        preset = PRESETS_0X.get((group.presetName or "").lower())
        if preset is not None:
            presets.append(preset)
        else:
            custom.append(group.name or "")
    return _Extension("0.x", (vrm.meta or _Meta()).title or "", bones, presets + custom)


def _rename_thumb(bone: str) -> str:
    for old, new in _THUMBS_0X.items():
        if bone.endswith(old):
            return bone.removesuffix(old) + new
    return bone


# --- the avatar -----------------------------------------------------------------------------------------------------


def read_avatar(source: BinaryIO | bytes) -> Avatar:
    """Read a ``.vrm``: a file open for reading in binary mode, or its bytes. Memory is bounded, whatever is sent.

    Rest places are those of the scene, relative to y = 0. Raises :class:`BadRequest`, or its child
    :class:`UnsupportedFormat`, or :class:`PayloadTooLarge`; the detail says where the file is wrong and what to do.
    """
    glb = read_glb(source)
    document = parse_gltf(glb.document, _Document)
    check_sizes(document, glb.binary_length)
    extension = _read_extension(document)
    bones = _find_bones(extension.bones, document.nodes)
    world = _rest_of_bones(bones, document.nodes)
    body = _to_body(world, extension.version)
    rest_pose = _judge_rest_pose(body, world)
    expressions = _clean_names(extension.expressions)
    eyes = {"leftEye", "rightEye"} & set(body.bones)
    return Avatar(
        id=glb.sha256[:ID_DIGITS],
        name=_clean_text(extension.title),
        vrm_version=extension.version,
        body=body,
        expressions=expressions,
        has_look_at=bool(eyes or LOOKS & set(expressions)),
        rest_pose=rest_pose,
        warnings=tuple(_warnings(extension, body, rest_pose)),
    )


def _find_bones(entries: Sequence[tuple[str, int]], nodes: Sequence[Node]) -> dict[str, int]:
    """{bone: node} of the VRM bones, each on a node of its own, none of the required ones missing."""
    bones: dict[str, int] = {}
    for bone, node in entries:
        if bone not in VRM_PARENT:
            continue
        if bone in bones:
            raise BadRequest(f"the humanoid names {bone} twice: assign each bone once and export it again", field=FIELD)
        if node >= len(nodes):
            raise BadRequest(f"{bone} is on a node that is not there: export it again", field=FIELD)
        if node in bones.values():
            raise BadRequest(f"{bone} shares its node with another bone: assign each its own", field=FIELD)
        bones[bone] = node
    missing = [bone for bone in VRM_PARENT if bone in VRM_REQUIRED and bone not in bones]
    if missing:
        raise BadRequest(f"the humanoid lacks {', '.join(missing)}: assign them and export it again", field=FIELD)
    return {bone: bones[bone] for bone in VRM_PARENT if bone in bones}


def _rest_of_bones(bones: Mapping[str, int], nodes: Sequence[Node]) -> dict[str, Matrix]:
    """{bone: (4, 4) world transform at rest}; each must hang under its parent bone."""
    parents = find_parents(nodes)
    for bone, node in bones.items():
        up = VRM_PARENT[bone]
        while up is not None and up not in bones:
            up = VRM_PARENT[up]
        if up is not None and bones[up] not in ancestors(node, parents):
            raise BadRequest(f"{bone} does not hang under {up}: mend the skeleton and export it again", field=FIELD)
    world = rest_transforms(nodes, parents, bones.values())
    return {bone: world[node] for bone, node in bones.items()}


def _to_body(world: Mapping[str, Matrix], version: str) -> Body:
    """The rest skeleton in VRM 1.0 axes: VRM 0.x faces -Z, so it is turned half around."""
    turn = np.array([-1.0, 1.0, -1.0]) if version == "0.x" else np.ones(3)
    places = {bone: (matrix[:3, 3] * turn).tolist() for bone, matrix in world.items()}
    height = places["hips"][1]
    low, high = HIPS_RANGE
    if not low <= height <= high:
        raise BadRequest(
            f"the hips rest {height:.3g} m above the floor, not {low:g} to {high:g}: scale the figure to metres and "
            "put it on the floor",
            field=FIELD,
        )
    far = max(places, key=lambda bone: math.dist(places[bone], places["hips"]))
    if not math.dist(places[far], places["hips"]) <= MAX_REACH:
        raise BadRequest(
            f"{far} is further than {MAX_REACH:g} m from the hips: scale the figure to metres", field=FIELD
        )
    for upper, lower in _LIMBS:
        if math.dist(places[upper], places[lower]) < MIN_LIMB * height:
            raise BadRequest(f"{upper} has no length: mend the skeleton and export it again", field=FIELD)
    return Body({bone: _vector(place) for bone, place in places.items()})


def _vector(place: Sequence[float]) -> Vector:
    x, y, z = (round(part, 6) + 0.0 for part in place)  # micrometres; + 0.0 turns -0.0 into 0.0
    return x, y, z


def _judge_rest_pose(body: Body, world: Mapping[str, Matrix]) -> RestPose:
    turns = [_rotation_degrees(matrix) for matrix in world.values()]
    arms_off = 0.0
    for upper, lower in (limb for limb in _LIMBS if "Arm" in limb[0]):
        along = np.subtract(body.rest[lower], body.rest[upper])
        outward = along[0] if upper.startswith("left") else -along[0]
        arms_off = max(arms_off, math.degrees(math.atan2(math.hypot(along[1], along[2]), outward)))
    return RestPose(round(max(turns), 2), round(arms_off, 2), arms_off <= T_POSE_TOLERANCE)


def _rotation_degrees(matrix: Matrix) -> float:
    """Angle of the rotation in a transform without shear."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(axes)) - 1) / 2))))


def _warnings(extension: _Extension, body: Body, rest_pose: RestPose) -> Iterable[str]:
    if not rest_pose.t_pose:
        yield (
            f"the arms rest {rest_pose.arms_off_deg:.0f} degrees away from a T-pose and will be off by as much: export "
            "the avatar in T-pose"
        )
    lowest = min(place[1] for bone, place in body.rest.items() if bone.endswith(("Foot", "Toes"))) / body.hips_height
    if not SOLE_RANGE[0] <= lowest <= SOLE_RANGE[1]:
        yield "the feet do not rest on the floor (y = 0): the avatar will float or sink by as much"
    if extension.version == "0.x" and not {"chest", "neck"} <= set(body.bones):
        yield "VRM 0.x wants the bones chest and neck: some viewers will not load the avatar"
    if "upperChest" in body.rest and "chest" not in body.rest:
        yield "an upperChest needs a chest: some viewers will ignore it"
    if any(bone not in VRM_PARENT for bone, _ in extension.bones):
        yield "the humanoid names bones that VRM does not know; they are ignored"


def _clean_names(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order, without those that are empty, too long or hold control characters."""
    clean = dict.fromkeys(name for name in names if name and name == _clean_text(name))
    return tuple(clean)[:MAX_EXPRESSIONS]


def _clean_text(text: str) -> str:
    """One line of printable text (no Unicode category C: control, format, unassigned) of at most 80 characters."""
    printable = (" " if unicodedata.category(mark).startswith("C") else mark for mark in text[: 4 * MAX_NAME])
    return " ".join("".join(printable).split())[:MAX_NAME]
