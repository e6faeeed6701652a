"""A clip to compact binary (``application/msgpack``): the fields of the JSON answer, with tracks as float32 blocks.

A client reads it without parsing numbers. :func:`decode_binary` needs only msgpack and numpy; in a browser,
``new Float32Array(block.slice().buffer)`` does the same for each block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # clients without torch decode with this module
    from torch import Tensor

    from motion_service.clips import VrmClip

LAYOUT: Final[Mapping[str, str | list[str]]] = {
    "dtype": "float32 little-endian, frame after frame",
    "times": "frame i is at i / fps seconds",
    "tracks": ["x", "y", "z", "w"],
    "root_position": ["x", "y", "z"],
    "expressions": ["weight"],
    "look_at": ["yaw", "pitch"],
}
"""What the blocks hold; the numbers of a frame by name."""


def clip_to_blocks(clip: VrmClip) -> dict[str, Any]:
    """The fields of a clip: ``tracks`` {bone: bytes}, ``root_position`` bytes, and what optional tracks it has.

    The signs of quaternions are kept. Put them wherever a clip stands in an answer.
    """
    blocks: dict[str, Any] = {
        "tracks": {bone: _block(track) for bone, track in clip.rotations.items()},
        "root_position": _block(clip.hips),
    }
    if clip.expressions:
        blocks["expressions"] = {name: _block(track) for name, track in clip.expressions.items()}
    if clip.gaze is not None:
        blocks["look_at"] = _block(clip.gaze)
    return blocks


def encode_binary(clip: VrmClip, head: Mapping[str, Any]) -> bytes:
    """One msgpack map: the fields of ``head`` (JSON values only), ``layout``, then those of the clip."""
    packed: bytes = msgpack.packb({**head, "layout": LAYOUT, **clip_to_blocks(clip)})
    return packed


def decode_binary(data: bytes) -> dict[str, Any]:
    """The answer with numpy arrays in place of the blocks: (T, 4) per bone, (T, 3), (T,) per expression, (T, 2).

    Entries of ``clips`` are decoded likewise. Raises ValueError for bytes that are no such answer.
    """
    try:
        answer = msgpack.unpackb(data)
        decoded = _decode_blocks(answer)
        if "clips" in answer:
            decoded["clips"] = [_decode_blocks(entry) for entry in answer["clips"]]
    except (msgpack.UnpackException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("this is no motion answer in msgpack") from error
    return decoded


def _block(track: Tensor) -> bytes:
    return np.ascontiguousarray(track.detach().cpu().numpy(), dtype="<f4").tobytes()


def _decode_blocks(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one clip with its blocks as arrays; all others as they are."""
    decoded = dict(fields)
    for name in ("tracks", "expressions") if "expressions" in fields else ("tracks",):
        decoded[name] = {key: _numbers(block, name) for key, block in fields[name].items()}
    for name in {"root_position", "look_at"} & fields.keys():
        decoded[name] = _numbers(fields[name], name)
    return decoded


def _numbers(block: bytes, name: str) -> npt.NDArray[np.float32]:
    width = len(LAYOUT[name])
    numbers = np.frombuffer(block, "<f4")
    return numbers if width == 1 else numbers.reshape(-1, width)
