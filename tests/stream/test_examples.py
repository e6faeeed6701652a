"""The examples are run against a service on a fake source, and are as short as they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.installed import NODE_MODULES, demand, demand_node_modules
from tests.stream.server import load_streams, running_server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MOST_LINES = 60


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    with running_server(load_streams(tmp_path)) as address:
        yield f"ws://{address}"


def check_output(output: str) -> None:
    """Frames came, the wave was understood, and the stream ended in idle."""
    assert len(re.findall(r"^frame \d+: \d+ ahead, revision 0$", output, re.MULTILINE)) >= 2
    assert re.search(r"^frame \d+: .*手を振る.* from frame \d+$", output, re.MULTILINE)
    assert re.search(r"^\d+ frames, the last \d+ of them still here$", output, re.MULTILINE)


@pytest.mark.parametrize("name", ["live.py", "live.ts"])
def test_examples_are_short(name: str) -> None:
    assert (EXAMPLES / name).read_text(encoding="utf-8").count("\n") <= MOST_LINES


def test_python_example(service: str) -> None:
    command = [sys.executable, str(EXAMPLES / "live.py"), service, "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    check_output(done.stdout)


def test_typescript_example(service: str, tmp_path: Path) -> None:
    """Checked strictly, its types taken off, and run; Node before 22 has WebSocket behind a flag."""
    demand_node_modules()
    compiler = NODE_MODULES / ".bin" / "tsc"
    demand(compiler.exists(), "needs typescript: run `npm ci` in tests/browser")
    options = ["--strict", "--target", "es2022", "--module", "esnext", "--lib", "es2022,dom,dom.iterable"]
    checked = subprocess.run(
        [compiler, *options, "--outDir", tmp_path, EXAMPLES / "live.ts"], capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stdout
    script = (tmp_path / "live.js").rename(tmp_path / "live.mjs")
    version = int(subprocess.run(["node", "--version"], capture_output=True, text=True).stdout[1:].split(".")[0])
    flags = ["--experimental-websocket"] if version < 22 else []
    done = subprocess.run(["node", *flags, script, service, "4"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    check_output(done.stdout)
