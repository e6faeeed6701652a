"""Names of output directories, and what may be deleted."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.errors import BadRequest
from motion_service.export.official_directory import (
    MAX_NAME_BYTES,
    check_replaceable,
    directory_name,
    is_results,
    replace_directory,
    safe_name,
)

HARMLESS = string.ascii_letters + string.digits + "_-,'!()+&=@"
ANY_TEXT = st.text(st.characters(codec=None))


def write_run(directory: Path) -> Path:
    """The files of an earlier run."""
    directory.mkdir(parents=True)
    np.save(directory / "results.npy", np.array({"motion": np.zeros(1)}, dtype=object))
    for name in ("results.txt", "results_len.txt", "sample00_rep00.mp4", "sample05.mp4", "samples_00_to_02.mp4"):
        (directory / name).write_text("x")
    return directory


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("", "samples_my-model_000200000_seed10"),
        ("A person throws a ball.", "samples_my-model_000200000_seed10_A_person_throws_a_ball"),
        ("example_text_prompts", "samples_my-model_000200000_seed10_example_text_prompts"),
        ("走る", "samples_my-model_000200000_seed10_走る"),
    ],
)
def test_names_are_the_official_ones(label: str, name: str) -> None:
    assert directory_name("my-model", "000200000", 10, label) == name


@given(st.text(HARMLESS + " .", max_size=100))
def test_harmless_prompts_have_the_official_name(prompt: str) -> None:
    expected = "samples_m_1_seed3" + ("_" + prompt.replace(" ", "_").replace(".", "") if prompt else "")
    assert directory_name("m", "1", 3, prompt) == expected


@given(ANY_TEXT, ANY_TEXT)
def test_any_prompt_gives_one_short_name_inside_the_directory(checkpoint: str, prompt: str) -> None:
    name = directory_name(checkpoint, "1", 3, prompt)
    assert name.startswith("samples_")
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('/\\:*?"<>|\0\n\r.')
    assert (Path("/there") / name).parent == Path("/there")


@given(ANY_TEXT, ANY_TEXT)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_long_prompts_that_begin_alike_do_not_share_a_directory() -> None:
    names = {directory_name("m", "1", 3, "走" * 300 + end) for end in ("", "る", "れ")}
    assert len(names) == 3


@pytest.mark.parametrize("kind", ["absent", "empty", "run"])
def test_what_may_be_replaced_becomes_empty(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "a" / "run"
    if kind == "empty":
        directory.mkdir(parents=True)
    elif kind == "run":
        write_run(directory)
    replace_directory(directory)
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["thesis.docx", "results.npy.bak", "sample00_rep00.mp4.txt", "folder/", "sample07.mp4/"]
)
def test_a_directory_with_anything_else_is_left_alone(tmp_path: Path, name: str) -> None:
    directory = write_run(tmp_path / "run")
    (directory / name).mkdir() if name.endswith("/") else (directory / name).write_text("mine")
    before = sorted(directory.iterdir())
    with pytest.raises(BadRequest, match=name.rstrip("/")):
        replace_directory(directory)
    assert sorted(directory.iterdir()) == before


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04", "array"])
def test_a_directory_without_the_results_of_a_run_is_left_alone(tmp_path: Path, content: object) -> None:
    directory = write_run(tmp_path / "run")
    (directory / "results.npy").unlink()
    if content == "array":
        np.save(directory / "results.npy", np.zeros((4, 22, 3)))
    elif isinstance(content, bytes):
        (directory / "results.npy").write_bytes(content)
    with pytest.raises(BadRequest, match="not replaced"):
        replace_directory(directory)
    assert (directory / "results.txt").exists()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(BadRequest, match="is a file"):
        check_replaceable(tmp_path / "run")


def test_results_are_recognised_without_reading_them(tmp_path: Path) -> None:
    assert is_results(write_run(tmp_path / "run") / "results.npy")
    assert not is_results(tmp_path / "nothing.npy")
