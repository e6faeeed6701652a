"""Editing with a one-shot official model, as the official ``sample.edit`` does it: inpainting of normalised features.

The input is zero padded to 196 frames (zero is the mean pose), the frame mask has the true length, and guidance goes
around the network before what is kept is put in.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

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
from motion_service.mdm_adapter.stopwatch import Stopwatch
from motion_service.source import EditPlan, SourceClip, SourceRequest
from motion_service.vrm.joints import vrm_to_joints
from motion_service.vrm.resample import resample_clip
from motion_service.vrm.retarget import joints_to_vrm


class EditingOfficialSource(OfficialSource):
    """An :class:`~motion_service.source.EditingSource` on ``mdm`` or ``mdm-encoder``. A window model cannot edit."""

    async def edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan) -> SourceClip:
        """The clip at 20 fps with a part made anew; it starts at the origin facing +Z. Raises GenerationFailed."""
        watch = Stopwatch()
        draw = seeded_draw(request.seed, official=request.official_noise)
        run, warnings = self.sampler.new_run(request.steps, request.guidance, draw, ddim=request.sampler == "ddim")
        caption = plan_to_caption(request.plan)
        texts = await asyncio.to_thread(self.sampler.encoder.encode, [caption])
        conditions, num_frames = await asyncio.to_thread(self._clip_to_conditions, clip, plan)
        watch.lap("text")

        def paint(job: Job[Tensor]) -> Tensor:
            sampled = self.sampler.sample(texts, MAX_FRAMES, replace(run, check=job.check), conditions)
            return self.sampler.to_features(sampled[0, :num_frames])

        job = Job(paint)
        features = FeatureClip(await self._worker.submit(job), "humanml3d", HUMANML3D_FPS)
        watch.waited(job.waited_s)
        watch.lap("sample")
        edited = await asyncio.to_thread(lambda: joints_to_vrm(features_to_clip(features)))
        watch.lap("decode")
        return SourceClip(
            clip=edited,
            generator=self.name,
            checkpoint=self.sampler.checkpoint.name,
            licence=self.sampler.checkpoint.config.licence,
            steps=run.schedule.num_steps,
            guidance=run.guidance,
            seed=request.seed,
            timings_ms=watch.timings_ms,
            warnings=(*warnings, *untranslated(request.plan), *self.sampler.cut_warnings([caption])),
            facts={"captions": [caption]},
        )

    def _clip_to_conditions(self, clip: VrmClip, plan: EditPlan) -> tuple[Conditions, int]:
        """What the network is to keep of a clip, and its frames."""
        known = clip_to_features(vrm_to_joints(resample_clip(clip, HUMANML3D_FPS))).features  # (T, 263)
        num_frames = len(known)
        motion = torch.zeros(1, MAX_FRAMES, HUMANML3D_WIDTH)
        motion[0, :num_frames] = self.sampler.normalise(known)
        mask = torch.arange(MAX_FRAMES)[None] < num_frames
        return Conditions(frame_mask=mask, keep=plan_to_keep(plan, num_frames), motion=motion), num_frames


def plan_to_keep(plan: EditPlan, num_frames: int) -> Tensor:
    """(1, 196, 263) bool, True = the client's. Frames after the clip's end are kept zeros between, as official."""
    if plan.mode == "upper_body":
        return lower_body_mask().expand(1, MAX_FRAMES, -1)
    start, stop = plan.gap(num_frames)
    frames = torch.arange(MAX_FRAMES)
    return ((frames < start) | (frames >= stop))[None, :, None].expand(1, -1, HUMANML3D_WIDTH)
