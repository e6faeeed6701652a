"""How often each clip is drawn in training: rare classes and rare styles more than they come."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from motion_service.training.corpus import CorpusClip


def clip_weights(clips: Sequence[CorpusClip], balance: float, style_balance: float, longest: int) -> Tensor:
    """(N,) float64. A class of n clips weighs n**(1 - balance), shared out over its clips.

    Within it a style of n clips weighs n**(1 - style_balance), and a clip by the root of its length, up to ``longest``
    frames.
    """
    actions = Counter(clip.action for clip in clips)
    styles = Counter((clip.action, clip.style) for clip in clips)
    shares = [styles[clip.action, clip.style] ** -style_balance for clip in clips]
    whole: dict[str, float] = defaultdict(float)
    for clip, share in zip(clips, shares, strict=True):
        whole[clip.action] += share
    weights = [
        actions[clip.action] ** (1 - balance) * share / whole[clip.action] * min(len(clip.rotations), longest) ** 0.5
        for clip, share in zip(clips, shares, strict=True)
    ]
    return torch.tensor(weights, dtype=torch.float64)
