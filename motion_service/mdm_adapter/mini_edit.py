"""Editing with our window model: what is kept is inpainted in every window, and the frames before it are its prefix.

*upper_body*: window after window from the start; root, legs and contacts are kept, the rest is made anew. *in_between*:
the gap is shared out over windows of equal length, so that the last one also sees :data:`SEEN_AFTER` kept frames and
meets them. Features tell of changes only, so a gap may end at another place than the clip goes on from;
:mod:`motion_service.edit` spreads that over the gap.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import TextEmbedding, VrmClip
from motion_service.diffusion.rollout import continue_smoothly
from motion_service.diffusion.samplers import Denoise, inpainted, sample_ddim, sample_ddpm
from motion_service.engine.job import Job
from motion_service.features.vrm_native import (
    CONTACTS,
    HIPS_ROT6D,
    VRM_FPS,
    RootStart,
    features_to_vrm,
    vrm_to_features,
)
from motion_service.geometry.rotation import quat_identity
from motion_service.humanoid import CANONICAL_BONES
from motion_service.mdm.guidance import conditioned
from motion_service.mdm_adapter.cues import Cue, plan_to_cues
from motion_service.mdm_adapter.mini import DiffusionSource, Sampling, misread
from motion_service.mdm_adapter.stopwatch import Stopwatch
from motion_service.source import LOWER_BODY, EditPlan, SourceClip, SourceRequest
from motion_service.vrm.body import CANONICAL_BODY, clip_to_body
from motion_service.vrm.resample import resample_clip

SEEN_AFTER: Final = 10
"""Kept frames that the last window of a gap shall see, so that it knows where to arrive."""


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A clip as the network reads it, to be painted over."""

    frames: Tensor
    """(C + T, F) normalised; the first C stand before the clip and are only ever a prefix."""
    keep: Tensor
    """(C + T, F) bool: entries that are the client's."""
    spans: Sequence[tuple[int, int]]
    """Rows of ``frames`` that each window paints, first and after the last."""
    place: RootStart
    """Where the first frame of the clip stands."""


class EditingDiffusionSource(DiffusionSource):
    """An :class:`~motion_service.source.EditingSource` on ``mini``."""

    async def edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan) -> SourceClip:
        """The clip at 20 fps on the canonical body with a part made anew, where it stood. Raises GenerationFailed."""
        watch = Stopwatch()
        sampling, warnings = self._decide(request)
        canvas = await asyncio.to_thread(self._clip_to_canvas, clip, plan)
        first, last = canvas.spans[0][0], canvas.spans[-1][1]
        cues = plan_to_cues(request.plan, last - first, self._config.fps, self._known)
        readings = await asyncio.to_thread(self._read, cues, sampling.generator)
        if request.plan.prompt:
            warnings += misread(cues, readings, self.name, self._known)
        texts = [readings[_cue_at(cues, begin - first)].embedding for begin, _ in canvas.spans]
        watch.lap("text")
        job = Job(lambda job: self._paint(canvas, texts, sampling, job.check))
        await self._worker.submit(job)
        watch.waited(job.waited_s)
        watch.lap("sample")
        painted = canvas.frames[self._context :]
        edited = await asyncio.to_thread(lambda: features_to_vrm(self._to_features(painted), canvas.place))
        watch.lap("decode")
        return self._to_source_clip(edited, request, sampling, readings, warnings, watch.timings_ms)

    @torch.inference_mode()
    def _paint(
        self, canvas: _Canvas, texts: Sequence[TextEmbedding], sampling: Sampling, check: Callable[[], None]
    ) -> None:
        """On the model thread: window after window, in place. ``check`` is called after each step and may raise."""
        generator, sample = sampling.generator, sample_ddim if sampling.deterministic else sample_ddpm
        predict = self._config.network.predict_frames

        def noise(x: Tensor) -> Tensor:
            return torch.randn(x.shape, generator=generator).to(self._device)

        for (begin, end), text in zip(canvas.spans, texts, strict=True):
            prefix = canvas.frames[None, begin - self._context : begin].to(self._device)
            tokens, mask = text.tokens[None].to(self._device), text.mask[None].to(self._device)
            denoise = conditioned(self._network, tokens, mask, sampling.guidance, prefix=prefix)
            start = noise(prefix.new_empty(1, predict, prefix.shape[2]))
            sampled = sample(
                self._condition(canvas, begin)(denoise), start, sampling.schedule, noise, lambda step, x0: check()
            )
            painted = continue_smoothly(prefix, sampled)[0, : end - begin].cpu()
            rows = slice(begin, end)
            canvas.frames[rows] = torch.where(canvas.keep[rows], canvas.frames[rows], painted)

    @property
    def _context(self) -> int:
        return self._config.network.context_frames

    def _clip_to_canvas(self, clip: VrmClip, plan: EditPlan) -> _Canvas:
        """Before the clip its first pose stands still; before one that is all new at its start, the model's own."""
        canonical = resample_clip(to_canonical(clip), VRM_FPS)
        num_frames, context, predict = canonical.num_frames, self._context, self._config.network.predict_frames
        known, place = vrm_to_features(hold_first(canonical, context))
        frames = (known.features - self._mean) / self._std
        keep = torch.ones_like(frames, dtype=torch.bool)
        if plan.mode == "upper_body":
            keep[context:] = vrm_lower_body_mask()
            starts = range(context, context + num_frames, predict)
            spans = [(start, min(start + predict, context + num_frames)) for start in starts]
        else:
            start, stop = (context + frame for frame in plan.gap(num_frames))
            keep[start:stop] = False
            if start == context:
                frames[:context] = self._first_prefix
            spans = gap_to_spans(start, stop, context + num_frames, predict)
        return _Canvas(frames, keep, spans, place)

    def _condition(self, canvas: _Canvas, begin: int) -> Callable[[Denoise], Denoise]:
        """What puts the kept entries into the predictions of the window at row ``begin``."""
        predict = self._config.network.predict_frames
        known = canvas.frames[begin : begin + predict]
        motion = known.new_zeros(1, predict, known.shape[1])
        keep = torch.zeros_like(motion, dtype=torch.bool)
        motion[0, : len(known)], keep[0, : len(known)] = known, canvas.keep[begin : begin + predict]
        motion, keep = motion.to(self._device), keep.to(self._device)
        return lambda denoise: inpainted(denoise, keep, motion)


# --- clips ------------------------------------------------------------------------------------------------------------


def to_canonical(clip: VrmClip) -> VrmClip:
    """The clip with a track for each bone of the canonical body and for no other."""
    fitted = clip_to_body(clip, CANONICAL_BODY)
    rest = quat_identity(clip.num_frames)
    return replace(fitted, rotations={bone: fitted.rotations.get(bone, rest) for bone in CANONICAL_BONES})


def hold_first(clip: VrmClip, num_frames: int) -> VrmClip:
    """The clip after ``num_frames`` frames that stand in its first pose."""

    def lengthen(track: Tensor) -> Tensor:
        return torch.cat([track[:1].expand(num_frames, -1), track])

    rotations = {bone: lengthen(track) for bone, track in clip.rotations.items()}
    return VrmClip(rotations, lengthen(clip.hips), lengthen(clip.contacts), clip.fps, clip.rest_hips_height)


# --- masks and windows ------------------------------------------------------------------------------------------------


def vrm_lower_body_mask() -> Tensor:
    """(260,) bool: the features of the ``vrm`` layout that upper-body editing keeps (root, legs, contacts)."""
    bones = torch.tensor([bone in LOWER_BODY for bone in CANONICAL_BONES])
    root = torch.ones(HIPS_ROT6D.stop, dtype=torch.bool)
    turned, placed = bones[1:].repeat_interleave(6), bones.repeat_interleave(3)
    return torch.cat([root, turned, placed, placed, root.new_ones(CONTACTS.stop - CONTACTS.start)])


def gap_to_spans(start: int, stop: int, end: int, window_frames: int) -> list[tuple[int, int]]:
    """Windows over the gap from ``start`` to ``stop`` of a clip that ends at ``end``: (first, after the last)."""
    most = window_frames - min(SEEN_AFTER, end - stop)
    size = math.ceil((stop - start) / math.ceil((stop - start) / most))
    return [(begin, min(begin + size, stop)) for begin in range(start, stop, size)]


def _cue_at(cues: Sequence[Cue], frame: int) -> int:
    """Index of the cue that drives a frame."""
    ends = [sum(cue.num_frames for cue in cues[: i + 1]) for i in range(len(cues))]
    return next((i for i, end in enumerate(ends) if frame < end), len(cues) - 1)
