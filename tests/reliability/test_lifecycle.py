"""The start and the end of the process, as whoever runs it sees them."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path

import httpx

from motion_service.api.http import create_app
from motion_service.api.lifecycle import EXIT_DEVICE, EXIT_START, OPEN_PATHS, Lifecycle
from tests.fakes import FakeSource
from tests.live_server import make_jobs
from tests.reliability.process import BrokenService

GENERATE = "/v1/motion/generate"


async def test_work_is_refused_until_ready_and_from_the_end_on(tmp_path: Path) -> None:
    gate, lifecycle = asyncio.Event(), Lifecycle()

    async def get_ready() -> None:
        await gate.wait()

    app = create_app(make_jobs(tmp_path, {"mini": FakeSource()}), lifecycle=lifecycle)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:

        async def statuses() -> dict[str, int]:
            found = {path: (await http.get(path)).status_code for path in sorted(OPEN_PATHS)}
            body = {"prompt": "walks", "duration_sec": 0.3}
            return {**found, GENERATE: (await http.post(GENERATE, json=body)).status_code}

        assert set((await statuses()).values()) == {200}, "without a start there is nothing to wait for"
        await lifecycle.start(get_ready)
        assert await statuses() == dict.fromkeys((*OPEN_PATHS, GENERATE), 503) | {"/livez": 200}
        refusal = await http.post(GENERATE, json={"prompt": "walks"})
        assert refusal.json()["type"].endswith("starting") and int(refusal.headers["retry-after"]) >= 1
        gate.set()
        while lifecycle.phase == "starting":
            await asyncio.sleep(0.01)
        assert set((await statuses()).values()) == {200}
        for condition in ("stalled", "rebuilding", "lost"):
            lifecycle.condition = lambda condition=condition: condition  # type: ignore[misc]
            assert await statuses() == dict.fromkeys((*OPEN_PATHS, GENERATE), 200) | {"/readyz": 503}
        lifecycle.phase = "draining"
        assert await statuses() == {"/livez": 200, "/startupz": 200, "/readyz": 503, "/health": 503, GENERATE: 503}


async def test_a_start_that_fails_ends_the_process() -> None:
    lifecycle, codes = Lifecycle(), list[int]()
    lifecycle.end = codes.append

    async def get_ready() -> None:
        raise RuntimeError("no memory")

    await lifecycle.start(get_ready)
    assert codes == [EXIT_START] and lifecycle.phase == "starting"


def test_a_process_that_is_still_starting_ends_at_once(tmp_path: Path) -> None:
    service = BrokenService(tmp_path, slow_start=60)
    service.start()
    try:
        service.wait_until("/livez", 200)
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(5) == 0
    finally:
        service.process.kill()
        service.process.wait()


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with BrokenService(tmp_path, step_ms=5000) as service:
        asked = threading.Thread(target=_ask, args=(service,))
        asked.start()
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert service.process.poll() is None, "a request is under way"
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(2) == 128 + signal.SIGTERM
        asked.join()


def test_a_lost_device_ends_the_process_after_its_answers(tmp_path: Path) -> None:
    with BrokenService(tmp_path, lose_device_after=0.1) as service:
        time.sleep(0.2)
        answer = httpx.post(service.url + GENERATE, json={"prompt": "walks", "duration_sec": 0.3}, timeout=20)
        assert (answer.status_code, answer.json()["metadata"]["fallback_reason"]) == (200, "engine-lost")
        assert service.process.wait(15) == EXIT_DEVICE


def _ask(service: BrokenService) -> None:
    try:
        httpx.post(service.url + GENERATE, json={"prompt": "walks"}, timeout=20)
    except httpx.HTTPError:
        pass
