"""The wheel in a directory of its own, started as in the assistant's compose file: its variables and mounts, an empty
``models/motion``, no keys, and a user who owns nothing but ``data``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live_server import free_port

USER = 1000
STARTS_WITHIN_S = 90.0


@dataclass
class Container:
    """A process that stands for a container."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Path]:
    """``pip install`` of the wheel alone; what it depends on is in the environment of the tests."""
    target = Path(tempfile.mkdtemp(prefix="motion-wheel-"))
    target.chmod(0o755)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, timeout=120)
    yield target
    shutil.rmtree(target)


@pytest.fixture(scope="module")
def container(installed: Path) -> Iterator[Container]:
    place = Path(tempfile.mkdtemp(prefix="motion-container-"))
    place.chmod(0o755)
    data, models, port = place / "data", place / "models/motion", free_port()
    for folder in (data / "motion", models):
        folder.mkdir(parents=True)
    if os.geteuid() == 0:
        for folder in (data, data / "motion"):
            os.chown(folder, USER, USER)
    theirs = {
        "MOTION_PORT": str(port),
        "DATA_ROOT": str(data),
        "OUTPUT_DIR": str(data / "animations"),
        "DATA_MOUNT_PATH": "/data",
        "CHECKPOINT_DIR": str(models),
        "MOTION_DATA_DIR": str(data / "motion"),
        "MOTION_MDM_DEFAULT_FPS": "20",
        "MOTION_TIMEOUT_SEC": "30",
        "MOTION_OUTPUT_FORMAT": "vrm-json",
    }
    ours = {"MOTION_HOST": "127.0.0.1", "MOTION_ALLOW_NO_KEY": "on", "HOME": str(place), "USER": "motion"}
    system = {"PATH": os.defpath, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*_as_user(), sys.executable, "-m", "motion_service"]
    with subprocess.Popen(command, cwd=place, env={**theirs, **ours, **system}, stderr=subprocess.PIPE) as process:
        try:
            yield Container(f"http://127.0.0.1:{port}", data, process)
        finally:
            process.kill()
    shutil.rmtree(place)


def _as_user() -> list[str]:
    """Root would be let write anywhere. Where the tests run as root, so does the interpreter's directory belong to it:
    hence the right to read everything, and none to write."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv to run as somebody else than root")
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *may_read]


@pytest.fixture(scope="module")
def healthy(container: Container) -> dict[str, Any]:
    """What /health says, asked as compose does."""
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end and container.process.poll() is None:
        try:
            told = httpx.get(f"{container.url}/health", timeout=10)
        except httpx.TransportError:
            time.sleep(0.2)
            continue
        if told.status_code == 200:
            facts: dict[str, Any] = told.json()
            return facts
        assert told.status_code == 503, "models are being prepared"
        time.sleep(0.2)
    container.process.kill()
    assert container.process.stderr is not None
    raise AssertionError(container.process.stderr.read().decode()[-3000:])


def test_it_is_the_wheel_that_runs(installed: Path) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('motion_service').origin)"
    environment = {"PATH": os.defpath, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=installed, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(installed / "motion_service/__init__.py"), done.stderr
    assert (installed / "motion_service/weights/mini/model.safetensors").is_file()


def test_it_starts_healthy_with_the_model_inside(healthy: dict[str, Any]) -> None:
    assert healthy["status"] == "ok" and healthy["providers"] == ["mini"]


def test_what_the_backend_posts_is_answered_with_motion_and_files(
    container: Container, healthy: dict[str, Any]
) -> None:
    """{"prompt": ...} is all that the assistant's page sends; the backend adds the format."""
    payload = {"prompt": "3秒で手を振る", "format": "vrm-json"}
    answer = httpx.post(f"{container.url}/v1/motion/generate", json=payload, timeout=30).json()
    assert answer["metadata"]["generator"] == "mini" and answer["fallback_used"] is False
    assert answer["url"] == f"/data/animations/{answer['job_id']}.json"
    written = container.data / "animations" / f"{answer['job_id']}.json"
    assert written.is_file(), "the backend serves this file itself"
    assert httpx.get(container.url + answer["url"]).json()["job_id"] == answer["job_id"]
    assert written.stat().st_uid == (USER if os.geteuid() == 0 else os.geteuid())
    npy = answer["metadata"]["artifacts"]["npy"]
    assert httpx.get(container.url + npy["url"]).content.startswith(b"\x93NUMPY")
    dip = httpx.post(f"{container.url}/v1/motion/generate/dip", json=payload, timeout=30).json()
    assert dip["metadata"]["generator"] == "mini", "auto takes what is there"


def test_the_page_and_the_description_are_inside(container: Container, healthy: dict[str, Any]) -> None:
    page = httpx.get(f"{container.url}/")
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    assert "/v1/motion/generate" in httpx.get(f"{container.url}/openapi.json").json()["paths"]


def test_it_ends_when_it_is_told(container: Container, healthy: dict[str, Any]) -> None:
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(timeout=30) in (0, -signal.SIGTERM)
