"""The last second of a motion as ``start`` and ``seek_pose`` tell it to the service: thinned, as messages are small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

POSE_S: Final = 1.1
"""How much of a motion is told, s: the models go on from one second."""
POSE_FPS: Final = 24.0
"""Most frames a second that are told; the models' own rate is 20. Of faster motions every other frame or fewer are."""
_FINGERS: Final = ("Thumb", "Index", "Middle", "Ring", "Little")
"""Parts of bone names; the service moves fingers by itself."""

Keys = Sequence[Mapping[str, float]]


def new_pose(
    tracks: Mapping[str, Keys], root: Keys, fps: float, target: str, rest_hips_height: float | None
) -> dict[str, Any]:
    """The end of a motion as messages hold it, always with its last frame.

    ``tracks`` {VRM bone: [{t, x, y, z, w}]} and ``root`` [{t, x, y, z}], m, have ``fps`` frames a second.
    """
    step = math.ceil(fps / POSE_FPS)
    count = int(POSE_S * fps) + 1
    pose = {
        "tracks": {
            bone: _thin(keys, count, step)
            for bone, keys in tracks.items()
            if not any(finger in bone for finger in _FINGERS)
        },
        "root_position": _thin(root, count, step) or None,
        "fps": fps / step,
        "target": target,
        "rest_hips_height": rest_hips_height,
    }
    return {name: value for name, value in pose.items() if value is not None}


class Tail:
    """The last second that came of a stream, so that it goes on from there wherever it is taken up again."""

    def __init__(self) -> None:
        self._tracks: dict[str, list[Mapping[str, float]]] = {}
        self._root: list[Mapping[str, float]] = []
        self._fps = POSE_FPS
        self.end: int | None = None
        """The frame that follows; None before the first one."""

    def add(self, first_frame: int, tracks: Mapping[str, Keys], root: Keys, fps: float) -> None:
        """Frames from ``first_frame`` on; they replace those that were there."""
        self.cut(first_frame)
        self._fps, self.end = fps, first_frame + len(root)
        kept = int(POSE_S * fps) + 1
        for keys, more in [*((self._tracks.setdefault(bone, []), tracks[bone]) for bone in tracks), (self._root, root)]:
            keys.extend(more)
            del keys[:-kept]

    def cut(self, frame: int) -> None:
        """Frames from ``frame`` on will be replaced."""
        if self.end is None or frame >= self.end:
            return
        dropped, self.end = self.end - frame, frame
        for keys in (*self._tracks.values(), self._root):
            del keys[-dropped:]

    def pose(self, target: str, rest_hips_height: float | None) -> dict[str, Any] | None:
        """What :func:`new_pose` says of it; None when there is nothing."""
        if not self._root:
            return None
        return new_pose(self._tracks, self._root, self._fps, target, rest_hips_height)


def _thin(keys: Keys, count: int, step: int) -> list[dict[str, float]]:
    """Of the last ``count`` keys the last one and every ``step``-th before it, in seconds from the first."""
    kept = [*keys[-count:][::-1][::step]][::-1]
    return [{**key, "t": round(key["t"] - kept[0]["t"], 5)} for key in kept]
