"""The service as an operator starts it: a process on a free loopback port, set up by its environment alone."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0


class ServiceProcess:
    """``with ServiceProcess(data_root, MOTION_DEFAULT_ROOT="bounded") as service``: runs until the block ends."""

    def __init__(self, data_root: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOTION_")}
        environment |= {"MOTION_PORT": str(port), "DATA_ROOT": str(data_root), "MOTION_DEVICE": "cpu"}
        environment |= {"MOTION_CPU_THREADS": "1", "OMP_NUM_THREADS": "1", **settings}
        self._log = data_root / "service.log"
        self._environment = environment
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def __enter__(self) -> ServiceProcess:
        self._start()
        return self

    def restart(self) -> None:
        """End it as an operator does, and start it again on the same port."""
        self._end()
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "motion_service"]
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError(f"the service did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.http.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def generate(self, prompt: str, **options: Any) -> dict[str, Any]:
        """A motion that must succeed and must not be a placeholder."""
        answer = self.http.post("/v1/motion/generate", json={"prompt": prompt, **options})
        assert answer.status_code == 200, answer.text
        motion: dict[str, Any] = answer.json()
        assert motion["fallback_used"] is False, motion["metadata"].get("fallback_reason")
        return motion

    def memory_mb(self, line: str) -> float:
        """``VmRSS`` (now) or ``VmHWM`` (peak) of the process. Linux only."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"{line}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text()

    def _answers(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False
