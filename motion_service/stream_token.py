"""Resume tokens: all that another process needs to go on with a stream, signed, in one text of some six kilobytes.

A token holds what the stream was asked to be, and at the frame that was last on the client's screen its motion and what
the filters remember. Nothing in it is secret and nothing could not be sent as ``start`` and ``pose``; the signature
keeps us from reading what we did not write. Replicas that share a secret read each other's tokens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
import torch

from motion_service.errors import BadRequest, GenerationFailed
from motion_service.geometry.rotation import normalize
from motion_service.live_frames import Floats, FrameLayout, LiveFrames
from motion_service.stream_schemas import MAX_FRAME, MAX_TOKEN

_FORMAT: Final = 2
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
    pose: LiveFrames
    """The source's frames before it, VRM 1.0 axes, the source's own body."""
    rate: tuple[float, float]
    """Frames per second of the pose, and height of its body's hips at rest, m."""
    memory: Floats
    """(M,) what the filters of the fit remember."""


def new_secret(secret: str, keys: Iterable[str]) -> bytes:
    """The key that tokens are signed with: as configured, else from the API keys, else the same for everybody."""
    return hashlib.sha256(repr((_FORMAT, secret or sorted(keys))).encode()).digest()


def write_token(mark: Bookmark, secret: bytes) -> str:
    """The token of a bookmark."""
    layout, rows = mark.pose.layout, mark.pose.block
    fields = {
        "format": _FORMAT,
        "options": mark.options,
        "prompt": mark.prompt,
        "numbers": [mark.frame, mark.made, mark.revision],
        "bones": layout.bones,
        "rotations": (rows[:, : layout.hips] * _UNIT).round().astype("<i2").tobytes(),
        "hips": rows[:, layout.hips : layout.hips + 3].astype("<f4").tobytes(),
        "contacts": (rows[:, layout.hips + 3 : layout.weights] > 0.5).astype("u1").tobytes(),
        "rate": mark.rate,
        "memory": mark.memory.astype("<f4").tobytes(),
    }
    packed: bytes = msgpack.packb(fields)
    return base64.urlsafe_b64encode(_sign(packed, secret) + packed).decode()


def read_token(token: str, secret: bytes) -> Bookmark:
    """What :func:`write_token` wrote. Raises BadRequest for anything else, or for one of another secret."""
    try:
        if len(token) > MAX_TOKEN:
            raise ValueError("too long")
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        if not hmac.compare_digest(data[:_DIGEST], _sign(data[_DIGEST:], secret)):
            raise ValueError("not ours")
        fields = msgpack.unpackb(data[_DIGEST:])
        if fields["format"] != _FORMAT:
            raise ValueError("of another version")
        return _fields_to_bookmark(fields)
    except (ValueError, KeyError, TypeError, binascii.Error, msgpack.UnpackException) as error:
        raise BadRequest("this service cannot resume that stream: start anew", field="resume_token") from error
    except GenerationFailed as error:
        raise BadRequest("the pose in the token is damaged: start anew", field="resume_token") from error


def _fields_to_bookmark(fields: dict[str, Any]) -> Bookmark:
    layout, hips = FrameLayout(tuple(fields["bones"])), _numbers(fields["hips"], "<f4").reshape(-1, 3)
    rotations = normalize(torch.from_numpy(_numbers(fields["rotations"], "<i2").reshape(len(hips), -1, 4) / _UNIT))
    contacts = _numbers(fields["contacts"], "u1").reshape(-1, 4)
    pose = LiveFrames(layout, np.concatenate([rotations.flatten(1).numpy(), hips, contacts], axis=1))
    fps, rest_height = fields["rate"]
    pose.to_clip(fps, rest_height)  # raises where it is none
    frame, made, revision = fields["numbers"]
    if not all(isinstance(number, int) and 0 <= number <= MAX_FRAME for number in (frame, made, revision)):
        raise ValueError("numbers of frames that there cannot be")
    memory = _numbers(fields["memory"], "<f4")
    if not (isinstance(fields["options"], dict) and isinstance(fields["prompt"], str)):
        raise ValueError("not what was written")
    return Bookmark(fields["options"], fields["prompt"], frame, made, revision, pose, (fps, rest_height), memory)


def _numbers(block: bytes, dtype: str) -> Floats:
    return np.frombuffer(block, dtype).astype(np.float32)


def _sign(packed: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, packed, hashlib.sha256).digest()[:_DIGEST]
