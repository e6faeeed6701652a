"""Which runs of one model fit into a batch together, and which of the possible batches does most work for its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice

from motion_service.engine.costs import CostTable
from motion_service.engine.run import ModelLimits, Priority, SamplingRun


@dataclass(slots=True)
class InFlight:
    """What one model holds on the device, and who may begin beside it."""

    limits: ModelLimits
    runs: dict[str, SamplingRun]
    rows: int = 0

    def add(self, run: SamplingRun) -> None:
        run.in_flight = True
        self.runs[run.id] = run
        self.rows += run.bucket

    def remove(self, run: SamplingRun) -> None:
        if run.in_flight:
            run.in_flight = False
            del self.runs[run.id]
            self.rows -= run.bucket

    def room(self, priority: Priority) -> tuple[float, float]:
        """Clips and rows that may begin. The lower the priority, the more must stay free for others: a quarter for live
        windows, half of all for what is not batch work. Where nothing is in flight, one run may always begin.
        """
        share = (4 - priority) / 4
        slots, rows = share * self.limits.max_slots - len(self.runs), share * self.limits.max_rows - self.rows
        return (slots, rows) if self.runs else (max(1.0, slots), max(rows, self.limits.lengths[-1]))

    def has_room(self, run: SamplingRun) -> bool:
        slots, rows = self.room(run.priority)
        return slots >= 1 and rows >= run.bucket


@dataclass(frozen=True, slots=True)
class Option:
    """A batch that could be taken."""

    members: tuple[SamplingRun, ...]
    bucket: int
    width: int
    step_ms: float
    rate: float
    """Frames that take a step in a millisecond, padding not counted."""


def take(
    candidates: Sequence[SamplingRun], held: InFlight, max_width: int, priority: Priority, lengths: Container[int]
) -> tuple[list[SamplingRun], list[SamplingRun]]:
    """The first that may take a step now: those of ``priority`` and above, and riders from below it.

    Only those of the length buckets ``lengths``. Riders are never longer than the others: a free seat costs nothing.
    """
    own: list[SamplingRun] = []
    riders: list[SamplingRun] = []
    room = [held.room(level) for level in Priority]
    num_new = new_rows = longest = 0
    for run in candidates:
        if len(own) + len(riders) == max_width:
            break
        rides = run.priority > priority and longest > 0
        if run.bucket not in lengths or (rides and run.bucket > longest):
            continue
        if not run.in_flight:
            slots, rows = room[run.priority]
            if num_new + 1 > slots or new_rows + run.bucket > rows:
                continue
            num_new, new_rows = num_new + 1, new_rows + run.bucket
        if rides:
            riders.append(run)
        else:
            own.append(run)
            longest = max(longest, run.bucket)
    return own, riders


def best_lengths(candidates: Sequence[SamplingRun], held: InFlight, max_width: int, costs: CostTable) -> frozenset[int]:
    """Length buckets whose runs are best batched with the first candidate: a range around its own.

    A range is rated as if it filled one batch with clips of its mean length.
    """
    counted = Counter((run.bucket, run.in_flight) for run in candidates)
    lengths = sorted({bucket for bucket, _ in counted})
    if held.limits.packed or len(lengths) == 1:
        return frozenset(lengths)
    model, mine = candidates[0].model, lengths.index(candidates[0].bucket)
    room = max(0, held.limits.max_slots - len(held.runs))
    best_rate, best = 0.0, (mine, mine)
    for low in range(mine + 1):
        ready = waiting = frames = 0
        for high, length in enumerate(lengths[low:], low):
            ready, waiting = ready + counted[length, True], waiting + counted[length, False]
            frames += length * (counted[length, True] + counted[length, False])
            if high >= mine and (num := min(max_width, ready + min(room, waiting))):
                step_ms = costs.step_ms(model, length, held.limits.batch_bucket(num))
                rate = num * frames / (ready + waiting) / step_ms
                if rate > best_rate:
                    best_rate, best = rate, (low, high)
    return frozenset(lengths[best[0] : best[1] + 1])


def options(
    own: Sequence[SamplingRun],
    riders: Sequence[SamplingRun],
    limits: ModelLimits,
    costs: CostTable,
    *,
    max_width: int,
) -> tuple[list[Option], list[Option]]:
    """By width: batches of ``own`` with riders in free seats, and wider ones that exist only for riders."""
    needed, most = limits.batch_bucket(len(own)), limits.batch_bucket(len(own) + len(riders))
    narrow: list[Option] = []
    wide: list[Option] = []
    for width in limits.batches:
        if width > min(most, max_width):
            break
        first = own[:width]
        bucket, _ = limits.shape(first)
        if width > needed:
            first = [*own, *islice(riders, width - len(own))]
            bucket, _ = limits.shape(first)
        elif len(first) < width:
            first = [*first, *_free_riders(first, riders, bucket, width, limits.packed)]
        step_ms = costs.step_ms(first[0].model, bucket, width)
        option = Option(tuple(first), bucket, width, step_ms, sum(run.frames for run in first) / step_ms)
        (narrow if width <= needed else wide).append(option)
    return narrow, wide


def _free_riders(
    members: Sequence[SamplingRun], riders: Sequence[SamplingRun], bucket: int, width: int, packed: bool
) -> list[SamplingRun]:
    """Riders for the empty seats of a graph."""
    if not packed:
        return list(riders[: width - len(members)])
    spare = bucket * width - sum(run.frames for run in members)
    chosen: list[SamplingRun] = []
    for run in riders:
        if len(members) + len(chosen) < width and run.frames <= spare:
            chosen.append(run)
            spare -= run.frames
    return chosen


def by_preference(narrow: Sequence[Option], wide: Sequence[Option], nearly: float, company: float) -> list[Option]:
    """Best first: the narrowest with nearly (0 to 1) the best rate, or a wider one for riders that does more and costs
    at most ``company`` times as much; then, in case those break deadlines, the best rate, narrower ones, one run.
    """
    best = max(narrow, key=lambda option: option.rate)
    place = next(i for i, option in enumerate(narrow) if option.rate >= nearly * best.rate)
    chosen = narrow[place]
    affordable = [o for o in wide if o.step_ms <= company * chosen.step_ms and o.rate > chosen.rate]
    ordered = [*affordable[-1:], chosen, best]
    while place > 2:  # every second width: few tries
        place -= 2
        ordered.append(narrow[place])
    ordered += reversed(narrow[1:place])
    return [option for option in dict.fromkeys(ordered) if option is not narrow[0]] + [narrow[0]]


def likely_width(num_clips: int, model: str, bucket: int, limits: ModelLimits, costs: CostTable, nearly: float) -> int:
    """How wide batches will be while so many clips of one length are waiting; chosen as by :func:`by_preference`."""
    widths = [width for width in limits.batches if width <= limits.batch_bucket(num_clips)]
    rates = [min(width, num_clips) / costs.step_ms(model, bucket, width) for width in widths]
    return next(width for width, rate in zip(widths, rates, strict=True) if rate >= nearly * max(rates))
