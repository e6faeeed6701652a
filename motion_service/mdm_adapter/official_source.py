"""The MotionSource of official checkpoints: ``mdm`` and ``mdm-encoder`` in one shot, ``dip`` window after window.

A plan becomes English captions, captions become features, features become joints and joints become a VRM clip. The
joints are kept beside it, since ``results.npy`` holds them as the official program would.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, PromptPlan, TextEmbedding
from motion_service.diffusion.rollout import rollout
from motion_service.engine.job import Job
from motion_service.engine.worker import Worker
from motion_service.errors import BadRequest
from motion_service.features.humanml3d import HUMANML3D_FPS, features_to_clip, features_to_end
from motion_service.features.prefixes import choose_prefix, load_prefixes
from motion_service.features.target_location import TRAJECTORY, request_to_target
from motion_service.features.vrm_native import RootStart
from motion_service.mdm_adapter.cues import Cue, cues_to_windows, plan_to_caption, plan_to_caption_cues
from motion_service.mdm_adapter.official import MAX_FRAMES, Conditions, OfficialSampler, Run, seeded_draw
from motion_service.source import SourceClip, SourceRequest
from motion_service.vrm.retarget import joints_to_vrm

STRIDE_M: Final = 2.0
"""Way on the floor that one window of a model with target can make, about a fast walk."""


class OfficialSource:
    """A :class:`~motion_service.source.MotionSource` on an official checkpoint."""

    def __init__(self, name: str, sampler: OfficialSampler, worker: Worker) -> None:
        """``name``: the provider name, mdm, mdm-encoder or dip."""
        self.name = name
        self.max_seconds = math.inf if sampler.is_windowed else MAX_FRAMES / HUMANML3D_FPS
        self.sampler = sampler
        self._worker = worker

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip of int(seconds * 20) frames, as official. Raises GenerationFailed; BadRequest for targets it
        cannot take."""
        if request.target_joints and not self.sampler.takes_targets:
            raise BadRequest(f"{self.name} was loaded without targets; leave target_joints out", field="target_joints")
        return await self._worker.submit(Job(lambda job: self._generate(request, job)))

    def _generate(self, request: SourceRequest, job: Job[SourceClip]) -> SourceClip:
        """On the model thread: the whole request, stage after stage."""
        marks = [time.perf_counter()]
        num_frames = max(1, int(request.seconds * HUMANML3D_FPS))
        draw = seeded_draw(request.seed, official=request.official_noise)
        run, warnings = self.sampler.new_run(
            request.steps, request.guidance, draw, ddim=request.sampler == "ddim", check=job.check
        )
        cues = self._cues(request.plan, num_frames)
        texts = self.sampler.encoder.encode([cue.text for cue in cues])
        marks.append(time.perf_counter())
        facts: dict[str, Any] = {"engine": self.sampler.engine, "captions": [cue.text for cue in cues]}
        if self.sampler.is_windowed:
            prefix = choose_prefix(cues[0].text)
            facts["first_prefix"] = prefix
            parts = [*self._windows(cues, texts, run, load_prefixes()[prefix], request.target_joints)]
            features = torch.cat(parts)[:num_frames]  # (T, 263)
        else:
            features = self.sampler.to_features(self.sampler.sample(texts, num_frames, run)[0])
        marks.append(time.perf_counter())
        joints = features_to_clip(FeatureClip(features, "humanml3d", HUMANML3D_FPS))
        clip = joints_to_vrm(joints)
        marks.append(time.perf_counter())
        text_ms, sample_ms, decode_ms = (1000 * (b - a) for a, b in zip(marks, marks[1:], strict=False))
        checkpoint = self.sampler.checkpoint
        return SourceClip(
            clip=clip,
            generator=self.name,
            checkpoint=checkpoint.name,
            licence=checkpoint.config.licence,
            steps=run.schedule.num_steps,
            guidance=run.guidance,
            seed=request.seed,
            timings_ms={"queue": 1000 * job.waited_s, "text": text_ms, "sample": sample_ms, "decode": decode_ms},
            warnings=(*warnings, *untranslated(request.plan), *self.sampler.cut_warnings(cue.text for cue in cues)),
            joints=joints.positions,
            facts=facts,
        )

    def _cues(self, plan: PromptPlan, num_frames: int) -> list[Cue]:
        """Captions in order: one for the whole clip, or for a window model one for each action."""
        if self.sampler.is_windowed:
            return plan_to_caption_cues(plan, num_frames, HUMANML3D_FPS)
        return [Cue(plan_to_caption(plan), num_frames)]

    def _windows(
        self,
        cues: Sequence[Cue],
        texts: Sequence[TextEmbedding],
        run: Run,
        prefix: Tensor,
        goals: Mapping[str, Sequence[float]],
    ) -> Iterator[Tensor]:
        """De-normalised features of window after window, each (up to P, 263)."""
        spans = cues_to_windows(cues, self.sampler.spec.predict_frames)
        place = RootStart()

        def sample_window(index: int, before: Tensor) -> Tensor:
            cue, num_frames = spans[index]
            target = window_target(goals, place, windows_left=len(spans) - index)
            conditions = Conditions(prefix=before, target=target)
            window = self.sampler.sample([texts[cue]], self.sampler.spec.predict_frames, run, conditions)
            return window[:, :num_frames]

        first = self.sampler.normalise(prefix)[None, -self.sampler.spec.context_frames :]
        for window in rollout(sample_window, first, len(spans)):
            features = self.sampler.to_features(window[0])
            place = features_to_end(features, place)
            yield features


def window_target(
    goals: Mapping[str, Sequence[float]], place: RootStart, windows_left: int
) -> tuple[Tensor, Tensor] | None:
    """Places (1, 8, 3) and which are asked (1, 8) for the window that starts at ``place``; goals are in the world.

    Goals are meant for the end of the clip. Until the last window only the way on the floor towards them is asked for,
    the share that keeps an even pace and at most :data:`STRIDE_M` a window.
    """
    if windows_left > 1:
        goal = goals.get("pelvis") or goals.get(TRAJECTORY)
        goals = {TRAJECTORY: _step_towards(goal, place, windows_left)} if goal else {}
    if not goals:
        return None
    target = request_to_target(goals, place)
    return target.places[None], target.asked[None]


def _step_towards(goal: Sequence[float], place: RootStart, windows_left: int) -> list[float]:
    way_x, way_z = goal[0] - place.x, goal[2] - place.z
    share = min(1 / windows_left, STRIDE_M / max(math.hypot(way_x, way_z), 1e-6))
    return [place.x + share * way_x, 0.0, place.z + share * way_z]


def untranslated(plan: PromptPlan) -> tuple[str, ...]:
    """A warning for a prompt that reaches an English model as it is."""
    if plan.language != "other":
        return ()
    return ("prompt: language not English or Japanese; the model reads it untranslated",)
