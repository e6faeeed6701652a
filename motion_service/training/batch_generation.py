"""Many prompts at once to clips, by the same steps as the service: plan, cues, windows, sampler.

The service makes one clip at a time; an evaluation of 480 clips would wait for hours. Here prompts whose cues fill
windows of the same lengths share a batch. Noise is drawn per window as in ``mdm_adapter``, so a seed gives the clip
that the service gives on a CPU, up to the rounding of larger matrix products.

On a machine without the sentence encoder, texts come from a file written beforehand (:class:`PreparedTexts`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import FeatureClip, TextEmbedding, VrmClip
from motion_service.diffusion.rollout import continue_smoothly, rollout
from motion_service.diffusion.samplers import guided, sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import Schedule, evenly_spaced, named_schedule, respace, shortcut_schedule
from motion_service.errors import BadRequest, CheckpointMismatch
from motion_service.features.vrm_native import CONTACTS, features_to_vrm
from motion_service.mdm.checkpoint import Checkpoint
from motion_service.mdm_adapter.clip_work import window_seed
from motion_service.mdm_adapter.cues import Cue, cues_to_windows, plan_to_cues
from motion_service.mdm_adapter.mini import read_cues
from motion_service.prompt.plan import prompt_to_plan
from motion_service.text_encoder import TextEncoder


@dataclass(frozen=True, slots=True)
class GeneratedClip:
    """One clip of a batch."""

    prompt: str
    seed: int
    clip: VrmClip
    borders: tuple[int, ...]
    """First frames of the windows after the first."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One clip to make."""

    place: int
    """Its index in the answer."""
    prompt: str
    seed: int
    cues: Sequence[Cue]
    spans: Sequence[tuple[int, int]]
    """(index of the cue, frames to keep) of each window."""


class PreparedTexts:
    """A :class:`~motion_service.text_encoder.TextEncoder` that knows a fixed set of texts, from a file."""

    def __init__(self, name: str, embeddings: dict[str, TextEmbedding]) -> None:
        self._name = name
        self._embeddings = embeddings

    @property
    def name(self) -> str:
        return self._name

    @property
    def width(self) -> int:
        return int(next(iter(self._embeddings.values())).tokens.shape[1])

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """Raises :class:`BadRequest` for a text that is not in the file."""
        for text in texts:
            if text not in self._embeddings:
                raise BadRequest(f"{text!r} is not among the prepared texts: run evaluate --prepare-text again")
        return [self._embeddings[text] for text in texts]


def prompts_to_texts(prompts: Sequence[str]) -> list[str]:
    """Every text that the plans of ``prompts`` hand to the encoder, and the prompts themselves, once."""
    plans = [prompt_to_plan(prompt) for prompt in prompts]
    # For a checkpoint that knows all actions, and for one that knows few, whose stand-ins have other words.
    cues = [cue for plan in plans for known in (None, ()) for cue in plan_to_cues(plan, 1000, 20.0, known)]
    return sorted({text for cue in cues for text in (cue.text, cue.caption) if text} | set(prompts))


def write_prepared_texts(path: Path, encoder: TextEncoder, texts: Sequence[str]) -> None:
    """Encode ``texts`` and write them as an npz file that :func:`read_prepared_texts` reads."""
    embeddings = encoder.encode(texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        encoder=np.array(encoder.name),
        texts=np.array(list(texts)),
        lengths=np.array([len(e.tokens) for e in embeddings], np.int32),
        tokens=torch.cat([e.tokens for e in embeddings]).numpy(),
        mask=torch.cat([e.mask for e in embeddings]).numpy(),
    )


def read_prepared_texts(path: Path) -> PreparedTexts:
    """Inverse of :func:`write_prepared_texts`. Raises :class:`BadRequest` when there is no such file."""
    if not path.is_file():
        raise BadRequest(f"no prepared texts {path.name}: run scripts/motion/evaluate --prepare-text {path.name} first")
    with np.load(path, allow_pickle=False) as data:
        name, lengths = str(data["encoder"]), data["lengths"].tolist()
        tokens = torch.from_numpy(data["tokens"]).split(lengths)
        masks = torch.from_numpy(data["mask"]).split(lengths)
        texts = [str(text) for text in data["texts"]]
    pairs = zip(texts, tokens, masks, strict=True)
    return PreparedTexts(name, {text: TextEmbedding(rows, mask, name) for text, rows, mask in pairs})


class BatchGenerator:
    """Makes clips of a window model with ``vrm`` features in batches."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        encoder: TextEncoder,
        device: torch.device,
        *,
        guidance: float | None = None,
        batch: int = 64,
        steps: int | None = None,
        ddim: bool = False,
    ) -> None:
        """``guidance``, ``steps``: None = the model's own. ``batch``: clips at once. ``ddim``: not ancestral sampling.

        Raises CheckpointMismatch for other texts, BadRequest for steps that the model does not have.
        """
        if encoder.name != checkpoint.config.text_encoder:
            raise CheckpointMismatch(f"texts are encoded by {encoder.name}, not {checkpoint.config.text_encoder}")
        self.guidance = checkpoint.config.guidance if guidance is None else guidance
        self.fps = checkpoint.config.fps
        self._checkpoint = checkpoint
        self._known = checkpoint.reader.actions if checkpoint.reader else None
        self._encoder = encoder
        self._device = device
        self._batch = batch
        self._network = checkpoint.network.to(device)
        self.ddim = ddim
        whole = named_schedule(checkpoint.config.schedule, checkpoint.config.steps)
        self._schedule = _shortened(whole, steps)
        self._scale = self.guidance
        if (
            steps
            and steps == checkpoint.config.short_steps
            and self.guidance == checkpoint.config.guidance
            and not ddim
        ):
            self._schedule, self._scale, self.ddim = shortcut_schedule(whole, steps), 1.0, True

    @property
    def steps(self) -> int:
        """Diffusion steps of a window."""
        return self._schedule.num_steps

    def generate(self, wishes: Sequence[tuple[str, int]], seconds: float) -> list[GeneratedClip]:
        """One clip a wish (prompt, seed), in order, each of ``seconds``."""
        num_frames = max(1, round(seconds * self.fps))
        groups: dict[tuple[int, ...], list[_Item]] = defaultdict(list)
        for place, (prompt, seed) in enumerate(wishes):
            cues = plan_to_cues(prompt_to_plan(prompt), num_frames, self.fps, self._known)
            spans = cues_to_windows(cues, self._checkpoint.config.network.predict_frames)
            groups[tuple(frames for _, frames in spans)].append(_Item(place, prompt, seed, cues, spans))
        made: dict[int, GeneratedClip] = {}
        for items in groups.values():
            for first in range(0, len(items), self._batch):
                some = items[first : first + self._batch]
                made.update(zip((item.place for item in some), self._generate(some), strict=True))
        return [made[place] for place in range(len(wishes))]

    @torch.inference_mode()
    def _generate(self, items: Sequence[_Item]) -> Iterator[GeneratedClip]:
        """Clips of items whose windows keep the same numbers of frames."""
        kept = [frames for _, frames in items[0].spans]
        read = [self._read(item) for item in items]

        def sample_window(index: int, prefix: Tensor) -> Tensor:
            embeddings = [of_cue[item.spans[index][0]] for of_cue, item in zip(read, items, strict=True)]
            generators = [torch.Generator().manual_seed(window_seed(item.seed, index)) for item in items]
            return self._sample_window(embeddings, prefix, generators)[:, : kept[index]]

        first = self._checkpoint.first_prefix.to(self._device).expand(len(items), -1, -1)  # (B, C, F)
        normalised = torch.cat(list(rollout(sample_window, first, len(kept))), dim=1).cpu()  # (B, T, F)
        features = normalised * self._checkpoint.feature_std + self._checkpoint.feature_mean
        features[..., CONTACTS] = features[..., CONTACTS].clamp(0, 1).round()
        borders = tuple(accumulate(kept[:-1]))
        for item, rows in zip(items, features, strict=True):
            clip = features_to_vrm(FeatureClip(rows, "vrm", self.fps))
            yield GeneratedClip(item.prompt, item.seed, clip, borders)

    def _read(self, item: _Item) -> list[TextEmbedding]:
        """What each cue of one clip means."""
        generator = torch.Generator().manual_seed(item.seed)
        readings = read_cues(item.cues, self._encoder, self._checkpoint.reader, generator)
        return [reading.embedding for reading in readings]

    def _sample_window(
        self, embeddings: Sequence[TextEmbedding], prefix: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """One window (B, P, F) of each clip after ``prefix`` (B, C, F)."""
        spec = self._checkpoint.config.network
        tokens, mask = self._tokens(embeddings)
        drop = torch.arange(2 * len(embeddings), device=self._device) >= len(embeddings)
        memory = self._network.encode_text(tokens.repeat(2, 1, 1), mask.repeat(2, 1), drop)
        twice = prefix.repeat(2, 1, 1)

        def noise(x: Tensor) -> Tensor:
            rows = [torch.randn(1, *x.shape[1:], generator=generator) for generator in generators]
            return torch.cat(rows).to(x.device)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self._network.denoise(x_t, t, memory, twice)

        start = noise(prefix.new_empty(len(embeddings), spec.predict_frames, spec.features))
        sample = sample_ddim if self.ddim else sample_ddpm
        return continue_smoothly(prefix, sample(guided(denoise, self._scale), start, self._schedule, noise))

    def _tokens(self, embeddings: Sequence[TextEmbedding]) -> tuple[Tensor, Tensor]:
        """Embeddings padded to one length: tokens (B, L, E), mask (B, L)."""
        pad = torch.nn.utils.rnn.pad_sequence
        tokens = pad([e.tokens for e in embeddings], batch_first=True)
        mask = pad([e.mask for e in embeddings], batch_first=True)
        return tokens.to(self._device), mask.to(self._device)


def _shortened(whole: Schedule, steps: int | None) -> Schedule:
    """Fewer of the steps, as a request with ``steps`` takes them."""
    if steps is None:
        return whole
    if not 1 <= steps <= whole.num_steps:
        raise BadRequest(f"steps: {steps} asked, the model has 1 to {whole.num_steps}")
    return respace(whole, evenly_spaced(whole.num_steps, steps))
