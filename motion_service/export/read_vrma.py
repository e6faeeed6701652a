"""VRMA to a clip: our own files and ordinary ones, with any rest rotations, scales above the hips, and key times.

The inverse of :mod:`motion_service.export.vrma`. Reads the first animation, as players do; interpolation LINEAR or
STEP.
Specification: https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm_animation-1.0/README.md and
``how_to_transform_human_pose.md`` beside it: normalised = W * L^-1 * q * W^-1 with world and local rest rotation W, L.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import MotionError
from motion_service.export.keys import MAX_BYTES, KeyedClip, Keys, check_height, check_name, keys_to_clip, refuse
from motion_service.export.vrma import EXTENSION, EYES, quat_to_gaze
from motion_service.geometry.rotation import normalize, quat_conjugate, quat_multiply, rotmat_to_quat
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT, VRM_PARENT
from motion_service.vrm.glb import read_glb
from motion_service.vrm.gltf import (
    Accessor,
    Gltf,
    Index,
    Matrix,
    Part,
    Size,
    check_sizes,
    find_parents,
    parse_gltf,
    rest_transforms,
)

_COMPONENTS: Final = {
    5120: ("<i1", 127.0),
    5121: ("<u1", 255.0),
    5122: ("<i2", 32767.0),
    5123: ("<u2", 65535.0),
    5126: ("<f4", 1.0),
}
"""glTF component type -> numpy type and the whole number that means 1."""
_WIDTHS: Final = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_PATH_TYPE: Final = {"translation": "VEC3", "rotation": "VEC4"}
_FLAT: Final = 1e-3
"""Hips lower than this tell no height, m."""


class _TrackAccessor(Accessor):
    byteOffset: Size | None = None
    normalized: bool = False
    sparse: None = None
    """Nobody writes animations so."""


class _Target(Part):
    node: Index | None = None
    path: str


class _Channel(Part):
    sampler: Index
    target: _Target


class _Sampler(Part):
    input: Index
    output: Index
    interpolation: Literal["LINEAR", "STEP"] = "LINEAR"


class _Animation(Part):
    channels: Annotated[list[_Channel], Field(max_length=5000, fail_fast=True)]
    samplers: Annotated[list[_Sampler], Field(max_length=5000, fail_fast=True)]


class _Ref(Part):
    node: Index


class _Humanoid(Part):
    humanBones: dict[str, _Ref]


class _Expressions(Part):
    preset: dict[str, _Ref] = Field(default_factory=dict)
    custom: dict[str, _Ref] = Field(default_factory=dict)


class _Extension(Part):
    humanoid: _Humanoid
    expressions: _Expressions = _Expressions()
    lookAt: _Ref | None = None


class _Extensions(Part):
    vrma: _Extension = Field(alias=EXTENSION)


class _File(Gltf):
    accessors: Annotated[list[_TrackAccessor], Field(max_length=20_000, fail_fast=True)]  # type: ignore[assignment]
    animations: Annotated[list[_Animation], Field(min_length=1, max_length=1000, fail_fast=True)]
    extensions: _Extensions


def vrma_to_clip(data: bytes, fps: float | None = None) -> VrmClip:
    """The clip at ``fps``, or at the file's own rate when None; 30 when its keys are not evenly spaced.

    Bones that the file maps but does not move are left out. Raises BadRequest (field ``clip``) for anything that is no
    VRM animation.
    """
    if len(data) > MAX_BYTES:
        raise refuse(f"the file is larger than {MAX_BYTES // 2**20} MiB")
    try:
        glb = read_glb(data)
        file = parse_gltf(glb.document, _File)
        check_sizes(file, glb.binary_length)
        bones = {
            bone: ref.node
            for bone, ref in file.extensions.vrma.humanoid.humanBones.items()
            if bone in VRM_PARENT and bone not in EYES
        }
        if "hips" not in bones or not all(node < len(file.nodes) for node in bones.values()):
            raise refuse("humanBones: must name the hips, and nodes that are there")
        parents = find_parents(file.nodes)
        world = rest_transforms(file.nodes, parents, bones.values())
    except MotionError as error:  # the readers of avatars say "avatar"
        raise refuse(error.detail) from error
    tracks = _read_tracks(file, _binary_chunk(data, glb.binary_length))
    return keys_to_clip(_tracks_to_keyed(file, tracks, bones, parents, world), fps)


def _binary_chunk(data: bytes, length: int) -> bytes:
    """The second chunk of a file that :func:`read_glb` found well-formed."""
    start = 12 + 8 + int(struct.unpack_from("<I", data, 12)[0]) + 8
    return data[start : start + length]


def _read_tracks(file: _File, binary: bytes) -> dict[tuple[int, str], Keys]:
    """{(node, path): keys} of the first animation, for nodes that the extension names."""
    extension, animation = file.extensions.vrma, file.animations[0]
    refs = [*extension.humanoid.humanBones.values(), *extension.expressions.preset.values()]
    refs += [*extension.expressions.custom.values(), *([extension.lookAt] if extension.lookAt else [])]
    wanted = {ref.node for ref in refs}
    tracks: dict[tuple[int, str], Keys] = {}
    for number, channel in enumerate(animation.channels):
        node, path = channel.target.node, channel.target.path
        if node not in wanted or path not in _PATH_TYPE:
            continue
        name = f"animations.0.channels.{number}"
        if (node, path) in tracks or channel.sampler >= len(animation.samplers):
            raise refuse(f"{name}: needs a sampler that is there and a target of its own")
        sampler = animation.samplers[channel.sampler]
        times = _numbers(file, binary, sampler.input, "SCALAR")[:, 0].astype(np.float64)
        values = torch.from_numpy(_numbers(file, binary, sampler.output, _PATH_TYPE[path]))
        values = normalize(values) if values.shape[1] == 4 and _is_nearly_unit(values) else values
        tracks[node, path] = Keys(name, times, values, step=sampler.interpolation == "STEP")
    return tracks


def _is_nearly_unit(values: Tensor) -> bool:
    """Off by the rounding of small integers; what is off by less may stay as it is."""
    off = float((values.norm(dim=-1) - 1).abs().max()) if len(values) else 0.0
    return 1e-3 < off < 0.05


def _numbers(file: _File, binary: bytes, index: int, kind: str) -> NDArray[np.float32]:
    """The numbers of an accessor (count, width); the places were checked to lie in the file by ``check_sizes``."""
    if index >= len(file.accessors):
        raise refuse(f"accessors.{index}: is not there")
    accessor, views = file.accessors[index], file.bufferViews or []
    if accessor.type != kind or accessor.bufferView is None or accessor.componentType not in _COMPONENTS:
        raise refuse(f"accessors.{index}: must be {kind}, with data")
    view = views[accessor.bufferView]
    if view.buffer != 0 or not file.buffers or file.buffers[0].uri is not None:
        raise refuse(f"accessors.{index}: the data must lie in the file itself")
    dtype, one = _COMPONENTS[accessor.componentType]
    count, offset = accessor.count * _WIDTHS[kind], accessor.byteOffset or 0
    if offset + count * np.dtype(dtype).itemsize > view.byteLength:
        raise refuse(f"accessors.{index}: reaches beyond its buffer view")
    numbers = np.frombuffer(binary, dtype, count, (view.byteOffset or 0) + offset)
    return (numbers.astype(np.float32) / np.float32(one)).reshape(-1, _WIDTHS[kind])


def _tracks_to_keyed(
    file: _File,
    tracks: dict[tuple[int, str], Keys],
    bones: dict[str, int],
    parents: list[int],
    world: dict[int, Matrix],
) -> KeyedClip:
    """Tracks of nodes to tracks of normalised bones, and the hips to the world."""
    extension, hips_node = file.extensions.vrma, bones["hips"]
    height = float(world[hips_node][1, 3])
    hips_keys = tracks.get((hips_node, "translation"))
    if height < _FLAT and hips_keys is None:
        height = CANONICAL_HIPS_HEIGHT
    check_height(height, "nodes: T-pose")
    if hips_keys is None:
        hips = Keys("hips", np.zeros(1), torch.tensor([[0.0, height, 0.0]]))
    else:
        above = torch.from_numpy(world[parents[hips_node]])
        places = hips_keys.values.double() @ above[:3, :3].T + above[:3, 3]
        hips = Keys("hips", hips_keys.times, places.float(), hips_keys.step)
    rotations = {}
    for bone, node in bones.items():
        if keys := tracks.get((node, "rotation")):
            above, rest = _orientation(world[parents[node]]), _orientation(world[node])
            turned = quat_multiply(quat_multiply(above, keys.values.double()), quat_conjugate(rest))
            rotations[bone] = Keys(bone, keys.times, turned.float(), keys.step)
    names = {**extension.expressions.preset, **extension.expressions.custom}
    expressions = {
        check_name(name): Keys(name[:40], keys.times, keys.values[:, :1], keys.step)
        for name, ref in names.items()
        if (keys := tracks.get((ref.node, "translation")))
    }
    look = tracks.get((extension.lookAt.node, "rotation")) if extension.lookAt else None
    gaze = look and Keys("lookAt", look.times, quat_to_gaze(look.values), look.step)
    return KeyedClip(rotations, hips, height, expressions, gaze)


def _orientation(matrix: Matrix) -> Tensor:
    """xyzw (4,) of a transform, without its scale."""
    turn = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return rotmat_to_quat(torch.from_numpy(turn))
