"""Endless motion from a model of short windows: each window continues the last frames of the one before (DiP).

Tevet et al. 2025, "CLoSD", section 4. What drives a window (text, length, cancelling) is the business of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from typing import Final

import torch
from torch import Tensor

SampleWindow = Callable[[int, Tensor], Tensor]
"""(index of the window, prefix (B, C, F)) -> its frames (B, P, F), clean."""

BLEND_FRAMES: Final = 8
"""How long a window's start is bent to the place its prefix was heading for; its speed, half as long.

Longer makes feet slide: at 10 and 10 frames about 30 % more than at 8 and 4 (docs/training-log.md).
"""


def rollout(sample_window: SampleWindow, prefix: Tensor, num_windows: int | None = None) -> Iterator[Tensor]:
    """Yield window after window (B, P, F); None goes on for ever. Nothing is sampled before it is asked for.

    ``prefix`` (B, C, F) are the frames before the first window; later ones are the last C frames made so far, as they
    are: features are relative to the root and need no re-alignment.
    """
    for index in count() if num_windows is None else range(num_windows):
        frames = sample_window(index, prefix)
        yield frames
        prefix = torch.cat([prefix, frames], dim=1)[:, frames.shape[1] :]


def rollout_frames(
    sample_window: SampleWindow,
    prefix: Tensor,
    num_frames: int,
    window_frames: int,
    *,
    include_prefix: bool = False,
) -> Tensor:
    """As many windows of ``window_frames`` as ``num_frames`` need, joined and cut to that. (B, T, F)

    ``include_prefix`` puts the first prefix in front and still cuts at ``num_frames``, as the official program does.
    """
    if min(num_frames, window_frames) < 1:
        raise ValueError(f"frames must be positive, got {num_frames} in windows of {window_frames}")
    windows = rollout(sample_window, prefix, -(-num_frames // window_frames))
    return torch.cat([*([prefix] if include_prefix else []), *windows], dim=1)[:, :num_frames]


def continue_smoothly(prefix: Tensor, frames: Tensor, blend: int = BLEND_FRAMES) -> Tensor:
    """Frames (B, P, F), P >= 2, that leave ``prefix`` (B, C, F), C >= 2, without a jump in value or in speed.

    A sampled window starts near its prefix, not on it: guidance can put the first frame centimetres away. The first
    frame is moved to where the last two were heading, at their speed; both offsets are let go, over ``blend`` and half
    as many frames, by quintic Hermite polynomials (inertialisation: Bollo, "Inertialization", GDC 2018).
    """
    of_value, of_speed = _fading(frames.shape[1], blend, frames.device)
    speed = prefix[:, -1] - prefix[:, -2]  # (B, F) a frame
    offset = prefix[:, -1] + speed - frames[:, 0]
    hurry = speed - (frames[:, 1] - frames[:, 0])
    return frames + offset[:, None] * of_value + hurry[:, None] * of_speed


@lru_cache(maxsize=16)
def _fading(num_frames: int, blend: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Share of an offset in value, and frames' worth of one in speed, that are left at each frame: (1, P, 1) each."""
    with torch.inference_mode(False):
        frame = torch.arange(num_frames, device=device)[None, :, None]
        s, r = (frame / blend).clamp(max=1.0), (frame / (blend / 2)).clamp(max=1.0)
        of_value = 1 - 10 * s**3 + 15 * s**4 - 6 * s**5
        return of_value, blend / 2 * (r - 6 * r**3 + 8 * r**4 - 3 * r**5)
