"""Resume tokens: all that another process needs to go on with a stream, signed, in one text of some five kilobytes.

A token holds what the stream was asked to be, and at the frame that was last on the client's screen its motion and what
the filters remember. Nothing in it is secret and nothing could not be sent as ``start`` and ``pose``; the signature
keeps us from reading what we did not write. Replicas that share a secret read each other's tokens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest, GenerationFailed
from motion_service.geometry.rotation import normalize
from motion_service.live_frames import Floats
from motion_service.stream_schemas import MAX_TOKEN

_FORMAT: Final = 1
_LARGEST: Final = 64 * 1024
"""Bytes that a token may unpack to."""
_DIGEST: Final = 16
_UNIT: Final = 32_767


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where a stream can be taken up again."""

    options: dict[str, Any]
    """What ``start`` said, by its names, the seed drawn for it included."""
    prompt: str
    frame: int
    """The next frame of the stream."""
    made: int
    """The next frame of the source."""
    revision: int
    pose: VrmClip
    """The source's frames before it, VRM 1.0 axes, the source's own body."""
    memory: Floats
    """(M,) what the filters of the fit remember."""


def new_secret(secret: str, keys: Iterable[str]) -> bytes:
    """The key that tokens are signed with: as configured, else from the API keys, else the same for everybody."""
    return hashlib.sha256(repr((_FORMAT, secret or sorted(keys))).encode()).digest()


def write_token(mark: Bookmark, secret: bytes) -> str:
    """The token of a bookmark."""
    pose = mark.pose
    rotations = torch.stack([*pose.rotations.values()])  # (J, C, 4)
    fields = {
        "format": _FORMAT,
        "options": mark.options,
        "prompt": mark.prompt,
        "numbers": [mark.frame, mark.made, mark.revision],
        "bones": list(pose.rotations),
        "rotations": (rotations * _UNIT).round().numpy().astype("<i2").tobytes(),
        "hips": pose.hips.numpy().astype("<f4").tobytes(),
        "contacts": (pose.contacts > 0.5).numpy().astype("u1").tobytes(),
        "rate": [pose.fps, pose.rest_hips_height],
        "memory": mark.memory.astype("<f4").tobytes(),
    }
    packed = zlib.compress(msgpack.packb(fields), 6)
    return base64.urlsafe_b64encode(_sign(packed, secret) + packed).decode()


def read_token(token: str, secret: bytes) -> Bookmark:
    """What :func:`write_token` wrote. Raises BadRequest for anything else, or for one of another secret."""
    try:
        if len(token) > MAX_TOKEN:
            raise ValueError("too long")
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        if not hmac.compare_digest(data[:_DIGEST], _sign(data[_DIGEST:], secret)):
            raise ValueError("not ours")
        unpack = zlib.decompressobj()
        fields = msgpack.unpackb(unpack.decompress(data[_DIGEST:], _LARGEST))
        if fields["format"] != _FORMAT:
            raise ValueError("of another version")
        return _fields_to_bookmark(fields)
    except (ValueError, KeyError, TypeError, binascii.Error, zlib.error, msgpack.UnpackException) as error:
        raise BadRequest("this service cannot resume that stream: start anew", field="resume_token") from error
    except GenerationFailed as error:
        raise BadRequest("the pose in the token is damaged: start anew", field="resume_token") from error


def _fields_to_bookmark(fields: dict[str, Any]) -> Bookmark:
    bones = fields["bones"]
    hips = _numbers(fields["hips"], "<f4").reshape(-1, 3)
    rotations = normalize(_numbers(fields["rotations"], "<i2").reshape(len(bones), len(hips), 4) / _UNIT)
    contacts = _numbers(fields["contacts"], "u1").reshape(-1, 4)
    pose = VrmClip(dict(zip(bones, rotations.unbind(0), strict=True)), hips, contacts, *fields["rate"])
    frame, made, revision = fields["numbers"]
    memory = _numbers(fields["memory"], "<f4").numpy()
    return Bookmark(fields["options"], fields["prompt"], frame, made, revision, pose, memory)


def _numbers(block: bytes, dtype: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(block, dtype).astype(np.float32))


def _sign(packed: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, packed, hashlib.sha256).digest()[:_DIGEST]
