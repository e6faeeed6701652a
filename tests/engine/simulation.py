"""A device that exists only in time: runs a scheduler through arrivals, cancellations and batches, event by event.

Nothing waits and nothing is drawn at random, so a simulation is exact, repeatable and takes milliseconds. Figures from
it are figures of the policy under a table of costs, not of a device.
"""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from motion_service.engine.costs import CostTable
from motion_service.engine.run import Batch, Forecast, ModelLimits, SamplingRun
from motion_service.engine.scheduler import Policy, Scheduler

OnDone = Callable[[SamplingRun, float], Iterable[SamplingRun]]
"""What the owner of a finished run submits next."""


def nothing(run: SamplingRun, now: float) -> Iterable[SamplingRun]:
    return ()


@dataclass
class Report:
    """What happened. Times are seconds since the start of the simulation."""

    finished: dict[str, float] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    cancelled: dict[str, float] = field(default_factory=dict)
    steps: Counter[str] = field(default_factory=Counter)
    runs: dict[str, SamplingRun] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    most_in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def latencies(self) -> dict[str, float]:
        return {run_id: end - self.runs[run_id].arrival for run_id, end in self.finished.items()}

    @property
    def missed(self) -> set[str]:
        """Runs that were not done by their deadline."""
        return {
            name
            for name, run in self.runs.items()
            if name not in self.cancelled and self.finished.get(name, math.inf) > run.deadline + 1e-9
        }

    @property
    def busy_s(self) -> float:
        return sum(end - batch.started for batch, end in zip(self.batches, self.ends, strict=True))

    @property
    def padding(self) -> float:
        """Share of all rows that were no frame of a clip, 0 to 1."""
        rows = sum(batch.bucket * batch.width * batch.num_steps for batch in self.batches)
        frames = sum(run.frames * batch.num_steps for batch in self.batches for run in batch.runs)
        return 1 - frames / rows

    def rate(self, begin: float = 0.0, end: float = math.inf) -> float:
        """Frames of finished runs a second, from ``begin`` to ``end`` or the last batch."""
        end = min(end, self.ends[-1])
        done = sum(self.runs[name].frames for name, at in self.finished.items() if begin <= at <= end)
        return done / (end - begin)

    def percentile_ms(self, percent: int, prefix: str = "") -> float:
        """Of the latencies of runs whose id begins with ``prefix``."""
        times = [1000 * time for name, time in self.latencies.items() if name.startswith(prefix)]
        return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def simulate(
    models: dict[str, ModelLimits],
    arrivals: Iterable[SamplingRun],
    costs: CostTable,
    *,
    true_costs: CostTable | None = None,
    policy: Policy | None = None,
    cancels: Sequence[tuple[float, str]] = (),
    on_done: OnDone = nothing,
    until: float = math.inf,
    ask: Collection[str] = (),
) -> Report:
    """Run it until nothing is left, or until a moment.

    ``true_costs``: what batches take, if not what is predicted; ``ask``: runs to be forecast when they arrive.
    """
    scheduler, report = Scheduler(models, costs, policy), Report()
    numbers = itertools.count()
    events: list[tuple[float, int, SamplingRun | str]] = [(run.arrival, next(numbers), run) for run in arrivals]
    events += [(at, next(numbers), run_id) for at, run_id in cancels]
    heapq.heapify(events)
    now = 0.0

    def happen(moment: float) -> None:
        while events and events[0][0] <= moment:
            at, _, event = heapq.heappop(events)
            if isinstance(event, str):
                scheduler.cancel(event)
            else:
                if event.id in ask:
                    report.forecasts[event.id] = scheduler.forecast(event, at)
                scheduler.submit(event)
                report.runs[event.id] = event
            for run in scheduler.take_news().cancelled:
                report.cancelled[run.id] = at

    while now < until:
        happen(now)
        batch = scheduler.next_batch(now)
        if batch is None:
            if not events:
                break
            now = events[0][0]
            continue
        _record(report, scheduler, batch, now)
        shape = (batch.model, batch.bucket, batch.width, batch.mode, batch.num_steps)
        now += (true_costs or costs).batch_ms(*shape) / 1000
        happen(math.nextafter(now, -math.inf))
        for run in scheduler.finished(batch, now):
            report.finished[run.id] = now
            for new in on_done(run, now):
                heapq.heappush(events, (new.arrival, next(numbers), new))
        for run in scheduler.take_news().cancelled:
            report.cancelled[run.id] = now
        report.ends.append(now)
    return report


def _record(report: Report, scheduler: Scheduler, batch: Batch, now: float) -> None:
    report.batches.append(batch)
    in_flight = scheduler.num_in_flight(batch.model)
    report.most_in_flight[batch.model] = max(report.most_in_flight[batch.model], in_flight)
    for run in batch.runs:
        report.began.setdefault(run.id, now)
        report.steps[run.id] += batch.num_steps
