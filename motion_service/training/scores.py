"""Numbers that say how good generated clips are: recognised, on the right side, natural, various, steady for long.

Pure functions of clips, verdicts of the classifier and real clips. Real clips are matched to the generated ones class
by class before anything is compared, because a run skates and trembles differently from a bow.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.quality import clip_to_positions, foot_depth, measure_clip, seam_acceleration
from motion_service.quality_match import vrm_clip_to_features
from motion_service.training.classifier import action_to_class
from motion_service.training.kinematic_checks import check_direction, check_idle, check_side

FROZEN_SPEED: Final = 0.02
"""A frame whose bones move slower than this on average is frozen, m/s."""
MOVING_CLASSES: Final = frozenset(
    ["walk", "walk-back", "walk-left", "walk-right", "run", "turn-left", "turn-right", "dance"]
    + [f"wave-{side}" for side in ("left", "right", "both")]
)
"""Classes that go on for as long as they are asked for: freezing there is a fault."""


@dataclass(frozen=True, slots=True)
class TestPrompt:
    """One line of a prompt table."""

    __test__ = False  # not a test class, whatever its name says to pytest

    id: str
    language: str
    prompt: str
    action: str
    side: str
    """left, right, both or "" for none."""
    direction: str
    """forward, backward, left, right or "" for none."""

    @property
    def label(self) -> str:
        """The class that the classifier should name, "other" for rarer actions."""
        return action_to_class(f"{self.action}-{self.side}" if self.side else self.action)


def read_prompts(path: Path) -> list[TestPrompt]:
    """Read a table with the columns id, language, prompt, action, side, direction; "-" means none."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    names = ["id", "language", "prompt", "action", "side", "direction"]
    if header.split("\t") != names:
        raise BadRequest(f"{path.name}: the first line must name the columns {', '.join(names)}, separated by tabs")
    rows = [line.split("\t") for line in lines if line.strip()]
    for row in rows:
        if len(row) != len(names):
            raise BadRequest(f"{path.name}: {row[0]!r} has {len(row)} columns, {len(names)} are needed")
    return [TestPrompt(*row[:4], *("" if cell == "-" else cell for cell in row[4:])) for row in rows]


@dataclass(slots=True)
class Rate:
    """How many of how many."""

    hits: int = 0
    total: int = 0

    def add(self, hit: bool) -> None:
        self.hits += hit
        self.total += 1

    @property
    def share(self) -> float:
        return self.hits / self.total if self.total else 0.0


Rates = dict[str, Rate]


def recognition(prompts: Sequence[TestPrompt], clips: Sequence[VrmClip], labels: Sequence[str]) -> Rates:
    """How often a clip shows the asked action; prompts, clips and the classifier's labels go together.

    Keys: each class, "overall" (all but "other"), "en" and "ja" (the same by language). Idle is judged by kinematics.
    """
    rates: Rates = defaultdict(Rate)
    for prompt, clip, label in zip(prompts, clips, labels, strict=True):
        hit = check_idle(clip) if prompt.label == "idle" else label == prompt.label
        rates[prompt.label].add(hit)
        if prompt.label != "other":
            rates["overall"].add(hit)
            rates[prompt.language].add(hit)
    return dict(rates)


def side_and_direction(prompts: Sequence[TestPrompt], clips: Sequence[VrmClip]) -> Rates:
    """How often hand and direction are right, by kinematics. Keys: "hand", "direction", "overall", "en", "ja", and
    each action with its side or direction, such as "wave right"."""
    rates: Rates = defaultdict(Rate)
    for prompt, clip in zip(prompts, clips, strict=True):
        if prompt.side and prompt.action in ("wave", "raise"):
            hit, kind, what = check_side(clip, prompt.action, prompt.side), "hand", prompt.side
        elif prompt.direction:
            hit, kind, what = check_direction(clip, prompt.action, prompt.direction), "direction", prompt.direction
        else:
            continue
        for key in (kind, "overall", prompt.language, f"{prompt.action} {what}"):
            rates[key].add(hit)
    return dict(rates)


def match_classes(labels: Iterable[str], real: Mapping[str, Sequence[int]], seed: int = 0) -> list[int]:
    """One index of a real clip for each label that has any: every class in turn, all its clips before any twice."""
    chance = random.Random(seed)
    decks: dict[str, list[int]] = {}
    drawn: list[int] = []
    for label in labels:
        if label not in real or not real[label]:
            continue
        if not decks.get(label):
            decks[label] = chance.sample(list(real[label]), len(real[label]))
        drawn.append(decks[label].pop())
    return drawn


def naturalness(clips: Sequence[VrmClip]) -> dict[str, float]:
    """Measures of :func:`~motion_service.quality.measure_clip` over many clips.

    Means over clips; skate over all low steps of all clips; penetration is the 99th percentile over all frames and
    feet of all clips.
    """
    rows = [measure_clip(clip) for clip in clips]
    low = [row["low_share"] * clip.num_frames for row, clip in zip(rows, clips, strict=True)]
    mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    skate = sum(row["skate_cm_s"] * weight for row, weight in zip(rows, low, strict=True)) / max(sum(low), 1e-9)
    depth = torch.cat([foot_depth(clip).flatten() for clip in clips])
    return mean | {"skate_cm_s": skate, "penetration_cm": 100 * float(torch.quantile(depth, 0.99))}


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """FID of features (N, D), eq. 6 of Heusel et al. 2017: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))."""
    a, b = a.double(), b.double()
    mean = float((a.mean(0) - b.mean(0)).square().sum())
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    eigen: Tensor = torch.linalg.eigvals(cov_a @ cov_b)
    root = float(eigen.real.clamp_min(0).sqrt().sum())  # the product of two covariances has real eigenvalues >= 0
    return mean + float(cov_a.trace() + cov_b.trace()) - 2 * root


def diversity(features: Sequence[Tensor]) -> float:
    """Mean distance between any two clips, given as window features (W, D) each; 0 for fewer than two clips."""
    if len(features) < 2:
        return 0.0
    means = torch.stack([rows.mean(dim=0) for rows in features])
    distance = torch.cdist(means, means)
    return float(distance.sum() / (len(means) * (len(means) - 1)))


def clips_to_styles(clips: Sequence[VrmClip]) -> list[Tensor]:
    """How the poses of each clip lie and vary: mean and deviation over time of its features, (1, 520).

    Every feature is divided by its deviation over all frames of all ``clips``.
    """
    features = [vrm_clip_to_features(clip) for clip in clips]
    scale = torch.cat(features).std(dim=0).clamp_min(1e-3)
    return [torch.cat([(rows / scale).mean(0), (rows / scale).std(0)])[None] for rows in features]


@dataclass(frozen=True, slots=True)
class LongRun:
    """What a long clip does at its borders and towards its end."""

    label: str
    drift_cm: float
    """Mean hips height of the last 5 s minus that of seconds 2 to 7, cm."""
    penetration_cm: float
    """99th percentile of the depth of the feet over the last 10 s, cm."""
    frozen_s: float
    """Longest stretch in which the bones move slower than 0.02 m/s on average, s."""
    seam: float
    """Largest joint acceleration at window borders over the largest inside windows."""

    @property
    def is_moving(self) -> bool:
        """Whether freezing would be a fault."""
        return self.label in MOVING_CLASSES


def measure_long_run(label: str, clip: VrmClip, borders: Sequence[int]) -> LongRun:
    """Steadiness of a clip of at least 10 s made of windows that begin at ``borders``."""
    second = round(clip.fps)
    height = clip.hips[:, 1]
    positions = clip_to_positions(clip)
    speed: Tensor = torch.linalg.vector_norm(positions[1:] - positions[:-1], dim=-1).mean(dim=1) * clip.fps
    longest = run = 0
    for frozen in (speed < FROZEN_SPEED).tolist():
        run = run + 1 if frozen else 0
        longest = max(longest, run)
    return LongRun(
        label=label,
        drift_cm=100 * float(height[-5 * second :].mean() - height[2 * second : 7 * second].mean()),
        penetration_cm=100 * float(torch.quantile(foot_depth(clip)[-10 * second :], 0.99)),
        frozen_s=longest / clip.fps,
        seam=seam_acceleration(clip, borders),
    )
