"""A clip to the JSON that clients play: keyframe lists of each bone and of the hips, as bytes, without Python objects.

The lists are what three.js tracks are made of in the assistant's front end: ``{"t": s, "x": .., "y": .., "z": .., "w":
..}`` on normalised VRM bones, and the hips' absolute place in metres under two spellings, ``root_position`` and
``rootPosition``. When the clip has them, ``expressions`` holds ``{name: [{"t", "weight"}]}`` and ``look_at`` the gaze
as ``[{"t", "yaw", "pitch"}]`` in radians, positive to the figure's left and down. Nothing here turns or scales a clip;
:mod:`motion_service.vrm` does that before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.export.pose import unit_quats
from motion_service.export.quat_text import DECIMALS, tracks_to_json


def number_texts(values: npt.NDArray[np.floating[Any]]) -> list[bytes]:
    """An array to the JSON texts of its numbers, the last axis fastest: a place is off by 5 um, a time by 5 us at most.

    orjson prints the shortest text of a float32, so rounding first cuts digits.
    """
    rounded = np.ascontiguousarray(values.round(DECIMALS) + 0.0).reshape(-1)  # + 0.0 turns -0.0 into 0.0
    return orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def texts_between(times: Sequence[bytes], keys: tuple[str, ...]) -> tuple[bytes, ...]:
    """What stands before each number of ``[{"t": .., key: .., ..}, ..]``; all tracks with these times share it."""
    later = [f',"{key}":'.encode() for key in keys[1:]]
    first = f',"{keys[0]}":'.encode()
    texts = [text for time in times for text in (b'},{"t":' + time + first, *later)]
    texts[0] = b"[" + texts[0].removeprefix(b"},")
    return tuple(texts)


def keyframes(between: Sequence[bytes], numbers: Sequence[bytes]) -> orjson.Fragment:
    """One track as the JSON list ``[{"t": .., key: .., ..}, ..]``, its numbers frame after frame."""
    text = [b"}]"] * (2 * len(between) + 1)
    text[:-1:2], text[1::2] = between, numbers
    return orjson.Fragment(b"".join(text))


@lru_cache(maxsize=16)
def _texts_between(num_frames: int, fps: float, keys: tuple[str, ...]) -> tuple[bytes, ...]:
    """The same for clips: all of a length and rate share it."""
    return texts_between(_times(num_frames, fps), keys)


@lru_cache(maxsize=16)
def _times(num_frames: int, fps: float) -> tuple[bytes, ...]:
    """When the frames of a clip are, s."""
    return tuple(number_texts(np.arange(num_frames) / fps))


def _track(clip: VrmClip, track: Tensor, *keys: str) -> orjson.Fragment:
    """``track`` (T, len(keys)), or (T,) for one key."""
    between = _texts_between(clip.num_frames, clip.fps, keys)
    return keyframes(between, number_texts(track.detach().float().cpu().numpy()))


def _rotations(clip: VrmClip) -> orjson.Fragment:
    """The tracks of all bones, written at once."""
    tracks = unit_quats(torch.stack([*clip.rotations.values()])).detach().float().cpu().numpy()  # (J, T, 4)
    lists = tracks_to_json(tracks, _times(clip.num_frames, clip.fps))
    fields = (b'"' + bone.encode() + b'":' + text for bone, text in zip(clip.rotations, lists, strict=True))
    return orjson.Fragment(b"{" + b",".join(fields) + b"}")


def clip_to_fragments(clip: VrmClip) -> dict[str, Any]:
    """The fields ``tracks``, ``root_position`` and ``rootPosition`` for :func:`orjson.dumps` to splice in, then
    ``expressions`` and ``look_at`` if the clip has them.

    Put them wherever a clip stands in an answer: at the top, or in each entry of ``clips``. Frame i is at i / fps s.
    """
    root = _track(clip, clip.hips, "x", "y", "z")
    fields: dict[str, Any] = {"tracks": _rotations(clip), "root_position": root, "rootPosition": root}
    if clip.expressions:
        fields["expressions"] = {name: _track(clip, weights, "weight") for name, weights in clip.expressions.items()}
    if clip.gaze is not None:
        fields["look_at"] = _track(clip, clip.gaze, "yaw", "pitch")
    return fields


def encode_response(clip: VrmClip, head: Mapping[str, Any]) -> bytes:
    """One JSON object: the fields of ``head`` (JSON values only), then those of the clip. Same input, same bytes."""
    return orjson.dumps({**head, **clip_to_fragments(clip)})


def without_repetitions(document: bytes) -> bytes:
    """What :func:`encode_response` wrote, without the list ``clips``: far less to parse for who wants the first one.

    Found by bytes that no text in the document can hold, since quotes are escaped there. The list is the last field
    before ``tracks``, which in its own entries follow a number.
    """
    start, stop = document.find(b',"clips":['), document.find(b'],"tracks":{')
    return document if min(start, stop) < 0 else document[:start] + document[stop + 1 :]
