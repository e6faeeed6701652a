"""The MotionSource of our diffusion models: text of a plan -> embeddings -> windows of features -> a VRM clip.

Owns a loaded network with its features and its encoder, and runs them on the model thread it is given. The same seed
gives the same clip, whatever ran before: all noise of a request comes from one CPU generator of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, TextEmbedding, VrmClip
from motion_service.diffusion.rollout import continue_smoothly, rollout
from motion_service.diffusion.samplers import Denoise, guided, sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import Schedule, Step, evenly_spaced, named_schedule, respace
from motion_service.engine.job import Job
from motion_service.engine.worker import Worker
from motion_service.errors import CheckpointMismatch
from motion_service.features.vrm_native import CONTACTS, features_to_vrm
from motion_service.mdm.checkpoint import Checkpoint
from motion_service.mdm.network import TextMemory
from motion_service.mdm.reader import Reading, TextReader
from motion_service.mdm_adapter.cues import Cue, cues_to_windows, plan_to_cues
from motion_service.source import SourceClip, SourceRequest
from motion_service.text_encoder import TextEncoder

HIGH_GUIDANCE: Final = 20.0
"""Up to here motion of ``mini`` stays sound; at 100 it falls apart."""


@dataclass(frozen=True, slots=True)
class _Sampling:
    """What is decided for one request before the first window."""

    schedule: Schedule
    guidance: float
    generator: torch.Generator
    deterministic: bool
    """DDIM without fresh noise instead of ancestral sampling."""
    check: Callable[[], None]
    """Raises when nobody waits for the clip any more."""


class DiffusionSource:
    """A :class:`~motion_service.source.MotionSource` on a window model with ``vrm`` features (``mini``)."""

    max_seconds = math.inf

    def __init__(
        self,
        checkpoint: Checkpoint,
        encoder: TextEncoder,
        worker: Worker,
        *,
        name: str = "mini",
        device: torch.device | str = "cpu",
        autocast: torch.dtype | None = None,
    ) -> None:
        """``autocast``: dtype of the network on CUDA (bfloat16, float16); None = float32. Sampler states are float32.

        Raises CheckpointMismatch when the checkpoint wants other features, another encoder or no windows.
        """
        self._schedule = _check_fit(checkpoint, encoder)
        self.name = name
        self._config = checkpoint.config
        self._checkpoint_name = checkpoint.name
        self._encoder = encoder
        self._reader = checkpoint.reader
        self._worker = worker
        self._device = torch.device(device)
        self._autocast = autocast
        self._network = checkpoint.network.to(self._device).eval()
        self._mean, self._std = checkpoint.feature_mean, checkpoint.feature_std  # (F,), on the CPU
        self._first_prefix = checkpoint.first_prefix[None].to(self._device)  # (1, C, F)

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip of round(seconds * fps) frames. Raises GenerationFailed; ModelUnavailable without an encoder."""
        return await self._worker.submit(Job(lambda job: self._generate(request, job)))

    def _generate(self, request: SourceRequest, job: Job[SourceClip]) -> SourceClip:
        """On the model thread: the whole request, stage after stage."""
        marks = [time.perf_counter()]
        num_frames = max(1, round(request.seconds * self._config.fps))
        cues = plan_to_cues(request.plan, num_frames, self._config.fps)
        sampling, warnings = self._decide(request, job.check)
        readings = self._read(cues, sampling.generator)
        warnings += misread(cues, readings, self.name)
        embeddings = [reading.embedding for reading in readings]
        marks.append(time.perf_counter())
        normalised = torch.cat(list(self._windows(cues, embeddings, sampling)))  # (T, F)
        marks.append(time.perf_counter())
        clip = features_to_vrm(self._to_features(normalised))
        marks.append(time.perf_counter())
        return self._to_source_clip(clip, request, sampling, readings, warnings, self._timings(job, marks))

    def _timings(self, job: Job[SourceClip], marks: Sequence[float]) -> dict[str, float]:
        """Milliseconds of the stages that ``marks`` (seconds) lie between."""
        stages = (1000 * (b - a) for a, b in zip(marks, marks[1:], strict=False))
        return {"queue": 1000 * job.waited_s, **dict(zip(("text", "sample", "decode"), stages, strict=True))}

    def _to_source_clip(
        self,
        clip: VrmClip,
        request: SourceRequest,
        sampling: _Sampling,
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

    def _decide(self, request: SourceRequest, check: Callable[[], None]) -> tuple[_Sampling, tuple[str, ...]]:
        """Fill in the model's own numbers; steps it does not have are clamped with a warning."""
        own = self._schedule.num_steps
        wanted = own if request.steps is None else request.steps
        steps = min(max(wanted, 1), own)
        schedule = self._schedule if steps == own else respace(self._schedule, evenly_spaced(own, steps))
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
        return _Sampling(
            schedule, guidance, torch.Generator().manual_seed(request.seed), request.sampler == "ddim", check
        ), warnings

    def _read(self, cues: Sequence[Cue], generator: torch.Generator) -> list[Reading]:
        readings = read_cues(cues, self._encoder, self._reader, generator)
        for reading in readings:
            if reading.embedding.encoder != self._config.text_encoder:
                got = reading.embedding.encoder
                raise CheckpointMismatch(f"text was encoded by {got}, not {self._config.text_encoder}")
        return readings

    @torch.inference_mode()
    def _text_memory(self, embedding: TextEmbedding) -> TextMemory:
        """Conditional row first, unconditional second."""
        tokens = embedding.tokens.to(self._device).expand(2, -1, -1)  # (2, L, E)
        mask = embedding.mask.to(self._device).expand(2, -1)
        return self._network.encode_text(tokens, mask, torch.tensor([False, True], device=self._device))

    def _windows(
        self, cues: Sequence[Cue], embeddings: Sequence[TextEmbedding], sampling: _Sampling
    ) -> Iterator[Tensor]:
        """Normalised frames of window after window, each (up to P, F) on the CPU."""
        spans = cues_to_windows(cues, self._config.network.predict_frames)
        memories = [self._text_memory(embedding) for embedding in embeddings]

        def sample_window(index: int, prefix: Tensor) -> Tensor:
            cue, num_frames = spans[index]
            return self._sample_window(memories[cue], prefix, sampling)[:, :num_frames]

        for frames in rollout(sample_window, self._first_prefix, len(spans)):
            yield frames[0].cpu()

    @torch.inference_mode()
    def _sample_window(
        self,
        memory: TextMemory,
        prefix: Tensor,
        sampling: _Sampling,
        condition: Callable[[Denoise], Denoise] = lambda denoise: denoise,
    ) -> Tensor:
        """One window (1, P, F) after ``prefix`` (1, C, F). ``condition`` puts what is known into guided predictions."""

        def noise(x: Tensor) -> Tensor:
            return torch.randn(x.shape, generator=sampling.generator).to(x.device)

        def on_step(step: Step, x0: Tensor) -> None:
            sampling.check()

        start = noise(prefix.new_empty(1, self._config.network.predict_frames, self._config.network.features))
        denoise = condition(guided(self._denoise_with(memory, prefix.expand(2, -1, -1)), sampling.guidance))
        sample = sample_ddim if sampling.deterministic else sample_ddpm
        return continue_smoothly(prefix, sample(denoise, start, sampling.schedule, noise, on_step))

    def _denoise_with(self, memory: TextMemory, prefix: Tensor) -> Denoise:
        """The network with everything but noise and time filled in; float32 outside, ``autocast`` inside."""
        enabled = self._autocast is not None and self._device.type == "cuda"

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self._device.type, self._autocast, enabled=enabled):
                return self._network.denoise(x_t, t, memory, prefix).float()

        return denoise

    def _to_features(self, normalised: Tensor) -> FeatureClip:
        """De-normalise (T, F); contacts become 0 or 1. Raises NonFiniteOutput."""
        features = normalised * self._std + self._mean
        features[:, CONTACTS] = features[:, CONTACTS].clamp(0, 1).round()
        return FeatureClip(features, "vrm", self._config.fps)


def read_cues(
    cues: Sequence[Cue], encoder: TextEncoder, reader: TextReader | None, generator: torch.Generator
) -> list[Reading]:
    """Encode the texts of cues and understand them; without a reader they stay as encoded.

    Where the reader takes a text for another action than the words name, it gets the words' action as a plain caption.
    """
    embeddings = encoder.encode([cue.text for cue in cues])
    if reader is None:
        return [Reading(embedding, None, None, 1.0) for embedding in embeddings]
    known = {key.split("|")[0] for key in reader.keys}
    readings = []
    for cue, embedding in zip(cues, embeddings, strict=True):
        reading = reader.read(embedding, generator, cue.action, nearest=cue.asked is not None)
        if cue.caption and cue.action in known and reading.action != cue.action:
            reading = reader.read(encoder.encode([cue.caption])[0], generator, cue.action)
        readings.append(reading)
    return readings


def misread(cues: Sequence[Cue], readings: Sequence[Reading], name: str) -> tuple[str, ...]:
    """Warnings for what the model cannot do, or did not understand."""
    warnings = []
    for cue, reading in zip(cues, readings, strict=True):
        if cue.asked is not None and reading.action is not None:
            warnings.append(
                f"prompt: {name} knows no action like {cue.asked!r}; {reading.action} is the nearest it knows"
            )
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
