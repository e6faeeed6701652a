"""Editing with our window model: what is kept is inpainted in every window, and the frames before it are its prefix.

*upper_body*: window after window from the start; root, legs and contacts are kept, the rest is made anew. *in_between*:
the gap is shared out over windows of equal length, so that the last one also sees :data:`SEEN_AFTER` kept frames and
meets them. Features tell of changes only, so the way across the gap is told too: see :func:`lead_root`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.diffusion.samplers import Denoise, inpainted
from motion_service.engine.job import Job
from motion_service.features.vrm_native import (
    CONTACTS,
    HIPS_ROT6D,
    VRM_FPS,
    RootStart,
    features_to_vrm,
    vrm_to_features,
)
from motion_service.geometry.rotation import quat_identity, quat_rotate, yaw_to_quat
from motion_service.humanoid import CANONICAL_BONES
from motion_service.mdm_adapter.cues import Cue, plan_to_cues
from motion_service.mdm_adapter.mini import DiffusionSource, misread
from motion_service.source import LOWER_BODY, EditPlan, SourceClip, SourceRequest
from motion_service.vrm.body import CANONICAL_BODY, clip_to_body
from motion_service.vrm.resample import resample_clip

SEEN_AFTER: Final = 10
"""Kept frames that the last window of a gap shall see, so that it knows where to arrive."""
RAMP_FRAMES: Final = 4
"""How long the way that is added to a gap takes to come in, and to go out."""

_ROOT: Final = slice(0, 3)
"""Yaw rate and root velocity."""


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
    goal: RootStart | None
    """Where the last frame of a gap is to stand, or None when nothing follows it."""


class EditingDiffusionSource(DiffusionSource):
    """An :class:`~motion_service.source.EditingSource` on ``mini``."""

    async def edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan) -> SourceClip:
        """The clip at 20 fps on the canonical body with a part made anew, where it stood. Raises GenerationFailed."""
        return await self._worker.submit(Job(lambda job: self._edit(request, clip, plan, job)))

    def _edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan, job: Job[SourceClip]) -> SourceClip:
        """On the model thread: the whole request, stage after stage."""
        marks = [time.perf_counter()]
        sampling, warnings = self._decide(request, job.check)
        canvas = self._clip_to_canvas(clip, plan)
        first, last = canvas.spans[0][0], canvas.spans[-1][1]
        cues = plan_to_cues(request.plan, last - first, self._config.fps)
        readings = self._read(cues, sampling.generator)
        if request.plan.prompt:
            warnings += tuple(misread(cue, self.name) for cue, reading in zip(cues, readings, strict=True) if reading.lost)
        memories = [self._text_memory(reading.embedding) for reading in readings]
        marks.append(time.perf_counter())
        for begin, end in canvas.spans:
            memory = memories[_cue_at(cues, begin - first)]
            window = self._sample_window(memory, self._prefix(canvas, begin), sampling, self._condition(canvas, begin))
            painted = window[0, : end - begin].cpu()
            rows = slice(begin, end)
            canvas.frames[rows] = torch.where(canvas.keep[rows], canvas.frames[rows], painted)
        marks.append(time.perf_counter())
        edited = features_to_vrm(self._to_features(canvas.frames[self._context :].clone()), canvas.place)
        marks.append(time.perf_counter())
        text_ms, sample_ms, decode_ms = (1000 * (b - a) for a, b in zip(marks, marks[1:], strict=False))
        return SourceClip(
            clip=edited,
            generator=self.name,
            checkpoint=self._checkpoint_name,
            licence=self._config.licence,
            steps=sampling.schedule.num_steps,
            guidance=sampling.guidance,
            seed=request.seed,
            timings_ms={"queue": 1000 * job.waited_s, "text": text_ms, "sample": sample_ms, "decode": decode_ms},
            warnings=warnings,
            facts={"understood": [reading.to_json() for reading in readings]} if self._reader else {},
        )

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
        goal = None
        if plan.mode == "upper_body":
            keep[context:] = vrm_lower_body_mask()
            starts = range(context, context + num_frames, predict)
            spans = [(start, min(start + predict, context + num_frames)) for start in starts]
        else:
            start, stop = (context + frame for frame in plan.gap(num_frames))
            keep[start:stop] = False
            if start == context:
                frames[:context] = self._first_prefix[0].cpu()
            if stop < context + num_frames:
                yaw, path = walk(known.features[context:stop, _ROOT], place)
                goal = RootStart(float(yaw[-1]), float(path[-1, 0]), float(path[-1, 2]))
            spans = gap_to_spans(start, stop, context + num_frames, predict)
        return _Canvas(frames, keep, spans, place, goal)

    def _prefix(self, canvas: _Canvas, begin: int) -> Tensor:
        return canvas.frames[None, begin - self._context : begin].to(self._device)

    def _condition(self, canvas: _Canvas, begin: int) -> Callable[[Denoise], Denoise]:
        """What the predictions of the window at row ``begin`` hold: kept entries, and in a gap the way across."""
        predict = self._config.network.predict_frames
        known = canvas.frames[begin : begin + predict]
        motion = known.new_zeros(1, predict, known.shape[1])
        keep = torch.zeros_like(motion, dtype=torch.bool)
        motion[0, : len(known)], keep[0, : len(known)] = known, canvas.keep[begin : begin + predict]
        motion, keep = motion.to(self._device), keep.to(self._device)
        if canvas.goal is None:
            return lambda denoise: inpainted(denoise, keep, motion)
        end = next(end for start, end in canvas.spans if start == begin)
        mean, std = self._mean[_ROOT].to(self._device), self._std[_ROOT].to(self._device)
        before = canvas.frames[self._context : begin, _ROOT] * self._std[_ROOT] + self._mean[_ROOT]
        yaw, path = walk(before, canvas.place)
        here = RootStart(float(yaw[-1]), float(path[-1, 0]), float(path[-1, 2])) if len(path) else canvas.place
        goal = part_way(here, canvas.goal, (end - begin) / (canvas.spans[-1][1] - begin))

        def conditioned(denoise: Denoise) -> Denoise:
            def predict_led(x_t: Tensor, t: Tensor) -> Tensor:
                x0 = denoise(x_t, t)
                root = lead_root(x0[0, : end - begin, _ROOT] * std + mean, here, goal)
                x0 = x0.clone()
                x0[0, : end - begin, _ROOT] = (root - mean) / std
                return x0

            return inpainted(predict_led, keep, motion)

        return conditioned


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


# --- the way across a gap ---------------------------------------------------------------------------------------------


def walk(root: Tensor, start: RootStart) -> tuple[Tensor, Tensor]:
    """Headings (T,) rad and places (T, 3) m, y = 0, of rates (T, 3): yaw rad/s, x and z m/s in the facing frame."""
    yaw = start.heading + torch.cumsum(root[:, 0], dim=0) / VRM_FPS
    velocity = torch.stack([root[:, 1], torch.zeros_like(yaw), root[:, 2]], dim=-1)
    path = torch.cumsum(quat_rotate(yaw_to_quat(yaw), velocity), dim=0) / VRM_FPS
    return yaw, path + path.new_tensor([start.x, 0.0, start.z])


def part_way(start: RootStart, goal: RootStart, share: float) -> RootStart:
    """The place at ``share`` of the straight way, turning the shorter way round."""
    turn = math.remainder(goal.heading - start.heading, math.tau)
    x, z = start.x + share * (goal.x - start.x), start.z + share * (goal.z - start.z)
    return RootStart(start.heading + share * turn, x, z)


def lead_root(root: Tensor, start: RootStart, goal: RootStart) -> Tensor:
    """Rates (T, 3) as :func:`walk` reads them, changed as little as it takes to end at ``goal``.

    Done to every prediction, before noise is added again, so that the legs of the next one walk the way that the root
    has: the projection onto a linear constraint of Wang, Yu and Zhang 2023 (DDNM), here spread over the frames.
    """
    frame = torch.arange(len(root), device=root.device)
    weight = ((torch.minimum(frame, len(root) - 1 - frame) + 1) / RAMP_FRAMES).clamp(max=1.0)
    weight = weight / weight.sum() * VRM_FPS  # (T,) 1/s, adds up to one turn or metre
    turn = math.remainder(goal.heading - float(walk(root, start)[0][-1]), math.tau)
    turned = torch.cat([root[:, :1] + turn * weight[:, None], root[:, 1:]], dim=1)
    yaw, path = walk(turned, start)
    missing = path.new_tensor([goal.x, 0.0, goal.z]) - path[-1]
    step = quat_rotate(yaw_to_quat(-yaw), missing * weight[:, None])
    return torch.cat([turned[:, :1], turned[:, 1:] + step[:, [0, 2]]], dim=1)
