"""A clip to VRMA, the animation file of VRM 1.0: a glTF binary with the extension ``VRMC_vrm_animation``.

Written so that both kinds of player show the same motion: those that follow the specification, and those that load it
as plain glTF and go by node names. So nodes are called as the VRM bones, the rest pose is a T-pose of translations only
in metres, and the hips are the root. Always in the axes of VRM 1.0, whatever avatar it is for; players turn it for
VRM 0.x.

The container is written here and not with pygltflib: two chunks of bytes need no library, and the service none more.

Specification: https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm_animation-1.0/README.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.export.pose import clip_for_body
from motion_service.geometry.rotation import euler_to_quat
from motion_service.humanoid import VRM_REQUIRED
from motion_service.vrm.body import Body

EXTENSION: Final = "VRMC_vrm_animation"
PRESET_EXPRESSIONS: Final = frozenset(
    ["happy", "angry", "sad", "relaxed", "surprised", "neutral", "aa", "ih", "ou", "ee", "oh"]
    + ["blink", "blinkLeft", "blinkRight"]
)
"""Expressions that every VRM avatar knows by name, less the four that say where it looks."""
LOOK_EXPRESSIONS: Final = frozenset(["lookUp", "lookDown", "lookLeft", "lookRight"])
"""Not allowed in the file, because the gaze says the same."""
EYES: Final = frozenset(["leftEye", "rightEye"])
"""Not allowed among the bones, for the same reason."""
EYES_FROM_HEAD: Final = (0.0, 0.06, 0.0)
"""Where the gaze starts on a body without eyes, from the head bone, m."""

_FLOAT: Final = 5126  # glTF component type


@dataclass
class _Animation:
    """Channels, samplers and accessors, and the numbers behind them, all on one time line."""

    times: npt.NDArray[np.float32]
    accessors: list[dict[str, Any]] = field(default_factory=list)
    samplers: list[dict[str, Any]] = field(default_factory=list)
    channels: list[dict[str, Any]] = field(default_factory=list)
    binary: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        bounds = {"min": [float(self.times[0])], "max": [float(self.times[-1])]}
        self._add_accessor(self.times, "SCALAR", **bounds)

    def add_channel(self, node: int, path: str, track: Tensor) -> None:
        """Animate ``path`` of a node with ``track`` (T, 3) or (T, 4)."""
        values = np.ascontiguousarray(track.detach().cpu().numpy(), dtype="<f4")
        output = self._add_accessor(values, f"VEC{values.shape[1]}")
        self.channels.append({"sampler": len(self.samplers), "target": {"node": node, "path": path}})
        self.samplers.append({"input": 0, "output": output, "interpolation": "LINEAR"})

    def _add_accessor(self, values: npt.NDArray[np.float32], kind: str, **bounds: list[float]) -> int:
        accessor = {"bufferView": 0, "byteOffset": len(self.binary), "componentType": _FLOAT, "type": kind}
        self.accessors.append({**accessor, "count": len(values), **bounds})
        self.binary += values.tobytes()
        return len(self.accessors) - 1


def clip_to_vrma(clip: VrmClip, body: Body, title: str = "") -> bytes:
    """The file for ``body``; ``title`` names the animation. Same input, same bytes.

    The clip is fitted to the body first; nothing changes when it was made for it. Bones without a track rest. Raises
    BadRequest when the body lacks one of the bones that every such file must name.
    """
    if missing := VRM_REQUIRED - set(body.bones):
        raise BadRequest(f"VRMA needs the bones {', '.join(sorted(missing))}", field="avatar")
    clip = clip_for_body(clip, body)
    nodes, roots = _bone_nodes(body), [0]
    animation = _Animation((np.arange(clip.num_frames) / clip.fps).astype("<f4"))
    animation.add_channel(0, "translation", clip.hips)
    for node, bone in enumerate(body.bones):
        if bone in clip.rotations and bone not in EYES:
            animation.add_channel(node, "rotation", clip.rotations[bone])
    bones = {bone: {"node": node} for node, bone in enumerate(body.bones) if bone not in EYES}
    extension: dict[str, Any] = {"specVersion": "1.0", "humanoid": {"humanBones": bones}}

    def add_root(name: str, path: str, track: Tensor) -> dict[str, int]:
        nodes.append({"name": name})
        roots.append(len(nodes) - 1)
        animation.add_channel(roots[-1], path, track)
        return {"node": roots[-1]}

    for name in sorted(set(clip.expressions) - LOOK_EXPRESSIONS):
        weight = clip.expressions[name].clamp(0, 1)  # (T,)
        place = torch.stack([weight, torch.zeros_like(weight), torch.zeros_like(weight)], dim=-1)
        group = "preset" if name in PRESET_EXPRESSIONS else "custom"
        groups = extension.setdefault("expressions", {})
        groups.setdefault(group, {})[name] = add_root(f"expression_{name}", "translation", place)
    if clip.gaze is not None:
        look_at = add_root("lookAt", "rotation", gaze_to_quat(clip.gaze))
        extension["lookAt"] = {**look_at, "offsetFromHeadBone": _eyes_from_head(body)}
    return _encode_glb(_document(nodes, roots, extension, animation, title), bytes(animation.binary))


def gaze_to_quat(gaze: Tensor) -> Tensor:
    """Yaw about +Y (positive: to the left) and pitch about +X (positive: down) (T, 2), radians, to xyzw (T, 4)."""
    return euler_to_quat(torch.cat([gaze, torch.zeros_like(gaze[:, :1])], dim=-1), "YXZ")


def quat_to_gaze(q: Tensor) -> Tensor:
    """Inverse of :func:`gaze_to_quat` for pitch within a right angle; roll is dropped. (T, 4) xyzw to (T, 2)."""
    x, y, z, w = q.unbind(-1)
    yaw = torch.atan2(2 * (x * z + y * w), 1 - 2 * (x * x + y * y))
    pitch = torch.asin((2 * (x * w - y * z)).clamp(-1, 1))
    return torch.stack([yaw, pitch], dim=-1)


def _bone_nodes(body: Body) -> list[dict[str, Any]]:
    """The body in its T-pose, one node a bone in the body's order; the hips' place is in the world."""
    offsets = [body.rest["hips"], *body.offsets[1:].tolist()]
    nodes: list[dict[str, Any]] = [
        {"name": bone, "translation": _rounded(offset)} for bone, offset in zip(body.bones, offsets, strict=True)
    ]
    for node, parent in enumerate(body.parents):
        if parent >= 0:
            nodes[parent].setdefault("children", []).append(node)
    return nodes


def _eyes_from_head(body: Body) -> list[float]:
    """The middle between the eyes, from the head bone, m."""
    if not set(body.bones) >= EYES:
        return list(EYES_FROM_HEAD)
    left, right, head = (body.rest[bone] for bone in ("leftEye", "rightEye", "head"))
    return _rounded([(a + b) / 2 - c for a, b, c in zip(left, right, head, strict=True)])


def _rounded(place: Sequence[float]) -> list[float]:
    """Micrometres are enough."""
    return [round(value, 6) for value in place]


def _document(
    nodes: list[dict[str, Any]], roots: list[int], extension: dict[str, Any], animation: _Animation, title: str
) -> dict[str, Any]:
    """The glTF document around nodes and animation."""
    return {
        "asset": {"version": "2.0", "generator": "motion_service"},
        "extensionsUsed": [EXTENSION],
        "extensions": {EXTENSION: extension},
        "scene": 0,
        "scenes": [{"nodes": roots}],
        "nodes": nodes,
        "animations": [
            {"name": title or "motion", "channels": animation.channels, "samplers": animation.samplers},
        ],
        "accessors": animation.accessors,
        "bufferViews": [{"buffer": 0, "byteLength": len(animation.binary)}],
        "buffers": [{"byteLength": len(animation.binary)}],
    }


def _encode_glb(document: Mapping[str, Any], binary: bytes) -> bytes:
    """A glTF binary of a document and its one buffer: header, then each chunk with its length and kind.

    https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html#binary-gltf-layout
    """
    text = orjson.dumps(document)
    chunks = [(b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", binary + b"\0" * (-len(binary) % 4))]
    body = b"".join(struct.pack("<I4s", len(content), kind) + content for kind, content in chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
