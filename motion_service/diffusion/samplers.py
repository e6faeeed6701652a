"""Samplers: one plain function each, from noise to a clean sample, given only a function that predicts x0.

Letters: B batch, T frames, F features. Noise comes from the caller, so a sample can be replayed exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from motion_service.diffusion.schedule import Schedule, Step

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


def sample_ddpm(denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise, on_step: OnStep = ignore) -> Tensor:
    """Ancestral sampling, algorithm 2 of Ho et al. 2020 for a network that predicts x0, variance "fixed small".

    ``x`` (B, T, F) is pure noise. ``noise`` is called once a step after the network, at the last step too where it is
    not used: the order of draws of the official MDM, so its samples can be replayed.
    """
    for step in schedule.descending():
        x0 = denoise(x, torch.full(x.shape[:1], step.t, device=x.device))  # (B, T, F)
        x = step.coef_x0 * x0 + step.coef_xt * x + step.sigma * noise(x)
        on_step(step, x0)
    return x
