"""``motion prompt``: texts as arguments, files and standard input; one JSON object a prompt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from motion_service import cli_prompt

ROOT = Path(__file__).parents[1]
APP = typer.Typer()
APP.add_typer(cli_prompt.app)
APP.command()(lambda: None)  # with a single command, typer leaves out its name
RUNNER = CliRunner()


def test_texts_are_shown_as_plans() -> None:
    done = RUNNER.invoke(APP, ["prompt", "3秒で手を振る"])
    plan = json.loads(done.stdout)
    assert (plan["language"], plan["action"], plan["seconds"]) == ("ja", "wave", 3.0)
    assert plan["segments"][0]["caption"] == plan["captions"][0] != ""


def test_a_file_gives_one_object_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("walk\n\n  お辞儀する\nmarche vite et saute\n", encoding="utf-8")
    done = RUNNER.invoke(APP, ["prompt", "--file", str(file), "--json"])
    plans = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(plan["language"], plan["action"]) for plan in plans] == [("en", "walk"), ("ja", "bow"), ("other", None)]


def test_standard_input_is_a_file_too() -> None:
    done = RUNNER.invoke(APP, ["prompt", "--file", "-", "--json"], input="wave\nbow\n")
    assert [json.loads(line)["action"] for line in done.stdout.splitlines()] == ["wave", "bow"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a prompt"),
        (["\x07"], "control characters"),
        (["x" * 2001], "2000"),
        (["..."], "empty"),
        (["--file", "not-there.txt"], "not-there.txt"),
    ],
)
def test_bad_input_is_said_in_one_line(arguments: list[str], words: str) -> None:
    done = RUNNER.invoke(APP, ["prompt", *arguments])
    assert done.exit_code == 1
    assert words in done.output and "Traceback" not in done.output


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\xff\xfe")
    done = RUNNER.invoke(APP, ["prompt", "--file", str(file)])
    assert done.exit_code == 1
    assert "not UTF-8" in done.output


def test_prompts_are_measured_by_a_script(tmp_path: Path) -> None:
    table = tmp_path / "few.tsv"
    head = "id\tlanguage\ttext\tactions\tdetail\tseconds\n"
    table.write_text(
        f"{head}a\ten\twave your left hand for 2s\twave\tleft\t2\n"
        "b\ten\tnice day\tnone\t-\t-\nc\ten\tnice day\twalk\t-\t3\n"
    )
    command = [sys.executable, ROOT / "scripts/motion/evaluate_prompts", table, "--wrong", "--labels"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])["all"]
    assert (figures["prompts"], figures["action"], figures["detail"]) == (3, pytest.approx(0.6667), 1.0)
    assert (figures["none_precision"], figures["none_recall"]) == (0.5, 1.0)
    assert "c\taction\twalk\tnone" in done.stdout
