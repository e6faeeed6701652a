"""A ``.vrm`` file to what motion needs to know of it: bones and their rest places, expressions, and what looks wrong.

VRM 1.0 (extension VRMC_vrm) and 0.x (extension VRM) come out alike: axes, bone names and expression names of VRM 1.0.
Meshes, textures and scripts are never looked at.
Specifications: https://github.com/vrm-c/vrm-specification, directories VRMC_vrm-1.0 and 0.0.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal

import numpy as np

from motion_service.errors import BadRequest
from motion_service.humanoid import VRM_PARENT, VRM_REQUIRED
from motion_service.vrm.body import Body, Vector
from motion_service.vrm.extension import Document, Extension, read_extension
from motion_service.vrm.glb import FIELD, read_glb
from motion_service.vrm.gltf import Matrix, Node, ancestors, check_sizes, find_parents, parse_gltf, rest_transforms

ID_DIGITS: Final = 32
MAX_NAME: Final = 80  # characters
MAX_EXPRESSIONS: Final = 256
HIPS_RANGE: Final = (0.05, 20.0)  # m
MAX_REACH: Final = 50.0
"""Furthest that a bone may rest from the hips, m."""
MIN_LIMB: Final = 0.01
"""Shortest limb bone as a share of the hips height. A foot lock cannot bend a leg of no length."""
T_POSE_TOLERANCE: Final = 20.0  # degrees
SOLE_RANGE: Final = (-0.05, 0.25)
"""Where the lowest foot bone may lie as a share of the hips height; outside, the figure floats or sinks."""

LOOKS: Final = frozenset(["lookUp", "lookDown", "lookLeft", "lookRight"])

_LIMBS: Final = [
    (f"{side}{upper}", f"{side}{lower}")
    for side in ("left", "right")
    for upper, lower in [("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot"), ("UpperArm", "LowerArm"), ("LowerArm", "Hand")]
]


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
    own_names: Mapping[str, str] = field(default_factory=dict)
    """{preset: the author's own name of it} for expressions that only bear the name of one; viewers may know either."""

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


# --- the avatar -----------------------------------------------------------------------------------------------------


def read_avatar(source: BinaryIO | bytes) -> Avatar:
    """Read a ``.vrm``: a file open for reading in binary mode, or its bytes. Memory is bounded, whatever is sent.

    Rest places are those of the scene, relative to y = 0. Raises :class:`BadRequest`, or its child
    :class:`UnsupportedFormat`, or :class:`PayloadTooLarge`; the detail says where the file is wrong and what to do.
    """
    glb = read_glb(source)
    document = parse_gltf(glb.document, Document)
    check_sizes(document, glb.binary_length)
    extension = read_extension(document)
    parents = find_parents(document.nodes)
    bones, left_out = _find_bones(extension.bones, parents)
    world = _rest_of_bones(bones, document.nodes, parents)
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
        warnings=tuple(_warnings(extension, body, rest_pose, left_out)),
        own_names={preset: name for preset, name in extension.own_names.items() if name in expressions},
    )


def _find_bones(
    entries: Iterable[tuple[str, object]], parents: Sequence[int]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """{bone: node} of the VRM bones, and {reason: optional bones left out}.

    Each is on a node of its own and hangs under its parent bone. Raises :class:`BadRequest` where a required bone is
    missing or wrong; an optional one is left out then, as if it were not assigned. ``parents`` of all nodes.
    """
    bones: dict[str, int] = {}
    left_out: dict[str, list[str]] = {}
    required_first = sorted(entries, key=lambda entry: entry[0] not in VRM_REQUIRED)
    for bone, value in required_first:
        if bone not in VRM_PARENT or _is_unassigned(value):
            continue
        node = _to_index(value)
        if node == bones.get(bone, -1):
            continue  # said twice
        wrong = _wrong_node(bone, node, bones, len(parents))
        if node is None or wrong:
            _leave_out(bone, wrong, left_out)
        else:
            bones[bone] = node
    missing = [bone for bone in VRM_PARENT if bone in VRM_REQUIRED and bone not in bones]
    if missing:
        raise BadRequest(f"the humanoid lacks {', '.join(missing)}: assign them and export it again", field=FIELD)
    return _keep_in_place(bones, parents, left_out), left_out


def _is_unassigned(node: object) -> bool:
    """Exporters write nothing, null or -1 for a bone that has no node."""
    return node is None or isinstance(node, (int, float)) and node < 0


def _to_index(node: object) -> int | None:
    """The node as a whole number, which some exporters write as 3.0, or None."""
    if isinstance(node, float) and node.is_integer():
        return int(node)
    return node if isinstance(node, int) and not isinstance(node, bool) else None


def _wrong_node(bone: str, node: int | None, bones: Mapping[str, int], num_nodes: int) -> str:
    """What is wrong with an entry after those of ``bones``, with the remedy; empty when nothing is."""
    if node is None or node >= num_nodes:
        return "is on a node that is not there: assign it one"
    if bone in bones:
        return "is named twice: assign it once"
    if node in bones.values():
        return "shares its node with another bone: assign each its own"
    return ""


def _keep_in_place(bones: Mapping[str, int], parents: Sequence[int], left_out: dict[str, list[str]]) -> dict[str, int]:
    """The bones that hang under their parents, parents first.

    The required bones are the measure: an optional one between two of them must lie between their nodes.
    """
    above = {bone: {*ancestors(node, parents)} for bone, node in bones.items()}
    kept = {bone: node for bone, node in bones.items() if bone in VRM_REQUIRED}
    for bone in (bone for bone in VRM_PARENT if bone in bones):
        up = next((up for up in _bones_above(bone) if up in kept), None)
        below = [other for other in VRM_REQUIRED if bone in _bones_above(other)]
        if up is not None and kept[up] not in above[bone]:
            _leave_out(bone, f"does not hang under {up}: mend the skeleton", left_out)
        elif bone not in VRM_REQUIRED and any(bones[bone] not in above[other] for other in below):
            _leave_out(bone, "is not between its neighbours: mend the skeleton", left_out)
        else:
            kept[bone] = bones[bone]
    return {bone: kept[bone] for bone in VRM_PARENT if bone in kept}


def _bones_above(bone: str) -> list[str]:
    """The bones from the parent of ``bone`` to the hips."""
    chain = []
    while (up := VRM_PARENT[bone]) is not None:
        chain.append(bone := up)
    return chain


def _leave_out(bone: str, reason: str, left_out: dict[str, list[str]]) -> None:
    """Note an optional bone; refuse the file for a required one."""
    if bone in VRM_REQUIRED:
        raise BadRequest(f"{bone} {reason} and export it again", field=FIELD)
    left_out.setdefault(reason, []).append(bone)


def _rest_of_bones(bones: Mapping[str, int], nodes: Sequence[Node], parents: Sequence[int]) -> dict[str, Matrix]:
    """{bone: (4, 4) world transform at rest}."""
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


def _warnings(
    extension: Extension, body: Body, rest_pose: RestPose, left_out: Mapping[str, Sequence[str]]
) -> Iterable[str]:
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
    for reason, bones in left_out.items():
        yield f"left out: {', '.join(dict.fromkeys(bones))}: each {reason}"


def _clean_names(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order, without those that are empty, too long or hold control characters."""
    clean = dict.fromkeys(name for name in names if name and name == _clean_text(name))
    return tuple(clean)[:MAX_EXPRESSIONS]


def _clean_text(text: str) -> str:
    """One line of printable text (no Unicode category C: control, format, unassigned) of at most 80 characters."""
    printable = (" " if unicodedata.category(mark).startswith("C") else mark for mark in text[: 4 * MAX_NAME])
    return " ".join("".join(printable).split())[:MAX_NAME]
