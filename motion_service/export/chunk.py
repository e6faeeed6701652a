"""Frames of a stream to bytes: chunk messages as JSON with keyframe lists, or as msgpack with float32 blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
import orjson
from torch import Tensor

from motion_service.export.vrm_json import keyframes, number_texts, texts_between
from motion_service.live_frames import LiveFrames


def frames_to_json(frames: LiveFrames, head: Mapping[str, Any], first_frame: int, fps: float) -> bytes:
    """One JSON object: the fields of ``head``, then the tracks; times in seconds of the stream."""
    times = number_texts((first_frame + np.arange(len(frames))) / fps)
    fields: dict[str, Any] = {
        **head,
        "tracks": _tracks(times, frames.bones, frames.rotations, ("x", "y", "z", "w")),
        **_tracks(times, ("root",), frames.hips[:, None], ("x", "y", "z")),
        "contacts": [[round(value, 2) for value in frame] for frame in frames.contacts.tolist()],
    }
    if frames.names:
        fields["expressions"] = _tracks(times, frames.names, frames.weights[..., None], ("weight",))
    if frames.gaze is not None:
        fields |= _tracks(times, ("look_at",), frames.gaze[:, None], ("yaw", "pitch"))
    return orjson.dumps(fields)


def _tracks(
    times: Sequence[bytes], names: Sequence[str], block: Tensor, keys: tuple[str, ...]
) -> dict[str, orjson.Fragment]:
    """A block (T, names, keys) as a keyframe list a name; all its numbers are written at once."""
    between, numbers = texts_between(times, keys), number_texts(block.transpose(0, 1).numpy())
    size = len(keys) * len(times)
    return {name: keyframes(between, numbers[size * i : size * (i + 1)]) for i, name in enumerate(names)}


def frames_to_msgpack(frames: LiveFrames, head: Mapping[str, Any]) -> bytes:
    """One msgpack map: the fields of ``head``, ``bones``, and blocks of float32, little-endian, frame after frame."""
    rows, layout = frames.block, frames.layout
    fields: dict[str, Any] = {
        **head,
        "bones": frames.bones,
        "rot": _block(rows[:, : layout.hips]),
        "root": _block(rows[:, layout.hips : layout.hips + 3]),
        "contacts": _block(rows[:, layout.hips + 3 : layout.weights]),
    }
    if frames.names:
        fields["expressions"] = {
            name: _block(weights)
            for name, weights in zip(frames.names, rows[:, layout.weights : layout.gaze].T, strict=True)
        }
    if layout.has_gaze:
        fields["look_at"] = _block(rows[:, layout.gaze :])
    packed: bytes = msgpack.packb(fields)
    return packed


def _block(numbers: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    return numbers.astype("<f4", copy=False).tobytes()
