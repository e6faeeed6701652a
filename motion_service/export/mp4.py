"""A clip to an mp4 that every browser plays: H.264, yuv420p, index in front. The picture comes from ``render``.

Encoded with PyAV: one wheel with FFmpeg's libraries, frames straight from numpy. Not with moviepy, which pipes frames
to an ffmpeg program that must be there too, and brings a video editor of which this would use nothing.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, zip_longest
from os import PathLike
from typing import Final, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image, ImageDraw

from motion_service.clips import VrmClip
from motion_service.export.font import caption_font
from motion_service.export.render import Bytes, Floor, clip_to_capsules, draw_frame, portrait_camera, smooth_focus

MAX_VIDEO_FPS: Final = 30.0
"""Faster clips are thinned to at most this rate: a preview needs no more, and drawing takes 3 to 6 ms a frame."""
_CODECS: Final = ("libx264", "libopenh264", "mpeg4")
"""Encoders by preference; builds of FFmpeg without GPL parts lack the first."""
CAPTION_LINES: Final = 2
GRID_TILE: Final = 320
"""Pixels of a tile's side in a grid of videos."""
GRID_COLUMNS: Final = 12
"""Tiles of a grid's row at most: 3840 pixels."""
_PROGRESS: Final = (90, 120, 200)


def _encoder() -> tuple[str, dict[str, str]]:
    """The best encoder of this FFmpeg build and its options."""
    name = next(codec for codec in _CODECS if codec in av.codecs_available)
    return name, {"crf": "23", "preset": "veryfast"} if name == "libx264" else {}


def _caption(title: str, width: int, height: int) -> Bytes:
    """The title in up to two lines as coverage (H, W, 1) in 0..255."""
    mask = Image.new("L", (width, height))
    text, font = caption_font(" ".join(title.split()), max(12, height // 26))
    draw = ImageDraw.Draw(mask)
    lines = [""]
    for piece in re.findall(r"[!-~]+ ?|.", text):  # English breaks between words, Japanese anywhere
        if draw.textlength(lines[-1] + piece, font=font) > width * 0.90:
            if len(lines) == CAPTION_LINES:
                lines[-1] += "..."
                break
            lines.append("")
        lines[-1] += piece
    draw.multiline_text((width * 0.04, height * 0.03), "\n".join(lines), 255, font=font)
    return np.asarray(mask)[..., None]


def _frames(clip: VrmClip, stride: int, title: str, size: int) -> Iterator[Bytes]:
    """RGB frames (size, size, 3) with the title above and a thin progress bar below."""
    camera = portrait_camera(size, size)
    floor, capsules = Floor(camera), clip_to_capsules(clip)
    focus, caption = smooth_focus(clip, capsules), _caption(title, size, size)
    head = int(np.flatnonzero(caption.any(axis=(1, 2))).max(initial=-1)) + 1  # rows that hold text
    ink = 1 - caption[:head] / np.float32(255) * np.float32(0.8)
    for frame in range(0, clip.num_frames, stride):
        picture = draw_frame(floor, camera, capsules[frame], focus[frame])
        picture[:head] = (picture[:head] * ink).astype(np.uint8)
        picture[-4:, : round(size * (frame + 1) / clip.num_frames)] = _PROGRESS
        yield picture


def write_mp4(clip: VrmClip, path: str | PathLike[str], title: str = "", size: int = 480) -> None:
    """Draw ``clip`` and write it to ``path``, ``size`` by ``size`` pixels (made even), at the clip's rate up to 30 fps.

    One thread, so that drawing never takes cores from generation; call it from a worker thread or process.
    """
    size -= size % 2
    stride = math.ceil(clip.fps / MAX_VIDEO_FPS)
    rate = Fraction(clip.fps / stride).limit_denominator(1001)
    encode_pictures(_frames(clip, stride, title, size), path, rate, size, size)


def write_grid(rows: Sequence[Sequence[PathLike[str]]], path: str | PathLike[str]) -> None:
    """Tile videos of one rate and of any length, written before, into one at ``path``; short ones freeze at their end.

    ``rows``: equally many videos each. All are decoded side by side, frame by frame, so memory does not grow with
    their length; at most :data:`GRID_COLUMNS` of a row are shown, which bounds the open files.
    """
    shown = [row[:GRID_COLUMNS] for row in rows]
    with contextlib.ExitStack() as stack:
        opened = [[stack.enter_context(av.open(str(video))) for video in row] for row in shown]
        rate = opened[0][0].streams.video[0].average_rate
        tiles = [[_tiles(video) for video in row] for row in opened]
        encode_pictures(
            _grid_frames(tiles), path, rate or Fraction(1), GRID_TILE * len(shown[0]), GRID_TILE * len(shown)
        )


def _tiles(video: InputContainer) -> Iterator[Bytes]:
    """Frames of a video, (GRID_TILE, GRID_TILE, 3)."""
    video.streams.video[0].codec_context.thread_count = 1
    for frame in video.decode(video=0):
        yield cast(Bytes, frame.to_ndarray(format="rgb24", width=GRID_TILE, height=GRID_TILE))


def _grid_frames(tiles: Sequence[Sequence[Iterator[Bytes]]]) -> Iterator[Bytes]:
    """Pictures of all tiles, row under row, until the longest video ends."""
    width = len(tiles[0])
    latest: list[Bytes] = [np.zeros((GRID_TILE, GRID_TILE, 3), np.uint8)] * sum(map(len, tiles))
    for new in zip_longest(*chain.from_iterable(tiles)):
        latest = [old if tile is None else tile for old, tile in zip(latest, new, strict=True)]
        yield np.concatenate([np.concatenate(latest[i : i + width], axis=1) for i in range(0, len(latest), width)])


def encode_pictures(
    pictures: Iterable[Bytes], path: str | PathLike[str], rate: Fraction, width: int, height: int
) -> None:
    """RGB pictures (height, width, 3), both even, to an mp4 of ``rate`` frames a second."""
    codec, options = _encoder()
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
