"""Over a real socket: the event loop stays free, and the client reads what the server writes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from motion_service.api.http import create_app
from motion_service.cli import app as command_line
from motion_service.client import MotionClient
from motion_service.errors import BadRequest, Unauthorized
from tests.fakes import FakeSource
from tests.live_server import make_jobs, serve

KEY = "a key"


@pytest.fixture
def gate() -> threading.Event:
    """Clips are only made while this is set."""
    event = threading.Event()
    event.set()
    return event


@pytest.fixture
def url(tmp_path: Path, gate: threading.Event) -> Iterator[str]:
    """A server on a free loopback port, with a key."""
    with serve(create_app(make_jobs(tmp_path, {"mini": FakeSource(gate=gate)}), (KEY,))) as address:
        yield address
        gate.set()


async def test_health_answers_while_clips_are_made(url: str, gate: threading.Event) -> None:
    gate.clear()
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}, timeout=10) as http:
        waiting = [asyncio.create_task(http.post("/v1/motion/generate", json={"prompt": "walks"})) for _ in range(3)]
        running = 0
        while running < 3:
            jobs = (await http.get("/v1/motion/jobs")).json()["jobs"]
            running = sum(job["state"] == "running" for job in jobs)
        for path in ("/health", "/livez", "/readyz", "/startupz"):
            assert (await http.get(path)).json()["status"] == "ok"
        assert not any(task.done() for task in waiting)
        gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200, 200]


def test_client_reads_a_motion_and_names_errors(url: str) -> None:
    with MotionClient(url, KEY) as client:
        assert client.is_alive()
        motion = client.generate("walks", duration_sec=1.0, seed=5, fps=None)
        assert (motion.metadata.generator, motion.metadata.seed, len(motion.root_position)) == ("mini", 5, 20)
        with pytest.raises(BadRequest, match="fps"):
            client.generate("walks", fps=0)
    with MotionClient(url, "wrong") as stranger, pytest.raises(Unauthorized):
        stranger.generate("walks")


def test_command_line_talks_to_a_server(url: str, tmp_path: Path) -> None:
    out = tmp_path / "wave.json"
    arguments = ["generate", "walks for 2 seconds", "--out", str(out), "--server", url, "--seed", "5", "--api-key", KEY]
    done = CliRunner().invoke(command_line, arguments)
    assert done.exit_code == 0, done.output
    motion = json.loads(out.read_bytes())
    assert (motion["duration_sec"], motion["metadata"]["seed"]) == (2.0, 5)


def test_an_oversized_body_is_refused_over_a_socket(url: str) -> None:
    answer = httpx.post(f"{url}/v1/motion/generate", content=b" " * 200_000, headers={"X-API-Key": KEY})
    assert answer.status_code == 413
