"""The part of an evaluation that needs the evaluator's network: text-to-motion measures, and styles.

Real motion stands in the same table: for every prompt a held-out recording of the class it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.quality_match import MotionMatcher, Words, vrm_clip_to_features
from motion_service.text_encoder import TextEncoder
from motion_service.training.batch_generation import BatchGenerator
from motion_service.training.classifier import CLASSES, LabelledFeatures
from motion_service.training.corpus import CorpusClip
from motion_service.training.match_scores import Estimate, Placed, match_scores
from motion_service.training.matcher import clip_style, head_verdicts
from motion_service.training.scores import TestPrompt, match_classes


@dataclass(frozen=True, slots=True)
class StylePrompt:
    """One line of a table of styles."""

    id: str
    language: str
    prompt: str
    action: str
    """With its side: wave-left."""
    style: str


def read_style_prompts(path: Path) -> list[StylePrompt]:
    """Read a table with the columns id, language, prompt, action, style. Raises BadRequest for another one."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    if header.split("\t") != ["id", "language", "prompt", "action", "style"] or any(len(row) != 5 for row in rows):
        raise BadRequest(f"{path.name}: every line needs id, language, prompt, action, style, separated by tabs")
    return [StylePrompt(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class MatchTable:
    """Generated motion beside recordings of what was asked for."""

    generated: dict[str, Estimate]
    real: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        return {
            side: {name: asdict(value) for name, value in getattr(self, side).items()} for side in ("generated", "real")
        }

    def rows(self) -> list[list[str]]:
        return [[name, str(value), str(self.real[name])] for name, value in self.generated.items()]


def compare_matches(
    matcher: MotionMatcher,
    encoder: TextEncoder,
    prompts: Sequence[TestPrompt],
    clips: Sequence[VrmClip],
    data: LabelledFeatures,
    held_out: Sequence[int],
) -> MatchTable:
    """All measures over the prompts whose class has held-out recordings. FID of both is against all such recordings."""
    of_class: dict[str, list[int]] = {}
    for i in held_out:
        of_class.setdefault(CLASSES[int(data.labels[i])], []).append(i)
    chosen = [i for i, prompt in enumerate(prompts) if of_class.get(prompt.label)]
    labels = [prompts[i].label for i in chosen]
    names = [prompts[i].prompt for i in chosen]
    words = Words(matcher, encoder)
    placed = {name: words.place(name) for name in dict.fromkeys(names)}
    texts = torch.stack([torch.from_numpy(place) for name in names if (place := placed[name]) is not None])
    made = place_all(matcher, [vrm_clip_to_features(clips[i]) for i in chosen])
    real = place_all(matcher, [data.clip(i) for i in match_classes(labels, of_class)])
    everything = place_all(matcher, [data.clip(i) for label in sorted(set(labels)) for i in of_class[label]])
    return MatchTable(
        match_scores(Placed(made, texts, labels, names), everything),
        match_scores(Placed(real, texts, labels, names), everything),
    )


def place_all(matcher: MotionMatcher, clips: Sequence[Tensor]) -> Tensor:
    """(N, 128) of N clips of features."""
    return torch.stack([matcher.place_clip(clip) for clip in clips])


def style_rates(
    matcher: MotionMatcher,
    generator: BatchGenerator,
    table: Sequence[StylePrompt],
    seeds: int,
    clips: Sequence[CorpusClip],
    data: LabelledFeatures,
    held_out: Sequence[int],
) -> dict[str, float]:
    """Share of styles named right: of generated clips, and of as many held-out recordings of the same action and style.

    Only over prompts whose action and style has held-out recordings. Of a style that was recorded twice an action no
    judge that never saw one of the two knows the other, so a share over all would say nothing of the model.
    """
    of_pair: dict[str, list[int]] = {}
    for i in held_out:
        of_pair.setdefault(f"{clips[i].action}|{clip_style(clips[i])}", []).append(i)
    rows = [row for row in table if f"{row.action}|{row.style}" in of_pair]
    wishes = [(row.prompt, seed) for row in rows for seed in range(seeds)]
    asked = [row.style for row in rows for _ in range(seeds)]
    made = [vrm_clip_to_features(take.clip) for take in generator.generate(wishes, 5.0)]
    real = match_classes([f"{row.action}|{row.style}" for row in rows for _ in range(seeds)], of_pair)
    return {
        "prompts": len(rows),
        "generated": _style_share(matcher, made, asked),
        "real": _style_share(matcher, [data.clip(i) for i in real], asked),
    }


def _style_share(matcher: MotionMatcher, features: Sequence[Tensor], styles: Sequence[str]) -> float:
    named: list[int] = head_verdicts(matcher, features)["style"].tolist()
    right = [matcher.spec.styles[row] == style for row, style in zip(named, styles, strict=True)]
    return float(sum(right)) / max(len(right), 1)
