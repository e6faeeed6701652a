"""Clients of every kind on a service in which something breaks every few seconds; afterwards the books must agree."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import websockets

from tests.reliability.ledger import Ledger
from tests.reliability.process import BrokenService

DEADLINE_S = 3.0
HUNG_S = 15.0
"""After so long without an answer a request counts as hung."""
PROMPTS = ("a person waves", "歩く", "bows twice", "jumps thrice", "元気に手を振る", "turns left and walks")
GARBAGE = (
    b"",
    b"[]",
    b'{"prompt": NaN}',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": "x", "fps": 1e999}',
    b"\xff\xfe",
    b"[" * 5000,
)
PATH = "/v1/motion/generate"
Say = Callable[[str], None]


class Client:
    """One user who does something different each time."""

    def __init__(self, number: int, service: BrokenService, ledger: Ledger, seed: int) -> None:
        self._drawn = random.Random(f"{seed}-{number}")
        self._number, self._count = number, 0
        self._service, self._ledger = service, ledger
        self._last: tuple[str, bytes] | None = None

    async def run(self, until: float) -> None:
        """Until a moment of the monotonic clock."""
        acts: Sequence[Callable[[httpx.AsyncClient], Awaitable[None]]] = (
            self._ask,
            self._give_up,
            self._send_garbage,
            self._fetch,
            self._probe,
            self._stream,
        )
        async with httpx.AsyncClient(base_url=self._service.url, timeout=HUNG_S) as http:
            while time.monotonic() < until:
                (act,) = self._drawn.choices(acts, (80, 6, 4, 5, 3, 2))
                try:
                    await act(http)
                except httpx.TimeoutException:
                    self._ledger.hung.append(f"c{self._number}-{self._count}")

    def _next_id(self) -> str:
        self._count += 1
        return f"c{self._number}-{self._count}"

    def _body(self) -> dict[str, Any]:
        return {
            "prompt": self._drawn.choice(PROMPTS),
            "seed": self._drawn.randrange(1000),
            "duration_sec": round(self._drawn.uniform(0.2, 1.5), 2),
            "deadline_ms": int(1000 * DEADLINE_S),
        }

    async def _ask(self, http: httpx.AsyncClient) -> None:
        name = self._next_id()
        started = time.monotonic()
        answer = await http.post(PATH, json=self._body(), headers={"X-Request-Id": name})
        self._ledger.add(name, answer.status_code, time.monotonic() - started, DEADLINE_S)
        if answer.status_code == 200:
            motion = answer.json()
            self._ledger.add_motion(name, answer.headers, motion)
            if motion["metadata"]["artifacts"]["vrm-json"]["state"] == "ready":
                self._last = motion["metadata"]["url"], answer.content
        elif answer.status_code == 429:
            await asyncio.sleep(0.1)

    async def _give_up(self, http: httpx.AsyncClient) -> None:
        name = self._next_id()
        self._ledger.given_up.add(name)
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(self._drawn.uniform(0, 0.05)):
                await http.post(PATH, json=self._body(), headers={"X-Request-Id": name})

    async def _send_garbage(self, http: httpx.AsyncClient) -> None:
        name, started = self._next_id(), time.monotonic()
        headers = {"X-Request-Id": name, "content-type": "application/json"}
        answer = await http.post(PATH, content=self._drawn.choice(GARBAGE), headers=headers)
        self._ledger.add(name, answer.status_code, time.monotonic() - started, DEADLINE_S)

    async def _fetch(self, http: httpx.AsyncClient) -> None:
        if self._last is not None:
            url, content = self._last
            if (await http.get(url)).content != content:
                self._ledger.torn.append(url)

    async def _probe(self, http: httpx.AsyncClient) -> None:
        path = self._drawn.choice(("/livez", "/readyz", "/health", "/metrics", "/v1/motion/jobs"))
        await http.get(path)

    async def _stream(self, http: httpx.AsyncClient) -> None:
        address = self._service.url.replace("http", "ws") + "/v1/motion/stream"
        try:
            async with asyncio.timeout(HUNG_S), websockets.connect(address, max_size=None) as socket:
                await socket.send(json.dumps({"type": "start", "prompt": "walks", "lead_sec": 0.3}))
                for _ in range(self._drawn.randint(1, 6)):
                    await socket.recv()
                if self._drawn.random() < 0.5:
                    await socket.send(json.dumps({"type": "stop"}))
            self._ledger.streams += 1
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            self._ledger.stream_errors.append(repr(error))


async def soak(
    service: BrokenService, seconds: float, clients: int, seed: int, say: Say
) -> tuple[Ledger, list[dict[str, float]]]:
    """Drive a running service; what the clients know, and its resources over time."""
    ledger, samples = Ledger(), []
    started = time.monotonic()
    until = started + seconds
    running = [asyncio.create_task(Client(i, service, ledger, seed).run(until)) for i in range(clients)]
    told = started
    while not all(task.done() for task in running):
        await asyncio.sleep(1.0)
        now = time.monotonic()
        samples.append({"at_s": now - started, **service.resources()})
        if now - told >= 10:
            told = now
            say(f"{now - started:.0f} of {seconds:.0f} s: {len(ledger.answered)} answered, {len(ledger.hung)} hung")
    await asyncio.gather(*running)
    return ledger, samples


def slopes(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """Growth an hour over the second half: memory in KiB, descriptors, threads."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return {}
    times = [sample["at_s"] for sample in half]
    return {
        f"{name}_an_hour": round(3600 * statistics.linear_regression(times, [sample[name] for sample in half]).slope, 1)
        for name in ("rss_kib", "descriptors", "threads")
    }


def run_soak(
    directory: Path, *, seconds: float, every_s: float, clients: int = 12, seed: int = 0, say: Say = print
) -> dict[str, Any]:
    """The whole test; a JSON value with ``ok``."""
    with BrokenService(directory, every=every_s, seed=seed) as service:
        ledger, samples = asyncio.run(soak(service, seconds, clients, seed, say))
        service.process.send_signal(signal.SIGTERM)
        exit_code = service.process.wait(40)
        log = service.log_lines()
    disagreements = ledger.compare(log)
    faults = [f"{line['point']}: {line['kind']}" for line in log if line.get("event") == "fault"]
    replaced = sum(line.get("event") == "model thread replaced" for line in log)
    bugs = [line for line in log if line.get("not_json")]
    told = [line for line in log if any(prompt in json.dumps(line, ensure_ascii=False) for prompt in PROMPTS)]
    bad = [status for status in ledger.answered.values() if status >= 500]
    must_be_empty: list[list[Any]] = [
        ledger.hung,
        ledger.unlabelled,
        ledger.torn,
        bad,
        bugs,
        told,
        *disagreements.values(),
    ]
    return {
        "test": "soak",
        "seconds": seconds,
        "fault_every_s": every_s,
        "faults": {kind: faults.count(kind) for kind in sorted({*faults})},
        "threads_replaced": replaced,
        **ledger.facts(),
        **{name: len(found) for name, found in disagreements.items()},
        "server_errors": len(bad),
        "lines_that_are_no_json": len(bugs),
        "lines_that_tell_prompts": len(told),
        "first": samples[0] if samples else {},
        "last": samples[-1] if samples else {},
        **slopes(samples),
        "exit_code": exit_code,
        "examples": [str(found[0])[:300] for found in must_be_empty if found],
        "ok": not any(must_be_empty) and exit_code == 0,
    }
