"""VRM JSON to a clip: what this service answered, to be continued, edited or exported again.

The inverse of :mod:`motion_service.export.vrm_json`. Also takes such JSON from elsewhere, with keys at any times. The
other readers are :mod:`motion_service.export.read_vrma` and :mod:`motion_service.export.read_bvh`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.export.keys import (
    MAX_BYTES,
    MAX_FRAMES,
    KeyedClip,
    Keys,
    check_height,
    check_name,
    keys_to_clip,
    refuse,
)
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT, VRM_PARENT
from motion_service.vrm.convention import to_vrm0


def json_to_clip(document: bytes | Mapping[str, Any]) -> VrmClip:
    """An answer of this service, as bytes or parsed, to its clip in VRM 1.0 axes.

    ``metadata`` tells the axes (``target``), the height of the hips and the contacts; without it, VRM 1.0 and the
    canonical body are assumed. Raises BadRequest (field ``clip``) for anything else than such an answer.
    """
    fields = _parse(document) if isinstance(document, bytes) else _mapping(document, "the file")
    metadata = fields.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    tracks = _mapping(fields.get("tracks"), "tracks")
    if unknown := [bone for bone in tracks if bone not in VRM_PARENT]:
        raise refuse(f"tracks: {str(unknown[0])[:40]!r} is not a VRM humanoid bone")
    name = "metadata.rest_hips_height"
    height = check_height(_number(metadata.get("rest_hips_height", CANONICAL_HIPS_HEIGHT), name), name)
    root = fields.get("root_position", fields.get("rootPosition"))
    hips = Keys("root_position", np.zeros(1), torch.tensor([[0.0, height, 0.0]]))
    look_at = fields.get("look_at")
    keyed = KeyedClip(
        {bone: _keys(rows, "xyzw", f"tracks.{bone}") for bone, rows in tracks.items()},
        hips if root is None else _keys(root, "xyz", "root_position"),
        height,
        {
            name: _keys(rows, ["weight"], f"expressions.{check_name(name)[:40]}")
            for name, rows in _mapping(fields.get("expressions", {}), "expressions").items()
        },
        None if look_at is None else _keys(look_at, ["yaw", "pitch"], "look_at"),
    )
    fps = None if fields.get("fps") is None else _number(fields["fps"], "fps")
    clip = keys_to_clip(keyed, fps, _contacts(metadata.get("contacts")))
    return to_vrm0(clip) if metadata.get("target") == "vrm0" else clip  # its own inverse


def _parse(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_BYTES:
        raise refuse(f"the file is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return _mapping(orjson.loads(data), "the file")
    except orjson.JSONDecodeError as error:
        raise refuse("the file is not valid JSON") from error


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise refuse(f"{name}: must be an object")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(f"{name}: must be a number")
    try:
        return float(value)
    except OverflowError as error:
        raise refuse(f"{name}: the number is too large") from error


def _keys(rows: object, names: Sequence[str], track: str) -> Keys:
    """Rows ``{"t": .., name: .., ..}`` as keys with values (K, len(names))."""
    if not isinstance(rows, Sequence) or not 1 <= len(rows) <= MAX_FRAMES:
        raise refuse(f"{track}: must be a list of 1 to {MAX_FRAMES} keys")
    wanted = f"{track}: each key needs the numbers t, {', '.join(names)}"
    try:
        cells = [row[name] for row in rows for name in ("t", *names)]
        if not {*map(type, cells)} <= {int, float}:  # neither lists nor booleans, which numpy would take
            raise refuse(wanted)
        table = np.array(cells, dtype=np.float64).reshape(len(rows), -1)
    except (KeyError, TypeError, OverflowError) as error:
        raise refuse(wanted) from error
    with np.errstate(over="ignore"):  # to infinity, which Keys refuses
        return Keys(track, table[:, 0], torch.from_numpy(table[:, 1:].astype(np.float32)))


def _contacts(rows: object) -> Tensor | None:
    """(T, 4), or None when there are none to be used."""
    if not isinstance(rows, Sequence) or not 1 <= len(rows) <= MAX_FRAMES:
        return None
    try:
        with np.errstate(over="ignore"):
            table = np.array(rows, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
    usable = table.ndim == 2 and np.isfinite(table).all()
    return torch.from_numpy(table.clip(0, 1)) if usable else None
