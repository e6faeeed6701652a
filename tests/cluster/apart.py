"""A command in a world of its own: no network but its loopback, no processes but its own, none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from tests.live_server import ROOT

_ALONE = ("unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")


def run_apart(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it in the root of the checkout. Where the machine permits no namespaces, in a session of its own."""
    world = _loopback_up(*command) if can_unshare() else [*command]
    with subprocess.Popen(
        world,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(world, process.returncode, output, errors)


def can_unshare() -> bool:
    """Whether this machine lets us have namespaces."""
    try:
        return subprocess.run(_loopback_up("true"), capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _loopback_up(*command: str) -> list[str]:
    return [*_ALONE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
