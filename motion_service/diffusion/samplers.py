"""Samplers: one plain function each, from noise to a clean sample, given only a function that predicts x0.

Letters: B batch, T frames, F features. Noise comes from the caller, so a sample can be replayed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from motion_service.diffusion.schedule import Schedule, Step, Variance

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, T, F), t (B,) int64) -> predicted x0 (B, T, F)."""
Noise = Callable[[Tensor], Tensor]
"""Standard normal noise for a state like the given one, (B, T, F)."""
OnStep = Callable[[Step, Tensor], None]
"""Called after each step with its predicted x0; may raise to stop."""


def ignore(step: Step, x0: Tensor) -> None:
    """Nobody listens."""


def guided(denoise_pair: Denoise, scale: float | Tensor) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2021): u + scale * (c - u), both halves in one forward pass.

    ``denoise_pair`` takes a batch of 2B: the first half is predicted with the condition, the second without.
    ``scale`` is a number or (B, 1, 1); 1 gives the conditional prediction, 0 the unconditional one.
    """

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        pair = denoise_pair(torch.cat([x_t, x_t]), torch.cat([t, t]))  # (2B, T, F)
        conditional, unconditional = pair.chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return denoise


def inpainted(denoise: Denoise, keep: Tensor, motion: Tensor) -> Denoise:
    """Predictions in which ``motion`` (B, T, F) stands wherever ``keep`` (B, T, F) is True.

    Goes around guidance, not inside. Samplers return the last prediction, so kept entries come out unchanged.
    """
    return lambda x_t, t: torch.where(keep, motion, denoise(x_t, t))


def same_for_all(noise: Noise) -> Noise:
    """The noise of the first sample for all of a batch (official ``const_noise``); as much is drawn as without."""
    return lambda x: noise(x)[:1].expand_as(x)


def official_noise(generator: torch.Generator, shape: tuple[int, int, int]) -> tuple[Tensor, Noise]:
    """The numbers that the official CPU program draws for one run: the start (B, T, F) and the noise of each step.

    Its states are (B, F, 1, T), and ``randn_like`` fills them in the order they lie in memory: the start and the noise
    of the first step in the order of the axes, all later ones (T, B, F), the order of the network's output. Torch
    takes another routine for those, with other numbers, so they cannot be drawn in order and then permuted.

    ``generator`` is on the CPU; ``torch.Generator().manual_seed(10)`` gives what ``--seed 10`` gives. A rollout calls
    this once a window with the same generator.
    """
    batch, frames, features = shape
    start = torch.randn(batch, features, frames, generator=generator).transpose(1, 2)
    first = True

    def noise(x: Tensor) -> Tensor:
        nonlocal first
        strides = (features * frames, frames, 1) if first else (features, 1, batch * features)
        first = False
        drawn = torch.empty_strided((batch, features, frames), strides).normal_(generator=generator)
        return drawn.transpose(1, 2).to(x.device)

    return start, noise


def sample_ddpm(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    noise: Noise,
    on_step: OnStep = ignore,
    *,
    variance: Variance = "small",
) -> Tensor:
    """Ancestral sampling, algorithm 2 of Ho et al. 2020 for a network that predicts x0.

    ``x`` (B, T, F) is pure noise, or a motion with the noise of the first step (:meth:`Schedule.noised_start`).
    ``noise`` is called once a step after the network, at the last step too where it is not used: the order of draws
    of the official MDM, so its samples can be replayed.
    """
    return _sample(denoise, x, schedule.descending(variance), noise, on_step)


def sample_ddim(
    denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise, on_step: OnStep = ignore, *, eta: float = 0.0
) -> Tensor:
    """DDIM, eq. 12 of Song et al. 2021 for a network that predicts x0; deterministic at ``eta`` 0.

    ``x`` and ``noise`` as in :func:`sample_ddpm`; noise is drawn at ``eta`` 0 too, as the official program does.
    """
    return _sample(denoise, x, schedule.descending_ddim(eta), noise, on_step)


def _sample(denoise: Denoise, x: Tensor, steps: Iterable[Step], noise: Noise, on_step: OnStep) -> Tensor:
    for step in steps:
        x0 = denoise(x, torch.full(x.shape[:1], step.t, device=x.device))  # (B, T, F)
        x = step.coef_x0 * x0 + step.coef_xt * x + step.sigma * noise(x)
        on_step(step, x0)
    return x
