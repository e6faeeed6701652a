"""Text and motion in one space: the measures of the text-to-motion tables, by our own evaluator.

R-precision, FID, multimodal distance, diversity and multimodality as in Guo et al. 2022 (CVPR, section 5.1), with the
network of ``quality_match.py`` in the place of theirs. Two differences: wrong texts of a pool are of other classes, as
ours name a class and those of one class are not wrong; and every figure is the mean over :data:`REPEATS` draws from the
clips at hand, each half of them, with its 95 % confidence interval.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.training.scores import frechet_distance

REPEATS: Final = 20
POOL: Final = 32
"""One right text and 31 wrong ones."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Motions beside the texts they were made for, or recordings of what the texts ask for."""

    motions: Tensor
    """(N, D) unit vectors."""
    texts: Tensor
    """(N, D) unit vectors."""
    labels: Sequence[str]
    """Class of each."""
    prompts: Sequence[str]
    """Motions of one prompt differ by their seeds only."""

    def part(self, index: Sequence[int]) -> Placed:
        rows = list(index)
        return Placed(
            self.motions[rows], self.texts[rows], [self.labels[i] for i in rows], [self.prompts[i] for i in rows]
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean over repeats, and half the width of its 95 % interval."""

    mean: float
    interval: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ±{self.interval:.3f}"


def r_precision(placed: Placed, chance: random.Random, top: int = 3) -> list[float]:
    """Share of motions whose own text is among the k nearest of its pool, for k = 1 .. ``top``."""
    hits = [0] * top
    counted = 0
    for row, label in enumerate(placed.labels):
        wrong = [i for i, other in enumerate(placed.labels) if other != label]
        if len(wrong) < POOL - 1:
            continue
        pool = [row, *chance.sample(wrong, POOL - 1)]
        likeness = placed.texts[pool] @ placed.motions[row]  # (POOL,)
        rank = int((likeness > likeness[0]).sum())
        for k in range(top):
            hits[k] += rank <= k
        counted += 1
    return [hit / max(counted, 1) for hit in hits]


def multimodal_distance(placed: Placed) -> float:
    """Mean distance of a motion from its own text."""
    return float(torch.linalg.vector_norm(placed.motions - placed.texts, dim=1).mean())


def spread(motions: Tensor, chance: random.Random, pairs: int = 300) -> float:
    """Diversity: mean distance of two motions drawn at random."""
    drawn = [chance.sample(range(len(motions)), 2) for _ in range(pairs)] if len(motions) > 1 else []
    return _mean(float(torch.dist(motions[a], motions[b])) for a, b in drawn)


def multimodality(placed: Placed, chance: random.Random) -> float:
    """Mean distance of two motions of the same prompt; 0 where every prompt has one."""
    of_prompt: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(placed.prompts):
        of_prompt[prompt].append(row)
    pairs = [chance.sample(rows, 2) for rows in of_prompt.values() if len(rows) > 1]
    return _mean(float(torch.dist(placed.motions[a], placed.motions[b])) for a, b in pairs)


def match_scores(placed: Placed, real: Tensor, seed: int = 0) -> dict[str, Estimate]:
    """All measures of ``placed``, FID against the recordings ``real`` (M, D). The same seed, the same figures."""
    chance = random.Random(seed)
    rows: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        half = placed.part(chance.sample(range(len(placed.labels)), max(1, len(placed.labels) // 2)))
        for k, share in enumerate(r_precision(half, chance), start=1):
            rows[f"r_precision_{k}"].append(share)
        rows["fid"].append(frechet_distance(half.motions, real))
        rows["multimodal_distance"].append(multimodal_distance(half))
        rows["diversity"].append(spread(half.motions, chance))
        rows["multimodality"].append(multimodality(half, chance))
    return {name: _estimate(values) for name, values in rows.items()}


def _estimate(values: Sequence[float]) -> Estimate:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return Estimate(mean, 1.96 * math.sqrt(variance / len(values)))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
