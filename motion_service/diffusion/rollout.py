"""Endless motion from a model of short windows: each window continues the last frames of the one before (DiP).

Tevet et al. 2025, "CLoSD", section 4. What drives a window (text, length, cancelling) is the business of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor

SampleWindow = Callable[[int, Tensor], Tensor]
"""(index of the window, prefix (B, C, F)) -> its frames (B, P, F), clean."""


def rollout(sample_window: SampleWindow, prefix: Tensor, num_windows: int | None = None) -> Iterator[Tensor]:
    """Yield window after window (B, P, F); None goes on for ever. Nothing is sampled before it is asked for.

    ``prefix`` (B, C, F) are the frames before the first window; later ones are the last C frames made so far, as they
    are: features are relative to the root and need no re-alignment.
    """
    for index in count() if num_windows is None else range(num_windows):
        frames = sample_window(index, prefix)
        yield frames
        prefix = torch.cat([prefix, frames], dim=1)[:, frames.shape[1] :]
