"""Names the action of a clip: a small convolutional network that has only ever seen recorded motion.

It is the judge of ``training/evaluate.py``: it says which action a generated clip shows, and the layer before its last
is the space in which FID and diversity are measured. It reads windows of 60 frames of ``vrm`` features, which hold
rates and places relative to the heading, so neither where a clip stands nor which way it looks can be learned. One rule
for real and generated clips: a clip's class is the greatest mean probability over its windows.

Clips are split by recording: a clip and its mirror are always on the same side.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.features.vrm_native import (
    CONTACTS,
    VELOCITIES,
    bones_to_features,
)
from motion_service.quality_match import RATES, WINDOW, WindowNetwork, clip_to_windows, hold_still
from motion_service.training.corpus import MIRROR_SUFFIX, CorpusClip

SPLIT_SEED: Final = 20240
NUM_FEATURES: Final = 128
"""Width of the last hidden layer."""
SCORED_CLASSES: Final[tuple[str, ...]] = (
    "walk", "walk-back", "walk-left", "walk-right", "run", "turn-left", "turn-right",
    "wave-left", "wave-right", "wave-both", "raise-left", "raise-right", "raise-both",
    "bow", "bye", "guide", "dance",
)  # fmt: skip
CLASSES: Final[tuple[str, ...]] = (*SCORED_CLASSES, "idle", "other")
_MERGED: Final = {"dash": "run", "byebye": "bye", "ballet-dance": "dance"}


def action_to_class(action: str) -> str:
    """Class of an action of the corpus or of a prompt (with its side: "wave-left"); rarer actions are "other"."""
    name = _MERGED.get(action, action)
    return name if name in CLASSES else "other"


def split_clips(
    clips: Sequence[CorpusClip], held_out: float = 0.2, seed: int = SPLIT_SEED
) -> tuple[list[int], list[int]]:
    """Indices of training and held-out clips. Recordings are drawn per class, mirrors follow their original."""
    recordings: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    home: dict[str, str] = {}
    for index, clip in sorted(enumerate(clips), key=lambda item: item[1].name):
        recording = clip.name.removesuffix(MIRROR_SUFFIX)
        label = home.setdefault(recording, action_to_class(clip.action))
        recordings[label][recording].append(index)
    training: list[int] = []
    testing: list[int] = []
    for label in sorted(recordings):
        names = sorted(recordings[label])
        random.Random(f"{seed}/{label}").shuffle(names)
        num_testing = round(held_out * len(names)) if len(names) > 1 else 0
        for rank, name in enumerate(names):
            (testing if rank < max(num_testing, min(1, len(names) - 1)) else training).extend(recordings[label][name])
    return sorted(training), sorted(testing)


# --- features -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """Features of many clips one after the other, for quick random windows."""

    features: Tensor
    """(N, 260) float16 or float32."""
    starts: Tensor
    """(clips,) first row of each clip."""
    lengths: Tensor
    """(clips,)"""
    labels: Tensor
    """(clips,) index into :data:`CLASSES`."""

    def to(self, device: torch.device) -> Self:
        return type(self)(*(t.to(device) for t in (self.features, self.starts, self.lengths, self.labels)))

    def clip(self, index: int) -> Tensor:
        """Features (T, 260) float32 of one clip."""
        start = int(self.starts[index])
        return self.features[start : start + int(self.lengths[index])].float()


def clips_to_features(clips: Sequence[CorpusClip]) -> LabelledFeatures:
    """Features and classes of recorded clips, all at once."""
    lengths = torch.tensor([len(clip.hips) for clip in clips])
    starts = torch.cumsum(lengths, 0) - lengths
    rows: list[Tensor] = []
    for first in range(0, len(clips), 256):  # one pass over many clips: small tensors would cost ten times as much
        some = clips[first : first + 256]
        features, _ = bones_to_features(torch.cat([c.rotations for c in some]), torch.cat([c.hips for c in some]))
        begins = (starts[first : first + 256] - starts[first])[:, None]
        features[begins, RATES.nonzero().T] = 0.0  # nothing moves over the border of two clips
        rows.append(features.half())
    labels = torch.tensor([CLASSES.index(action_to_class(clip.action)) for clip in clips])
    return LabelledFeatures(torch.cat(rows), starts, lengths, labels)


def draw_windows(data: LabelledFeatures, index: Tensor, generator: torch.Generator) -> Tensor:
    """One random window (B, 60, 260) of each clip ``index`` (B,): any tempo from 0.8 to 1.25, any place, noise.

    A window may reach up to 20 frames over either end of the clip, where the pose is held: generated clips begin and
    end standing, too.
    """
    device, batch = data.features.device, len(index)
    uniform = torch.rand(batch, 3, generator=generator).to(device)
    tempo = 0.8 * (1.25 / 0.8) ** uniform[:, :1]  # (B, 1)
    length = data.lengths[index][:, None]
    early, late = -20.0, (length - WINDOW * tempo + 20).clamp_min(-20.0)
    place = early + (late - early) * uniform[:, 1:2] + tempo * torch.arange(WINDOW, device=device)  # (B, 60)
    inside = place.clamp(torch.zeros_like(length), length - 1.0)
    left = inside.floor().long()
    right = torch.minimum(left + 1, length - 1)
    amount = (inside - left)[..., None]
    base = data.starts[index][:, None]
    windows = data.features[base + left].float() * (1 - amount) + data.features[base + right].float() * amount
    windows = torch.where(RATES.to(device), windows * tempo[..., None], windows)
    return hold_still(windows, place != inside)


def normalisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale (260,) of training rows (N, 260): half own, half mean deviation within each feature kind.

    The mean part keeps features that hardly ever move from drowning the rest in noise.
    """
    rows = features.float()
    std = rows.std(dim=0).clamp_min(1e-4)
    for kind in (slice(4, 130), slice(130, 193), VELOCITIES, CONTACTS):
        std[kind] = 0.5 * std[kind] + 0.5 * std[kind].mean()
    return rows.mean(dim=0), 1 / std


# --- network --------------------------------------------------------------------------------------------------------


class MotionClassifier(WindowNetwork):
    """Windows (B, 60, 260) of raw features to logits (B, classes) and the last hidden layer (B, 128)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__(width, seen=NUM_FEATURES, dropout=0.3)
        self.out = nn.Linear(NUM_FEATURES, len(CLASSES))

    def fit_scale(self, features: Tensor) -> None:
        """Learn the normalisation from training rows (N, 260)."""
        mean, scale = normalisation(features)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, windows: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """``noise`` as for :meth:`WindowNetwork.see`."""
        hidden = self.see(windows, noise)
        return self.out(self.drop(hidden)), hidden


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the classifier says of one clip."""

    label: str
    probabilities: Tensor
    """(classes,) mean over windows."""
    features: Tensor
    """(W, 128) last hidden layer of each window."""


@torch.inference_mode()
def classify(model: MotionClassifier, clips: Sequence[Tensor]) -> list[Verdict]:
    """Verdict on each clip, given as features (T, 260)."""
    device = model.mean.device
    windows = [clip_to_windows(clip.float()) for clip in clips]
    counts = [len(w) for w in windows]
    parts = [model(chunk.to(device)) for chunk in torch.cat(windows).split(512)] if clips else []
    if not parts:
        return []
    probabilities = torch.cat([logits.softmax(dim=1) for logits, _ in parts]).cpu().split(counts)
    hidden = torch.cat([h for _, h in parts]).cpu().split(counts)
    means = [p.mean(dim=0) for p in probabilities]
    return [Verdict(CLASSES[int(m.argmax())], m, h) for m, h in zip(means, hidden, strict=True)]


# --- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often the class of held-out real clips is right."""

    overall: float
    """Share of all clips of the scored classes and idle."""
    balanced: float
    """Mean over those classes of the share within the class."""
    per_class: dict[str, tuple[int, int]]
    """{class: (right, clips)}, "other" too."""


def measure_accuracy(model: MotionClassifier, data: LabelledFeatures, index: Sequence[int]) -> Accuracy:
    """Accuracy over the clips ``index``."""
    model.eval()
    verdicts = classify(model, [data.clip(i) for i in index])
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for i, verdict in zip(index, verdicts, strict=True):
        label = CLASSES[int(data.labels[i])]
        tally[label][0] += verdict.label == label
        tally[label][1] += 1
    scored = [tally[label] for label in tally if label != "other"]
    overall = sum(right for right, _ in scored) / max(sum(n for _, n in scored), 1)
    balanced = sum(right / n for right, n in scored) / max(len(scored), 1)
    return Accuracy(
        overall, balanced, {label: (tally[label][0], tally[label][1]) for label in CLASSES if label in tally}
    )


def train_classifier(
    data: LabelledFeatures,
    index: Sequence[int],
    *,
    steps: int = 1000,
    batch: int = 128,
    seed: int = SPLIT_SEED,
    device: torch.device | None = None,
    report: Callable[[int, float], None] | None = None,
) -> MotionClassifier:
    """Train on the clips ``index``: classes balanced by count^-0.7, AdamW, one cosine, label smoothing 0.05."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    device = device or torch.device("cpu")
    model = MotionClassifier().to(device)
    data = data.to(device)
    chosen = torch.tensor(list(index), device=device)
    model.fit_scale(torch.cat([data.clip(int(i))[::3] for i in chosen]))
    labels = data.labels[chosen]
    weight = torch.bincount(labels, minlength=len(CLASSES)).clamp_min(1).float()[labels].cpu() ** -0.7
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    model.train()
    for step in range(steps):
        picked = chosen[torch.multinomial(weight, batch, replacement=True, generator=generator).to(device)]
        logits, _ = model(draw_windows(data, picked, generator), noise=0.1)
        loss = F.cross_entropy(logits, data.labels[picked], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if report and step % 100 == 0:
            report(step, float(loss.detach()))
    return model.eval()


def split_digest(clips: Sequence[CorpusClip], held_out: Sequence[int]) -> str:
    """Names the held-out clips: a classifier trained on another split must not judge them."""
    return hashlib.sha256("\n".join(sorted(clips[i].name for i in held_out)).encode()).hexdigest()


def save_classifier(model: MotionClassifier, path: Path, split: str) -> None:
    """Weights, classes and :func:`split_digest` in one safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata={"classes": " ".join(CLASSES), "split": split})


def load_classifier(path: Path, split: str) -> MotionClassifier:
    """Inverse of :func:`save_classifier`. Raises when there is no file or it was made for other classes or clips."""
    if not path.is_file():
        raise CheckpointMissing(f"no classifier {path.name}: train it with scripts/motion/evaluate --train-classifier")
    with safe_open(path, framework="pt") as file:
        facts = file.metadata() or {}
        if (facts.get("classes"), facts.get("split")) != (" ".join(CLASSES), split):
            raise CheckpointMismatch(
                f"{path.name} was trained on another corpus, split or set of classes: "
                "train it again with scripts/motion/evaluate --train-classifier"
            )
        weights = {name: file.get_tensor(name) for name in file.keys()}
    model = MotionClassifier()
    model.load_state_dict(weights)
    return model.eval()
