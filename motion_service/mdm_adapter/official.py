"""A resident official network with its text encoder and statistics: texts in, de-normalised features out, in batches.

It decides nothing about requests; :mod:`~motion_service.mdm_adapter.official_source` does, and so do the command line's
``motion sample`` and the editor, which need whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.diffusion.samplers import Denoise, Noise, inpainted, official_noise, sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import Schedule, Step, Variance, named_schedule
from motion_service.errors import CheckpointMismatch
from motion_service.features.humanml3d import denormalise, normalise
from motion_service.features.statistics import Statistics
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.official import OfficialCheckpoint
from motion_service.mdm_adapter.clip_work import StepTable
from motion_service.text_encoder import LimitedTextEncoder, TextEncoder

MAX_FRAMES: Final = 196
"""Longest clip that a one-shot model was trained on: 9.8 s."""

Draw = Callable[[tuple[int, int, int]], tuple[Tensor, Noise]]
"""Shape (B, T, F) -> noise to start from, and the noise of each step."""


def never() -> None:
    """Nobody cancels."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one batch is sampled."""

    schedule: Schedule
    guidance: float
    draw: Draw
    deterministic: bool = False
    """DDIM without fresh noise instead of ancestral sampling."""
    check: Callable[[], None] = never
    """Called after each step; raises when nobody waits for the result any more."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a batch shall look like, besides its texts. Features are normalised, frames first: (B, T, F)."""

    prefix: Tensor | None = None
    """(B, C, F) frames before the window, for window models."""
    target: tuple[Tensor, Tensor] | None = None
    """Places (B, 8, 3) and which of them are asked (B, 8), for models with target."""
    frame_mask: Tensor | None = None
    """(B, T) bool, True = a frame of the clip; None = all."""
    keep: Tensor | None = None
    """(B, T, F) bool: entries that :attr:`motion` gives, not the model."""
    motion: Tensor | None = None
    """(B, T, F)"""


def seeded_draw(seed: int, *, official: bool) -> Draw:
    """Noise of a seed: one CPU generator per request; ``official``: the very numbers of the official program."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: tuple[int, int, int]) -> tuple[Tensor, Noise]:
        if official:
            return official_noise(generator, shape)
        start = torch.randn(shape, generator=generator)
        return start, lambda x: torch.randn(shape, generator=generator).to(x.device)

    return draw


class OfficialSampler:
    """MDM or DiP on a device. Not thread-safe: call it on the model thread only."""

    engine = "own"
    """Whose code runs the network: our own, or the official program's (``upstream``)."""

    def __init__(
        self,
        checkpoint: OfficialCheckpoint,
        encoder: TextEncoder,
        statistics: Statistics,
        *,
        device: torch.device | str = "cpu",
        autocast: torch.dtype | None = None,
    ) -> None:
        """``autocast``: dtype of the network on CUDA; None = float32. Raises CheckpointMismatch for another encoder."""
        checkpoint.check_encoder(encoder.name, encoder.width)
        try:
            self.schedule = named_schedule(checkpoint.config.schedule, checkpoint.config.steps)
        except ValueError as error:
            raise CheckpointMismatch(f"checkpoint {checkpoint.name!r}: {error}") from error
        self.checkpoint = checkpoint
        self._table = StepTable(self.schedule, self.variance)
        self.spec = checkpoint.config.network
        self.encoder = encoder
        self.device = torch.device(device)
        self._autocast = autocast
        self._mean, self._std = statistics.mean, statistics.std  # (263,), on the CPU
        self.network = checkpoint.network.to(self.device).eval()

    @property
    def is_windowed(self) -> bool:
        """Whether it continues a prefix in windows (DiP) instead of making a clip at once (MDM)."""
        return self.spec.context_frames > 0

    @property
    def takes_targets(self) -> bool:
        """Whether places of joints can be asked for."""
        return self.spec.target_encoder is not None

    def new_run(
        self,
        steps: int | None,
        guidance: float | None,
        draw: Draw,
        *,
        ddim: bool = False,
        check: Callable[[], None] = never,
    ) -> tuple[Run, tuple[str, ...]]:
        """Fill in the model's own numbers. Steps that it does not have are clamped with a warning."""
        own = self.schedule.num_steps
        wanted = own if steps is None else steps
        taken = min(max(wanted, 1), own)
        schedule = self._table.schedule(taken)
        warnings: tuple[str, ...] = ()
        if taken != wanted:
            warnings += (f"steps: {wanted} asked, {self.checkpoint.name} has 1 to {own}: {taken} taken",)
        scale = self.checkpoint.config.guidance if guidance is None else guidance
        if scale != 1 and self.checkpoint.cond_mask_prob == 0:
            warnings += (f"guidance: {self.checkpoint.name} was trained without dropping texts, so 1 is taken",)
            scale = 1.0
        return Run(schedule, scale, draw, ddim, check), warnings

    def cut_warnings(self, texts: Iterable[str]) -> Iterator[str]:
        """A line for each text that the text encoder cannot read whole."""
        for text in texts:
            lost = self.encoder.cut(text) if isinstance(self.encoder, LimitedTextEncoder) else None
            if lost:
                yield f"prompt: the text encoder reads no more; the last {lost} tokens of {text[:40]!r} were cut"

    def normalise(self, features: Tensor) -> Tensor:
        """De-normalised features (..., 263) as the network reads them, on the CPU."""
        return normalise(features, self._mean, self._std)

    @torch.inference_mode()
    def sample(
        self, texts: Sequence[TextEmbedding], num_frames: int, run: Run, conditions: Conditions | None = None
    ) -> Tensor:
        """Normalised features (B, T, 263) for B texts, on the device; a window model makes one window."""
        conditions = conditions or Conditions()
        shape = (len(texts), num_frames, self.spec.features)
        start, noise = run.draw(shape)
        denoise = self._conditioned(texts, num_frames, run.guidance, conditions)

        def on_step(step: Step, x0: Tensor) -> None:
            run.check()

        if run.deterministic:
            return sample_ddim(denoise, start.to(self.device), run.schedule, noise, on_step)
        return sample_ddpm(denoise, start.to(self.device), run.schedule, noise, on_step, variance=self.variance)

    def to_features(self, normalised: Tensor) -> Tensor:
        """De-normalised features (..., 263), on the CPU."""
        return denormalise(normalised.cpu(), self._mean, self._std).float()

    def steps(self, run: Run) -> tuple[Step, ...]:
        """The steps of a run, in sampling order."""
        return self._table.steps(run.schedule.num_steps, deterministic=run.deterministic)

    @property
    def variance(self) -> Variance:
        """Of the noise that a step adds, as the checkpoint was trained."""
        return "small" if self.checkpoint.sigma_small else "large"

    def _conditioned(
        self, texts: Sequence[TextEmbedding], num_frames: int, guidance: float, conditions: Conditions
    ) -> Denoise:
        tokens, text_mask = stack_texts(texts)
        mask = conditions.frame_mask
        if mask is None:
            mask = torch.ones(len(texts), num_frames, dtype=torch.bool)
        prefix = None if conditions.prefix is None else conditions.prefix.to(self.device)
        with torch.autocast(self.device.type, self._autocast, enabled=self._casts):
            target = None
            if conditions.target is not None:
                target = self.network.encode_target(*(part.to(self.device) for part in conditions.target))
            predict = conditioned(
                self.network,
                tokens.to(self.device),
                text_mask.to(self.device),
                guidance,
                prefix=prefix,
                frame_mask=mask.to(self.device),
                target=target,
            )

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, self._autocast, enabled=self._casts):
                return predict(x_t, t).float()

        if conditions.keep is None or conditions.motion is None:
            return denoise
        return inpainted(denoise, conditions.keep.to(self.device), conditions.motion.to(self.device))

    def shrink(self) -> None:
        """Keep the network in the dtype that it computes in. What others have packed from it stays as it was."""
        if self._casts:
            self.network.to(self._autocast)

    @property
    def _casts(self) -> bool:
        return self._autocast is not None and self.device.type == "cuda"


def stack_texts(texts: Sequence[TextEmbedding]) -> tuple[Tensor, Tensor]:
    """Tokens (B, L, E) and mask (B, L) of texts of different length; what is added is masked."""
    longest = max(len(text.tokens) for text in texts)
    tokens = texts[0].tokens.new_zeros(len(texts), longest, texts[0].tokens.shape[1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        tokens[row, : len(text.tokens)] = text.tokens
        mask[row, : len(text.mask)] = text.mask
    return tokens, mask
