"""Gaussian smoothing of tracks over time, without a phase shift and without bending a straight line at the ends."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from motion_service.geometry.planes import Planes


def smooth(track: Tensor, sigma_frames: float) -> Tensor:
    """A track (T, ...) convolved with a Gaussian; first and last value stay exactly as they are.

    Beyond its ends the track goes on as its own point reflection, so a constant speed is kept up to the last frame.
    """
    return torch.from_numpy(np.moveaxis(smooth_planes(np.moveaxis(track.numpy(), 0, -1), sigma_frames), -1, 0))


def smooth_planes(track: Planes, sigma_frames: float) -> Planes:
    """The same for numbers (..., T): time is the last axis."""
    frames = track.shape[-1]
    radius = min(math.ceil(3 * sigma_frames), frames - 1)
    if radius < 1:
        return track
    before = 2 * track[..., :1] - track[..., radius:0:-1]
    after = 2 * track[..., -1:] - track[..., -2 : -radius - 2 : -1]
    padded = np.concatenate([before, track, after], axis=-1)  # (..., T + 2 radius)
    kernel = _kernel(radius, sigma_frames).astype(track.dtype)
    smoothed = np.correlate(padded.reshape(-1), kernel, "same")  # all rows in one; what mixes two is cut off
    return smoothed.reshape(padded.shape)[..., radius:-radius]


@lru_cache(maxsize=64)
def _kernel(radius: int, sigma_frames: float) -> Planes:
    """Weights (2 radius + 1,) of a Gaussian, of sum 1."""
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_frames) ** 2)
    kernel: Planes = weights / weights.sum()
    return kernel
