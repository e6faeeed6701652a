"""How long a batch takes: a curve measured once, bent by what is measured while it runs.

A step's time is very nearly a function of its rows (length bucket x batch bucket); so a curve over rows seeds every
model. Each shape that has run has a factor of its own to the seed, an exponential mean; a shape that has not takes the
factors of its neighbours in rows. Another GPU is known after a few batches, at the latest after warm-up.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from motion_service.engine.run import Mode

Curve = Sequence[tuple[float, float]]
"""(rows, milliseconds of a step), both ascending."""

H100_FULL: Final[Curve] = (
    (60, 0.182),
    (100, 0.206),
    (120, 0.216),
    (200, 0.268),
    (240, 0.295),
    (400, 0.424),
    (800, 0.452),
    (960, 0.504),
    (3840, 1.03),
    (6400, 1.624),
    (15360, 3.59),
    (30720, 6.92),
    (61440, 13.37),
)
"""The full-size network (26.4 M) in fp16 with guidance on one H100 80GB HBM3, 2026-11-22: best prototype of each size,
time of the whole loop / steps (MDM 100 frames: 50; DiP 60 rows: 10). No masks, no mixed lengths."""

CPU_FULL: Final[Curve] = ((60, 36.0), (100, 49.0))
"""The same in fp32 on 2 EPYC cores. Larger batches were not measured: they are taken to cost in proportion."""

CPU_MINI: Final[Curve] = ((60, 11.2),)
"""A network of the size of ``mini`` (6 M), as above."""

_NEWEST: Final = 0.2
"""Weight of the newest measurement in a mean."""
_OUTLIER: Final = 4.0
"""A single measurement counts for at most so many times what was expected: a pause of the host is no cost."""


@dataclass(slots=True)
class _Learned:
    """Factors to the seed of one model and mode, by shape; and as points over rows for shapes that never ran."""

    factors: dict[tuple[int, int], float] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    means: dict[int, float] = field(default_factory=dict)

    def add(self, shape: tuple[int, int], factor: float) -> None:
        known = self.factors.get(shape)
        if known is not None:
            factor = known + _NEWEST * (min(factor, _OUTLIER * known) - known)
        self.factors[shape] = factor
        rows = shape[0] * shape[1]
        if rows not in self.means:
            bisect.insort(self.rows, rows)
        alike = [value for (length, width), value in self.factors.items() if length * width == rows]
        self.means[rows] = sum(alike) / len(alike)

    def factor(self, shape: tuple[int, int]) -> float:
        if shape in self.factors or not self.rows:
            return self.factors.get(shape, 1.0)
        rows = shape[0] * shape[1]
        right = bisect.bisect_left(self.rows, rows)
        if right in (0, len(self.rows)):
            return self.means[self.rows[min(right, len(self.rows) - 1)]]
        low, high = self.rows[right - 1], self.rows[right]
        share = math.log(rows / low) / math.log(high / low)
        return self.means[low] + share * (self.means[high] - self.means[low])


class CostTable:
    """Milliseconds of steps and loops. Not thread-safe."""

    def __init__(
        self,
        curve: Curve,
        *,
        curves: Mapping[str, Curve] | None = None,
        launch_ms: float = 0.01,
        dispatch_ms: float = 0.1,
    ) -> None:
        """``curve`` is for every model without one of its own in ``curves``.

        ``launch_ms``: what a step costs more as a graph of its own than inside a loop; ``dispatch_ms``: what the host
        takes for each batch, whatever is in it. The defaults are assumptions for a CUDA GPU, not measured.
        """
        for seed in (curve, *(curves or {}).values()):
            if not seed or list(seed) != sorted(seed) or seed[0][0] <= 0 or seed[0][1] <= 0:
                raise ValueError("a curve of costs needs positive points in ascending order")
        self._curve, self._curves = curve, dict(curves or {})
        self.launch_ms, self.dispatch_ms = launch_ms, dispatch_ms
        self._learned: dict[tuple[str, Mode], _Learned] = {}
        self._steps: dict[tuple[str, Mode, int, int], float] = {}

    def step_ms(self, model: str, bucket: int, width: int, mode: Mode = "step") -> float:
        """One step of a batch of this shape; as part of a loop with ``mode="loop"``."""
        key = (model, mode, bucket, width)
        known = self._steps.get(key)
        if known is None:
            learned = self._learned.get((model, mode))
            factor = learned.factor((bucket, width)) if learned else self._unseen(model)
            known = self._steps[key] = factor * self._seed_ms(model, bucket, width, mode)
        return known

    def batch_ms(self, model: str, bucket: int, width: int, mode: Mode, num_steps: int) -> float:
        """A whole batch, from its hand-out to its return."""
        return self.dispatch_ms + num_steps * self.step_ms(model, bucket, width, mode)

    def observe(self, model: str, bucket: int, width: int, mode: Mode, num_steps: int, took_ms: float) -> None:
        """Learn from a batch that took ``took_ms``. Times that are none are left out."""
        step_ms = (took_ms - self.dispatch_ms) / num_steps
        if not (0 < step_ms < math.inf):
            return
        learned = self._learned.setdefault((model, mode), _Learned())
        learned.add((bucket, width), step_ms / self._seed_ms(model, bucket, width, mode))
        self._steps = {key: value for key, value in self._steps.items() if key[0] != model}

    def _seed_ms(self, model: str, bucket: int, width: int, mode: Mode) -> float:
        inside = curve_ms(self._curves.get(model, self._curve), bucket * width)
        return inside if mode == "loop" else inside + self.launch_ms

    def _unseen(self, model: str) -> float:
        """Factor for a mode that never ran: that of the other one, which runs the same kernels."""
        other = [learned for (name, _), learned in self._learned.items() if name == model]
        return sum(sum(one.means.values()) / len(one.means) for one in other) / len(other) if other else 1.0


def curve_ms(curve: Curve, rows: float) -> float:
    """Milliseconds of a step, straight lines between points.

    Below the first point nothing gets cheaper: few rows cost their launches. Above the last it is in proportion.
    """
    place = bisect.bisect_left(curve, (rows, 0.0))
    if place == 0:
        return curve[0][1]
    low, low_ms = curve[place - 1]
    if place == len(curve):
        return low_ms * rows / low
    high, high_ms = curve[place]
    return low_ms + (high_ms - low_ms) * (rows - low) / (high - low)


def h100_costs() -> CostTable:
    """Seeded for one H100; any other GPU is learned from there. ``mini`` is dearer here than it is, until it ran."""
    return CostTable(H100_FULL)


def cpu_costs() -> CostTable:
    """Seeded for two cores of a CPU, without graphs: a step costs the same wherever it is taken."""
    return CostTable(CPU_FULL, curves={"mini": CPU_MINI}, launch_ms=0.0, dispatch_ms=0.2)
