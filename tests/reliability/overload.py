"""More requests than can be served, arriving whatever becomes of the others: what is accepted goes on, the rest is
refused at once.

The device takes exactly 50 ms a clip, one at a time, so 20 clips a second are all there is. The floor is what an answer
without any work takes at the same time: refusals are held against it, as client and server share the machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability.process import BrokenService
from tests.reliability.service import STEPS

CLIP_S = 0.05
QUEUE = 16
BODY = json.dumps({"prompt": "walks", "duration_sec": 0.2, "seed": 1, "artifacts": []}).encode()
GENERATE = (
    b"POST /v1/motion/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    + f"Content-Length: {len(BODY)}\r\n\r\n".encode()
    + BODY
)
FLOOR = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
FLOOR_RATE = 20.0
"""Requests for the floor a second."""


class Links:
    """Connections that are kept open; as many as there are requests under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, request: bytes) -> tuple[int, float, float]:
        """Status, seconds until the last byte, and when that was."""
        link = self._free.popleft() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        started = time.perf_counter()
        link[1].write(request)
        head = await link[0].readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await link[0].readexactly(length)
        now = time.perf_counter()
        self._free.append(link)
        return int(head[9:12]), now - started, now

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


async def arrive(links: Links, request: bytes, rate: float, seconds: float) -> list[tuple[int, float, float]]:
    """``rate`` requests a second, evenly."""
    began = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(links.ask(request)))
    return await asyncio.gather(*tasks)


async def peak(links: Links, seconds: float) -> float:
    """Clips a second when as many clients as are good for the service wait for their answers."""
    until, count = time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < until:
            status, _, at = await links.ask(GENERATE)
            count += status == 200 and at < until

    await asyncio.gather(*(client() for _ in range(QUEUE // 2)))
    return count / seconds


async def load(links: Links, times: float, seconds: float) -> dict[str, Any]:
    floor = asyncio.create_task(arrive(links, FLOOR, FLOOR_RATE, seconds))
    began = time.perf_counter()
    answers = await arrive(links, GENERATE, times / CLIP_S, seconds)
    accepted = [took for status, took, _ in answers if status == 200]
    refused = [took for status, took, _ in answers if status == 429]
    in_time = sum(status == 200 and at < began + seconds for status, _, at in answers)
    floor_s = [took for _, took, _ in await floor]
    return {
        "offered_per_s": round(len(answers) / seconds, 1),
        "goodput_per_s": round(in_time / seconds, 2),
        "accepted_p99_ms": percentile_ms(accepted, 0.99),
        "refused": len(refused),
        "refused_p50_ms": percentile_ms(refused, 0.5),
        "refused_p99_ms": percentile_ms(refused, 0.99),
        "floor_p50_ms": percentile_ms(floor_s, 0.5),
        "floor_p99_ms": percentile_ms(floor_s, 0.99),
        "others": len(answers) - len(accepted) - len(refused),
    }


def percentile_ms(times_s: list[float], share: float) -> float | None:
    ordered = sorted(times_s)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


async def measure(service: BrokenService, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    links = Links(service.port)
    await peak(links, 1.0)
    best = await peak(links, seconds)
    loads = {}
    for times in (3.0, 10.0):
        say(f"{times:g} times what can be served, for {seconds:g} s")
        found = await load(links, times, seconds)
        found["goodput_of_peak"] = round(found["goodput_per_s"] / best, 3)
        found["over_floor_p99_ms"] = round(found["refused_p99_ms"] - found["floor_p99_ms"], 2)
        loads[f"{times:g}x"] = found
    links.close()
    ok = all(not one["others"] and one["goodput_of_peak"] >= 0.95 for one in loads.values())
    ok = ok and all(one["over_floor_p99_ms"] <= 10 for one in loads.values())
    return {"test": "overload", "seconds": seconds, "peak_per_s": round(best, 2), **loads, "ok": ok}


def run_overload(directory: Path, *, seconds: float = 15.0, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Peak, three and ten times as much."""
    with BrokenService(directory, step_ms=1000 * CLIP_S / STEPS, batches="[1]", queue=QUEUE) as service:
        return asyncio.run(measure(service, seconds, say))
