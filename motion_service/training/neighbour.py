"""Another program on the same device, for benchmarks beside it: it copies memory, or multiplies matrices, on and on.

Run as a program (KIND DEVICE): it says ``ready`` when it is at full speed, goes on until its standard input ends, and
then says as JSON how fast it was. It sets nothing of the device.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch

Kind = Literal["memory", "gemm"]
_COPY_BYTES: Final = {"cuda": 2 << 30, "cpu": 64 << 20}
_GEMM_SIZE: Final = {"cuda": 8192, "cpu": 512}
_AHEAD: Final = 4
"""Launches that wait on the device, so that it never idles."""


def new_work(kind: Kind, device: str) -> tuple[Callable[[], object], float, str]:
    """(one piece of work, how much it is, the unit of that): gigabytes read and written, or teraflops."""
    if kind == "memory":
        source = torch.ones(_COPY_BYTES[device] // 4, device=device)
        target = torch.empty_like(source)
        return lambda: target.copy_(source), 2 * source.nbytes / 1e9, "gb_s"
    size = _GEMM_SIZE[device]
    dtype = torch.float16 if device == "cuda" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out), 2 * size**3 / 1e12, "tflop_s"


def run_until(done: threading.Event, kind: Kind, device: str, on_ready: Callable[[], object]) -> dict[str, float]:
    """Work until ``done``; how fast it was since ``on_ready`` was called."""
    work, amount, unit = new_work(kind, device)
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(_AHEAD):
        work()
    wait()
    on_ready()
    started, count = time.perf_counter(), 0
    while not done.is_set():
        for _ in range(_AHEAD):
            work()
        wait()
        count += _AHEAD
    return {unit: round(count * amount / (time.perf_counter() - started), 3)}


@contextlib.contextmanager
def neighbour(kind: Kind | None, device: str) -> Iterator[dict[str, Any]]:
    """Inside, the other program runs; afterwards the dictionary says how fast it was. None: nobody is there."""
    told: dict[str, Any] = {}
    if kind is None:
        yield told
        return
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", __name__, kind, device]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the neighbour ({kind}) did not start")
        yield told
        said, _ = process.communicate(timeout=60)  # ends its standard input
        told |= json.loads(said)
    finally:
        process.kill()
        process.wait()


def main(arguments: Sequence[str]) -> int:
    """KIND DEVICE."""
    kind, device = arguments
    assert kind in ("memory", "gemm") and device in ("cuda", "cpu")
    done = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    told = run_until(done, "memory" if kind == "memory" else "gemm", device, lambda: print("ready", flush=True))
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
