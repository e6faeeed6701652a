"""Clips in which everything moves, for tests of exporters."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import torch

from motion_service.clips import VrmClip
from motion_service.export.vrma import clip_to_vrma
from motion_service.geometry.rotation import normalize, quat_multiply, rotvec_to_quat
from motion_service.humanoid import VRM_PARENT
from motion_service.vrm.body import MANNEQUIN_BODY, Body, Vector


def make_moving(
    body: Body = MANNEQUIN_BODY, num_frames: int = 60, fps: float = 20.0, seed: int = 1, widest: float = 0.7
) -> VrmClip:
    """Every bone of ``body`` swings about an axis of its own by up to ``widest`` radians; the hips wander and turn."""
    generator = torch.Generator().manual_seed(seed)
    bones = len(body.bones)
    axes = normalize(torch.randn(bones, 1, 3, generator=generator))
    speed, phase = 1 + 2 * torch.rand(2, bones, 1, 1, generator=generator)
    seconds = (torch.arange(num_frames) / fps)[None, :, None]  # (1, T, 1)
    tracks = rotvec_to_quat(axes * widest * torch.sin(speed * seconds + 6 * phase))  # (J, T, 4)
    seconds = seconds[0]
    turn = rotvec_to_quat(seconds * torch.tensor([0.0, 0.8, 0.0]))
    path = torch.cat([0.3 * torch.sin(seconds), 0.1 * torch.cos(2 * seconds), 0.5 * seconds], dim=1)
    rotations = dict(zip(body.bones, tracks, strict=True))
    rotations["hips"] = normalize(quat_multiply(turn, rotations["hips"]))
    contacts = (torch.rand(num_frames, 4, generator=generator) * 100).round() / 100
    return VrmClip(rotations, path + torch.tensor(body.rest["hips"]), contacts, fps, body.hips_height)


def make_whole_body() -> Body:
    """A body with all 55 VRM bones: the mannequin with eyes, jaw and fingers, in metres."""
    rest: dict[str, Vector] = dict(MANNEQUIN_BODY.rest)
    for bone, parent in VRM_PARENT.items():
        if bone not in rest and parent is not None:
            x, y, z = rest[parent]
            side = 1.0 if bone.startswith("left") else -1.0
            rest[bone] = (side * 0.03, y + 0.06, 0.09) if parent == "head" else (x + side * 0.03, y, z + 0.005)
    return Body(rest)


def decode_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The document and the numbers of a glTF binary."""
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def encode_glb(document: dict[str, Any] | bytes, binary: bytes) -> bytes:
    """The inverse of :func:`decode_glb`."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def edit_vrma(clip: VrmClip, change: Callable[[dict[str, Any]], object], extra: bytes = b"") -> bytes:
    """A VRMA file for the mannequin after ``change`` of its document, and with ``extra`` numbers after its own."""
    document, binary = decode_glb(clip_to_vrma(clip, MANNEQUIN_BODY))
    document["buffers"][0]["byteLength"] = document["bufferViews"][0]["byteLength"] = len(binary + extra)
    change(document)
    return encode_glb(document, binary + extra)
