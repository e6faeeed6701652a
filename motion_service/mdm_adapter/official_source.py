"""The MotionSource of official checkpoints: ``mdm`` and ``mdm-encoder`` in one shot, ``dip`` window after window.

A plan becomes English captions, captions become features, features become joints and joints become a VRM clip. The
joints are kept beside it, since ``results.npy`` holds them as the official program would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, PromptPlan, TextEmbedding
from motion_service.diffusion.schedule import Step
from motion_service.engine.guard import Engine
from motion_service.engine.job import Job
from motion_service.errors import BadRequest
from motion_service.features.humanml3d import HUMANML3D_FPS, features_to_end
from motion_service.features.prefixes import choose_prefix, load_prefixes
from motion_service.features.target_location import TRAJECTORY, request_to_target
from motion_service.features.vrm_native import RootStart
from motion_service.mdm_adapter.clip_work import ClipWork, Urgency, sample_clip, window_seed
from motion_service.mdm_adapter.cues import Cue, cues_to_windows, plan_to_caption, plan_to_caption_cues
from motion_service.mdm_adapter.official import MAX_FRAMES, Conditions, OfficialSampler, Run, seeded_draw
from motion_service.mdm_adapter.residents import EngineSettings, Models, add_network
from motion_service.mdm_adapter.stopwatch import Stopwatch
from motion_service.progress import expect
from motion_service.source import SourceClip, SourceRequest
from motion_service.text_encoder import TextQueue

STRIDE_M: Final = 2.0
"""Way on the floor that one window of a model with target can make, about a fast walk."""


class OfficialSource:
    """A :class:`~motion_service.source.MotionSource` on an official checkpoint."""

    def __init__(
        self, name: str, sampler: OfficialSampler, worker: Engine, settings: EngineSettings | None = None
    ) -> None:
        """``name``: the provider name, mdm, mdm-encoder or dip."""
        self.name = name
        self.max_seconds = math.inf if sampler.is_windowed else MAX_FRAMES / HUMANML3D_FPS
        self.sampler = sampler
        self.texts = TextQueue(sampler.encoder)
        self._worker = worker
        self._models: Models | None = None
        if sampler.engine == "own":
            most = sampler.spec.context_frames + sampler.spec.predict_frames if sampler.is_windowed else MAX_FRAMES
            settings = settings or EngineSettings(device=sampler.device.type)
            self._models = add_network(worker, name, sampler.network, sampler.schedule.num_steps, most, settings)
            if settings.half:
                sampler.network.half()  # batches have packed weights of their own; edits and long texts need no more

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip of int(seconds * 20) frames, as official. Raises GenerationFailed; BadRequest for targets it
        cannot take."""
        if request.target_joints and not self.sampler.takes_targets:
            raise BadRequest(f"{self.name} was loaded without targets; leave target_joints out", field="target_joints")
        watch = Stopwatch()
        num_frames = max(1, int(request.seconds * HUMANML3D_FPS))
        draw = seeded_draw(request.seed, official=request.official_noise)
        run, warnings = self.sampler.new_run(request.steps, request.guidance, draw, ddim=request.sampler == "ddim")
        cues = self._cues(request.plan, num_frames)
        texts = await self.texts.encode([cue.text for cue in cues])
        watch.lap("text")
        facts: dict[str, Any] = {"engine": self.sampler.engine, "captions": [cue.text for cue in cues]}
        if self.sampler.is_windowed:
            facts["first_prefix"] = choose_prefix(cues[0].text)
            features = await self._windows(cues, texts, run, request, watch)  # (T, 263)
        else:
            sampled = await self._sample(texts[0], num_frames, run, request, watch)
            features = self.sampler.to_features(sampled)
        watch.lap("sample")
        checkpoint = self.sampler.checkpoint
        return SourceClip(
            clip=FeatureClip(features, "humanml3d", HUMANML3D_FPS),
            generator=self.name,
            checkpoint=checkpoint.name,
            licence=checkpoint.config.licence,
            steps=run.schedule.num_steps,
            guidance=run.guidance,
            seed=request.seed,
            timings_ms=watch.timings_ms,
            warnings=(*warnings, *untranslated(request.plan), *self.sampler.cut_warnings(cue.text for cue in cues)),
            facts=facts,
        )

    def _cues(self, plan: PromptPlan, num_frames: int) -> list[Cue]:
        """Captions in order: one for the whole clip, or for a window model one for each action."""
        if self.sampler.is_windowed:
            return plan_to_caption_cues(plan, num_frames, HUMANML3D_FPS)
        return [Cue(plan_to_caption(plan), num_frames)]

    async def _windows(
        self, cues: Sequence[Cue], texts: Sequence[TextEmbedding], run: Run, request: SourceRequest, watch: Stopwatch
    ) -> Tensor:
        """De-normalised features (T, 263) of all windows, one after the other."""
        spec = self.sampler.spec
        spans = cues_to_windows(cues, spec.predict_frames)
        expect(len(spans) * len(self.sampler.steps(run)))
        place = RootStart()
        prefix = self.sampler.normalise(load_prefixes()[choose_prefix(cues[0].text)])[-spec.context_frames :]
        parts = []
        for index, (cue, num_frames) in enumerate(spans):
            target = window_target(request.target_joints, place, windows_left=len(spans) - index)
            sampled = await self._sample(texts[cue], spec.predict_frames, run, request, watch, index, prefix, target)
            window = sampled[:num_frames]
            features = self.sampler.to_features(window)
            place = features_to_end(features, place)
            parts.append(features)
            prefix = torch.cat([prefix, window])[-spec.context_frames :]
        return torch.cat(parts)

    async def _sample(
        self,
        text: TextEmbedding,
        num_frames: int,
        run: Run,
        request: SourceRequest,
        watch: Stopwatch,
        index: int = 0,
        prefix: Tensor | None = None,
        target: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Normalised features (T, 263) of one clip or window on the CPU, as a run of the engine.

        The official program's own code, or its own draws, take a job of their own, one clip at a time.
        """
        if self._models is None or request.official_noise:
            sampled, waited_s = await self._sample_alone(text, num_frames, run, prefix, target)
        elif prefix is None:
            work = ClipWork(text, self.sampler.steps(run), run.guidance, num_frames, request.seed)
            sampled, waited_s = await sample_clip(self._worker, self._models.for_text(text), work)
        else:
            steps, seed = self.sampler.steps(run), window_seed(request.seed, index)
            sampled, waited_s = await self.sample_window(text, prefix, seed, steps, run.guidance, target=target)
        watch.waited(waited_s)
        return sampled

    async def sample_window(
        self,
        embedding: TextEmbedding,
        prefix: Tensor,
        seed: int,
        steps: tuple[Step, ...],
        guidance: float,
        urgency: Urgency | None = None,
        target: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, float]:
        """The normalised window (P, 263) after ``prefix`` (C, 263), and the seconds it waited for its first step.

        Raises as :meth:`Worker.sample <motion_service.engine.worker.Worker.sample>`.
        """
        frames = self.sampler.spec.predict_frames
        if self._models is None:
            run, _ = self.sampler.new_run(len(steps), guidance, seeded_draw(seed, official=False))
            return await self._sample_alone(embedding, frames, run, prefix, target)
        work = ClipWork(embedding, steps, guidance, frames, seed, prefix, target)
        return await sample_clip(self._worker, self._models.for_text(embedding), work, urgency)

    async def _sample_alone(
        self,
        text: TextEmbedding,
        num_frames: int,
        run: Run,
        prefix: Tensor | None,
        target: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, float]:
        """The same as a job of its own on the model thread."""
        conditions = Conditions(
            prefix=None if prefix is None else prefix[None],
            target=None if target is None else (target[0][None], target[1][None]),
        )

        def work_alone(job: Job[Tensor]) -> Tensor:
            return self.sampler.sample([text], num_frames, replace(run, check=job.check), conditions)[0].cpu()

        job = Job(work_alone)
        return await self._worker.submit(job), job.waited_s


def window_target(
    goals: Mapping[str, Sequence[float]], place: RootStart, windows_left: int
) -> tuple[Tensor, Tensor] | None:
    """Places (8, 3) and which are asked (8,) for the window that starts at ``place``; goals are in the world.

    Goals are meant for the end of the clip. Until the last window only the way on the floor towards them is asked for,
    the share that keeps an even pace and at most :data:`STRIDE_M` a window.
    """
    if windows_left > 1:
        goal = goals.get("pelvis") or goals.get(TRAJECTORY)
        goals = {TRAJECTORY: _step_towards(goal, place, windows_left)} if goal else {}
    if not goals:
        return None
    target = request_to_target(goals, place)
    return target.places, target.asked


def _step_towards(goal: Sequence[float], place: RootStart, windows_left: int) -> list[float]:
    way_x, way_z = goal[0] - place.x, goal[2] - place.z
    share = min(1 / windows_left, STRIDE_M / max(math.hypot(way_x, way_z), 1e-6))
    return [place.x + share * way_x, 0.0, place.z + share * way_z]


def untranslated(plan: PromptPlan) -> tuple[str, ...]:
    """A warning for a prompt that reaches an English model as it is."""
    if plan.language != "other":
        return ()
    return ("prompt: language not English or Japanese; the model reads it untranslated",)
