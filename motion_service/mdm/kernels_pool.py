"""Launches the kernels of a pool: how clips begin, what their noise is, how their steps are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from motion_service.mdm import kernels_noise
from motion_service.mdm.kernels_compile import launch

if TYPE_CHECKING:
    from motion_service.mdm.fast_pool import Front, Pool

_FRAMES = 8
"""Frames of one program."""
_SEATS = 256
"""Of the one program that counts: one kernel for all usual batches."""


def launch_begin(pool: Pool, records: Tensor) -> None:
    """Clips by their records (n, words) int32, as :class:`Pool` packs them."""
    numbers, longest = pool.plan[0].numel(), pool.longest
    launch(
        kernels_noise.begin_kernel,
        (len(records), triton.cdiv(longest, _FRAMES)),
        *(records, pool.state, pool.plan, pool.progress, pool.seed, pool.entry, records.shape[1], longest),
        *(
            numbers,
            triton.next_power_of_2(numbers),
            pool.most_entries,
            pool.context,
            pool.features,
            pool.state.shape[2],
        ),
        *(_FRAMES, _whole(pool.features)),
    )


def launch_noise(seed: int, out: Tensor) -> None:
    """All noise of one clip into (1 + S, T, F) float32, as the steps would make it."""
    num, frames, features = out.shape
    seeds = torch.tensor([seed], dtype=torch.int64, device=out.device)
    launch(
        kernels_noise.noise_kernel,
        (num, triton.cdiv(frames, _FRAMES)),
        *(out, seeds, frames, features, _FRAMES, _whole(features)),
    )


def launch_count(front: Front, num: int) -> None:
    """Seated clips have done ``num`` steps more."""
    pool = front.pool
    launch(
        kernels_noise.count_kernel,
        (1,),
        *(front.seats, pool.progress, front.width, num, pool.steps, max(_SEATS, triton.next_power_of_2(front.width))),
    )


def _whole(features: int) -> int:
    """Columns of a program that makes whole frames."""
    return max(16, int(triton.next_power_of_2(features)))
