"""Pictures and videos of clips: what is drawn where, and files that players can read."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from motion_service.clips import PromptPlan, VrmClip
from motion_service.export import font, mp4
from motion_service.export.mp4 import GRID_COLUMNS, GRID_TILE, write_grid, write_mp4
from motion_service.export.render import clip_to_image, clip_to_strip
from motion_service.geometry.rotation import quat_multiply, yaw_to_quat
from motion_service.placeholder import plan_to_placeholder

Picture = npt.NDArray[np.int64]


def stand(seconds: float = 1.0, action: str | None = None) -> VrmClip:
    return plan_to_placeholder(PromptPlan("a person stands", "en", (), action=action), seconds, 1)


def turned(clip: VrmClip, yaw: float) -> VrmClip:
    hips = quat_multiply(yaw_to_quat(torch.full((clip.num_frames,), yaw)), clip.rotations["hips"])
    return replace(clip, rotations={**clip.rotations, "hips": hips})


def pixels(image: Image.Image) -> Picture:
    return np.asarray(image).astype(np.int64)


def is_blue(picture: Picture) -> npt.NDArray[np.bool_]:
    return picture[..., 2] > picture[..., 0] + 60


def is_red(picture: Picture) -> npt.NDArray[np.bool_]:
    return picture[..., 0] > picture[..., 2] + 60


def is_dark(picture: Picture) -> npt.NDArray[np.bool_]:
    dark: npt.NDArray[np.bool_] = picture.max(axis=-1) < 85
    return dark


def mean_x(mask: npt.NDArray[np.bool_]) -> float:
    return float(np.nonzero(mask)[1].mean())


def test_figure_faces_the_viewer_with_its_left_on_the_right() -> None:
    picture = pixels(clip_to_image(stand()))
    assert is_blue(picture).sum() > 1500 and is_red(picture).sum() > 1500
    assert mean_x(is_blue(picture)) > mean_x(is_red(picture)) + 20
    assert is_dark(picture).sum() > 150  # chest plate, nose, eyes
    rows = np.nonzero(is_blue(picture).any(axis=1))[0]
    assert 0.1 * 480 < rows.min() and rows.max() < 0.95 * 480


def test_back_hides_the_front() -> None:
    picture = pixels(clip_to_image(turned(stand(), np.pi + np.radians(24))))
    assert is_dark(picture).sum() < 20
    assert mean_x(is_blue(picture)) < mean_x(is_red(picture))


def test_strip_shows_every_pose_in_order_of_time() -> None:
    still = stand(4.0)
    turn = torch.linspace(0, np.pi, still.num_frames)
    hips = quat_multiply(yaw_to_quat(turn), still.rotations["hips"])
    travel = still.hips + torch.linspace(0, 5, still.num_frames)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    clip = replace(still, rotations={**still.rotations, "hips": hips}, hips=travel)
    picture = pixels(clip_to_strip(clip, num_poses=5, width=1000, height=300))
    cells = [picture[:, 200 * i : 200 * (i + 1)] for i in range(5)]
    assert all(is_blue(cell).sum() > 300 and is_red(cell).sum() > 300 for cell in cells)
    assert mean_x(is_blue(cells[0])) > mean_x(is_red(cells[0]))
    assert mean_x(is_blue(cells[4])) < mean_x(is_red(cells[4]))


def read_video(path: Path) -> tuple[av.VideoStream, list[Picture]]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(np.int64) for frame in container.decode(video=0)]
        return container.streams.video[0], frames


def test_video_plays_in_browsers(tmp_path: Path) -> None:
    path = tmp_path / ".partial-sample"  # the store writes to temporary names without an ending
    write_mp4(stand(1.0, "wave"), path, "a person waves\nhappily", size=241)
    stream, frames = read_video(path)
    assert (stream.width, stream.height, len(frames)) == (240, 240, 20)
    assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    assert float(stream.average_rate or 0) == 20
    data = path.read_bytes()
    assert data[4:8] == b"ftyp" and 0 < data.find(b"moov") < data.find(b"mdat")  # index in front


def test_video_follows_a_walking_figure(tmp_path: Path) -> None:
    clip = stand(2.0)
    walk = clip.hips + torch.linspace(0, 4, clip.num_frames)[:, None] * torch.tensor([1.0, 0.0, 1.0])
    write_mp4(replace(clip, hips=walk), tmp_path / "a.mp4", size=240)
    frames = read_video(tmp_path / "a.mp4")[1]
    places = [mean_x(is_blue(frame) | is_red(frame)) for frame in frames]
    assert 70 < min(places) and max(places) < 170


@pytest.mark.parametrize(
    ("fps", "rate", "count"), [(60.0, 30.0, 20), (120.0, 30.0, 10), (31.0, 15.5, 20), (7.5, 7.5, 40)]
)
def test_video_rate_is_the_clips_or_a_fraction_of_it(tmp_path: Path, fps: float, rate: float, count: int) -> None:
    write_mp4(replace(stand(2.0), fps=fps), tmp_path / "a.mp4", size=120)
    stream, frames = read_video(tmp_path / "a.mp4")
    assert float(stream.average_rate or 0) == pytest.approx(rate) and len(frames) == count


def test_title_and_progress_are_drawn(tmp_path: Path) -> None:
    for name, title in (("plain", ""), ("titled", "a person waves and " * 40)):
        write_mp4(stand(0.2), tmp_path / name, title)
    plain, titled = (read_video(tmp_path / name)[1] for name in ("plain", "titled"))
    assert np.abs(plain[0][:60] - titled[0][:60]).max() > 120
    assert np.abs(plain[0][80:] - titled[0][80:]).mean() < 2
    bar = [int((frame[-3, :, 2] > frame[-3, :, 0] + 60).sum()) for frame in plain]
    assert bar[0] == pytest.approx(120, abs=4) and bar[-1] == 480


def test_one_frame_is_enough_and_a_missing_encoder_has_a_substitute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mp4, "_CODECS", ("no-such-codec", "mpeg4"))
    write_mp4(stand(0.05), tmp_path / "a.mp4", size=120)
    stream, frames = read_video(tmp_path / "a.mp4")
    assert len(frames) == 1 and stream.codec_context.name == "mpeg4"


def test_captions_without_a_japanese_font_are_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font, "_japanese_font", lambda size: None)
    assert font.caption_font("wave 手を振る", 16)[0] == "wave ????"
    assert font.caption_font("wave \ud800", 16)[0] == "wave ?"
    assert font.caption_font("wave", 16)[0] == "wave"


def write_colour(path: Path, colour: tuple[int, int, int], frames: int) -> Path:
    """A video of one colour that gets black at its last frame."""
    pictures = [np.full((48, 48, 3), colour if i < frames - 1 else 0, np.uint8) for i in range(frames)]
    mp4.encode_pictures(pictures, path, Fraction(20), 48, 48)
    return path


def test_a_grid_shows_every_video_in_its_place_and_freezes_short_ones(tmp_path: Path) -> None:
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (180, 180, 40)]
    made = [write_colour(tmp_path / f"{i}.mp4", colour, 3 + 2 * i) for i, colour in enumerate(colours)]
    write_grid([made[:2], made[2:]], tmp_path / "grid.mp4")
    stream, frames = read_video(tmp_path / "grid.mp4")
    assert len(frames) == 9 and float(stream.average_rate or 0) == 20
    assert all(frame.shape == (2 * GRID_TILE, 2 * GRID_TILE, 3) for frame in frames)
    centres = [slice(GRID_TILE // 4, 3 * GRID_TILE // 4), slice(5 * GRID_TILE // 4, 7 * GRID_TILE // 4)]
    for number, frame in enumerate(frames):
        for i, colour in enumerate(colours):
            shown = frame[centres[i // 2], centres[i % 2]].mean(axis=(0, 1))
            expected = colour if number < 2 + 2 * i else (0, 0, 0)
            assert np.abs(shown - expected).max() < 25, (number, i)


def test_a_grid_has_no_more_columns_than_fit(tmp_path: Path) -> None:
    video = write_colour(tmp_path / "a.mp4", (9, 9, 9), 2)
    write_grid([[video] * (GRID_COLUMNS + 1)], tmp_path / "grid.mp4")
    assert read_video(tmp_path / "grid.mp4")[1][0].shape == (GRID_TILE, GRID_COLUMNS * GRID_TILE, 3)
