"""The evaluator of :mod:`motion_service.quality_match` for one finished clip: quick, and nothing but inference.

The windows of a clip overlap. A frame is lifted once, not once for each window that it lies in, and of the first
convolution every product that windows share is made once. From there on each window has its own norms, and memory is
laid out as the convolutions read it: channels last.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_service.features.vrm_native import planes_to_features
from motion_service.quality import CanonicalPose
from motion_service.quality_match import RATES, WINDOW, MotionMatcher, Place, window_starts


class ClipMatcher:
    """A trained :class:`~motion_service.quality_match.MotionMatcher`, its weights laid out for single clips."""

    def __init__(self, matcher: MotionMatcher) -> None:
        """What ``matcher`` learns later is not seen here."""
        lift, down = matcher.lift, matcher.down
        weight = lift.weight.detach()[:, :, 0] * matcher.scale  # (D, F): they take in the normalisation
        self._lift, self._lift_bias = weight.T.contiguous(), _bias(lift) - weight @ matcher.mean
        self._down = down.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous()  # (taps * D, D)
        self._down_bias = _bias(down)
        self._blocks = [_Block(conv, norm) for conv, norm in zip(matcher.blocks, matcher.norms, strict=True)]
        self._hidden, self._place = matcher.hidden, matcher.place

    @torch.inference_mode()
    def match(self, pose: CanonicalPose, words: Place) -> float:
        """How well a clip fits a text placed at ``words``: the cosine of both places, -1..1."""
        features = torch.from_numpy(planes_to_features(pose.local, pose.positions, pose.fps)).T
        return float(self.place(features) @ torch.from_numpy(words))

    @torch.inference_mode()
    def place(self, features: Tensor) -> Tensor:
        """:meth:`~motion_service.quality_match.MotionMatcher.place_clip`: (128,) of features (T, 260)."""
        rows, windows = _shared_rows(len(features))
        held = features[-1:].masked_fill(RATES, 0.0)
        lifted = F.gelu(torch.addmm(self._lift_bias, torch.cat([features, held]), self._lift))
        frames = F.pad(lifted, (0, 0, 0, 1))  # (T + 2, D)
        h = F.gelu(torch.addmm(self._down_bias, frames[rows].flatten(1), self._down))
        h = h[windows].transpose(1, 2)[:, :, None]  # (W, D, 1, 30)
        for block in self._blocks:
            h = h + block(h)
        h = h[:, :, 0]
        seen = F.gelu(self._hidden(torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1)))
        return F.normalize(F.normalize(self._place(seen), dim=-1).mean(dim=0), dim=-1)


class _Block:
    """One norm and convolution over time."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        assert isinstance(conv, nn.Conv1d)
        self._weight = conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)  # (D, D, 1, 5)
        self._bias, self._dilation, self._norm = _bias(conv), conv.dilation[0], norm

    def __call__(self, h: Tensor) -> Tensor:
        """(W, D, 1, 30) to the same."""
        apart = self._dilation
        return F.gelu(F.conv2d(self._norm(h), self._weight, self._bias, padding=(0, 2 * apart), dilation=(1, apart)))


def _bias(conv: nn.Conv1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach()


@lru_cache(maxsize=256)
def _shared_rows(frames: int) -> tuple[Tensor, Tensor]:
    """Which frames the first convolution reads for each different row of its output, (N, 5), and which of these rows
    the windows consist of, (W, 30).

    Frame number ``frames`` is the last pose, held; the one after it is the nothing beyond a window's ends.
    """
    inside = np.arange(0, WINDOW, 2)[:, None] + np.arange(-2, 3)  # (30, 5)
    beyond = (inside < 0) | (inside >= WINDOW)
    read = np.minimum(np.array(window_starts(frames))[:, None, None] + inside, frames)
    read = np.where(beyond, frames + 1, read)  # (W, 30, 5)
    rows, windows = np.unique(read.reshape(-1, 5), axis=0, return_inverse=True)
    return torch.from_numpy(rows), torch.from_numpy(windows.reshape(len(read), -1))
