"""Unit quaternions to the text of JSON numbers, all of one width: digits are looked up, not printed one by one.

``-0.12345`` has eight characters, and so has ``0.12345`` behind a space: a number is one 64-bit word out of two tables,
and keyframes are records of one length. Printing one number at a time takes three times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DECIMALS: Final = 5
"""Digits after the point: a quaternion is off by at most 1e-5."""
_WIDTH: Final = 8
_ONE: Final = 10**DECIMALS
_LOW: Final = 1000
"""The last three digits are one look-up, what stands before them is the other."""
_COMPONENTS: Final = "xyzw"


def _words(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.frombuffer("".join(texts).encode(), "<u8")


_FIRST: Final = _words([f"{sign}{i // 100}.{i % 100:02d}\0\0\0" for sign in " -" for i in range(_ONE // _LOW + 1)])
"""(2 * 101,) the first five characters of 0.00 to 1.00, then of the negative ones."""
_LAST: Final = _words([f"\0\0\0\0\0{i:03d}" for i in range(_LOW)])
"""(1000,) the last three."""


def numbers_to_words(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint64]:
    """The text of each number of -1..1, eight bytes."""
    counts = np.rint(values * values.dtype.type(_ONE)).astype(np.int32)
    size = np.abs(counts)
    first = size // _LOW
    words: npt.NDArray[np.uint64] = _LAST[size - first * _LOW]
    first += (counts < 0) * np.int32(_ONE // _LOW + 1)
    words |= _FIRST[first]
    return words


def tracks_to_json(tracks: npt.NDArray[np.floating[Any]], times: Sequence[bytes]) -> list[bytes]:
    """Keyframe lists ``[{"t": .., "x": .., "y": .., "z": .., "w": ..}, ..]`` of tracks (J, T, 4) at T times."""
    template, places = _records(tuple(times))
    records = np.empty((len(tracks), *template.shape), np.uint8)
    records[:] = template
    words = numbers_to_words(tracks)
    for component, place in enumerate(places):
        slots = np.ndarray(words.shape[:2], "<u8", records.data, place, records.strides[:2])
        slots[:] = words[..., component]
    return [b"[" + track.data[:-1] + b"]" for track in records.reshape(len(tracks), -1)]  # without the last comma


@lru_cache(maxsize=16)
def _records(times: tuple[bytes, ...]) -> tuple[npt.NDArray[np.uint8], tuple[int, ...]]:
    """Keyframes (T, bytes) without their numbers, each with a comma behind it, and where in each the numbers go."""
    longest = max(map(len, times))
    start, places = len(b'{"t":') + longest, []
    frame = b""
    for name in _COMPONENTS:
        frame += f',"{name}":'.encode()
        places.append(start + len(frame))
        frame += b" " * _WIDTH
    text = b"".join(b'{"t":' + time.rjust(longest) + frame + b"}," for time in times)
    return np.frombuffer(text, np.uint8).reshape(len(times), -1), tuple(places)
