"""A checkpoint to numbers: prompts never trained on, several seeds each, judged by a classifier of real motion only.

Tables for people, then one JSON object on the last line. What each number means: ``scores.py``, ``classifier.py``,
``kinematic_checks.py`` and ``quality.py``. On a GPU machine without the sentence encoder, first run
``scripts/motion/evaluate --prepare-text FILE`` where the encoder is, then pass ``--text FILE``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import MotionError
from motion_service.features.vrm_native import VRM_FPS, canonical_fk, foot_contacts
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.quality_match import load_matcher, vrm_clip_to_features
from motion_service.text_encoder import TextEncoder, UseEncoder
from motion_service.training.batch_generation import (
    BatchGenerator,
    prompts_to_texts,
    read_prepared_texts,
    write_prepared_texts,
)
from motion_service.training.classifier import (
    CLASSES,
    Accuracy,
    LabelledFeatures,
    MotionClassifier,
    Verdict,
    classify,
    clips_to_features,
    load_classifier,
    measure_accuracy,
    save_classifier,
    split_clips,
    split_digest,
    train_classifier,
)
from motion_service.training.corpus import CorpusClip, read_corpus, with_mirrors
from motion_service.training.evaluate_match import MatchTable, compare_matches, read_style_prompts, style_rates
from motion_service.training.run_facts import run_facts
from motion_service.training.scores import (
    LongRun,
    Rates,
    TestPrompt,
    clips_to_styles,
    diversity,
    frechet_distance,
    match_classes,
    measure_long_run,
    naturalness,
    read_prompts,
    recognition,
    side_and_direction,
)

RECOGNISED: Final = 0.88
"""A prompt recognised less often than this is listed with what was seen instead."""
_console = Console(width=110, highlight=False)


# --- the real side --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RealMotion:
    """The corpus with mirrors, split, and the judge trained on one part of it."""

    clips: Sequence[CorpusClip]
    data: LabelledFeatures
    training: Sequence[int]
    held_out: Sequence[int]
    judge: MotionClassifier
    accuracy: Accuracy

    def of_class(self, index: Sequence[int]) -> dict[str, list[int]]:
        """{class: those of ``index``}."""
        found: dict[str, list[int]] = defaultdict(list)
        for i in index:
            found[CLASSES[int(self.data.labels[i])]].append(i)
        return found


def load_real_motion(corpus: Path, classifier: Path, *, retrain: bool, device: torch.device) -> RealMotion:
    """Read the corpus; read the classifier, or train it when there is none or ``retrain``."""
    clips = with_mirrors([clip for clip in read_corpus(corpus) if clip.is_recorded])
    data = clips_to_features(clips)
    training, held_out = split_clips(clips)
    split = split_digest(clips, held_out)
    if retrain or not classifier.is_file():
        _console.print(f"training the classifier on {len(training)} clips, {len(held_out)} held out")
        judge = train_classifier(data, training, device=device)
        save_classifier(judge, classifier, split)
    else:
        judge = load_classifier(classifier, split).to(device)
    return RealMotion(clips, data, training, held_out, judge, measure_accuracy(judge, data, held_out))


def corpus_clip_to_vrm(clip: CorpusClip, num_frames: int, seed: int) -> VrmClip:
    """A real clip as others see it, at most ``num_frames`` of it from a random place."""
    spare = max(len(clip.hips) - num_frames, 0)
    start = int(torch.randint(spare + 1, (), generator=torch.Generator().manual_seed(seed)))
    rotations, hips = clip.rotations[start : start + num_frames], clip.hips[start : start + num_frames]
    positions, _ = canonical_fk(rotations, hips)
    tracks = dict(zip(CANONICAL_BONES, rotations.unbind(dim=1), strict=True))
    return VrmClip(tracks, hips, foot_contacts(positions, VRM_FPS), VRM_FPS, CANONICAL_HIPS_HEIGHT)


# --- scoring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """Generated clips beside as many held-out real ones of the same classes."""

    generated: dict[str, float]
    real: dict[str, float]
    fid: float
    fid_real: float
    """FID between the held-out and other real clips of the same classes: what a perfect model would reach."""
    diversity: dict[str, float]
    """{class: spread of generated clips over that of real ones}, by :func:`clips_to_styles`."""
    diversity_judged: dict[str, float]
    """The same in the classifier's last layer. It is stretched where the classifier errs on the few held-out clips."""

    @property
    def ratio(self) -> dict[str, float]:
        return {name: self.generated[name] / max(self.real[name], 1e-9) for name in self.generated}


def compare(
    prompts: Sequence[TestPrompt], clips: Sequence[VrmClip], verdicts: Sequence[Verdict], real: RealMotion
) -> Comparison:
    """Naturalness, FID and diversity over the classes of which real clips are held out."""
    held, trained = real.of_class(real.held_out), real.of_class(real.training)
    chosen = [i for i, prompt in enumerate(prompts) if held.get(prompt.label)]
    labels = [prompts[i].label for i in chosen]
    num_frames = max(clip.num_frames for clip in clips)
    matched = match_classes(labels, held)
    real_clips = [corpus_clip_to_vrm(real.clips[i], num_frames, seed) for seed, i in enumerate(matched)]
    other = [corpus_clip_to_vrm(real.clips[i], num_frames, k) for k, i in enumerate(match_classes(labels, trained))]
    real_verdicts = classify(real.judge, [vrm_clip_to_features(clip) for clip in real_clips])
    other_verdicts = classify(real.judge, [vrm_clip_to_features(clip) for clip in other])
    features = _windows([verdicts[i] for i in chosen])
    styles = clips_to_styles([*(clips[i] for i in chosen), *real_clips])
    return Comparison(
        generated=naturalness([clips[i] for i in chosen]),
        real=naturalness(real_clips),
        fid=frechet_distance(features, _windows(real_verdicts)),
        fid_real=frechet_distance(_windows(other_verdicts), _windows(real_verdicts)),
        diversity=_diversity_ratios(labels, styles[: len(chosen)], matched, styles[len(chosen) :]),
        diversity_judged=_diversity_ratios(
            labels, [verdicts[i].features for i in chosen], matched, [verdict.features for verdict in real_verdicts]
        ),
    )


def _windows(verdicts: Sequence[Verdict]) -> Tensor:
    """(N, 128) features of all windows."""
    return torch.cat([verdict.features for verdict in verdicts])


def _diversity_ratios(
    labels: Sequence[str], made: Sequence[Tensor], matched: Sequence[int], real: Sequence[Tensor]
) -> dict[str, float]:
    """Per class, of features (W, D) a clip; a real clip that was drawn more than once counts once."""
    spread: dict[str, float] = {}
    for label in sorted(set(labels)):
        own = [features for features, name in zip(made, labels, strict=True) if name == label]
        others = {i: features for i, features, name in zip(matched, real, labels, strict=True) if name == label}
        if len(own) > 1 and (real_spread := diversity(list(others.values()))) > 0:
            spread[label] = diversity(own) / real_spread
    return spread


def long_runs(generator: BatchGenerator, prompts: Sequence[TestPrompt], seconds: float) -> list[LongRun]:
    """One long clip for the first prompt of each class."""
    first = {prompt.label: prompt for prompt in reversed(prompts)}
    made = generator.generate([(prompt.prompt, 0) for prompt in first.values()], seconds)
    return [measure_long_run(label, take.clip, take.borders) for label, take in zip(first, made, strict=True)]


@dataclass(frozen=True, slots=True)
class Target:
    """One line of what the model is held to."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def check_targets(
    accuracy: Accuracy, recognised: Rates, sides: Rates, natural: Comparison, runs: Sequence[LongRun]
) -> list[Target]:
    """The model's promises with their limits."""
    ratio = natural.ratio
    targets = [
        Target("classifier, held-out real clips", accuracy.overall, 0.92, at_least=True),
        Target("action recognised", recognised["overall"].share, RECOGNISED, at_least=True),
        Target("skate, generated / real", ratio["skate_cm_s"], 1.3),
        Target("jitter, generated / real", ratio["jitter_m_s3"], 1.3),
        Target("penetration, 99th percentile, cm", natural.generated["penetration_cm"], 1.0),
    ]
    if "overall" in sides:
        targets.insert(2, Target("hand and direction", sides["overall"].share, 0.97, at_least=True))
    if natural.diversity:
        least = min(natural.diversity.values())
        targets.append(Target("diversity, generated / real, least class", least, 0.3, at_least=True))
    if runs:
        moving = [run.frozen_s for run in runs if run.is_moving]
        targets += [
            Target("long clip: sinks by, cm", max(-run.drift_cm for run in runs), 5.0),
            Target("long clip: depth of feet, last 10 s, cm", max(run.penetration_cm for run in runs), 2.0),
            Target("long clip: frozen while it should move, s", max(moving, default=0.0), 2.0),
            Target("long clip: acceleration at borders / inside", max(run.seam for run in runs), 1.5),
        ]
    return targets


# --- tables ---------------------------------------------------------------------------------------------------------


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _console.print(table)


def _rate_rows(rates: Rates) -> list[list[str]]:
    return [[key, str(rate.hits), str(rate.total), f"{rate.share:.1%}"] for key, rate in sorted(rates.items())]


def _missed_rows(prompts: Sequence[TestPrompt], labels: Sequence[str]) -> list[list[str]]:
    """Prompts that the classifier recognises too rarely, with what it named instead."""
    seen: dict[TestPrompt, Counter[str]] = defaultdict(Counter)
    for prompt, label in zip(prompts, labels, strict=True):
        seen[prompt][label] += 1
    return [
        [prompt.id, prompt.prompt[:46], prompt.label, ", ".join(f"{n} {name}" for name, n in counts.most_common(3))]
        for prompt, counts in seen.items()
        if prompt.label not in ("idle", "other") and counts[prompt.label] < RECOGNISED * counts.total()
    ]


def _print_report(
    recognised: Rates, sides: Rates, natural: Comparison, runs: Sequence[LongRun], targets: Sequence[Target]
) -> None:
    columns = ["class", "right", "clips", "share"]
    _print_table("Recognition (idle by kinematics)", columns, _rate_rows(recognised))
    _print_table("Hand and direction, by kinematics", columns, _rate_rows(sides))
    rows = [
        [name, f"{value:.3f}", f"{natural.real[name]:.3f}", f"{natural.ratio[name]:.2f}"]
        for name, value in natural.generated.items()
    ]
    rows.append(["FID", f"{natural.fid:.2f}", f"{natural.fid_real:.2f}", ""])
    _print_table("Naturalness", ["measure", "generated", "held-out real", "ratio"], rows)
    spread = [[k, f"{v:.2f}", f"{natural.diversity_judged[k]:.2f}"] for k, v in natural.diversity.items()]
    _print_table("Diversity, generated / real", ["class", "of poses", "classifier's last layer"], spread)
    names = ["class", "hips drift cm", "depth cm", "frozen s", "seam ratio"]
    values = [[r.label, *(f"{v:.2f}" for v in (r.drift_cm, r.penetration_cm, r.frozen_s, r.seam))] for r in runs]
    _print_table("Long clips", names, values)
    verdicts = [
        [t.name, f"{t.value:.3f}", f"{'>=' if t.at_least else '<='} {t.limit}", "met" if t.is_met else "MISSED"]
        for t in targets
    ]
    _print_table("Targets", ["what", "value", "limit", ""], verdicts)


# --- the command ----------------------------------------------------------------------------------------------------


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of ``scripts/motion/evaluate``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("models/motion/mini"))
    parser.add_argument("--prompts", type=Path, default=Path("tests/data/dev_prompts.tsv"))
    parser.add_argument("--corpus", type=Path, default=Path("data/motion/training/corpus.xz"))
    parser.add_argument("--classifier", type=Path, default=Path("data/motion/training/classifier.safetensors"))
    parser.add_argument("--evaluator", type=Path, default=Path("models/motion/evaluator"), help="its directory")
    parser.add_argument("--styles", type=Path, default=Path("tests/data/style_prompts.tsv"), help="prompts of styles")
    parser.add_argument("--train-classifier", action="store_true", help="train it even if there is one")
    parser.add_argument("--prepare-text", type=Path, metavar="FILE", help="only encode the prompts into this npz file")
    parser.add_argument("--text", type=Path, metavar="FILE", help="prepared texts, where the encoder is not installed")
    parser.add_argument("--guidance", type=float, help="guidance scale; else the model's own")
    parser.add_argument("--steps", type=int, help="diffusion steps; else the model's own")
    parser.add_argument("--sampler", choices=("ddpm", "ddim"), default="ddpm")
    parser.add_argument("--seeds", type=int, default=8, help="clips a prompt")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--long-seconds", type=float, default=30.0, help="length of the long clips; 0 = none")
    parser.add_argument("--batch", type=int, help="clips at once; else 32 on a CPU, 256 on a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="also write the JSON object to this file")
    return parser.parse_args(arguments)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Generate, judge, print the tables; returns what the last line says."""
    table, device = read_prompts(options.prompts), torch.device(options.device)
    real = load_real_motion(options.corpus, options.classifier, retrain=options.train_classifier, device=device)
    encoder: TextEncoder = read_prepared_texts(options.text) if options.text else UseEncoder()
    batch = options.batch or (256 if device.type == "cuda" else 32)
    checkpoint = load_checkpoint(options.checkpoint)
    ddim = options.sampler == "ddim"
    generator = BatchGenerator(
        checkpoint, encoder, device, guidance=options.guidance, batch=batch, steps=options.steps, ddim=ddim
    )
    prompts = [prompt for prompt in table for _ in range(options.seeds)]
    wishes = [(prompt.prompt, seed) for prompt in table for seed in range(options.seeds)]
    clips = [made.clip for made in generator.generate(wishes, options.seconds)]
    verdicts = classify(real.judge, [vrm_clip_to_features(clip) for clip in clips])
    labels = [verdict.label for verdict in verdicts]
    recognised, sides = recognition(prompts, clips, labels), side_and_direction(prompts, clips)
    natural = compare(prompts, clips, verdicts, real)
    runs = long_runs(generator, table, options.long_seconds) if options.long_seconds else []
    matches, styles = _judge_texts(options, generator, encoder, prompts, clips, real)
    targets = check_targets(real.accuracy, recognised, sides, natural, runs)
    _print_table("Recognised too rarely", ["id", "prompt", "asked", "named"], _missed_rows(prompts, labels))
    _print_report(recognised, sides, natural, runs, targets)
    return run_facts() | {
        "checkpoint": checkpoint.name,
        "prompts": options.prompts.name,
        "seeds": options.seeds,
        "guidance": generator.guidance,
        "steps": generator.steps,
        "sampler": options.sampler,
        "classifier": asdict(real.accuracy),
        "recognition": {key: round(rate.share, 4) for key, rate in recognised.items()},
        "side_and_direction": {key: round(rate.share, 4) for key, rate in sides.items()},
        "naturalness": asdict(natural) | {"ratio": natural.ratio},
        "text": matches.to_json() if matches else None,
        "style": styles,
        "long": [asdict(run) for run in runs],
        "targets": [asdict(target) | {"met": target.is_met} for target in targets],
    }


def _judge_texts(
    options: argparse.Namespace,
    generator: BatchGenerator,
    encoder: TextEncoder,
    prompts: Sequence[TestPrompt],
    clips: Sequence[VrmClip],
    real: RealMotion,
) -> tuple[MatchTable | None, dict[str, float] | None]:
    """What the evaluator says of texts and styles; None without one, or where it reads texts of another encoder."""
    matcher = load_matcher(options.evaluator)
    if matcher is None:
        _console.print("no evaluator: train it with scripts/motion/train_evaluator")
        return None, None
    if matcher.spec.text_encoder != encoder.name:
        _console.print(f"no measures of texts: the evaluator reads {matcher.spec.text_encoder}, this is {encoder.name}")
        return None, None
    table = compare_matches(matcher, encoder, prompts, clips, real.data, real.held_out)
    _print_table("Text and motion", ["measure", "generated", "real"], table.rows())
    rows = read_style_prompts(options.styles)
    styles = style_rates(matcher, generator, rows, options.seeds, real.clips, real.data, real.held_out)
    _console.print(f"styles recognised: {styles['generated']:.1%}, of real clips {styles['real']:.1%}")
    return table, styles


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 1 for input that cannot be used, 0 otherwise: missed targets are in the answer."""
    options = parse_options(arguments)
    try:
        if options.prepare_text:
            asked = [row.prompt for row in read_prompts(options.prompts)]
            asked += [row.prompt for row in read_style_prompts(options.styles)]
            texts = prompts_to_texts(asked)
            write_prepared_texts(options.prepare_text, UseEncoder(), texts)
            print(json.dumps({"texts": len(texts), "file": options.prepare_text.name}))
            return 0
        answer = json.dumps(evaluate(options), ensure_ascii=False)
    except MotionError as error:
        print(f"error: {error.detail}")
        return 1
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(answer + "\n", encoding="utf-8")
    print(answer)
    return 0
