"""A clip to an mp4 that every browser plays: H.264, yuv420p, index in front. The picture comes from ``render``.

Encoded with PyAV: one wheel with FFmpeg's libraries, frames straight from numpy. Not with moviepy, which pipes frames
to an ffmpeg program that must be there too, and brings a video editor of which this would use nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from os import PathLike
from typing import Final, cast

import av
import numpy as np
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
    codec, options = _encoder()
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        rate = Fraction(clip.fps / stride).limit_denominator(1001)
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in _frames(clip, stride, title, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
