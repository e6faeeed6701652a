"""The files of the official program: what is in them, byte for byte where it is text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from motion_service.export.npy import Results, clip_to_joints, clip_to_results, joints_to_results, write_results
from tests.export.moving import make_moving

KEYS = ["motion", "text", "lengths", "num_samples", "num_repetitions"]


def read(data: bytes) -> dict[str, Any]:
    array = np.load(io.BytesIO(data), allow_pickle=True)
    assert (array.shape, array.dtype) == ((), np.dtype(object))
    results: dict[str, Any] = array.item()
    return results


def new_motion(rows: int, frames: int = 7) -> Tensor:
    return torch.randn(rows, 22, 3, frames, generator=torch.Generator().manual_seed(rows))


def new_results(samples: int, repetitions: int, texts: list[Any] | None = None) -> Results:
    rows = samples * repetitions
    return Results(new_motion(rows), texts or [f"text {i}" for i in range(rows)], [7] * rows, samples, repetitions)


@given(st.integers(1, 3), st.integers(1, 3))
def test_what_is_written_is_read_again(tmp_path_factory: Any, samples: int, repetitions: int) -> None:
    directory = tmp_path_factory.mktemp("run")
    results = new_results(samples, repetitions)
    write_results(directory, results)
    got = read((directory / "results.npy").read_bytes())
    assert list(got) == KEYS
    assert got["motion"].dtype == np.float32 and got["lengths"].dtype == np.int64
    np.testing.assert_array_equal(got["motion"], results.motion.numpy())
    assert (type(got["text"]), got["text"], got["lengths"].tolist()) == (list, results.texts, results.lengths)
    assert (type(got["num_samples"]), got["num_samples"], got["num_repetitions"]) == (int, samples, repetitions)


def test_text_files_have_a_line_a_row_and_no_last_newline(tmp_path: Path) -> None:
    write_results(tmp_path, new_results(2, 1, ["a person walks.", "手を振る"]))
    assert (tmp_path / "results.txt").read_bytes() == "a person walks.\n手を振る".encode()
    assert (tmp_path / "results_len.txt").read_bytes() == b"7\n7"
    assert {path.name for path in tmp_path.iterdir()} == {"results.npy", "results.txt", "results_len.txt"}


def test_prompts_of_dynamic_text_are_lists_and_joined_by_hashes(tmp_path: Path) -> None:
    write_results(tmp_path, new_results(1, 2, [("walks", "runs"), ("walks", "runs")]))
    assert (tmp_path / "results.txt").read_text() == "walks#runs\nwalks#runs"
    assert read((tmp_path / "results.npy").read_bytes())["text"] == [["walks", "runs"], ["walks", "runs"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"motion": new_motion(3)},
        {"motion": torch.zeros(2, 7, 22, 3)},
        {"texts": ["one"]},
        {"lengths": [7]},
        {"num_repetitions": 2},
    ],
)
def test_rows_that_do_not_agree_are_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"motion": new_motion(2), "texts": ["a", "b"], "lengths": [7, 7]}
    Results(**right, num_samples=2, num_repetitions=1)
    with pytest.raises(ValueError, match="motion"):
        Results(**{**right, "num_samples": 2, "num_repetitions": 1, **wrong})


def test_repetitions_of_one_request_share_a_file() -> None:
    short, long = new_motion(2, 9).permute(0, 3, 1, 2)  # (T, 22, 3) each
    got = read(joints_to_results([short[:4], long], "waves"))
    assert got["motion"].shape == (2, 22, 3, 9) and got["lengths"].tolist() == [4, 9]
    assert (got["text"], got["num_samples"], got["num_repetitions"]) == (["waves", "waves"], 1, 2)
    np.testing.assert_array_equal(got["motion"][1].transpose(2, 0, 1), long.numpy())
    np.testing.assert_array_equal(got["motion"][0, ..., :4].transpose(2, 0, 1), short[:4].numpy())
    assert (got["motion"][0, ..., 4:] == got["motion"][0, ..., 3:4]).all()


def test_a_clip_is_the_file_of_its_joints() -> None:
    clip = make_moving()
    assert clip_to_results(clip, "moves") == joints_to_results([clip_to_joints(clip)], "moves")
