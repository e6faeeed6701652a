"""Small ``.vrm`` files for tests: any bones at any rest places, with any rest rotations, under any root, 1.0 or 0.x."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion_service.geometry.rotation import normalize, quat_to_rotmat, rotmat_to_quat
from motion_service.humanoid import VRM_PARENT
from motion_service.vrm.body import MANNEQUIN_BODY, Vector

Json = dict[str, Any]

MANNEQUINS = {
    version: Path(__file__).resolve().parents[2] / "motion_service" / "web" / "avatars" / name
    for version, name in [("1.0", "mannequin.vrm"), ("0.x", "mannequin_vrm0.vrm")]
}
HALF_TURN = np.array([-1.0, 1.0, -1.0])
THUMBS_0X = {"ThumbMetacarpal": "ThumbProximal", "ThumbProximal": "ThumbIntermediate"}


def _full_places() -> dict[str, Vector]:
    """All 55 bones: the mannequin with eyes, jaw and fingers."""
    places = dict(MANNEQUIN_BODY.rest)
    places["jaw"] = (0.0, 1.57, 0.02)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        places[f"{side}Eye"] = (sign * 0.03, 1.62, 0.07)
        for bone in VRM_PARENT:
            up = VRM_PARENT[bone]
            if bone.startswith(side) and bone not in places and up in places:
                x, y, z = places[up]
                places[bone] = (x + sign * 0.03, y, z + (0.02 if "Thumb" in bone else 0.0))
    return {bone: places[bone] for bone in VRM_PARENT}


MANNEQUIN: Mapping[str, Vector] = MANNEQUIN_BODY.rest
FULL: Mapping[str, Vector] = _full_places()


def without(*bones: str) -> dict[str, Vector]:
    """The mannequin's places without some bones."""
    return {bone: place for bone, place in MANNEQUIN.items() if bone not in bones}


def any_rotations(bones: Iterable[str], seed: int) -> dict[str, list[float]]:
    """A rest rotation in the world for each bone, xyzw."""
    bones = list(bones)
    turns = normalize(torch.randn(len(bones), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return dict(zip(bones, turns.tolist(), strict=True))


def make_document(
    version: str = "1.0",
    places: Mapping[str, Vector] = MANNEQUIN,
    turns: Mapping[str, Sequence[float]] | None = None,
    root: Json | None = None,
    as_matrix: bool = False,
) -> Json:
    """The JSON of an avatar with the world rest ``places`` (VRM 1.0 axes) and world rest rotations ``turns``.

    ``root`` is a node with translation and scale above the hips (one number for the scale).
    """
    bones, root = list(places), root or {}
    scale, offset = float(root.get("scale", 1.0)), np.array(root.get("translation", [0.0, 0.0, 0.0]))
    top = np.diag([scale, scale, scale, 1.0])
    top[:3, 3] = offset
    world = {bone: _transform(places[bone], (turns or {}).get(bone), scale, version) for bone in bones}
    nodes: list[Json] = []
    for bone in bones:
        up = _parent(bone, places)
        local = np.linalg.inv(top if up is None else world[up]) @ world[bone]
        children = [bones.index(child) for child in bones if _parent(child, places) == bone]
        nodes.append({"name": bone, **_node(local, as_matrix), **({"children": children} if children else {})})
    above = {"name": "Armature", "scale": [scale] * 3, "translation": offset.tolist(), "children": [0]}
    nodes.append(above if root else {"name": "Empty"})
    extension = {"1.0": "VRMC_vrm", "0.x": "VRM"}[version]
    return {
        "asset": {"version": "2.0"},
        "extensionsUsed": [extension],
        "extensions": {extension: _vrm1(bones) if version == "1.0" else _vrm0(bones)},
        "scene": 0,
        "scenes": [{"nodes": [len(nodes) - 1] if root else [0, len(nodes) - 1]}],
        "nodes": nodes,
    }


def make_avatar(**options: Any) -> bytes:
    """A file with :func:`make_document` in it."""
    return pack(make_document(**options))


def pack(document: Json | bytes, binary: bytes | None = None, **header: int) -> bytes:
    """A GLB. ``header`` may lie: ``version``, ``length``, ``json_length``."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", header.get("json_length", len(text)), b"JSON") + text
    if binary is not None:
        binary += b"\0" * (-len(binary) % 4)
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", header.get("version", 2), header.get("length", 12 + len(chunks))) + chunks


def _parent(bone: str, present: Iterable[str]) -> str | None:
    up = VRM_PARENT[bone]
    while up is not None and up not in present:
        up = VRM_PARENT[up]
    return up


def _transform(place: Vector, turn: Sequence[float] | None, scale: float, version: str) -> np.ndarray:
    world = np.eye(4)
    if turn is not None:
        world[:3, :3] = quat_to_rotmat(torch.tensor(turn, dtype=torch.float64)).numpy()
    world[:3, :3] *= scale
    world[:3, 3] = np.array(place) * (HALF_TURN if version == "0.x" else 1.0)
    return world


def _node(local: np.ndarray, as_matrix: bool) -> Json:
    if as_matrix:
        return {"matrix": local.T.ravel().tolist()}
    quaternion = rotmat_to_quat(torch.from_numpy(local[:3, :3].copy())).tolist()
    turned = abs(quaternion[3]) < 1 - 1e-12
    return {"translation": local[:3, 3].tolist(), **({"rotation": quaternion} if turned else {})}


def _vrm1(bones: Sequence[str]) -> Json:
    return {
        "specVersion": "1.0",
        "meta": {"name": "Test", "authors": ["a"], "licenseUrl": "https://vrm.dev/licenses/1.0/"},
        "humanoid": {"humanBones": {bone: {"node": i} for i, bone in enumerate(bones)}},
    }


def _vrm0(bones: Sequence[str]) -> Json:
    entries = [{"bone": _thumb_0x(bone), "node": i, "useDefaultValues": True} for i, bone in enumerate(bones)]
    return {"specVersion": "0.0", "meta": {"title": "Test"}, "humanoid": {"humanBones": entries}}


def _thumb_0x(bone: str) -> str:
    for new, old in THUMBS_0X.items():
        if bone.endswith(new):
            return bone.removesuffix(new) + old
    return bone
