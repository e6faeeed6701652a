"""The published protocol of text-to-motion on HumanML3D, for official checkpoints: ``motion eval --official PATH``.

Guo et al. 2022 (CVPR, section 5.1) as the MDM program runs it (``eval.eval_humanml``, Tevet et al. 2023): batches of 32
captions with motions, R-precision by Euclidean distance within a batch, FID against the recordings of the test split,
mean distance of a motion from its text, 300 random pairs for diversity, some captions sampled again and again for
multimodality; all of it repeated, with the mean and 1.96 deviations / sqrt(repetitions) as in the papers' tables.

It needs the evaluator (``t2m``), its words (``glove``) and the whole data set, and says which of the files are missing.
Recordings are cropped to whole units of four frames at a random place, like theirs. One difference: frames after the
end of a generated motion are zero, as they are in recordings; there they are what the network left.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from motion_service.errors import BadRequest, CheckpointMissing, MotionError
from motion_service.features.humanml3d import normalise
from motion_service.mdm_adapter.official import Conditions, OfficialSampler, seeded_draw
from motion_service.training.match_scores import Estimate
from motion_service.training.official_evaluator import (
    MAX_FRAMES,
    MIN_FRAMES,
    UNIT,
    OfficialEvaluator,
    WordTable,
    load_official_evaluator,
    read_words,
)
from motion_service.training.scores import frechet_distance

BATCH: Final = 32
DIVERSITY_PAIRS: Final = 300
TOP: Final = 3


# --- what has to be there ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfficialAssets:
    """Where the published files lie below a data directory, and which of them do not."""

    data: Path

    @property
    def files(self) -> dict[str, tuple[Path, str]]:
        """{what: (place, how it comes)}."""
        humanml, fetch = self.data / "dataset/HumanML3D", "motion download"
        return {
            "evaluator": (self.data / "evaluators/t2m/text_mot_match/model/finest.tar", f"{fetch} t2m"),
            "mean": (self.data / "evaluators/t2m/Comp_v6_KLD01/meta/mean.npy", f"{fetch} t2m"),
            "std": (self.data / "evaluators/t2m/Comp_v6_KLD01/meta/std.npy", f"{fetch} t2m"),
            "word vectors": (self.data / "evaluators/glove/our_vab_data.npy", f"{fetch} glove"),
            "word numbers": (self.data / "evaluators/glove/our_vab_idx.pkl", f"{fetch} glove"),
            "test split": (humanml / "test.txt", f"{fetch} humanml3d"),
            "motions": (humanml / "new_joint_vecs", f"{fetch} humanml3d"),
            "captions": (humanml / "texts", f"{fetch} humanml3d"),
        }

    def missing(self) -> list[str]:
        """A line for each that is not there."""
        return [
            f"{what}: {place.relative_to(self.data)} ({how})"
            for what, (place, how) in self.files.items()
            if not place.exists()
        ]

    def path(self, what: str) -> Path:
        return self.files[what][0]


@dataclass(frozen=True, slots=True)
class Recording:
    """A motion of the test split with its captions."""

    features: Tensor
    """(T, 263) as in the data set."""
    captions: tuple[tuple[str, tuple[str, ...]], ...]
    """(caption, ``word/KIND`` tokens)."""


def read_recordings(assets: OfficialAssets) -> list[Recording]:
    """The test split: motions of 2 to 10 s, and parts of motions that have a caption of their own.

    Raises CheckpointMissing when none can be read.
    """
    recordings: list[Recording] = []
    for name in assets.path("test split").read_text(encoding="utf-8").split():
        motion, text = assets.path("motions") / f"{name}.npy", assets.path("captions") / f"{name}.txt"
        if motion.is_file() and text.is_file():
            features = torch.from_numpy(np.load(motion, allow_pickle=False)).float()
            recordings += _cut(features, text.read_text(encoding="utf-8").splitlines())
    if not recordings:
        raise CheckpointMissing("the test split of HumanML3D names no motion that is there")
    return recordings


def _cut(features: Tensor, lines: Sequence[str]) -> Iterator[Recording]:
    """What one file of captions, ``caption#tokens#start#end`` a line, says of a motion."""
    whole = []
    if not MIN_FRAMES <= len(features) < MAX_FRAMES + UNIT:
        return
    for line in lines:
        caption, tokens, *ends = line.strip().split("#")
        start, end = (0.0 if math.isnan(float(value)) else float(value) for value in ends[:2])
        told = caption, tuple(tokens.split(" "))
        if start == end == 0:
            whole.append(told)
            continue
        part = features[int(start * 20) : int(end * 20)]
        if MIN_FRAMES <= len(part) < MAX_FRAMES + UNIT:
            yield Recording(part, (told,))
    if whole:
        yield Recording(features, tuple(whole))


# --- one repetition ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch of recordings: a caption and a cut of each."""

    texts: tuple[str, ...]
    captions: Tensor
    """(B, 22, 315)."""
    words: Tensor
    """(B,)"""
    features: Tensor
    """(B, 196, 263) as in the data set, zero after the end."""
    lengths: Tensor
    """(B,) frames."""


def draw_batch(recordings: Sequence[Recording], words: WordTable, chance: random.Random) -> Drawn:
    """A caption of each drawn at random, and whole units of frames from a random place."""
    drawn = [_draw(recording, words, chance) for recording in recordings]
    texts, captions, counts, rows, lengths = zip(*drawn, strict=True)
    return Drawn(texts, torch.stack(captions), torch.tensor(counts), torch.stack(rows), torch.tensor(lengths))


def _draw(recording: Recording, words: WordTable, chance: random.Random) -> tuple[str, Tensor, int, Tensor, int]:
    """Text, caption with its count of words, and features with their length."""
    text, tokens = chance.choice(recording.captions)
    caption, count = words.caption(tokens)
    units = len(recording.features) // UNIT - (chance.random() < 1 / 3)  # a third is a unit shorter
    length = min(units * UNIT, MAX_FRAMES)
    start = chance.randint(0, len(recording.features) - length)
    row = torch.zeros(MAX_FRAMES, recording.features.shape[1])
    row[:length] = recording.features[start : start + length]
    return text, caption, count, row, length


@dataclass(frozen=True, slots=True)
class Judge:
    """The evaluator with its words and statistics."""

    evaluator: OfficialEvaluator
    words: WordTable
    mean: Tensor
    std: Tensor

    @torch.inference_mode()
    def texts(self, batch: Drawn) -> Tensor:
        """(B, 512)."""
        return self.evaluator.place_texts(batch.captions, batch.words)

    @torch.inference_mode()
    def motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, 512) of features (B, T, 263) as in the data set."""
        inside = torch.arange(features.shape[1])[None] < lengths[:, None]
        return self.evaluator.place_motions(normalise(features, self.mean, self.std) * inside[..., None], lengths)


def generate(sampler: OfficialSampler, batch: Drawn, guidance: float | None, seed: int) -> Tensor:
    """(B, 196, 263) that a checkpoint makes of the captions, in the lengths of their recordings."""
    run, _ = sampler.new_run(None, guidance, seeded_draw(seed, official=False))
    mask = torch.arange(MAX_FRAMES)[None] < batch.lengths[:, None]
    texts = sampler.encoder.encode(batch.texts)
    return sampler.to_features(sampler.sample(texts, MAX_FRAMES, run, Conditions(frame_mask=mask)))


def score(texts: Tensor, motions: Tensor, real: Tensor, chance: random.Random) -> dict[str, float]:
    """Measures of texts and motions (N, 512), whose batches of 32 lie one after the other, against recordings."""
    hits, far = torch.zeros(TOP), 0.0
    for first in range(0, len(texts), BATCH):
        distance = torch.cdist(texts[first : first + BATCH], motions[first : first + BATCH])
        own = distance.diagonal()
        rank = (distance < own[:, None]).sum(1)
        hits += torch.stack([(rank <= k).sum() for k in range(TOP)])
        far += float(own.sum())
    pairs = [chance.sample(range(len(motions)), min(DIVERSITY_PAIRS, len(motions))) for _ in range(2)]
    return {f"R-precision (top {k + 1})": float(hits[k]) / len(texts) for k in range(TOP)} | {
        "FID": frechet_distance(motions, real),
        "MM-Dist": far / len(texts),
        "Diversity": float((motions[pairs[0]] - motions[pairs[1]]).norm(dim=1).mean()),
    }


def multimodality(motions: Tensor, pairs: int, chance: random.Random) -> float:
    """Mean distance of ``pairs`` motions of the same text: (texts, repeats, 512)."""
    repeats = range(motions.shape[1])
    one, other = chance.sample(repeats, pairs), chance.sample(repeats, pairs)
    return float((motions[:, one] - motions[:, other]).norm(dim=-1).mean())


# --- all of them ------------------------------------------------------------------------------------------------------


def measure(
    sampler: OfficialSampler, judge: Judge, recordings: Sequence[Recording], options: argparse.Namespace
) -> dict[str, dict[str, Estimate]]:
    """{"real" or the checkpoint's name: {measure: mean over repetitions with its interval}}.

    Raises BadRequest for window models, and where there are fewer recordings than a batch.
    """
    if sampler.is_windowed:
        raise BadRequest("window models are evaluated on prefixes of the data set, which is not done here: take MDM")
    if len(recordings) < BATCH:
        raise BadRequest(f"a batch needs {BATCH} recordings, there are {len(recordings)}")
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for repetition in range(options.replications):
        for side, row in _repeat(sampler, judge, recordings, options, repetition).items():
            for name, value in row.items():
                values[side][name].append(value)
    return {side: {name: estimate(row) for name, row in rows.items()} for side, rows in values.items()}


def _repeat(
    sampler: OfficialSampler, judge: Judge, recordings: Sequence[Recording], options: argparse.Namespace, seed: int
) -> dict[str, dict[str, float]]:
    """One repetition, of recordings and of the checkpoint."""
    chance = random.Random(seed)
    order = chance.sample(range(len(recordings)), len(recordings) // BATCH * BATCH)
    batches = [
        draw_batch([recordings[i] for i in order[first : first + BATCH]], judge.words, chance)
        for first in range(0, len(order), BATCH)
    ]
    texts = [judge.texts(batch) for batch in batches]
    real = torch.cat([judge.motions(batch.features, batch.lengths) for batch in batches])
    again = draw_batch(recordings, judge.words, chance)
    reference = judge.motions(again.features, again.lengths)
    used = batches[: max(1, math.ceil(options.samples / BATCH))]
    made = [
        judge.motions(generate(sampler, batch, options.guidance, seed * 10_000 + place), batch.lengths)
        for place, batch in enumerate(used)
    ]
    sides = {
        "real": score(torch.cat(texts), real, reference, chance),
        sampler.checkpoint.name: score(torch.cat(texts[: len(used)]), torch.cat(made), reference, chance),
    }
    if options.mm_texts:
        sides[sampler.checkpoint.name]["MultiModality"] = _repeat_texts(sampler, judge, batches, options, chance)
    return sides


def _repeat_texts(
    sampler: OfficialSampler, judge: Judge, batches: Sequence[Drawn], options: argparse.Namespace, chance: random.Random
) -> float:
    """Multimodality over captions of some batches, each sampled again and again."""
    chosen = chance.sample(list(batches), min(len(batches), math.ceil(options.mm_texts / BATCH)))
    places = [
        torch.stack(
            [
                judge.motions(generate(sampler, batch, options.guidance, chance.randrange(2**31)), batch.lengths)
                for _ in range(options.mm_repeats)
            ],
            dim=1,
        )
        for batch in chosen
    ]
    return multimodality(torch.cat(places)[: options.mm_texts], options.mm_pairs, chance)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, and 1.96 population deviations over the root of their number, as in the published tables."""
    mean = sum(values) / len(values)
    return Estimate(mean, 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values) / len(values) / len(values)))


def to_table(rows: dict[str, dict[str, Estimate]]) -> Table:
    """A row a method, a column a measure."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table("", *names)
    for side, row in rows.items():
        table.add_row(side, *(str(row[name]) if name in row else "-" for name in names))
    return table


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="motion eval", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--official", type=Path, required=True, metavar="MODEL_PATH", help="model*.pt, or its directory"
    )
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1000, help="generated motions a repetition (%(default)s)")
    parser.add_argument("--guidance", type=float, help="else the model's own")
    parser.add_argument("--mm-texts", type=int, default=0, help="captions for multimodality; published: 100; 0 = none")
    parser.add_argument("--mm-repeats", type=int, default=30, help="samples of each (%(default)s)")
    parser.add_argument("--mm-pairs", type=int, default=10, help="pairs of each (%(default)s)")
    return parser.parse_args(arguments)


def main(
    arguments: Sequence[str], data: Path, open_sampler: Callable[[Path], OfficialSampler], cache_dir: Path | None = None
) -> int:
    """The command, on the files below ``data``. ``open_sampler`` loads the checkpoint; ``cache_dir``: of conversions.

    Exit status 1 where files are missing, each with a line, or cannot be used.
    """
    options, assets = parse_options(arguments), OfficialAssets(data)
    try:
        if missing := assets.missing():
            raise CheckpointMissing("the published evaluation needs what is not there:\n  " + "\n  ".join(missing))
        mean, std = (_read_numbers(assets.path(name)) for name in ("mean", "std"))
        evaluator = load_official_evaluator(assets.path("evaluator"), cache_dir)
        judge = Judge(evaluator, read_words(assets.path("word vectors").parent), mean, std)
        rows = measure(open_sampler(options.official), judge, read_recordings(assets), options)
    except MotionError as error:
        print(f"error: {error.detail}")
        return 1
    Console(width=160, highlight=False).print(to_table(rows))
    scores: dict[str, Any] = {
        side: {name: {"mean": value.mean, "interval": value.interval} for name, value in row.items()}
        for side, row in rows.items()
    }
    print(json.dumps({"replications": options.replications, "scores": scores}))
    return 0


def _read_numbers(file: Path) -> Tensor:
    return torch.from_numpy(np.load(file, allow_pickle=False)).float()
