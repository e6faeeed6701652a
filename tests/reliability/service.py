"""The real application on a device that exists only in time, as a process that serves, breaks on purpose and is killed.

Everything but the network is real: engine, guard, scheduler, pipeline, store, HTTP, signals. A batch takes exactly as
long as is said, so two cores are enough for whatever the service promises under load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.api.lifecycle import EXIT_DEVICE, Lifecycle
from motion_service.engine.costs import CostTable, cpu_costs
from motion_service.engine.guard import GuardedWorker
from motion_service.engine.resident import DeviceFull, DoneTicket, Ticket
from motion_service.engine.run import Batch, ModelLimits, SamplingRun
from motion_service.engine.worker import Worker
from motion_service.faults import Fault, FaultPlan, disk_broken, disk_full, read_only
from motion_service.jobs import Jobs
from motion_service.mdm_adapter.clip_work import ClipWork, exact_name, sample_clip
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.serving import serve
from motion_service.source import MotionSource, SourceClip, SourceRequest
from motion_service.store import ArtifactStore
from motion_service.streams import Streams
from motion_service.telemetry import configure_logging, log_event
from tests.fakes import FakeSource, make_wave
from tests.stream.live_fakes import FakeLive

STEPS = 4
LOST_AFTER_S = 1.0


class TimedResident:
    """A batch of any width takes ``step_s`` a step."""

    def __init__(self, step_s: float, batches: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        self.step_s = step_s
        self.limits = ModelLimits((240,), batches, packed=True)
        self.taken: set[str] = set()

    def prepare(self, costs: CostTable) -> None:
        for width in self.limits.batches:
            costs.observe("timed", 240, width, "step", 1, 1000 * self.step_s)

    def run(self, batch: Batch) -> Ticket:
        self.taken |= {run.id for run in batch.runs}
        time.sleep(self.step_s * batch.num_steps)
        ended = [run for run in batch.runs if run.done + batch.num_steps == run.steps]
        return DoneTicket(1000 * self.step_s * batch.num_steps, {run.id: torch.ones(run.frames, 1) for run in ended})

    def leave(self, run: SamplingRun) -> None:
        self.taken.discard(run.id)

    def renewed(self) -> TimedResident:
        return TimedResident(self.step_s, self.limits.batches)

    def facts(self) -> Mapping[str, Any]:
        return {"engine": "timed"}


class TimedSource:
    """Clips of the seed, made on the timed device."""

    name, max_seconds = "mini", 12.0

    def __init__(self, worker: GuardedWorker) -> None:
        self._worker = worker

    async def generate(self, request: SourceRequest) -> SourceClip:
        frames = max(1, round(request.seconds * 20))
        work = ClipWork(cast(Any, None), cast(Any, range(STEPS)), 2.5, frames, request.seed)
        await sample_clip(self._worker, "timed", work)
        clip = make_wave(request.seconds, request.seed)
        return SourceClip(clip, self.name, "timed", "CC0-1.0", STEPS, 2.5, request.seed, {"sample": 1.0})


def illegal_access() -> BaseException:
    return RuntimeError("CUDA error: an illegal memory access was encountered")


def random_faults(drawn: random.Random) -> list[Fault]:
    """One misfortune."""
    choices: list[Callable[[], list[Fault]]] = [
        lambda: [Fault("batch", "raise", times=drawn.randint(1, 4))],
        lambda: [Fault("batch", "raise", DeviceFull, 3, applies=lambda batch: batch.width > 1)],
        lambda: [Fault("results", "nan", times=drawn.randint(1, 3))],
        lambda: [Fault("batch", "hang", seconds=0.9)],  # seen, and over
        lambda: [Fault("batch", "hang", seconds=LOST_AFTER_S + 2)],  # given up
        lambda: [Fault("turn", "raise", SystemExit)],
        lambda: [Fault("write", "raise", drawn.choice((disk_full, read_only, disk_broken)), drawn.randint(1, 20))],
        lambda: [Fault("written", "torn", disk_broken, drawn.randint(1, 5))],
    ]
    return drawn.choice(choices)()


def break_now_and_then(plan: FaultPlan, every_s: float, seed: int) -> None:
    drawn = random.Random(seed)
    while True:
        time.sleep(every_s)
        faults = random_faults(drawn)
        for fault in faults:
            log_event("fault", point=fault.point, kind=fault.kind, times=fault.times)
            plan.add(fault)


def load_app(options: argparse.Namespace, plan: FaultPlan) -> Any:
    """The application with everything that :mod:`motion_service.main` wires."""
    worker = GuardedWorker(lambda: Worker(costs=cpu_costs(), faults=plan), lost_after_s=LOST_AFTER_S)
    resident = TimedResident(options.step_ms / 1000, tuple(options.batches))
    worker.add_model("timed", resident)
    worker.add_model(exact_name("timed"), TimedResident(options.step_ms / 1000, (1,)))
    store = ArtifactStore(options.directory / "animations", options.directory, "/data", faults=plan)
    sources: dict[str, MotionSource] = {"mini": TimedSource(worker), "dip": cast(Any, FakeLive(cost=lambda: 0.02))}
    defaults = MotionOptions(artifacts=["npy"])
    jobs = Jobs(Pipeline(sources, FakeSource("placeholder"), store, Admission(options.queue), defaults))

    async def start() -> None:
        worker.start()
        if options.slow_start:
            await asyncio.sleep(options.slow_start)
        await worker.prepare()
        worker.ready()

    async def stop() -> None:
        await worker.stop(drain=worker.condition != "starting")
        await jobs.pipeline.finisher.stop()

    lifecycle = Lifecycle(lambda: worker.condition)
    worker.on_fatal = lambda: lifecycle.end(EXIT_DEVICE)
    streams = Streams(jobs.pipeline, keys=())
    app = create_app(jobs, (), start, stop, worker, streams=streams, lifecycle=lifecycle)
    app.state.streams, app.state.lifecycle = streams, lifecycle
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--step-ms", type=float, default=3.0)
    parser.add_argument("--batches", type=json.loads, default=[1, 2, 4, 8])
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--every", type=float, default=0.0, help="seconds between faults; 0 = none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow-start", type=float, default=0.0)
    parser.add_argument("--grace", type=float, default=30.0)
    parser.add_argument("--lose-device-after", type=float, default=0.0)
    options = parser.parse_args()
    configure_logging("info")
    torch.set_num_threads(1)
    plan = FaultPlan()
    if options.every:
        arguments = (plan, options.every, options.seed)
        threading.Thread(target=break_now_and_then, args=arguments, daemon=True).start()
    if options.lose_device_after:
        lost = Fault("batch", "raise", illegal_access, -1)
        threading.Timer(options.lose_device_after, plan.add, (lost,)).start()
    sys.exit(serve(load_app(options, plan), "127.0.0.1", options.port, options.grace))


if __name__ == "__main__":
    main()
