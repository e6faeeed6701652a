"""Decides what the device does next: which runs, how many steps, in one graph or step by step.

Pure Python: it owns no thread, no clock and no tensor. The worker asks :meth:`Scheduler.next_batch`, does it, and says
:meth:`Scheduler.finished`. The policy and what it guarantees: docs/scheduler.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from motion_service.engine.batching import InFlight, Option, best_lengths, by_preference, likely_width, options, take
from motion_service.engine.costs import CostTable
from motion_service.engine.deadlines import Entry, Pace, Taken, foresee
from motion_service.engine.queue import Lane, RunQueue
from motion_service.engine.run import Batch, Forecast, Mode, ModelLimits, Priority, SamplingRun

LOOKAHEAD: Final = 256
"""The most urgent runs that a decision looks at; or twice the largest batch, where that is more."""
HORIZON: Final = 256
"""The most urgent runs whose deadlines it weighs."""
FEW: Final = 16
"""With at most so many, every width is tried for what comes after a batch, not only the batch's own."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits in milliseconds hold for batches of more than one step; a single step is always allowed."""

    chunk_ms: float = 4.0
    """Longest row of steps while a new run could join. Shorter = joins sooner, longer = less work for the host."""
    block_ms: float = 25.0
    """Longest whole loop while a new run could join, and longest row of steps of a full batch."""
    full_ms: float = 100.0
    """Longest whole loop of a full batch, which nobody could join."""
    live_block_ms: float = 15.0
    """Longest batch led by other work while live windows are expected."""
    live_memory_s: float = 5.0
    """Live windows are expected so long after the last one."""
    nearly: float = 0.95
    """Share of the best rate that is enough: narrower batches answer sooner."""
    company: float = 1.5
    """How much dearer runs of lower priority may make a batch, as long as it does more in its time."""
    patience_s: float = 5.0
    """A lane of the queue (a priority, with or without deadlines) that got nothing for so long is overdue."""
    least_share: float = 0.1
    """Share of the time that a lane gets from then on, whatever else waits."""
    margin: float = 0.1
    """How much longer than predicted batches are taken to last when deadlines are at stake."""


class News(NamedTuple):
    """What became of runs since it was last asked for."""

    cancelled: tuple[SamplingRun, ...]
    """They have left; places they held on the device are free."""
    late: tuple[SamplingRun, ...]
    """Their deadline cannot be met any more. They go on, by turns, until somebody cancels them."""


class _Extent(NamedTuple):
    mode: Mode
    num_steps: int
    predicted_ms: float


class Scheduler:
    """See the module. Not thread-safe: hold a lock around each call. Times are monotonic seconds."""

    def __init__(self, models: Mapping[str, ModelLimits], costs: CostTable, policy: Policy | None = None) -> None:
        self.costs = costs
        self.policy = policy or Policy()
        self._held = {name: InFlight(limits, {}) for name, limits in models.items()}
        self._lookahead = max([LOOKAHEAD, *(2 * limits.batches[-1] for limits in models.values())])
        self._queue = RunQueue()
        self._running: Batch | None = None
        self._due: dict[Lane, float] = {}
        self._live_until = -math.inf
        self._caps: dict[str, tuple[int, float]] = {}
        self._cancelled: list[SamplingRun] = []
        self._late: list[SamplingRun] = []

    def add_model(self, name: str, limits: ModelLimits) -> None:
        """One more model, or other limits for one of which nothing is in flight."""
        self._held[name] = InFlight(limits, {})
        self._lookahead = max(self._lookahead, 2 * limits.batches[-1])

    # --- from those who want something ---

    def submit(self, run: SamplingRun) -> None:
        """Queue a run. Raises ValueError for one that was queued before, is too long or of an unknown model."""
        run.bucket = self._limits(run).length_bucket(run.frames)
        if self._queue.get(run.id) is not None or run.done or run.cancelled:
            raise ValueError(f"run {run.id!r} was submitted before")
        self._queue.add(run)
        if run.priority is Priority.LIVE:
            self.expect_live(run.arrival + self.policy.live_memory_s)

    def cancel(self, run_id: str) -> bool:
        """Let a run leave: at once, or at the end of the batch that runs. False when it is not here (any more)."""
        run = self._queue.get(run_id)
        if run is None:
            return False
        run.cancelled = True
        if self._running is None or run not in self._running.runs:
            self._leave(run)
            self._cancelled.append(run)
        return True

    def expect_live(self, until: float) -> None:
        """Keep batches short: windows of a stream may come until then. A live window says so by itself."""
        self._live_until = max(self._live_until, until)

    def forecast(self, run: SamplingRun, now: float) -> Forecast:
        """When ``run``, submitted or not, would begin and end if nothing else came: an estimate."""
        run.bucket = run.bucket or self._limits(run).length_bucket(run.frames)
        place, taken = self._queue.place(run), self._taken_now(now)
        if place == 0 and not run.done:
            span_ms = self._alone_ms(run)
            end_ms = taken.took_ms + span_ms
        else:
            others = [other for other in self._queue.ahead(HORIZON) if other is not run]
            before = min(place, HORIZON)
            entries, groups = self._outlook([*others[:before], run, *others[before:]], now)
            guesses = []
            for paces in (self._side_by_side(entries, groups), self._serial(groups)):
                end_ms = foresee(entries[: before + 1], paces, taken).last_end_ms
                guesses.append((end_ms, run.remaining * paces[entries[before][-1]].step_ms))
            # Whoever has a deadline may be served narrower than would be efficient.
            end_ms, span_ms = guesses[0] if run.deadline == math.inf else min(guesses)
        wait_ms = max(0.0, end_ms - span_ms) * max(1.0, place / HORIZON)
        finish_s = (wait_ms + span_ms) / 1000
        return Forecast(wait_ms / 1000, finish_s, hopeless=now + finish_s > run.deadline)

    # --- from the worker ---

    def next_batch(self, now: float) -> Batch | None:
        """What to do now; None when there is nothing. Raises RuntimeError before the last batch is finished."""
        if self._running is not None:
            raise RuntimeError("the batch that runs must be finished first")
        ahead = self._look_ahead(now)
        if not ahead:
            return None
        head = self._head(ahead, now)
        option = self._choose(head, ahead, now)
        extent = self._extent(option, head.priority, now)
        for run in option.members:
            if run.began is None:
                run.began = now
            if not run.in_flight:
                self._held[run.model].add(run)
                self._queue.begin(run)
        batch = Batch(head.model, option.bucket, option.width, option.members, *extent, started=now)
        self._running = batch
        return batch

    def finished(self, batch: Batch, now: float, *, took_ms: float | None = None) -> tuple[SamplingRun, ...]:
        """The runs that are done with it.

        ``took_ms``: what the device took, to learn from; None = since its start, NaN = not known yet.
        """
        self._end(batch)
        self._pay(batch, now)
        took_ms = 1000 * (now - batch.started) if took_ms is None else took_ms
        self.costs.observe(batch.model, batch.bucket, batch.width, batch.mode, batch.num_steps, took_ms)
        done: list[SamplingRun] = []
        for run in batch.runs:
            run.done += batch.num_steps
            if run.cancelled or not run.remaining:
                self._leave(run)
                (self._cancelled if run.cancelled else done).append(run)
        return tuple(done)

    def put_back(self, batch: Batch, *, max_width: int | None = None, until: float = math.inf) -> None:
        """The batch failed before it changed anything: its runs wait as before, those that had not begun anew.

        ``max_width``: batches of this model hold at most so many clips until then (out of memory).
        """
        self._end(batch)
        if max_width is not None:
            self._caps[batch.model] = (max(1, max_width), until)
        for run in batch.runs:
            if run.cancelled:
                self._leave(run)
                self._cancelled.append(run)
            elif not run.done:
                run.began = None
                self._held[run.model].remove(run)

    def take_news(self) -> News:
        """Runs that left or became late since the last call. To be asked for before and after each batch."""
        news = News(tuple(self._cancelled), tuple(run for run in self._late if not run.cancelled))
        self._cancelled, self._late = [], []
        return news

    def num_in_flight(self, model: str) -> int:
        """Runs that hold a place on the device."""
        return len(self._held[model].runs)

    def __len__(self) -> int:
        """Runs waiting or in flight."""
        return len(self._queue)

    # --- whose turn it is ---

    def _look_ahead(self, now: float) -> list[SamplingRun]:
        """The most urgent runs, after those whose deadline is lost have gone to their turns."""
        while True:
            ahead = self._queue.ahead(self._lookahead)
            least_s: dict[tuple[str, int], float] = {}
            lost = []
            for run in ahead:
                if run.deadline < math.inf and not run.late:
                    kind = (run.model, run.bucket)
                    if kind not in least_s:
                        least_s[kind] = self._least_step_ms(run) / 1000
                    if now + run.remaining * least_s[kind] > run.deadline + 1e-9:
                        lost.append(run)
            if not lost:
                return ahead
            for run in lost:
                self._queue.demote(run)
            self._late += lost

    def _head(self, ahead: Sequence[SamplingRun], now: float) -> SamplingRun:
        """The run that is served next: the most urgent one, or that of a lane that is overdue."""
        heads = self._queue.heads()
        self._due = {lane: self._due.get(lane, run.arrival + self.policy.patience_s) for lane, run in heads.items()}
        lane = min(self._due, key=self._due.__getitem__)
        return heads[lane] if self._due[lane] <= now else ahead[0]

    def _choose(self, head: SamplingRun, ahead: Sequence[SamplingRun], now: float) -> Option:
        """The batch for ``head``: what is most efficient, narrower where deadlines need it.

        While all known deadlines hold if runs are served one by one, nothing is done that would end this.
        """
        ordered = self._options(head, ahead, now)
        if len(ordered) == 1 or all(run.deadline == math.inf or run.late for run in ahead[:HORIZON]):
            return ordered[0]
        entries, groups = self._outlook(ahead[:HORIZON], now)
        serial, aside = self._serial(groups), self._side_by_side(entries, groups)
        holds = not foresee(entries, serial, enough=1).num_missed
        best, fewest = ordered[-1], 1 if holds else math.inf
        for option in ordered:
            taken = Taken(frozenset(option.members), *self._extent(option, head.priority, now)[1:])
            if holds:
                futures = [serial]
            elif len(entries) > FEW:
                futures = [self._with_option(aside, groups, option)]
            else:
                futures = [serial, *(self._with_option(aside, groups, other) for other in ordered)]
            for paces in futures:
                missed = foresee(entries, paces, taken, enough=fewest).num_missed
                if missed < fewest:
                    best, fewest = option, missed
            if not fewest:
                break
        return best

    def _options(self, head: SamplingRun, ahead: Sequence[SamplingRun], now: float) -> list[Option]:
        """Batches with ``head``, best first. Where it may not begin yet: those that make room for it."""
        held = self._held[head.model]
        max_width = self._max_width(head.model, now)
        candidates = [head, *(run for run in ahead if run.model == head.model and run is not head)]
        if not head.in_flight and not held.has_room(head):
            candidates = [run for run in candidates if run.in_flight]
            known = set(candidates)
            candidates += [run for run in held.runs.values() if run not in known]
        candidates = [run for run in candidates if run.company == candidates[0].company]
        lengths = best_lengths(candidates, held, max_width, self.costs)
        own, riders = take(candidates, held, max_width, head.priority, lengths)
        found = options(own, riders, held.limits, self.costs, max_width=max_width)
        return by_preference(*found, self.policy.nearly, self.policy.company)

    # --- how long ---

    def _extent(self, option: Option, priority: Priority, now: float) -> _Extent:
        """A whole loop where there is one that is cheaper and not too long, else as many steps as may be in a row."""
        policy, first = self.policy, option.members[0]
        limits = self._limits(first)
        is_full = len(option.members) == limits.batches[-1]
        loop_ms, chunk_ms = (policy.full_ms, policy.block_ms) if is_full else (policy.block_ms, policy.chunk_ms)
        if priority is not Priority.LIVE and now < self._live_until:
            loop_ms, chunk_ms = min(loop_ms, policy.live_block_ms), min(chunk_ms, policy.live_block_ms)
        shape = (first.model, option.bucket, option.width)
        if all(not run.done and run.steps == first.steps for run in option.members):
            whole_ms = self.costs.batch_ms(*shape, "loop", first.steps)
            cheaper = whole_ms <= self.costs.batch_ms(*shape, "step", first.steps)
            if cheaper and whole_ms <= loop_ms and limits.has_loop(option.bucket, option.width, first.steps):
                return _Extent("loop", first.steps, whole_ms)
        until_one_ends = min(run.remaining for run in option.members)
        num_steps = max(1, min(until_one_ends, int(chunk_ms / option.step_ms)))
        return _Extent("step", num_steps, self.costs.batch_ms(*shape, "step", num_steps))

    def _alone_ms(self, run: SamplingRun) -> float:
        """What it takes to end a run that is served alone from now on."""
        if not run.done and self._limits(run).has_loop(run.bucket, 1, run.steps):
            return run.steps * self._least_step_ms(run)
        return run.remaining * self.costs.step_ms(run.model, run.bucket, 1)

    def _least_step_ms(self, run: SamplingRun) -> float:
        shape = (run.model, run.bucket, 1)
        return min(self.costs.step_ms(*shape), self.costs.step_ms(*shape, "loop"))

    # --- what it means for deadlines ---

    def _taken_now(self, now: float) -> Taken:
        """What is still to come of the batch that runs."""
        if self._running is None:
            return Taken()
        left_ms = self._running.predicted_ms - 1000 * (now - self._running.started)
        return Taken(frozenset(self._running.runs), self._running.num_steps, max(0.0, left_ms))

    def _outlook(self, runs: Sequence[SamplingRun], now: float) -> tuple[list[Entry], list[tuple[str, int]]]:
        """Runs in order as the bounds see them, and the groups they belong to: (model, length bucket)."""
        numbers: dict[tuple[str, int], int] = {}
        scale = 1000 / (1 + self.policy.margin)
        entries = []
        for run in runs:
            group = numbers.setdefault((run.model, run.bucket), len(numbers))
            slack_ms = math.inf if run.late else (run.deadline - now) * scale
            entries.append((run, slack_ms, run.steps - run.done, group))
        return entries, list(numbers)

    def _serial(self, groups: Sequence[tuple[str, int]]) -> list[Pace]:
        return [Pace(self.costs.step_ms(*group, 1), 1, number) for number, group in enumerate(groups)]

    def _side_by_side(self, entries: Sequence[Entry], groups: Sequence[tuple[str, int]]) -> list[Pace]:
        """As wide as the runs of a group make it worth; all lengths of a model whose rows are packed are one group."""
        shared = [number for number, _ in enumerate(groups)]
        for number, (model, _) in enumerate(groups):
            if self._held[model].limits.packed:
                shared[number] = next(first for first, (other, _) in enumerate(groups) if other == model)
        counts, rows = [0] * len(groups), [0] * len(groups)
        for run, _, _, group in entries:
            counts[shared[group]] += 1
            rows[shared[group]] += run.bucket
        paces = []
        for (model, _), seats in zip(groups, shared, strict=True):
            limits = self._held[model].limits
            bucket = limits.length_bucket(rows[seats] / counts[seats])
            width = likely_width(counts[seats], model, bucket, limits, self.costs, self.policy.nearly)
            paces.append(Pace(self.costs.step_ms(model, bucket, width), width, seats))
        return paces

    def _with_option(self, paces: Sequence[Pace], groups: Sequence[tuple[str, int]], option: Option) -> list[Pace]:
        """``paces``, but the groups that ``option`` takes runs from go on as it does."""
        model, lengths = option.members[0].model, {run.bucket for run in option.members}
        packed = self._held[model].limits.packed
        mine = [number for number, group in enumerate(groups) if group[0] == model and (packed or group[1] in lengths)]
        pace = Pace(option.step_ms, option.width, min(mine, default=0))
        return [pace if number in mine else paces[number] for number in range(len(groups))]

    # --- accounts ---

    def _limits(self, run: SamplingRun) -> ModelLimits:
        held = self._held.get(run.model)
        if held is None:
            raise ValueError(f"there is no model {run.model!r}")
        return held.limits

    def _max_width(self, model: str, now: float) -> int:
        width, until = self._caps.get(model, (0, -math.inf))
        widest = self._held[model].limits.batches[-1]
        return min(width, widest) if now < until else widest

    def _end(self, batch: Batch) -> None:
        """Raises RuntimeError if it is not the one that runs."""
        if batch is not self._running:
            raise RuntimeError("this batch does not run")
        self._running = None

    def _pay(self, batch: Batch, now: float) -> None:
        """The lanes it served are due later: so much that each gets its least share, but not after its patience."""
        pause_s = (now - batch.started) / self.policy.least_share
        for lane in self._queue.lanes(batch.runs):
            self._due[lane] = min(self._due.get(lane, now) + pause_s, now + self.policy.patience_s)

    def _leave(self, run: SamplingRun) -> None:
        self._queue.remove(run)
        self._held[run.model].remove(run)
