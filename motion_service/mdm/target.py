"""Where a DiP window shall end: places of named joints at its last frame -> one vector (D,) beside the time embedding.

Three encoders were published (``multi_encoder_type``: multi, single, split); each ends in (B, D). Parameter names are
the official ones. Tevet et al. 2025, "CLoSD", section 4, and the code of MDM.

A target is ``places`` (B, 8, 3) and ``asked`` (B, 8), rows in the order of :data:`GOALS`: metres in the frame of the
window decoded alone from the origin; ``traj`` is the pelvis with y = 0, ``heading`` is (angle in radians, 0, 0).
Rows nobody asked for must be zero: ``single`` and ``split`` read them, and were trained on zeros there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

GOALS: Final = ("pelvis", "left_foot", "right_foot", "left_wrist", "right_wrist", "head", "traj", "heading")
"""Rows of a target, in the order in which weights and inputs are laid out."""

TargetEncoder = Literal["multi", "single", "split"]


def asked_rows(names: Sequence[Sequence[str]], is_heading: Sequence[bool] | Tensor) -> Tensor:
    """Which rows of :data:`GOALS` are asked for. (B, 8) bool

    ``names`` holds the joints of each sample, maybe none; ``is_heading`` (B,) adds the heading. Raises ValueError for
    a name that is not a goal.
    """
    unknown = sorted({name for sample in names for name in sample} - set(GOALS))
    if unknown:
        raise ValueError(f"target joints must be of {', '.join(GOALS)}; got {', '.join(unknown)}")
    if len(names) != len(is_heading):
        raise ValueError(f"target joints are given for {len(names)} samples, headings for {len(is_heading)}")
    rows = [[goal in sample for goal in GOALS] for sample in names]
    asked = torch.tensor(rows, dtype=torch.bool).view(-1, len(GOALS))
    asked[:, GOALS.index("heading")] |= torch.as_tensor(is_heading, dtype=torch.bool).cpu()
    return asked


def new_target_encoder(kind: TargetEncoder, width: int, layers: int) -> nn.Module:
    """The encoder called ``kind`` for vectors of ``width``; ``layers`` hidden ones (``multi`` always has one)."""
    if kind == "multi":
        return MultiTarget(width)
    return SingleTarget(width, layers) if kind == "single" else SplitTarget(width, layers)


def check_target_encoder(kind: str, width: int, layers: int) -> None:
    """Raise ValueError where no such encoder can be."""
    if kind not in get_args(TargetEncoder):
        raise ValueError(f"network: target_encoder must be one of {', '.join(get_args(TargetEncoder))}, got {kind!r}")
    if layers < 0 or (kind == "multi" and layers != 1):
        raise ValueError(f"network: target_layers {layers} does not fit target_encoder {kind!r}")
    if kind == "split" and width % len(GOALS):
        raise ValueError(f"network: target_encoder 'split' needs a width divisible by {len(GOALS)}, got {width}")


class _GoalWeights(nn.Module):
    """Holds ``weights`` (8,) under the official name."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(len(GOALS)))


class MultiTarget(nn.Module):
    """A small network a goal; their outputs are averaged with learned weights. Nothing asked gives zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.target_loc_emb = nn.ModuleDict({goal: _mlp(3, width, 1) for goal in GOALS})
        self.target_all_loc_emb = _GoalWeights()

    def forward(self, places: Tensor, asked: Tensor) -> Tensor:
        """``places`` (B, 8, 3), ``asked`` (B, 8) bool -> (B, D)."""
        rows = [self.target_loc_emb[goal](places[:, i]) for i, goal in enumerate(GOALS)]
        # The sum runs over all goals, asked or not, so fewer goals make a shorter vector: as it was trained.
        share = self.target_all_loc_emb.weights / self.target_all_loc_emb.weights.sum()
        return (torch.stack(rows, dim=1) * asked[..., None] * share[:, None]).sum(dim=1)


class SingleTarget(nn.Module):
    """One network for all goals at once. Nothing asked gives its answer to zeros, which is not zero."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.mlp = _mlp(4 * len(GOALS), width, layers)

    def forward(self, places: Tensor, asked: Tensor) -> Tensor:
        """``places`` (B, 8, 3), ``asked`` (B, 8) bool -> (B, D)."""
        out: Tensor = self.mlp(_with_flag(places, asked).flatten(1))
        return out


class SplitTarget(nn.Module):
    """A network a goal, each for its own eighth of the vector."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.mini_mlps = nn.ModuleList(_mlp(4, width // len(GOALS), layers) for _ in GOALS)

    def forward(self, places: Tensor, asked: Tensor) -> Tensor:
        """``places`` (B, 8, 3), ``asked`` (B, 8) bool -> (B, D)."""
        rows = _with_flag(places, asked).unbind(dim=1)  # 8 of (B, 4)
        return torch.cat([mlp(row) for mlp, row in zip(self.mini_mlps, rows, strict=True)], dim=-1)


def _with_flag(places: Tensor, asked: Tensor) -> Tensor:
    """(x, y, z, asked) of each goal. (B, 8, 4)"""
    return torch.cat([places, asked.to(places)[..., None]], dim=-1)


def _mlp(inputs: int, width: int, layers: int) -> nn.Sequential:
    hidden = [module for _ in range(layers) for module in (nn.SiLU(), nn.Linear(width, width))]
    return nn.Sequential(nn.Linear(inputs, width), *hidden)
