from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from motion_service.config import Config, default_options_from_environment, unknown_variables


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("MOTION_") or name in ("DATA_ROOT", "OUTPUT_DIR", "DATA_MOUNT_PATH", "CHECKPOINT_DIR"):
            monkeypatch.delenv(name)


def test_defaults_are_those_outside_a_container() -> None:
    config = Config()
    assert (config.host, config.port) == ("127.0.0.1", 7100)
    assert (config.data_root, config.output_dir) == (Path("data"), Path("data/animations"))
    assert (config.mount_path, config.checkpoint_dir) == ("/data", Path("models/motion"))
    assert config.placeholder and not config.allow_no_key and config.keys == ()


def test_checkpoint_dir_wins_over_its_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_MODEL_DIR", "/second")
    assert Config().checkpoint_dir == Path("/second")
    monkeypatch.setenv("CHECKPOINT_DIR", "/first")
    assert Config().checkpoint_dir == Path("/first")


def test_output_dir_follows_data_root_and_must_lie_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert Config().output_dir == tmp_path / "animations"
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "x" / ".." / ".." / "elsewhere"))
    with pytest.raises(ValidationError, match="must lie under DATA_ROOT"):
        Config()


def test_output_dir_may_be_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTPUT_DIR", "s3://bucket.name/a/b/")
    assert Config().output_dir == "s3://bucket.name/a/b"
    for limit in ("MOTION_OUTPUT_TTL", "MOTION_OUTPUT_MAX_BYTES"):
        with monkeypatch.context() as patch, pytest.raises(ValidationError, match="lifecycle"):
            patch.setenv(limit, "60")
            Config()
    for wrong in ("gs://bucket", "s3://", "s3://B", "s3://bucket/../x", "s3://bucket//x", "s3://key:secret@bucket/x"):
        monkeypatch.setenv("OUTPUT_DIR", wrong)
        with pytest.raises(ValidationError, match="OUTPUT_DIR must be"):
            Config()


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_PORT", "")
    monkeypatch.setenv("MOTION_DEFAULT_FPS", "")
    assert Config().port == 7100
    assert default_options_from_environment() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("MOTION_PORT", "70000"), ("MOTION_DEVICE", "tpu"), ("MOTION_QUEUE_SIZE", "0"), ("DATA_MOUNT_PATH", "/a/../b")],
)
def test_bad_values_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name):
        Config()


def test_keys_are_split_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_API_KEYS", " first-key , second-key,")
    config = Config()
    assert config.keys == ("first-key", "second-key")
    assert "first-key" not in repr(config)


def test_default_options_and_unknown_variables_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_DEFAULT_FPS", "30")
    monkeypatch.setenv("MOTION_PROT", "7101")
    monkeypatch.setenv("MOTION_TIMEOUT_SEC", "30")
    assert default_options_from_environment() == {"fps": "30"}
    assert unknown_variables() == ["MOTION_PROT"]
