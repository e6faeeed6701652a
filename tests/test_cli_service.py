"""Commands that talk to a service, against the real application over a real socket."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from motion_service.api.http import create_app
from motion_service.api.page import find_page
from motion_service.cli import app
from motion_service.errors import GenerationFailed
from tests.client.stream_server import FRAMES, StreamServer, serve_stream
from tests.fakes import FakeSource
from tests.live_server import free_port, make_jobs, serve


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def url(tmp_path: Path, source: FakeSource) -> Iterator[str]:
    with serve(create_app(make_jobs(tmp_path / "service", {"mini": source}))) as address:
        yield address


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def motion(line: str, *more: str, **options: Any) -> Result:
    return CliRunner().invoke(app, [*shlex.split(line), *more], **options)


def objects(done: Result) -> list[dict[str, Any]]:
    """Standard output, of which every line is a JSON object."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_open_leads_to_the_motion_in_the_page(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert motion("generate walks --seconds 0.5 --open --out a.json", "--server", url).exit_code == 0
    (address,) = opened
    place, _, job_id = address.partition("/?job=")
    assert place == url and httpx.get(f"{url}/v1/motion/jobs/{job_id}").json()["state"] == "done"


def test_open_needs_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motion_service.api.http.find_page", lambda: find_page(tmp_path / "none", tmp_path / "none"))
    with serve(create_app(make_jobs(tmp_path / "other", {"mini": FakeSource()}))) as url:
        done = motion("generate walks --seconds 0.5 --open --out a.json", "--server", url)
    assert (done.exit_code, "no page" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("a.json", b"{"), ("a.vrma", b"glTF"), ("a.bvh", b"HIERARCHY"), ("a.npy", b"\x93NUMPY")],
)
def test_the_name_chooses_the_format(url: str, here: Path, name: str, beginning: bytes) -> None:
    done = motion(f"generate walks --seconds 0.5 --out {name} --server {url}")
    assert (done.exit_code, done.stdout) == (0, f"{name}\n"), done.output
    assert "0.5 s at 20 fps by mini" in done.stderr
    assert (here / name).read_bytes().startswith(beginning)


def test_many_prompts_are_a_directory_and_a_table(url: str, here: Path) -> None:
    (here / "prompts.txt").write_text("walks\n\n元気に手を振る [やあ]\n", encoding="utf-8")
    done = motion(f"generate 'Bows, deeply!' --file prompts.txt --out made --format bvh --seconds 0.5 --server {url}")
    assert done.exit_code == 0, done.output
    assert [path.name for path in sorted((here / "made").iterdir())] == [
        "1-bows-deeply.bvh", "2-walks.bvh", "3-元気に手を振る-やあ.bvh",
    ]  # fmt: skip
    assert "walks" in done.stdout and "mini" in done.stdout and "[やあ]" in done.stdout.replace("\n", "")


def test_json_has_one_object_a_prompt_and_failures_too(url: str, source: FakeSource) -> None:
    done = motion(f"generate walks runs --seconds 0.5 --seed 7 --json --server {url}")
    assert done.exit_code == 0 and not done.stderr
    first, second = objects(done)
    assert (first["prompt"], first["file"], first["generator"], first["seed"]) == ("walks", "1-walks.json", "mini", 7)
    assert second["fallback_used"] is False and second["duration_sec"] == 0.5
    refused = motion(f"generate walks '' --json --server {url}")
    assert refused.exit_code == 1
    assert [("error" in entry) for entry in objects(refused)] == [False, True]
    source.failure = GenerationFailed("broken")
    placeholder = motion(f"generate walks --json --server {url}")
    assert objects(placeholder)[0]["fallback_reason"] == "generation-failed"


def test_standard_input_and_output(url: str) -> None:
    done = motion(f"generate --file - --out - --seconds 0.5 --set root=bounded --server {url}", input="walks\n")
    assert json.loads(done.stdout)["duration_sec"] == 0.5


@pytest.mark.parametrize(
    ("line", "words", "code"),
    [
        ("generate", "nothing to do", 1),
        ("generate walks --out a.gif", ".vrma", 1),
        ("generate walks runs --out a.json", "directory", 1),
        ("generate walks runs --out -", "one motion", 1),
        ("generate walks --out - --json", "no place", 1),
        ("generate walks --set root", "NAME=VALUE", 1),
        ("generate walks --provider gpt", "placeholder", 2),
        ("generate walks --no-such-option", "No such option", 2),
        ("generate walks --out /no/such/place/a.json", "cannot write", 1),
        ("edit nothing.json --out b.json", "neither a file nor", 1),
        ("edit service --out b.gif", "must end in", 1),
        ("stream walks --cue soon:waves", "SECONDS:TEXT", 1),
    ],
)
def test_mistakes_are_said_in_one_line(url: str, line: str, words: str, code: int) -> None:
    done = motion(line, "--server", url)
    assert done.exit_code == code, done.output
    assert words in done.stderr and "Traceback" not in done.stderr
    assert code == 2 or len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    "line", ["generate walks", "edit aaaabbbbccccddddaaaabbbbccccdddd --out b.json", "bench", "stream"]
)
def test_nobody_there_is_said_in_one_line(line: str) -> None:
    done = motion(line, "--server", f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 1 and "motion service" in done.stderr and len(done.stderr.splitlines()) == 1


def test_edit_says_what_the_service_says(url: str, here: Path) -> None:
    assert motion(f"generate walks --seconds 1 --out walk.json --server {url}").exit_code == 0
    done = motion(f"edit walk.json --mode upper_body --prompt waves --out b.json --server {url}")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)  # the fake model edits nothing
    assert "edit" in done.stderr


def test_bench_measures_and_refuses_placeholders(url: str, source: FakeSource) -> None:
    done = motion(f"bench --requests 3 --clients 2 --seconds 0.5 --json --server {url}")
    (facts,) = objects(done)
    assert (done.exit_code, facts["answers"], facts["generators"]) == (0, 3, {"mini": 3})
    assert 0 < facts["p50_ms"] <= facts["p95_ms"] <= facts["max_ms"]
    assert "requests_per_s" in motion(f"bench --requests 1 --seconds 0.5 --server {url}").stdout
    source.failure = GenerationFailed("broken")
    broken = motion(f"bench --requests 1 --seconds 0.5 --json --server {url}")
    assert broken.exit_code == 1 and objects(broken)[0]["generators"] == {"placeholder": 1}


def test_stream_writes_chunks_to_a_file_or_to_standard_output(here: Path) -> None:
    with serve_stream(StreamServer()) as server:
        done = motion(f"stream walks --seconds 1 --cue 0.5:waves --fps 20 --server {server.url}")
        assert done.exit_code == 0, done.output
        chunks = objects(done)
        assert chunks[0]["first_frame"] == 0 and chunks[-1]["first_frame"] + FRAMES >= 20
        assert "at 20 fps by mini" in done.stderr
        assert {"type": "prompt", "text": "waves", "at": 0.5}.items() <= server.said[1].items()
        told = motion(f"stream --seconds 1 --out live.jsonl --json --server {server.url}")
        (facts,) = objects(told)
        assert facts["frames"] >= 20 and facts["file"] == "live.jsonl" and not told.stderr
        assert len((here / "live.jsonl").read_text().splitlines()) >= 20 / FRAMES


def test_completion_knows_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    completing = {"_MOTION_COMPLETE": "complete_bash", "COMP_WORDS": "motion gen", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], env=completing, prog_name="motion")
    assert "generate" in done.stdout
    completing |= {"COMP_WORDS": "motion generate --provider mi", "COMP_CWORD": "3"}
    assert "mini" in CliRunner().invoke(app, [], env=completing, prog_name="motion").stdout


def test_every_command_explains_itself_and_speaks_json() -> None:
    listed = motion("--help").stdout
    for name in (
        "generate",
        "stream",
        "prompt",
        "edit",
        "sample",
        "serve",
        "eval",
        "convert",
        "verify",
        "doctor",
        "bench",
    ):
        assert f"│ {name} " in listed
        if name not in ("serve", "eval"):
            assert "--json" in motion(f"{name} --help", env={"COLUMNS": "200"}).stdout
    assert motion("--version").stdout.strip()


def test_the_service_and_the_weights_are_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_URL", url)
    done = motion("generate walks --seconds 0.5 --out a.json")
    made = json.loads(Path("a.json").read_text())["metadata"]
    assert made["checkpoint"] != made["generator"]
    assert f"by {made['generator']} ({made['checkpoint']})" in done.output
    monkeypatch.setenv("MOTION_URL", nowhere := f"http://127.0.0.1:{free_port()}")
    assert nowhere.removeprefix("http://") in motion("generate walks --out b.json").output
