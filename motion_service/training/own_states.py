"""Noisy frames as a sampler meets them: made from the network's own prediction at a noisier level, not from the truth.

In training a network sees recorded motion with noise on it. A sampler gives it its own earlier prediction with noise on
it, which is smoother and slides, and the fewer steps it takes the more so. Training on both, with the recording as the
goal, teaches it to mend that (the idea: Ning et al. 2023, "Input Perturbation Reduces Exposure Bias in Diffusion
Models"; here with the real error instead of made-up noise).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion_service.diffusion.schedule import Schedule


class Jumps(nn.Module):
    """Ancestral sampling from any level to any cleaner one, eq. 7 Ho et al. 2020 between levels that need not touch."""

    coef_x0: Tensor
    coef_xt: Tensor
    sigma: Tensor

    def __init__(self, schedule: Schedule) -> None:
        """Tables (S, S): row = level left, column = level reached."""
        super().__init__()
        left, reached = schedule.alpha_bar[:, None], schedule.alpha_bar[None, :]  # float64
        ratio = (left / reached).clamp(max=1)
        tables = {
            "coef_x0": (1 - ratio) * reached.sqrt() / (1 - left),
            "coef_xt": (1 - reached) * ratio.sqrt() / (1 - left),
            "sigma": ((1 - ratio) * (1 - reached) / (1 - left)).sqrt(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def forward(self, x0: Tensor, x: Tensor, left: Tensor, reached: Tensor, eps: Tensor) -> Tensor:
        """Frames (B, T, F) at level ``reached`` (B,) from ``x`` at level ``left`` (B,) and the prediction ``x0``."""
        a, b, c = (table[left, reached][:, None, None] for table in (self.coef_x0, self.coef_xt, self.sigma))
        made: Tensor = a * x0 + b * x + c * eps
        return made


def draw_jumps(count: int, num_levels: int, cleanest: int, longest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Levels left and reached, (count,) each: reached is one of the ``cleanest``, at most ``longest`` levels below."""
    reached = torch.randint(cleanest, (count,), device=device)
    left = reached + 1 + torch.randint(longest, (count,), device=device)
    return left.clamp(max=num_levels - 1), reached
