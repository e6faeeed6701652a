"""A writer that is killed at any instant: whatever is visible afterwards is whole.

Runs as a process of its own, which imports once and forks for every trial.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from motion_service.store import ArtifactStore
from tests.live_server import ROOT

JOBS = tuple(f"{number:032x}" for number in range(3))
KINDS = ("vrm-json", "npy", "bvh")
MOST_BYTES = 400_000
LONGEST_S = 0.03


def make_contents(drawn: random.Random) -> list[bytes]:
    """Contents of files that say themselves whether they are whole."""
    bodies = [drawn.randbytes(drawn.randint(1, MOST_BYTES)) for _ in range(8)]
    return [hashlib.sha256(body).digest() + body for body in bodies]


def write_for_ever(store: ArtifactStore, contents: list[bytes], drawn: random.Random) -> None:
    while True:
        write = partial(_write, drawn.choice(contents))
        store.save(drawn.choice(JOBS), drawn.choice(KINDS), write)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def is_whole(path: Path) -> bool:
    content = path.read_bytes()
    return len(content) > 32 and hashlib.sha256(content[32:]).digest() == content[:32]


def kill(directory: Path, times: int, seed: int, *, durable: bool) -> dict[str, Any]:
    drawn = random.Random(seed)
    broken: set[str] = set()
    torn = 0
    contents = make_contents(drawn)
    for trial in range(times):
        child = os.fork()
        if child == 0:
            store = ArtifactStore(directory, directory, "/data", durable=durable)
            write_for_ever(store, contents, random.Random(trial))
        time.sleep(drawn.uniform(0, LONGEST_S))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        files = [path for path in directory.rglob("*") if path.is_file()]
        torn += any(path.name.startswith(".partial-") for path in files)
        broken |= {str(path) for path in files if not path.name.startswith(".partial-") and not is_whole(path)}
        ArtifactStore(directory, directory, "/data")  # sweeps what is left
    left = [path.name for path in directory.rglob(".partial-*")]
    return {
        "test": "kill",
        "kills": times,
        "durable": durable,
        "killed_while_writing": torn,
        "corrupt": len(broken),
        "left_after_sweep": len(left),
        "visible": sum(path.is_file() for path in directory.rglob("*")),
        "ok": not broken and not left,
    }


def run_kills(directory: Path, times: int, *, seed: int = 0, durable: bool = False) -> dict[str, Any]:
    """``times`` kills in a process of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.reliability.killing", str(directory), str(times), str(seed)]
    command += ["--durable"] if durable else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("times", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--durable", action="store_true")
    options = parser.parse_args()
    print(json.dumps(kill(options.directory, options.times, options.seed, durable=options.durable)))


if __name__ == "__main__":
    main()
