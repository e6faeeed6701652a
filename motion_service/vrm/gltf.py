"""The part of a glTF 2.0 document that a skeleton needs: its node tree at rest, and proof that its sizes are no lie.

Wrong types, indices that point nowhere, cycles and absurd numbers are refused with the place where they stand.
Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from motion_service.errors import BadRequest
from motion_service.vrm.glb import FIELD

MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 256
"""Longest chain of nodes from a root."""
MAX_ENTRIES: Final = 100_000
"""Most buffers, buffer views and accessors, each."""
MAX_BUFFER: Final = 512 * 2**20
"""Longest buffer in bytes, unpacked."""
MAX_COUNT: Final = 2**24
"""Most elements of an accessor."""
MAX_TRANSLATION: Final = 1000.0
"""Furthest that a node above or at a bone may lie from its parent, in its parent's units."""
SCALE_RANGE: Final = (1e-6, 1e6)
QUATERNION_TOLERANCE: Final = 0.05
"""How far the length of a rotation may be from 1."""

_WIDTHS: Final = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_SIZES: Final = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}


def _to_whole(value: object) -> object:
    """Some exporters write 3 as 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Matrix = NDArray[np.float64]  # (4, 4), acts on columns
Whole = Annotated[int, BeforeValidator(_to_whole)]
Index = Annotated[Whole, Field(ge=0, lt=2**31)]
Size = Annotated[Whole, Field(ge=0, le=MAX_BUFFER)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]  # beyond, products overflow
Three = Annotated[list[Number], Field(min_length=3, max_length=3)]
Four = Annotated[list[Number], Field(min_length=4, max_length=4)]
Sixteen = Annotated[list[Number], Field(min_length=16, max_length=16)]


class Part(BaseModel):
    """A JSON object of the file. Fields that we do not read are left alone; those that we read must be right."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Node(Part):
    """A node: either a matrix (column after column) or translation, rotation (xyzw) and scale."""

    children: Annotated[list[Index], Field(fail_fast=True)] | None = None
    matrix: Sixteen | None = None
    translation: Three | None = None
    rotation: Four | None = None
    scale: Three | None = None


class Buffer(Part):
    byteLength: Size
    uri: str | None = None


class BufferView(Part):
    buffer: Index
    byteOffset: Size | None = None
    byteLength: Size


class Accessor(Part):
    bufferView: Annotated[Whole, Field(ge=-1, lt=2**31)] | None = None  # old exporters write -1 for none
    componentType: Literal[5120, 5121, 5122, 5123, 5125, 5126]
    count: Annotated[Whole, Field(ge=0, le=MAX_COUNT)]
    type: Literal["SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"]


class Gltf(Part):
    """A glTF document as far as we read it."""

    nodes: Annotated[list[Node], Field(max_length=MAX_NODES, fail_fast=True)] = Field(default_factory=list)
    buffers: Annotated[list[Buffer], Field(max_length=MAX_ENTRIES, fail_fast=True)] | None = None
    bufferViews: Annotated[list[BufferView], Field(max_length=MAX_ENTRIES, fail_fast=True)] | None = None
    accessors: Annotated[list[Accessor], Field(max_length=MAX_ENTRIES, fail_fast=True)] | None = None


AnyGltf = TypeVar("AnyGltf", bound=Gltf)


def parse_gltf(document: Mapping[str, Any], model: type[AnyGltf]) -> AnyGltf:
    """The document as ``model``. Raises :class:`BadRequest` naming the first place that is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"])[:120]
        wrong = "an object is needed here" if first["type"] == "model_type" else first["msg"]
        raise BadRequest(f"the file is not valid at {place}: {wrong}; export it again", field=FIELD) from None


def check_sizes(gltf: Gltf, binary_length: int) -> None:
    """Refuse buffers, views and accessors that claim more bytes than are there. Raises :class:`BadRequest`.

    A buffer other than the first may lack data: compressed files have one that says how long the unpacked data is.
    """
    buffers, views = gltf.buffers or [], gltf.bufferViews or []
    for i, buffer in enumerate(buffers):
        there = len(buffer.uri) if buffer.uri else binary_length if i == 0 else MAX_BUFFER
        if buffer.byteLength > there:
            raise _too_long(f"buffers.{i}")
    for i, view in enumerate(views):
        if view.buffer >= len(buffers):
            raise _nowhere(f"bufferViews.{i}.buffer")
        if (view.byteOffset or 0) + view.byteLength > buffers[view.buffer].byteLength:
            raise _too_long(f"bufferViews.{i}")
    for i, accessor in enumerate(gltf.accessors or []):
        if accessor.bufferView is None or accessor.bufferView < 0:
            continue
        if accessor.bufferView >= len(views):
            raise _nowhere(f"accessors.{i}.bufferView")
        length = accessor.count * _WIDTHS[accessor.type] * _SIZES[accessor.componentType]
        if length > views[accessor.bufferView].byteLength:
            raise _too_long(f"accessors.{i}")


def find_parents(nodes: Sequence[Node]) -> list[int]:
    """Parent of every node, -1 for roots.

    Raises :class:`BadRequest` when the nodes are no forest: a child that is missing or has two parents, a cycle, or a
    chain longer than :data:`MAX_DEPTH`.
    """
    parents = [-1] * len(nodes)
    for i, node in enumerate(nodes):
        for child in node.children or []:
            if child >= len(nodes):
                raise _nowhere(f"nodes.{i}.children")
            if parents[child] >= 0:
                raise BadRequest(f"node {child} of the file has two parents: export it again", field=FIELD)
            parents[child] = i
    level = [i for i, parent in enumerate(parents) if parent < 0]
    reached = 0
    for _ in range(MAX_DEPTH):
        reached += len(level)
        level = [child for i in level for child in nodes[i].children or []]
    if level:
        raise BadRequest(f"nodes of the file are nested deeper than {MAX_DEPTH}: export it again", field=FIELD)
    if reached < len(nodes):
        raise BadRequest("nodes of the file are their own ancestors: export it again", field=FIELD)
    return parents


def ancestors(node: int, parents: Sequence[int]) -> list[int]:
    """The nodes above ``node``, nearest first."""
    chain = []
    while (node := parents[node]) >= 0:
        chain.append(node)
    return chain


def rest_transforms(nodes: Sequence[Node], parents: Sequence[int], wanted: Iterable[int]) -> dict[int, Matrix]:
    """World transform at rest of the nodes ``wanted`` and of those above them, (4, 4) in metres.

    Raises :class:`BadRequest` for numbers that no skeleton has. Other nodes may hold what they like.
    """
    world: dict[int, Matrix] = {-1: np.eye(4)}
    for node in wanted:
        for i in [*reversed(ancestors(node, parents)), node]:
            if i not in world:
                world[i] = world[parents[i]] @ _local_transform(nodes[i], f"nodes.{i}")
    return world


def _local_transform(node: Node, place: str) -> Matrix:
    """(4, 4) from the node's own space to its parent's. Checks translation, scale and rotation."""
    if node.matrix is not None:
        local = np.array(node.matrix).reshape(4, 4).T
        scale = np.linalg.norm(local[:3, :3], axis=0)
        _check(float(np.abs(local[3] - [0, 0, 0, 1]).max()) < 1e-6, f"{place}.matrix", "has no 0 0 0 1 in its last row")
        _check(float(np.linalg.det(local[:3, :3])) > 0, f"{place}.matrix", "mirrors or flattens")
    else:
        local, scale = np.eye(4), np.array(node.scale or (1.0, 1.0, 1.0))
        local[:3, :3] = _rotation_matrix(node.rotation or [0.0, 0.0, 0.0, 1.0], place) * scale
        local[:3, 3] = node.translation or (0.0, 0.0, 0.0)
    low, high = SCALE_RANGE
    _check(low < float(scale.min()) and float(scale.max()) < high, place, "has a scale that is not positive or absurd")
    far = float(np.abs(local[:3, 3]).max())
    _check(far <= MAX_TRANSLATION, place, f"is further than {MAX_TRANSLATION:g} from its parent")
    return local


def _rotation_matrix(xyzw: Sequence[float], place: str) -> Matrix:
    """(3, 3) of a quaternion that is nearly unit."""
    length = math.sqrt(sum(part * part for part in xyzw))
    _check(abs(length - 1) < QUATERNION_TOLERANCE, f"{place}.rotation", "is no unit quaternion")
    x, y, z, w = (part / length for part in xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _check(holds: bool, place: str, wrong: str) -> None:
    if not holds:
        raise BadRequest(f"{place} of the file {wrong}: mend it in the 3D program and export it again", field=FIELD)


def _too_long(place: str) -> BadRequest:
    return BadRequest(f"{place} of the file claims more bytes than there are: export it again", field=FIELD)


def _nowhere(place: str) -> BadRequest:
    return BadRequest(f"{place} of the file points to something that is not there: export it again", field=FIELD)
