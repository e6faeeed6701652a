"""The service of :mod:`tests.reliability.service` as a child process, and what the system knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.live_server import ROOT, free_port

START_S = 60.0


class BrokenService:
    """``with BrokenService(directory, every=2) as service``: options as of the command line."""

    def __init__(self, directory: Path, **options: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "service.log"
        self.directory = directory
        named = {"port": self.port, "directory": directory, **options}
        self._arguments = [
            word for name, value in named.items() for word in (f"--{name.replace('_', '-')}", f"{value}")
        ]

    def __enter__(self) -> BrokenService:
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Begin to start."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.reliability.service", *self._arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def wait_until(self, path: str, status: int) -> None:
        """Raises RuntimeError when the process ends, or takes too long."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(self.url + path, timeout=5).status_code == status:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{path} never said {status}: {self.log.read_text()[-2000:]}")

    def wait_until_ready(self) -> None:
        self.wait_until("/readyz", 200)

    def resources(self) -> dict[str, int]:
        """Resident memory in KiB, open descriptors, threads. Linux only."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {
            "rss_kib": int(fields["VmRSS"].split()[0]),
            "threads": int(fields["Threads"]),
            "descriptors": len(os.listdir(f"/proc/{self.process.pid}/fd")),
        }

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"event": line, "not_json": True})
        return lines
