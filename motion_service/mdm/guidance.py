"""Text, prefix, frame mask and target of a batch -> the function that samplers call, classifier-free guidance included.

Ho and Salimans 2021; guidance of MDM drops the text only: prefix, frame mask and target stay in both halves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motion_service.diffusion.samplers import Denoise, guided
from motion_service.mdm.network import Denoiser


def conditioned(
    network: Denoiser,
    tokens: Tensor,
    text_mask: Tensor,
    scale: float | Tensor = 1.0,
    *,
    prefix: Tensor | None = None,
    frame_mask: Tensor | None = None,
    target: Tensor | None = None,
) -> Denoise:
    """What ``network`` predicts for these conditions, as a function of (x_t (B, T, F), t (B,)).

    ``scale`` is a number or (B, 1, 1). The number 1 runs the conditional half alone, 0 gives the unconditional
    prediction. ``tokens`` (B, L, E), ``text_mask`` (B, L) and the rest are as in :meth:`Denoiser.forward`.
    """
    guides = isinstance(scale, Tensor) or scale != 1
    halves = 2 if guides else 1
    drop_text = torch.arange(halves, device=tokens.device).bool().repeat_interleave(len(tokens))
    memory = network.encode_text(tokens.repeat(halves, 1, 1), text_mask.repeat(halves, 1), drop_text)
    rest = [
        None if part is None else part.repeat(halves, *[1] * (part.ndim - 1)) for part in (prefix, frame_mask, target)
    ]

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return network.denoise(x_t, t, memory, *rest)

    return guided(denoise, scale) if guides else denoise
