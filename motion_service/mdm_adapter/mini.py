"""The MotionSource of our diffusion models: text of a plan -> embeddings -> windows of features -> a VRM clip.

Windows are runs of the engine, so those of many requests share batches. The same seed gives the same clip, whatever
runs beside it: each window draws its noise from a seed of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, TextEmbedding, VrmClip
from motion_service.diffusion.rollout import continue_smoothly
from motion_service.diffusion.schedule import Schedule, Step, named_schedule
from motion_service.engine.guard import Engine
from motion_service.errors import CheckpointMismatch
from motion_service.features.vrm_native import CONTACTS
from motion_service.mdm.checkpoint import Checkpoint
from motion_service.mdm.reader import Meaning, Reading, TextReader
from motion_service.mdm_adapter.clip_work import (
    ClipWork,
    StepTable,
    Urgency,
    sample_clip,
    shortcut_steps,
    window_seed,
)
from motion_service.mdm_adapter.cues import Cue, cues_to_windows, plan_to_cues
from motion_service.mdm_adapter.residents import EngineSettings, add_network
from motion_service.mdm_adapter.stopwatch import Stopwatch
from motion_service.progress import expect
from motion_service.source import SourceClip, SourceRequest
from motion_service.text_encoder import TextEncoder

HIGH_GUIDANCE: Final = 20.0
"""Up to here motion of ``mini`` stays sound; at 100 it falls apart."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is decided for one request before the first window."""

    schedule: Schedule
    guidance: float
    generator: torch.Generator
    """Of what is drawn besides the noise of windows."""
    deterministic: bool
    """DDIM without fresh noise instead of ancestral sampling."""
    steps: tuple[Step, ...]
    """What that comes to."""
    scale: float
    """What the network's answers with and without text are combined with: ``guidance``, or 1 where it learned that."""


class DiffusionSource:
    """A :class:`~motion_service.source.MotionSource` on a window model with ``vrm`` features (``mini``)."""

    max_seconds = math.inf

    def __init__(
        self,
        checkpoint: Checkpoint,
        encoder: TextEncoder,
        worker: Engine,
        *,
        name: str = "mini",
        settings: EngineSettings | None = None,
    ) -> None:
        """Raises CheckpointMismatch when the checkpoint wants other features, another encoder or no windows."""
        self._schedule = _check_fit(checkpoint, encoder)
        self._table = StepTable(self._schedule)
        self._shortcuts = shortcut_steps(self._schedule, checkpoint.config.short_steps)
        settings = settings or EngineSettings()
        self.name = name
        self._config = checkpoint.config
        self._checkpoint_name = checkpoint.name
        self._encoder = encoder
        self._reader = checkpoint.reader
        self._known = checkpoint.reader.actions if checkpoint.reader else None
        self._worker = worker
        self._device = torch.device(settings.device)
        self._network = checkpoint.network.to(self._device).eval()
        self._mean, self._std = checkpoint.feature_mean, checkpoint.feature_std  # (F,), on the CPU
        self._first_prefix = checkpoint.first_prefix  # (C, F), on the CPU
        network = checkpoint.config.network
        longest = network.context_frames + network.predict_frames
        num_times = self._schedule.num_steps + len(self._shortcuts)
        self._models = add_network(worker, name, self._network, num_times, longest, settings, 1)

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip of round(seconds * fps) frames. Raises GenerationFailed; ModelUnavailable without an encoder."""
        watch = Stopwatch()
        num_frames = max(1, round(request.seconds * self._config.fps))
        cues = plan_to_cues(request.plan, num_frames, self._config.fps, self._known)
        sampling, warnings = self._decide(request)
        readings = await asyncio.to_thread(self._read, cues, sampling.generator)
        warnings += misread(cues, readings, self.name, self._known)
        watch.lap("text")
        spans = cues_to_windows(cues, self._config.network.predict_frames)
        expect(len(spans) * len(sampling.steps))
        parts, prefix = [], self._first_prefix
        for index, (cue, frames) in enumerate(spans):
            window, waited_s = await self.sample_window(
                readings[cue].embedding, prefix, window_seed(request.seed, index), sampling.steps, sampling.scale
            )
            watch.waited(waited_s)
            parts.append(continue_smoothly(prefix[None], window[None])[0, :frames])
            prefix = torch.cat([prefix, parts[-1]])[-len(prefix) :]
        watch.lap("sample")
        return self._to_source_clip(
            self._to_features(torch.cat(parts)), request, sampling, readings, warnings, watch.timings_ms
        )

    async def sample_window(
        self,
        embedding: TextEmbedding,
        prefix: Tensor,
        seed: int,
        steps: tuple[Step, ...],
        guidance: float,
        urgency: Urgency | None = None,
    ) -> tuple[Tensor, float]:
        """The normalised window (P, F) after ``prefix`` (C, F), and the seconds it waited for its first step.

        Raises as :meth:`Worker.sample <motion_service.engine.worker.Worker.sample>`.
        """
        frames = self._config.network.predict_frames
        work = ClipWork(embedding, steps, guidance, frames, seed, prefix)
        return await sample_clip(self._worker, self._models.for_text(embedding), work, urgency)

    def _to_source_clip(
        self,
        clip: VrmClip | FeatureClip,
        request: SourceRequest,
        sampling: Sampling,
        readings: Sequence[Reading],
        warnings: tuple[str, ...],
        timings_ms: dict[str, float],
    ) -> SourceClip:
        """A clip with where it comes from."""
        return SourceClip(
            clip=clip,
            generator=self.name,
            checkpoint=self._checkpoint_name,
            licence=self._config.licence,
            steps=sampling.schedule.num_steps,
            guidance=sampling.guidance,
            seed=request.seed,
            timings_ms=timings_ms,
            warnings=warnings,
            facts={"understood": [reading.to_json() for reading in readings]} if self._reader else {},
        )

    def _decide(self, request: SourceRequest) -> tuple[Sampling, tuple[str, ...]]:
        """Fill in the model's own numbers; steps it does not have are clamped with a warning."""
        own = self._schedule.num_steps
        wanted = own if request.steps is None else request.steps
        steps = min(max(wanted, 1), own)
        is_ddim = request.sampler == "ddim"
        guidance = self._config.guidance if request.guidance is None else request.guidance
        warnings: tuple[str, ...] = ()
        if steps != wanted:
            warnings += (f"steps: {wanted} asked, {self.name} has 1 to {own}: {steps} taken",)
        if guidance > HIGH_GUIDANCE:
            warnings += (f"guidance: above {HIGH_GUIDANCE:g} bodies distort; {self._config.guidance:g} is usual",)
        if request.target_joints:
            warnings += (f"target_joints: {self.name} takes no targets; they were left out",)
        if request.official_noise:
            warnings += (f"noise: the official draws are for official weights; {self.name} draws its own",)
        is_short = steps == len(self._shortcuts) and guidance == self._config.guidance and not is_ddim
        sampling = Sampling(
            self._table.schedule(steps),
            guidance,
            torch.Generator().manual_seed(request.seed),
            is_ddim,
            self._shortcuts if is_short else self._table.steps(steps, deterministic=is_ddim),
            1.0 if is_short else guidance,
        )
        return sampling, warnings

    def _read(self, cues: Sequence[Cue], generator: torch.Generator) -> list[Reading]:
        return draw_readings(self._understand(cues), generator)

    def _understand(self, cues: Sequence[Cue]) -> list[list[Meaning]]:
        """See :func:`understand_cues`."""
        meanings = understand_cues(cues, self._encoder, self._reader)
        for got in {reading.embedding.encoder for tried in meanings for reading in tried[-1].readings}:
            if got != self._config.text_encoder:
                raise CheckpointMismatch(f"text was encoded by {got}, not {self._config.text_encoder}")
        return meanings

    def _to_features(self, normalised: Tensor) -> FeatureClip:
        """De-normalise (T, F); contacts become 0 or 1. Raises NonFiniteOutput."""
        return FeatureClip(self._denormalise(normalised), "vrm", self._config.fps)

    def _denormalise(self, normalised: Tensor) -> Tensor:
        """(..., F) in physical units; contacts become 0 or 1."""
        features = normalised * self._std + self._mean
        features[..., CONTACTS] = features[..., CONTACTS].clamp(0, 1).round()
        return features


def read_cues(
    cues: Sequence[Cue], encoder: TextEncoder, reader: TextReader | None, generator: torch.Generator
) -> list[Reading]:
    """Encode the texts of cues and understand them; without a reader they stay as encoded."""
    return draw_readings(understand_cues(cues, encoder, reader), generator)


def understand_cues(cues: Sequence[Cue], encoder: TextEncoder, reader: TextReader | None) -> list[list[Meaning]]:
    """What of :func:`read_cues` is the same for every seed: for each cue what was tried, the last of which counts.

    Where the reader takes a text for another action than the words name, it gets the words' action as a plain caption.
    """
    embeddings = encoder.encode([cue.text for cue in cues])
    if reader is None:
        return [[Meaning((Reading(embedding, None, None, 1.0),), ())] for embedding in embeddings]
    meanings = []
    for cue, embedding in zip(cues, embeddings, strict=True):
        lacking = cue.action is not None and cue.action not in reader.actions
        tried = [reader.understand(embedding, cue.action, nearest=cue.asked is not None or lacking)]
        if cue.caption and not lacking and tried[0].readings[0].action != cue.action:
            tried.append(reader.understand(encoder.encode([cue.caption])[0], cue.action))
        meanings.append(tried)
    return meanings


def draw_readings(meanings: Sequence[Sequence[Meaning]], generator: torch.Generator) -> list[Reading]:
    """A reading of each cue. Whatever was tried takes its number."""
    return [[meaning.draw(generator) for meaning in tried][-1] for tried in meanings]


def misread(
    cues: Sequence[Cue], readings: Sequence[Reading], name: str, known: Collection[str] | None = None
) -> tuple[str, ...]:
    """Warnings for what the model cannot do, or did not understand; ``known`` as for :func:`plan_to_cues`."""
    warnings = []
    for cue, reading in zip(cues, readings, strict=True):
        asked = cue.asked or (cue.action if known is not None and cue.action not in known else None)
        if asked is not None and reading.action is not None:
            warnings.append(f"prompt: {name} knows no action like {asked!r}; {reading.action} is the nearest it knows")
        elif reading.lost:
            warnings.append(f"prompt: {name} knows no action like {cue.text!r}, the motion may be anything")
    return tuple(warnings)


def _check_fit(checkpoint: Checkpoint, encoder: TextEncoder) -> Schedule:
    """The schedule of a checkpoint that this source can run with ``encoder``; CheckpointMismatch for any other."""
    config = checkpoint.config
    network = config.network
    if config.features != "vrm":
        raise CheckpointMismatch(f"checkpoint {checkpoint.name!r} has features {config.features!r}, 'vrm' are needed")
    if network.context_frames < 1 or network.predict_frames < 1:
        raise CheckpointMismatch(
            f"checkpoint {checkpoint.name!r} is not a window model: context or predict frames are 0"
        )
    if (config.text_encoder, network.text_width) != (encoder.name, encoder.width):
        raise CheckpointMismatch(
            f"checkpoint {checkpoint.name!r} reads {config.text_encoder} of width {network.text_width}, "
            f"the encoder is {encoder.name} of width {encoder.width}"
        )
    try:
        return named_schedule(config.schedule, config.steps)
    except ValueError as error:
        raise CheckpointMismatch(f"checkpoint {checkpoint.name!r}: {error}") from error
