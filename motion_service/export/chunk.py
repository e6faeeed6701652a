"""Frames of a stream to bytes: chunk messages as JSON with keyframe lists, or as msgpack with float32 blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
import orjson

from motion_service.export.vrm_json import keyframes, number_texts
from motion_service.vrm.live_frames import LiveFrames


def frames_to_json(frames: LiveFrames, head: Mapping[str, Any], first_frame: int, fps: float) -> bytes:
    """One JSON object: the fields of ``head``, then the tracks; times in seconds of the stream."""
    times = number_texts((first_frame + np.arange(len(frames))) / fps)
    fields: dict[str, Any] = {
        **head,
        "tracks": {
            bone: keyframes(times, track, "xyzw")
            for bone, track in zip(frames.bones, frames.rotations.unbind(1), strict=True)
        },
        "root": keyframes(times, frames.hips, "xyz"),
        "contacts": [[round(value, 2) for value in frame] for frame in frames.contacts.tolist()],
    }
    if frames.names:
        columns = zip(frames.names, frames.weights.unbind(1), strict=True)
        fields["expressions"] = {name: keyframes(times, weights[:, None], ["weight"]) for name, weights in columns}
    if frames.gaze is not None:
        fields["look_at"] = keyframes(times, frames.gaze, ["yaw", "pitch"])
    return orjson.dumps(fields)


def frames_to_msgpack(frames: LiveFrames, head: Mapping[str, Any]) -> bytes:
    """One msgpack map: the fields of ``head``, ``bones``, and blocks of float32, little-endian, frame after frame."""
    fields: dict[str, Any] = {
        **head,
        "bones": frames.bones,
        "rot": _block(frames.rotations.numpy()),
        "root": _block(frames.hips.numpy()),
        "contacts": _block(frames.contacts.numpy()),
    }
    if frames.names:
        fields["expressions"] = {
            name: _block(weights.numpy()) for name, weights in zip(frames.names, frames.weights.unbind(1), strict=True)
        }
    if frames.gaze is not None:
        fields["look_at"] = _block(frames.gaze.numpy())
    packed: bytes = msgpack.packb(fields)
    return packed


def _block(numbers: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    return np.ascontiguousarray(numbers, dtype="<f4").tobytes()
