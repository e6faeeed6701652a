"""Which deadlines hold if a batch is taken now: bounds on when every known run ends.

Runs of one model and length, taken ``width`` at a time in order, end like jobs on ``width`` equal machines: one starts
no later than the work before it, spread evenly (Graham 1969), and at once if there are machines left. Groups share the
device one after the other. Side by side at width 1 the bound is exact: that is EDF, one clip at a time. Either bound
falls by at least the time that passes while the order is followed, so what held once holds until something new arrives.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from motion_service.engine.run import SamplingRun

TOLERANCE_MS: Final = 1e-6
"""Rounding of times is no missed deadline."""


class Pace(NamedTuple):
    """How fast one group is served."""

    step_ms: float
    width: int
    """Clips side by side."""
    shared: int
    """Number of the group whose seats it uses: its own, or of a longer length of the same model."""


Entry = tuple[SamplingRun, float, int, int]
"""One run as the bounds see it: the run, milliseconds until its deadline (inf without one), steps left, its group."""


class Taken(NamedTuple):
    """A batch that comes before all else."""

    members: Collection[SamplingRun] = ()
    num_steps: int = 0
    took_ms: float = 0.0


_NOTHING: Final = Taken()


class Outcome(NamedTuple):
    num_missed: int
    """Deadlines that are not sure to hold."""
    last_end_ms: float
    """Latest end of the last run, from now."""


def foresee(
    entries: Iterable[Entry], paces: Sequence[Pace], taken: Taken = _NOTHING, *, enough: float = math.inf
) -> Outcome:
    """What comes of it if ``entries`` are served in this order after ``taken``; ``paces``: one for each group.

    With ``enough`` deadlines missed the rest is not looked at.
    """
    members, num_steps, took_ms = taken
    work, longest, adds = [0.0] * len(paces), [0.0] * len(paces), [0.0] * len(paces)
    counts = [0] * len(paces)
    ahead = took_ms  # and the sum of ``adds``: what each group needs for all its runs so far
    num_missed, end = 0, took_ms
    for run, slack_ms, remaining, group in entries:
        if num_steps and run in members:
            remaining -= num_steps
            if remaining <= 0:
                end = took_ms
                num_missed += end > slack_ms + TOLERANCE_MS
                continue
        step_ms, width, seats = paces[group]
        own = remaining * step_ms
        before = adds[seats]
        done = work[seats]
        end = ahead - before + own
        if counts[seats] >= width:
            end += done / width
        if end > slack_ms + TOLERANCE_MS:
            num_missed += 1
            if num_missed >= enough:
                break
        counts[seats] += 1
        work[seats] = done = done + own
        if own > longest[seats]:
            longest[seats] = own
        after = longest[seats] if counts[seats] <= width else done / width + longest[seats] * (1 - 1 / width)
        adds[seats] = after
        ahead += after - before
    return Outcome(num_missed, end)
