"""A real server process (``python -m motion_service``) for benchmarks: started, timed until it is ready, ended."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from motion_service.training.random_checkpoints import random_settings
from motion_service.training.run_facts import ROOT

START_SECONDS: Final = 300.0
ROUTES: Final = {"generate": "/v1/motion/generate", "dip": "/v1/motion/generate/dip", "speak": "/v1/motion/speak"}
_OTHERS: Final = ("MOTION_", "OUTPUT_DIR", "DATA_", "CHECKPOINT_DIR", "SMPL_")
"""Variables of the caller's environment that would change what is measured."""


class ServerFailed(RuntimeError):
    """The service did not become ready; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """A service that answers on a loopback port."""

    port: int
    ready_s: float
    """From the start of the process until /readyz said 200."""
    log: Path
    connection: http.client.HTTPConnection
    """Kept open, for one request at a time."""

    def ask(self, route: str, body: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Milliseconds until the last byte of the answer, and the answer. Raises RuntimeError unless it is a 200."""
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        started = time.perf_counter()
        self.connection.request("POST", ROUTES[route], content, headers)
        response = self.connection.getresponse()
        answer = response.read()
        elapsed = 1000 * (time.perf_counter() - started)
        if response.status != 200:
            raise RuntimeError(f"{ROUTES[route]} answered {response.status}: {answer[:300]!r}")
        return elapsed, json.loads(answer)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark through HTTP takes."""
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="what make_random_checkpoints wrote, instead of real models",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another setting of the service; repeat it"
    )


def server_settings(options: argparse.Namespace) -> dict[str, str]:
    """Environment variables for what :func:`add_server_options` reads."""
    settings = {"MOTION_DEVICE": options.device}
    if options.checkpoints is not None:
        settings |= random_settings(options.checkpoints)
    return settings | dict(setting.split("=", 1) for setting in options.set)


def runs_on_cpu(options: argparse.Namespace) -> bool:
    """Whether the service has its models on the CPU."""
    return bool(options.device == "cpu" or not torch.cuda.is_available())


@contextlib.contextmanager
def running_server(settings: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """A ready service on a free port of the loopback address; it ends with the block.

    ``environment``: the caller's, without which no program runs; settings of the service in it are left out.
    ``folder``: for its log and its files. Raises :class:`ServerFailed`.
    """
    port = _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "service.log"
    own = {"MOTION_HOST": "127.0.0.1", "MOTION_PORT": str(port), "DATA_ROOT": str(folder / "data")}
    kept = {name: value for name, value in environment.items() if not name.startswith(_OTHERS)}
    started = time.perf_counter()
    with log.open("w") as stream:
        command = [sys.executable, "-m", "motion_service"]
        process = subprocess.Popen(command, env=kept | own | dict(settings), cwd=ROOT, stdout=stream, stderr=stream)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        _wait_until_ready(connection, process, log)
        yield Server(port, time.perf_counter() - started, log, connection)
    finally:
        connection.close()
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(connection: http.client.HTTPConnection, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                return
        except (OSError, http.client.HTTPException):
            connection.close()
        time.sleep(0.02)
    raise ServerFailed(f"the service did not become ready; its last words:\n{log.read_text()[-2000:]}")
