"""The real application on fakes behind a real socket: in a thread, or as a process that can be killed."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.jobs import Jobs
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.source import MotionSource
from motion_service.store import ArtifactStore
from tests.fakes import FakeSource

ROOT = Path(__file__).resolve().parents[1]


def make_jobs(
    directory: Path, sources: dict[str, MotionSource], *, queue_size: int = 8, artifacts: list[Any] | None = None
) -> Jobs:
    """Jobs around a pipeline on these sources and a fake placeholder."""
    store = ArtifactStore(directory / "animations", directory, "/data")
    defaults = MotionOptions(artifacts=artifacts or [])
    return Jobs(Pipeline(sources, FakeSource("placeholder"), store, Admission(queue_size), defaults))


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(app: Any, port: int = 0, ws: Any = "none") -> Iterator[str]:
    """The URL of an application that runs in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, ws=ws))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def process_that_hangs(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The same application as a process; its model takes a minute for a clip."""
    command = [sys.executable, "-m", "tests.live_server", "--port", str(port), "--directory", str(directory)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    jobs = make_jobs(options.directory, {"mini": FakeSource(gate=threading.Event())})
    uvicorn.run(create_app(jobs), host="127.0.0.1", port=options.port, log_config=None, ws="none")


if __name__ == "__main__":
    main()
