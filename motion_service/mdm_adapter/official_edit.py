"""Editing with a one-shot official model, as the official ``sample.edit`` does it: inpainting of normalised features.

The input is zero padded to 196 frames (zero is the mean pose), the frame mask has the true length, and guidance goes
around the network before what is kept is put in.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, VrmClip
from motion_service.engine.job import Job
from motion_service.features.humanml3d import (
    HUMANML3D_FPS,
    HUMANML3D_WIDTH,
    clip_to_features,
    features_to_clip,
    lower_body_mask,
)
from motion_service.mdm_adapter.cues import plan_to_caption
from motion_service.mdm_adapter.official import MAX_FRAMES, Conditions, seeded_draw
from motion_service.mdm_adapter.official_source import OfficialSource, untranslated
from motion_service.source import EditPlan, SourceClip, SourceRequest
from motion_service.vrm.joints import vrm_to_joints
from motion_service.vrm.resample import resample_clip
from motion_service.vrm.retarget import joints_to_vrm


class EditingOfficialSource(OfficialSource):
    """An :class:`~motion_service.source.EditingSource` on ``mdm`` or ``mdm-encoder``. A window model cannot edit."""

    async def edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan) -> SourceClip:
        """The clip at 20 fps with a part made anew; it starts at the origin facing +Z. Raises GenerationFailed."""
        return await self._worker.submit(Job(lambda job: self._edit(request, clip, plan, job)))

    def _edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan, job: Job[SourceClip]) -> SourceClip:
        """On the model thread: the whole request, stage after stage."""
        marks = [time.perf_counter()]
        draw = seeded_draw(request.seed, official=request.official_noise)
        run, warnings = self.sampler.new_run(
            request.steps, request.guidance, draw, ddim=request.sampler == "ddim", check=job.check
        )
        caption = plan_to_caption(request.plan)
        texts = self.sampler.encoder.encode([caption])
        marks.append(time.perf_counter())
        known = clip_to_features(vrm_to_joints(resample_clip(clip, HUMANML3D_FPS))).features  # (T, 263)
        num_frames = len(known)
        motion = torch.zeros(1, MAX_FRAMES, HUMANML3D_WIDTH, device=self.sampler.device)
        motion[0, :num_frames] = self.sampler.normalise(known)
        conditions = Conditions(
            frame_mask=torch.arange(MAX_FRAMES)[None] < num_frames, keep=plan_to_keep(plan, num_frames), motion=motion
        )
        sampled = self.sampler.sample(texts, MAX_FRAMES, run, conditions)[0, :num_frames]
        marks.append(time.perf_counter())
        features = FeatureClip(self.sampler.to_features(sampled), "humanml3d", HUMANML3D_FPS)
        edited = joints_to_vrm(features_to_clip(features))
        marks.append(time.perf_counter())
        text_ms, sample_ms, decode_ms = (1000 * (b - a) for a, b in zip(marks, marks[1:], strict=False))
        return SourceClip(
            clip=edited,
            generator=self.name,
            checkpoint=self.sampler.checkpoint.name,
            licence=self.sampler.checkpoint.config.licence,
            steps=run.schedule.num_steps,
            guidance=run.guidance,
            seed=request.seed,
            timings_ms={"queue": 1000 * job.waited_s, "text": text_ms, "sample": sample_ms, "decode": decode_ms},
            warnings=(*warnings, *untranslated(request.plan), *self.sampler.cut_warnings([caption])),
            facts={"captions": [caption]},
        )


def plan_to_keep(plan: EditPlan, num_frames: int) -> Tensor:
    """(1, 196, 263) bool, True = the client's. Frames after the clip's end are kept zeros between, as official."""
    if plan.mode == "upper_body":
        return lower_body_mask().expand(1, MAX_FRAMES, -1)
    start, stop = plan.gap(num_frames)
    frames = torch.arange(MAX_FRAMES)
    return ((frames < start) | (frames >= stop))[None, :, None].expand(1, -1, HUMANML3D_WIDTH)
