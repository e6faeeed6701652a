"""Trains the evaluator of ``quality_match.py`` on recorded motion, and says how well it knows what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from motion_service.quality_match import WEIGHTS, MatchSpec, MotionMatcher, clip_to_windows
from motion_service.training.caption_table import CaptionTable, acting_side, caption_key
from motion_service.training.classifier import CLASSES, SPLIT_SEED, LabelledFeatures, draw_windows, normalisation
from motion_service.training.corpus import CorpusClip
from motion_service.wording import FLAGS

HANDS: Final = ("none", "left", "right", "both")
_ALIKE: Final = {"old": "elderly", "tired": "exhausted"}
"""Styles of the two data sets that mean the same."""
TEXT_NOISE: Final = 0.012


def clip_style(clip: CorpusClip) -> str:
    """Style as the evaluator tells them apart."""
    return _ALIKE.get(clip.style, clip.style)


def clip_hand(clip: CorpusClip) -> str:
    """Which hand acts: by the name of the action, else by the one that moves."""
    last = clip.action.rpartition("-")[2]
    if clip.action.startswith(("wave-", "raise-")):
        return last
    return acting_side(clip) or "none" if "kick" not in clip.action else "none"


class MatchData:
    """Recorded clips with all that the evaluator is to tell of them."""

    def __init__(self, clips: Sequence[CorpusClip], features: LabelledFeatures, captions: CaptionTable) -> None:
        self.features, self.captions = features, captions
        self.styles = tuple(sorted({clip_style(clip) for clip in clips}))
        self.keys = torch.tensor([captions.row(caption_key(clip)) for clip in clips])
        self.labels = {
            "action": features.labels,
            "style": torch.tensor([self.styles.index(clip_style(clip)) for clip in clips]),
            "hand": torch.tensor([HANDS.index(clip_hand(clip)) for clip in clips]),
        }

    def spec(self, split: str) -> MatchSpec:
        return MatchSpec(CLASSES, self.styles, HANDS, self.captions.encoder, self.captions.width, split)

    def texts(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """A caption (B, E) of each clip, with the noise that other wordings have."""
        language, choice = torch.rand(2, len(index), generator=generator)
        texts = self.captions.draw(self.keys[index], language, choice).clone()
        sentence = texts[:, : -len(FLAGS)]
        sentence += torch.randn(sentence.shape, generator=generator) * TEXT_NOISE
        return texts


def train_matcher(
    data: MatchData,
    index: Sequence[int],
    split: str,
    *,
    steps: int = 1500,
    batch: int = 128,
    seed: int = SPLIT_SEED,
    report: Callable[[int, float], None] | None = None,
) -> MotionMatcher:
    """Train on the clips ``index``: caption groups balanced by count^-0.7, AdamW, one cycle. The same seed, the same
    weights on the same machine."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MotionMatcher(data.spec(split))
        chosen = torch.tensor(list(index))
        mean, scale = normalisation(torch.cat([data.features.clip(int(i))[::3] for i in chosen]))
        model.mean.copy_(mean)
        model.scale.copy_(scale)
        keys = data.keys[chosen]
        weight = torch.bincount(keys, minlength=int(keys.max()) + 1).clamp_min(1).float()[keys] ** -0.7
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
        model.train()
        for step in range(steps):
            picked = chosen[torch.multinomial(weight, batch, replacement=True, generator=generator)]
            loss = _loss(model, data, picked, generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if report and step % 100 == 0:
                report(step, float(loss.detach()))
    return model.eval().requires_grad_(False)


def _loss(model: MotionMatcher, data: MatchData, picked: Tensor, generator: torch.Generator) -> Tensor:
    seen = model(draw_windows(data.features, picked, generator), noise=0.1)
    texts = model.place_texts(data.texts(picked, generator))
    likeness = seen.place @ texts.T * model.sharpness.exp().clamp(max=50)  # (B, B)
    keys = data.keys[picked]
    same = (keys[:, None] == keys[None]).float()  # clips of one group fit each other's captions
    wanted = same / same.sum(dim=1, keepdim=True)
    contrast = F.cross_entropy(likeness, wanted) + F.cross_entropy(likeness.T, wanted)
    heads = sum(
        F.cross_entropy(getattr(seen, name), labels[picked], label_smoothing=0.05)
        for name, labels in data.labels.items()
    )
    return contrast + 0.5 * heads


@torch.inference_mode()
def head_verdicts(model: MotionMatcher, clips: Sequence[Tensor]) -> dict[str, Tensor]:
    """{action, style, hand: index (N,) of the greatest mean probability over the windows of each clip}."""
    windows = [clip_to_windows(clip.float()) for clip in clips]
    parts = [model(chunk) for chunk in torch.cat(windows).split(512)]
    counts = [len(each) for each in windows]
    verdicts = {}
    for name in ("action", "style", "hand"):
        shares = torch.cat([getattr(part, name) for part in parts]).softmax(dim=-1).split(counts)
        verdicts[name] = torch.stack([each.mean(dim=0).argmax() for each in shares])
    return verdicts


def measure_heads(model: MotionMatcher, data: MatchData, index: Sequence[int]) -> dict[str, float]:
    """{action, style, hand: share of the clips ``index`` that are named right}."""
    verdicts = head_verdicts(model, [data.features.clip(i) for i in index])
    chosen = torch.tensor(list(index))
    return {name: float((verdicts[name] == data.labels[name][chosen]).float().mean()) for name in verdicts}


def save_matcher(model: MotionMatcher, directory: Path) -> Path:
    """Write the weights, float16, with what they are for."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, directory / WEIGHTS, metadata=model.spec.to_metadata())
    return directory / WEIGHTS
