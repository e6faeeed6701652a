"""A clip to the JSON that clients play: keyframe lists of each bone and of the hips, as bytes, without Python objects.

The lists are what three.js tracks are made of in the assistant's front end: ``{"t": s, "x": .., "y": .., "z": .., "w":
..}`` on normalised VRM bones, and the hips' absolute place in metres under two spellings, ``root_position`` and
``rootPosition``. When the clip has them, ``expressions`` holds ``{name: [{"t", "weight"}]}`` and ``look_at`` the gaze
as ``[{"t", "yaw", "pitch"}]`` in radians, positive to the figure's left and down. Nothing here turns or scales a clip;
:mod:`motion_service.vrm` does that before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.export.pose import unit_quats

DECIMALS: Final = 5
"""Digits after the point: a quaternion is off by at most 1e-5, a place by 5 um, a time by 5 us."""


def number_texts(values: npt.NDArray[np.floating[Any]]) -> list[bytes]:
    """Flat array to JSON number texts. orjson prints the shortest text of a float32, so rounding first cuts digits."""
    rounded = np.ascontiguousarray(values.round(DECIMALS) + 0.0)  # + 0.0 turns -0.0 into 0.0
    return orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def keyframes(times: list[bytes], track: Tensor, keys: Sequence[str]) -> orjson.Fragment:
    """``track`` (T, len(keys)) as the JSON list ``[{"t": .., key: .., ..}, ..]``."""
    columns = [number_texts(column) for column in track.detach().float().cpu().numpy().T]
    row = ",".join(f'"{key}":%b' for key in ("t", *keys)).encode()
    cells = [cell for frame in zip(times, *columns, strict=True) for cell in frame]
    text = (b"{" + row + b"},") * len(times) % tuple(cells)
    return orjson.Fragment(b"[" + text[:-1] + b"]")


def clip_to_fragments(clip: VrmClip) -> dict[str, Any]:
    """The fields ``tracks``, ``root_position`` and ``rootPosition`` for :func:`orjson.dumps` to splice in, then
    ``expressions`` and ``look_at`` if the clip has them.

    Put them wherever a clip stands in an answer: at the top, or in each entry of ``clips``. Frame i is at i / fps s.
    """
    times = number_texts(np.arange(clip.num_frames) / clip.fps)
    root = keyframes(times, clip.hips, "xyz")
    tracks = {bone: keyframes(times, unit_quats(track), "xyzw") for bone, track in clip.rotations.items()}
    fields: dict[str, Any] = {"tracks": tracks, "root_position": root, "rootPosition": root}
    if clip.expressions:
        weights = {name: keyframes(times, track[:, None], ["weight"]) for name, track in clip.expressions.items()}
        fields["expressions"] = weights
    if clip.gaze is not None:
        fields["look_at"] = keyframes(times, clip.gaze, ["yaw", "pitch"])
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
