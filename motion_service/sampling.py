"""One run of the official program ``sample.generate``: prompts in, a batch for each repetition, its files out.

Numbers of a seed: one generator is seeded once, just before the first window, and draws for repetition after
repetition, window after window, a whole batch at a time, in the order and memory layout of the official CPU program.
So a sample's motion depends on its place in the batch and on the size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, TextEmbedding, VrmClip
from motion_service.diffusion.rollout import rollout_frames
from motion_service.errors import BadRequest, NonFiniteOutput
from motion_service.export.mp4 import write_grid, write_mp4
from motion_service.export.npy import Results, write_results
from motion_service.export.official_directory import replace_directory
from motion_service.features.humanml3d import HUMANML3D_FPS, features_to_clip, features_to_joints
from motion_service.features.prefixes import choose_prefix, load_prefixes
from motion_service.mdm_adapter.official import MAX_FRAMES, Conditions, OfficialSampler, Run, never, seeded_draw
from motion_service.vrm.retarget import joints_to_vrm

NUM_SAMPLES: Final = 6
NUM_REPETITIONS: Final = 3
SEED: Final = 10
GRID_SAMPLES: Final = 3
SECONDS: Final = 6.0
"""The official defaults."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a run shall make. Raises BadRequest for numbers that give nothing."""

    texts: tuple[str | tuple[str, ...], ...]
    """A prompt for each sample; for dynamic text a tuple of them, one for each window."""
    num_frames: int
    num_repetitions: int = NUM_REPETITIONS
    seed: int = SEED
    guidance: float | None = None
    """None = the model's own: 2.5, for window models 7.5."""
    autoregressive: bool = False
    include_prefix: bool = False
    """Put the first prefix in front; the end is cut off for it."""

    def __post_init__(self) -> None:
        if not self.texts or any(not isinstance(text, str) and not text for text in self.texts):
            raise BadRequest("there is no prompt: the file of prompts is empty", field="texts")
        if self.num_frames < 1 or self.num_repetitions < 1:
            raise BadRequest("at least one frame and one repetition are needed", field="num_repetitions")
        if self.is_dynamic and not self.autoregressive:
            raise BadRequest("dynamic_text_path needs --autoregressive", field="dynamic_text_path")

    @property
    def is_dynamic(self) -> bool:
        """Whether prompts change from window to window."""
        return any(not isinstance(text, str) for text in self.texts)


@dataclass(frozen=True, slots=True)
class Samples:
    """What a run made. N = samples x repetitions, row = repetition * samples + sample."""

    features: Tensor
    """(N, T, 263) de-normalised, CPU."""
    batch: Batch
    prefixes: tuple[str, ...] = ()
    """Name of the first prefix of each sample, for window models; the official program takes them from its data."""
    warnings: tuple[str, ...] = ()

    def file_name(self, row: int) -> str:
        """Name of the video of a row."""
        repetition, sample = divmod(row, len(self.batch.texts))
        return f"sample{sample:02d}_rep{repetition:02d}.mp4"

    def title(self, row: int) -> str:
        text = self.batch.texts[row % len(self.batch.texts)]
        return text if isinstance(text, str) else " / ".join(text)


# --- options to a batch -----------------------------------------------------------------------------------------------


def seconds_to_frames(seconds: float) -> int:
    """int(seconds * 20), at most 196. Raises BadRequest when that is no frame at all."""
    frames = seconds * HUMANML3D_FPS
    if not frames >= 1:  # not a number, too
        raise BadRequest(f"motion_length must be at least {1 / HUMANML3D_FPS} s", field="motion_length")
    return int(min(frames, MAX_FRAMES))


def read_prompts(path: Path) -> tuple[str, ...]:
    """One prompt a line, UTF-8. Empty lines are prompts too, as in the official program. Raises BadRequest."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return tuple(line.removesuffix("\n") for line in file)
    except OSError as error:
        raise BadRequest(f"{path.name} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path.name} is not a text file in UTF-8") from error


def num_windows(sampler: OfficialSampler, batch: Batch) -> int:
    """Windows of one repetition; a model without windows makes one."""
    return -(-batch.num_frames // sampler.spec.predict_frames) if sampler.is_windowed else 1


# --- a batch to motion ------------------------------------------------------------------------------------------------


def sample_batch(sampler: OfficialSampler, batch: Batch, on_step: Callable[[], None] = never) -> Samples:
    """All repetitions. ``on_step`` is called after every denoising step of every window.

    Raises BadRequest when the model cannot do what is asked, NonFiniteOutput when it breaks.
    """
    check_batch(sampler, batch)
    draw = seeded_draw(batch.seed, official=True)
    run, warnings = sampler.new_run(None, batch.guidance, draw, check=on_step)
    warnings += tuple(sampler.cut_warnings(_every_prompt(batch)))
    prefixes = tuple(choose_prefix(_first_prompt(text)) for text in batch.texts) if sampler.is_windowed else ()
    make = _sample_windows if sampler.is_windowed else _sample_at_once
    repetitions = [sampler.to_features(make(sampler, batch, run, prefixes)) for _ in range(batch.num_repetitions)]
    features = torch.cat(repetitions)  # (N, T, 263)
    if not bool(torch.isfinite(features).all()):
        raise NonFiniteOutput("the model returned numbers that are not finite; are its weights damaged?")
    return Samples(features, batch, prefixes, warnings)


def check_batch(sampler: OfficialSampler, batch: Batch) -> None:
    """Raise BadRequest when ``batch`` is for another kind of model."""
    name = sampler.checkpoint.name
    if batch.autoregressive and not sampler.is_windowed:
        raise BadRequest(f"{name} makes a clip at once; leave --autoregressive out", field="autoregressive")
    if sampler.is_windowed and not batch.autoregressive:
        raise BadRequest(f"{name} continues a prefix window by window; add --autoregressive", field="autoregressive")
    windows = num_windows(sampler, batch)
    for text in batch.texts:
        if not isinstance(text, str) and len(text) != windows:
            raise BadRequest(f"{len(text)} prompts for {windows} windows", field="dynamic_text_path")


def _sample_at_once(sampler: OfficialSampler, batch: Batch, run: Run, prefixes: tuple[str, ...]) -> Tensor:
    """Normalised features (B, T, 263) of one repetition of a one-shot model."""
    texts = sampler.encoder.encode([_first_prompt(text) for text in batch.texts])
    return sampler.sample(texts, batch.num_frames, run)


def _sample_windows(sampler: OfficialSampler, batch: Batch, run: Run, prefixes: tuple[str, ...]) -> Tensor:
    """Normalised features (B, T, 263) of one repetition of a window model."""
    window_frames = sampler.spec.predict_frames

    def sample_window(index: int, before: Tensor) -> Tensor:
        texts = _texts_of_window(sampler, batch, index)
        return sampler.sample(texts, window_frames, run, Conditions(prefix=before))

    library = load_prefixes()
    first = sampler.normalise(torch.stack([library[name] for name in prefixes]))  # (B, 20, 263)
    first = first[:, -sampler.spec.context_frames :].to(sampler.device)
    return rollout_frames(sample_window, first, batch.num_frames, window_frames, include_prefix=batch.include_prefix)


def _texts_of_window(sampler: OfficialSampler, batch: Batch, index: int) -> list[TextEmbedding]:
    return sampler.encoder.encode([text if isinstance(text, str) else text[index] for text in batch.texts])


def _first_prompt(text: str | tuple[str, ...]) -> str:
    return text if isinstance(text, str) else text[0]


def _every_prompt(batch: Batch) -> Iterable[str]:
    """Each prompt once, in order."""
    return dict.fromkeys(prompt for text in batch.texts for prompt in ((text,) if isinstance(text, str) else text))


# --- motion to files --------------------------------------------------------------------------------------------------


def samples_to_results(samples: Samples) -> Results:
    """Joints (N, 22, 3, T) decoded from the positions in the features, with texts and lengths in the official order."""
    batch = samples.batch
    rows, frames = samples.features.shape[:2]
    return Results(
        motion=features_to_joints(samples.features).permute(0, 2, 3, 1),
        texts=batch.texts * batch.num_repetitions,
        lengths=[frames] * rows,
        num_samples=len(batch.texts),
        num_repetitions=batch.num_repetitions,
    )


def samples_to_clips(samples: Samples) -> Iterator[VrmClip]:
    """Every row on the body that videos show."""
    for features in samples.features:
        yield joints_to_vrm(features_to_clip(FeatureClip(features, "humanml3d", HUMANML3D_FPS)))


def num_videos(batch: Batch) -> int:
    """Videos that a run of ``batch`` leaves: one for each row, and one for every three samples."""
    return batch.num_repetitions * len(batch.texts) + len(range(0, len(batch.texts), GRID_SAMPLES))


def write_samples(
    directory: Path, samples: Samples, *, videos: bool = True, on_video: Callable[[], None] = never
) -> None:
    """Write ``results.npy``, ``results.txt``, ``results_len.txt`` and, with ``videos``, an mp4 for each row and grids.

    A grid shows three samples one under another, their repetitions side by side.

    An earlier run's files in ``directory`` are deleted. Raises BadRequest when there is anything else, and OSError.
    """
    replace_directory(directory)
    write_results(directory, samples_to_results(samples))
    if not videos:
        return
    for row, clip in enumerate(samples_to_clips(samples)):
        write_mp4(clip, directory / samples.file_name(row), samples.title(row))
        on_video()
    for name, rows in _grids(samples):
        write_grid(
            [[directory / samples.file_name(row) for row in repetitions] for repetitions in rows], directory / name
        )
        on_video()


def _grids(samples: Samples) -> Iterator[tuple[str, list[range]]]:
    """(file name, for each of its samples the rows of all repetitions)"""
    num_samples, num_rows = len(samples.batch.texts), len(samples.features)
    for first in range(0, num_samples, GRID_SAMPLES):
        shown = range(first, min(first + GRID_SAMPLES, num_samples))
        yield f"samples_{first:02d}_to_{shown[-1]:02d}.mp4", [range(i, num_rows, num_samples) for i in shown]
