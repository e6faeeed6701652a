from __future__ import annotations

import builtins
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from motion_service import loading, main
from motion_service.cli import app
from motion_service.client import MotionClient

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service answers, and what is written goes to a scratch directory."""
    monkeypatch.setattr(MotionClient, "is_alive", lambda self: False)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))


def test_generate_works_without_a_server_and_without_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading, "mini_directory", lambda: tmp_path)
    out = tmp_path / "motion.json"
    done = RUNNER.invoke(app, ["generate", "a person waves", "--out", str(out), "--seconds", "1.5", "--seed", "3"])
    assert done.exit_code == 0, done.output
    motion = json.loads(out.read_bytes())
    assert (motion["duration_sec"], motion["metadata"]["fallback_reason"]) == (1.5, "not-loaded")
    assert "placeholder" in done.output


def test_prompt_shows_the_plan() -> None:
    done = RUNNER.invoke(app, ["prompt", "3秒で手を振る"])
    plan = json.loads(done.stdout)
    assert (plan["language"], plan["seconds"]) == ("ja", 3.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "", "--out", "x.json"], "prompt"),
        (["generate", "walks", "--out", "x.json", "--seconds", "500"], "duration_sec"),
        (["generate", "walks", "--out", "x.json", "--server", "http://127.0.0.1:9"], "no answer"),
        (["prompt", "\x07"], "control characters"),
    ],
)
def test_bad_input_is_said_in_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 1
    assert words in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("arguments", [["serve"], ["prompt", "walks"], ["generate", "walks", "--out", "x.json"]])
def test_commands_name_the_extra_they_need(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name in ("motion_service.main", "motion_service.pipeline", "motion_service.prompt.plan"):
            raise ImportError("no", name="torch")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 1
    assert "motion-service[server]" in done.output


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MOTION_HOST": "0.0.0.0"}, "MOTION_API_KEYS"),
        ({"OUTPUT_DIR": "/somewhere/else"}, "DATA_ROOT"),
        ({"MOTION_PORT": "many"}, "MOTION_PORT"),
        ({"MOTION_DEFAULT_FPS": "many"}, "MOTION_DEFAULT_FPS"),
    ],
)
def test_settings_that_cannot_work_end_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(main, "configure_logging", lambda level: None)
    monkeypatch.setattr(main, "serve", lambda *_, **__: pytest.fail("it started"))
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == main.EXIT_CONFIG
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_before_models_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "configure_logging", lambda level: None)
    monkeypatch.setattr(main, "load_app", lambda config: pytest.fail("it loads"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("MOTION_PORT", str(other.getsockname()[1]))
        with pytest.raises(SystemExit) as end:
            main.main()
    assert end.value.code == main.EXIT_CONFIG
    assert "set MOTION_PORT" in capsys.readouterr().err
