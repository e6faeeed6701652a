"""Noise schedules: how much noise each diffusion step holds, and the tables samplers read. Float64 inside.

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

    def descending(self) -> Iterator[Step]:
        """Steps in sampling order, from pure noise to clean. Plain floats: they are constants to a compiler."""
        columns = (self.timesteps, self.posterior_coef_x0, self.posterior_coef_xt, self.posterior_variance.sqrt())
        rows = zip(range(self.num_steps), *(column.tolist() for column in columns), strict=True)
        return (Step(*row) for row in reversed(list(rows)))

    def add_noise(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Sample q(x_t | x0), eq. 4 Ho et al. 2020. ``x0``, ``eps`` (B, T, F); ``t`` (B,) index into this schedule."""
        alpha_bar = self.alpha_bar.to(x0.device)[t][:, None, None]  # (B, 1, 1)
        return alpha_bar.sqrt().to(x0) * x0 + (1 - alpha_bar).sqrt().to(x0) * eps


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


def evenly_spaced(num_steps: int, num_kept: int) -> list[int]:
    """``num_kept`` indices spread over 0 .. num_steps - 1, both ends included; a single one is the noisiest."""
    if not 1 <= num_kept <= num_steps:
        raise ValueError(f"can keep 1 to {num_steps} steps, got {num_kept}")
    if num_kept == 1:
        return [num_steps - 1]
    stride = (num_steps - 1) / (num_kept - 1)
    return [round(i * stride) for i in range(num_kept)]


def respace(schedule: Schedule, kept: Sequence[int]) -> Schedule:
    """The schedule that takes only the steps ``kept`` (ascending indices); the network still hears its own ``t``."""
    index = torch.tensor(kept)
    alpha_bar = schedule.alpha_bar[index]
    return Schedule(1 - alpha_bar / _shifted(alpha_bar), schedule.timesteps[index])


def _shifted(alpha_bar: Tensor) -> Tensor:
    """alpha_bar (S,) of the next cleaner step; 1 before the first."""
    return torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
