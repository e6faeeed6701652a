"""Gaussian smoothing of tracks over time, without a phase shift and without bending a straight line at the ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def smooth(track: Tensor, sigma_frames: float) -> Tensor:
    """A track (T, ...) convolved with a Gaussian; first and last value stay exactly as they are.

    Beyond its ends the track goes on as its own point reflection, so a constant speed is kept up to the last frame.
    """
    frames = track.shape[0]
    radius = min(math.ceil(3 * sigma_frames), frames - 1)
    if radius < 1:
        return track
    flat = track.reshape(frames, -1)
    before = 2 * flat[:1] - flat[1 : radius + 1].flip(0)
    after = 2 * flat[-1:] - flat[frames - 1 - radius : frames - 1].flip(0)
    padded = torch.cat([before, flat, after])  # (T + 2 radius, n)
    place = torch.arange(-radius, radius + 1, dtype=track.dtype, device=track.device)
    kernel = torch.exp(-0.5 * (place / sigma_frames) ** 2)
    smoothed = padded.unfold(0, 2 * radius + 1, 1) @ (kernel / kernel.sum())  # (T, n)
    return smoothed.reshape(track.shape)
