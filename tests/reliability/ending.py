"""SIGTERM under load: every request that was accepted is answered, and the process exits with 0."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.reliability.process import BrokenService

CLIENTS = 8


async def _ask_until_it_ends(service: BrokenService, number: int, answered: dict[str, int], lost: list[str]) -> None:
    """One request after the other. A request that the server never read is none of its business."""
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as http:
        for count in range(10_000):
            name = f"c{number}-{count}"
            body = {"prompt": "walks", "duration_sec": 0.3, "seed": count}
            try:
                answer = await http.post("/v1/motion/generate", json=body, headers={"X-Request-Id": name})
            except httpx.ConnectError:
                return
            except httpx.HTTPError:
                lost.append(name)
                return
            answered[name] = answer.status_code
            if answer.status_code == 503:
                return


async def _trial(service: BrokenService, answers: int) -> dict[str, Any]:
    """The signal comes after so many answers."""
    httpx.post(f"{service.url}/v1/motion/generate", json={"prompt": "walks", "duration_sec": 0.3}, timeout=20)
    answered: dict[str, int] = {}
    unanswered: list[str] = []
    clients = [asyncio.create_task(_ask_until_it_ends(service, i, answered, unanswered)) for i in range(CLIENTS)]
    while len(answered) < answers and not unanswered:
        await asyncio.sleep(0.001)
    before = len(answered)
    service.process.send_signal(signal.SIGTERM)
    signalled = time.monotonic()
    await asyncio.gather(*clients)
    exit_code = await asyncio.to_thread(service.process.wait, 40)
    accepted = {
        line["request_id"]
        for line in service.log_lines()
        if line.get("event") == "request" and line["path"].startswith("/v1/") and line["status"] == 200
    }
    return {
        "answered": len(answered),
        "before": before,
        "exit_code": exit_code,
        "took_s": time.monotonic() - signalled,
        "lost": sorted(accepted & {*unanswered}),
        "wrong": [name for name, status in answered.items() if status not in (200, 503)],
    }


def run_endings(directory: Path, trials: int, *, seed: int = 0) -> dict[str, Any]:
    """``trials`` ends at random moments."""
    drawn = random.Random(seed)
    results = []
    for number in range(trials):
        service = BrokenService(directory / f"{number}", step_ms=8)
        with service:
            results.append(asyncio.run(_trial(service, drawn.randint(1, 40))))
    lost = sum(len(result["lost"]) + len(result["wrong"]) for result in results)
    codes = sorted({result["exit_code"] for result in results})
    return {
        "test": "sigterm",
        "trials": trials,
        "answered": sum(result["answered"] for result in results),
        "lost": lost,
        "exit_codes": codes,
        "longest_s": round(max(result["took_s"] for result in results), 2),
        "ok": not lost and codes == [0] and all(result["before"] for result in results),
    }
