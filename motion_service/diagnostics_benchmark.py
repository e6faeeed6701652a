"""How long this machine takes for a clip: the same prompt on every loaded engine, with all its steps and with ten.

One run at a time, as ordinary requests one after the other: whatever else the service has to do meanwhile is in the
figures. The latest complete record stays on disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from motion_service.diagnostics import device_facts
from motion_service.errors import GenerationFailed, MotionError
from motion_service.jobs import Jobs
from motion_service.schemas import GenerateRequest, Provider
from motion_service.telemetry import log_event

PROMPT: Final = "a person waves with the right hand"
SECONDS: Final = 5.0
RUNS: Final = 3
"""Clips timed of each engine and number of steps, after one that warms up."""
FEW_STEPS: Final = 10
DEADLINE_MS: Final = 600_000
REQUEST_ID: Final = "benchmark"
_ENGINES: Final[tuple[Provider, ...]] = ("mdm", "mdm-encoder", "dip", "mini")


@dataclass(slots=True)
class _Run:
    """One run over all engines."""

    task: asyncio.Task[None]
    of: int
    done: int = 0


class Benchmark:
    """Runs and remembers. ``file``: where the record lies."""

    def __init__(self, jobs: Jobs, file: Path) -> None:
        self._jobs = jobs
        self._file = file
        self._run: _Run | None = None
        self._failed = False

    def to_wire(self) -> dict[str, Any]:
        """Fields of :class:`~motion_service.diagnostics_schemas.BenchmarkOut`."""
        record = self._read()
        run = self._run
        if run is not None:
            state = "running"
        elif self._failed:
            state = "failed"
        else:
            state = "never-run" if record is None else "done"
        return {"state": state, "done": run.done if run else 0, "of": run.of if run else 0, "record": record}

    def start(self) -> None:
        """Begin a run, unless one is under way."""
        if self._run is None:
            engines = [name for name in _ENGINES if name in self._jobs.pipeline.sources]
            task = asyncio.create_task(self._measure_all(engines))
            self._run = _Run(task, of=len(engines))

    async def stop(self) -> None:
        """Give up the run that is under way."""
        if self._run is not None:
            self._run.task.cancel()
            await asyncio.gather(self._run.task, return_exceptions=True)

    async def _measure_all(self, engines: list[Provider]) -> None:
        self._failed = True  # until the whole is done
        try:
            rows = []
            for engine in engines:
                rows += [row async for row in self._measure(engine)]
                if self._run is not None:
                    self._run.done += 1
            await asyncio.to_thread(self._write, rows)
            self._failed = False
        except (MotionError, OSError) as error:
            log_event("benchmark failed", level=logging.WARNING, error=error)
        finally:
            self._run = None

    async def _measure(self, engine: Provider) -> AsyncIterator[dict[str, Any]]:
        """A row with the engine's own number of steps, and one with ten where that is fewer."""
        row = await self._measure_steps(engine, None)
        yield row
        if row["steps"] > FEW_STEPS:
            yield await self._measure_steps(engine, FEW_STEPS)

    async def _measure_steps(self, engine: Provider, steps: int | None) -> dict[str, Any]:
        timed: list[tuple[float, dict[str, Any]]] = []
        try:
            for number in range(1 + RUNS):
                began = time.perf_counter()
                metadata = await self._make(engine, steps, seed=number)
                timed.append((1000 * (time.perf_counter() - began), metadata))
        except MotionError as error:
            return _no_row(engine, steps, error.problem)
        return _row(engine, timed[1:])

    async def _make(self, engine: Provider, steps: int | None, seed: int) -> dict[str, Any]:
        request = GenerateRequest(
            prompt=PROMPT,
            provider=engine,
            duration_sec=SECONDS,
            steps=steps,
            seed=seed,
            artifacts=[],
            deadline_ms=DEADLINE_MS,
        )
        answer = await self._jobs.generate(request, "generate", REQUEST_ID)
        if "fallback_reason" in answer.metadata:
            error = GenerationFailed("the engine made no clip")
            error.problem = answer.metadata["fallback_reason"]
            raise error
        return dict(answer.metadata)

    def _read(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = orjson.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return None
        return record

    def _write(self, rows: list[dict[str, Any]]) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"at": at, "prompt": PROMPT, "seconds": SECONDS, "device": device_facts(), "rows": rows}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_name(f".partial-{self._file.name}")
        partial.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        os.replace(partial, self._file)


def _row(engine: str, timed: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    times = [ms for ms, _ in timed]
    metadata = timed[-1][1]
    samples = [facts["timings_ms"].get("sample", 0.0) for _, facts in timed]
    median = statistics.median(times)
    return {
        "provider": engine,
        "steps": metadata["steps"],
        "guidance": metadata["guidance_param"],
        "runs": len(timed),
        "median_ms": round(median, 1),
        "best_ms": round(min(times), 1),
        "sample_ms": round(statistics.median(samples), 1),
        "times_real_time": round(1000 * SECONDS / median, 2),
        "quality": metadata["quality"],
        "failed": None,
    }


def _no_row(engine: str, steps: int | None, reason: str) -> dict[str, Any]:
    numbers = ("guidance", "runs", "median_ms", "best_ms", "sample_ms", "times_real_time")
    return {"provider": engine, "steps": steps or 0, **dict.fromkeys(numbers, 0), "quality": {}, "failed": reason}
