"""Noise schedules: how much noise each diffusion step holds, and the tables samplers read. Float64 inside.

Samplers take plain floats from a table: multiplied with a float32 state they act as if cast to float32 first, which is
what the official program does.

Letters of Ho et al. 2020 ("Denoising Diffusion Probabilistic Models"): beta_t, alpha_bar_t. Index 0 is the cleanest
step. Networks predict x0, so only the posterior q(x_{t-1} | x_t, x0) of eq. 7 is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

ScheduleName = Literal["cosine", "linear"]
Variance = Literal["small", "large"]
"""Of the noise added by a step: the posterior's, or beta as an upper bound (Ho et al. 2020, section 3.2)."""

MAX_BETA: Final = 0.999
"""Cap of the cosine schedule, so that the last step is not a division by zero."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the posterior: x_{t-1} = coef_x0 * x0 + coef_xt * x_t + sigma * z."""

    index: int
    """Position in the schedule; 0 is the last step taken."""
    t: int
    """What the network is told: the index in the schedule it was trained on."""
    coef_x0: float
    coef_xt: float
    sigma: float
    """Standard deviation of the fresh noise; 0 at index 0."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A noise schedule of S steps. Make one with :func:`named_schedule`; shorten it with :func:`respace`."""

    betas: Tensor
    """(S,) float64, variance added by each step."""
    timesteps: Tensor
    """(S,) int64, index of each step in the schedule of training."""

    @property
    def num_steps(self) -> int:
        return len(self.timesteps)

    @property
    def alpha_bar(self) -> Tensor:
        """(S,) share of signal variance left after each step."""
        return torch.cumprod(1 - self.betas, dim=0)

    @property
    def alpha_bar_prev(self) -> Tensor:
        """(S,) alpha_bar of the next cleaner step; 1 before the first."""
        return _shifted(self.alpha_bar)

    @property
    def posterior_coef_x0(self) -> Tensor:
        """(S,) weight of x0 in the posterior mean, eq. 7 Ho et al. 2020."""
        return self.betas * self.alpha_bar_prev.sqrt() / (1 - self.alpha_bar)

    @property
    def posterior_coef_xt(self) -> Tensor:
        """(S,) weight of x_t in the posterior mean, eq. 7 Ho et al. 2020."""
        return (1 - self.alpha_bar_prev) * (1 - self.betas).sqrt() / (1 - self.alpha_bar)

    @property
    def posterior_variance(self) -> Tensor:
        """(S,) variance of the posterior, eq. 7 Ho et al. 2020 ("fixed small"); 0 at index 0."""
        return self.betas * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    @property
    def fixed_large_variance(self) -> Tensor:
        """(S,) beta, and at index 0 the posterior variance of index 1 ("fixed large")."""
        return torch.cat([self._next_to_first(self.posterior_variance), self.betas[1:]])

    def log_variance(self, variance: Variance = "small") -> Tensor:
        """(S,) logarithm of the variance that a step adds.

        Index 0 adds none and repeats its neighbour, because the posterior's variance is 0 there (official "clipped").
        """
        if variance == "large":
            return self.fixed_large_variance.log()
        return torch.cat([self._next_to_first(self.posterior_variance), self.posterior_variance[1:]]).log()

    def descending(self, variance: Variance = "small") -> Iterator[Step]:
        """Steps in sampling order, from pure noise to clean. Plain floats: they are constants to a compiler."""
        sigma = (0.5 * self.log_variance(variance).float()).exp()
        sigma[0] = 0.0
        return self._rows(self.posterior_coef_x0, self.posterior_coef_xt, sigma)

    def descending_ddim(self, eta: float = 0.0) -> Iterator[Step]:
        """The same for DDIM, eq. 12 and 16 of Song et al. 2021; ``eta`` 0 adds no noise, 1 as much as "fixed small".

        With eps = (sqrt(1/a) x_t - x0) / sqrt(1/a - 1) put in, a step has the form of every other. Like the official
        program it casts alpha_bar to float32 before all roots but these two. Raises ValueError for another ``eta``.
        """
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be 0 to 1, got {eta}")
        now, clean = self.alpha_bar.float(), self.alpha_bar_prev.float()
        sigma = eta * ((1 - clean) / (1 - now)).sqrt() * (1 - now / clean).sqrt()
        of_eps = (1 - clean - sigma**2).sqrt().double() / (1 / self.alpha_bar - 1).sqrt()
        coef_x0, coef_xt = clean.sqrt() - of_eps, of_eps * (1 / self.alpha_bar).sqrt()
        return self._rows(coef_x0, coef_xt, sigma)

    def without_noisiest(self, num_steps: int) -> Schedule:
        """The schedule that leaves out the first ``num_steps`` to be taken (official ``skip_timesteps``)."""
        if not 0 <= num_steps < self.num_steps:
            raise ValueError(f"can skip 0 to {self.num_steps - 1} steps, got {num_steps}")
        kept = self.num_steps - num_steps
        return Schedule(self.betas[:kept], self.timesteps[:kept])

    def add_noise(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Sample q(x_t | x0), eq. 4 Ho et al. 2020. ``x0``, ``eps`` (B, T, F); ``t`` (B,) index into this schedule."""
        alpha_bar = self.alpha_bar.to(x0.device)[t][:, None, None]  # (B, 1, 1)
        return alpha_bar.sqrt().to(x0) * x0 + (1 - alpha_bar).sqrt().to(x0) * eps

    def noised_start(self, x0: Tensor, eps: Tensor) -> Tensor:
        """``x0`` with the noise of the first step to be taken: where sampling from a motion starts. (B, T, F)"""
        return self.add_noise(x0, torch.full(x0.shape[:1], self.num_steps - 1, device=x0.device), eps)

    def _rows(self, *columns: Tensor) -> Iterator[Step]:
        """Steps, the noisiest first, from the last three columns of :class:`Step`, (S,) each."""
        rows = zip(range(self.num_steps), self.timesteps.tolist(), *(c.tolist() for c in columns), strict=True)
        return (Step(*row) for row in reversed(list(rows)))

    def _next_to_first(self, table: Tensor) -> Tensor:
        """Index 1 of a table (S,), as (1,); of a schedule of one step its only one."""
        return table[min(1, self.num_steps - 1)][None]


def cosine_betas(num_steps: int) -> Tensor:
    """Eq. 17 of Nichol and Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models". (S,) float64"""

    def signal(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = (signal((i + 1) / num_steps) / signal(i / num_steps) for i in range(num_steps))
    return torch.tensor([min(1 - ratio, MAX_BETA) for ratio in ratios], dtype=torch.float64)


def linear_betas(num_steps: int) -> Tensor:
    """Ho et al. 2020, section 4, scaled so that any number of steps ends as noisy as 1,000. (S,) float64"""
    scale = 1000 / num_steps
    return torch.linspace(0.0001 * scale, 0.02 * scale, num_steps, dtype=torch.float64)


def named_schedule(name: str, num_steps: int) -> Schedule:
    """The schedule a network was trained with. Raises ValueError for an unknown name or too few steps."""
    if name not in get_args(ScheduleName):
        raise ValueError(f"schedule must be one of {', '.join(get_args(ScheduleName))}, got {name!r}")
    if num_steps < 1:
        raise ValueError(f"a schedule needs at least 1 step, got {num_steps}")
    betas = cosine_betas(num_steps) if name == "cosine" else linear_betas(num_steps)
    if float(betas.max()) >= 1:
        raise ValueError(f"the {name} schedule destroys all signal with {num_steps} steps; take more")
    return Schedule(betas, torch.arange(num_steps))


def shortcut_schedule(schedule: Schedule, num_steps: int) -> Schedule:
    """``num_steps`` of ``schedule``, for a network that learned them as shortcuts (``training/shortcuts.py``).

    It is told times beyond those of training, so that it knows a shortcut from a step.
    """
    short = respace(schedule, evenly_spaced(schedule.num_steps, num_steps))
    return Schedule(short.betas, schedule.num_steps + torch.arange(num_steps))


def evenly_spaced(num_steps: int, num_kept: int) -> list[int]:
    """``num_kept`` indices spread over 0 .. num_steps - 1, both ends included; a single one is the noisiest."""
    if not 1 <= num_kept <= num_steps:
        raise ValueError(f"can keep 1 to {num_steps} steps, got {num_kept}")
    if num_kept == 1:
        return [num_steps - 1]
    stride = (num_steps - 1) / (num_kept - 1)
    return [round(i * stride) for i in range(num_kept)]


def official_spacing(num_steps: int, spacing: str | Sequence[int]) -> list[int]:
    """Indices that the official program keeps of ``num_steps``, ascending.

    "ddim10" takes every k-th from 0, with the smallest k that gives 10; the noisiest steps may be missing, so samples
    start slightly off. Numbers ([10, 15, 20], or "10,15,20") cut the steps in as many sections of equal length, the
    first ones longer by one, and spread that many over each. Raises ValueError where that cannot be.
    """
    if isinstance(spacing, str) and spacing.startswith("ddim"):
        return _every_kth(num_steps, _whole_number(spacing.removeprefix("ddim"), spacing))
    counts = [_whole_number(part, spacing) for part in spacing.split(",")] if isinstance(spacing, str) else spacing
    if not counts or min(counts) < 1:
        raise ValueError(f"spacing needs at least one step in each section, got {spacing!r}")
    kept: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        size = num_steps // len(counts) + (section < num_steps % len(counts))
        if count > size:
            raise ValueError(f"cannot keep {count} steps of a section of {size}")
        stride = (size - 1) / (count - 1) if count > 1 else 1.0
        kept += [start + round(position) for position in _accumulated(stride, count)]
        start += size
    return kept


def _every_kth(num_steps: int, num_kept: int) -> list[int]:
    for stride in range(1, num_steps):
        if len(kept := range(0, num_steps, stride)) == num_kept:
            return list(kept)
    raise ValueError(f"no whole stride takes {num_kept} of {num_steps} steps")


def _accumulated(stride: float, count: int) -> Iterator[float]:
    """0, stride, stride + stride, ...: sums, not products, because rounding of halves depends on it."""
    position = 0.0
    for _ in range(count):
        yield position
        position += stride


def _whole_number(text: str, spacing: str | Sequence[int]) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"spacing must be like 'ddim10' or '10,15,20', got {spacing!r}")
    return int(text)


def respace(schedule: Schedule, kept: Sequence[int]) -> Schedule:
    """The schedule that takes only the steps ``kept`` (ascending indices); the network still hears its own ``t``."""
    index = torch.tensor(kept)
    alpha_bar = schedule.alpha_bar[index]
    return Schedule(1 - alpha_bar / _shifted(alpha_bar), schedule.timesteps[index])


def _shifted(alpha_bar: Tensor) -> Tensor:
    """alpha_bar (S,) of the next cleaner step; 1 before the first."""
    return torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
