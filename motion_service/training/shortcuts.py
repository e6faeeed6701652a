"""Few steps that end where many would: a network learns where a teacher's guided DDIM steps lead (Salimans and Ho 2022,
"Progressive Distillation for Fast Sampling of Diffusion Models", section 3).

A plain network that is asked to jump far answers with the mean of all the ways there are, which slides and hangs the
feet. A deterministic sampler has one way. For few steps the network is told another time, beyond those of training
(:func:`~motion_service.diffusion.schedule.shortcut_schedule`), so that many steps stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from motion_service.diffusion.schedule import Schedule, evenly_spaced

Teacher = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, T, F), t (B,)) -> x0, guided."""


class Shortcuts(nn.Module):
    """The jumps of few steps, and the small steps of the teacher between their ends. Levels count from 0 = clean."""

    signal: Tensor
    left: Tensor
    reached: Tensor

    def __init__(self, schedule: Schedule, num_steps: int) -> None:
        """``num_steps``: how many take the place of all steps of ``schedule``."""
        super().__init__()
        kept = torch.tensor(evenly_spaced(schedule.num_steps, num_steps)) + 1
        alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alpha_bar])
        self.register_buffer("signal", alpha_bar.float(), persistent=False)  # (S + 1,)
        self.register_buffer("left", kept, persistent=False)  # (N,)
        self.register_buffer("reached", torch.cat([torch.zeros(1, dtype=kept.dtype), kept[:-1]]), persistent=False)
        self.longest = int((self.left - self.reached).max())
        """Teacher's steps in the longest jump."""

    def ends(self, x: Tensor, jump: Tensor, teacher: Teacher) -> Tensor:
        """Where the teacher's small steps lead from ``x`` (B, T, F) in the jumps ``jump`` (B,). (B, T, F)"""
        level, goal = self.left[jump], self.reached[jump]
        for _ in range(self.longest):
            cleaner = (level - 1).clamp_min(0)
            made = self.step(x, teacher(x, cleaner), level, cleaner)  # the network's index of a level is one less
            x = torch.where((level > goal)[:, None, None], made, x)
            level = torch.maximum(cleaner, goal)
        return x

    def step(self, x: Tensor, x0: Tensor, left: Tensor, reached: Tensor) -> Tensor:
        """One DDIM step without noise, eq. 12 Song et al. 2021, from level ``left`` to ``reached`` (B,)."""
        of_x0, of_x = self._coefficients(left, reached)
        return of_x0 * x0 + of_x * x

    def goal(self, x: Tensor, end: Tensor, jump: Tensor) -> Tensor:
        """The x0 (B, T, F) with which one step from ``x`` leads to ``end``."""
        of_x0, of_x = self._coefficients(self.left[jump], self.reached[jump])
        return (end - of_x * x) / of_x0

    def _coefficients(self, left: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of x0 and of x, (B, 1, 1) each."""
        now, then = self.signal[left], self.signal[reached]
        of_x = ((1 - then) / (1 - now).clamp_min(1e-6)).sqrt()
        return (then.sqrt() - now.sqrt() * of_x)[:, None, None], of_x[:, None, None]
