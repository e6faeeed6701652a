"""Endless motion from our window model: a :class:`~motion_service.source.LiveSource` on ``mini``.

Every window is sampled after the last frames of any moment, decoded from the place where they stand, and so continues
them: features tell of changes only. Windows are runs of the engine, led by their deadline, so those of many streams
share batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import FeatureClip, PromptPlan, VrmClip
from motion_service.diffusion.rollout import continue_smoothly
from motion_service.errors import MotionError, NonFiniteOutput
from motion_service.features.vrm_native import (
    CONTACTS,
    ROOT_VELOCITY,
    VRM_FPS,
    YAW_RATE,
    RootStart,
    features_to_places,
    features_to_vrm,
    place_planes,
    vrm_to_features,
)
from motion_service.humanoid import CANONICAL_BONES
from motion_service.live_frames import FrameLayout, LiveFrames, turns_of
from motion_service.mdm.reader import Meaning
from motion_service.mdm_adapter.clip_work import order_to_urgency, window_seed
from motion_service.mdm_adapter.cues import Cue, plan_to_cues
from motion_service.mdm_adapter.mini import Sampling, draw_readings, misread
from motion_service.mdm_adapter.mini_edit import EditingDiffusionSource, hold_first, to_canonical
from motion_service.source import (
    LiveOrder,
    LiveState,
    LiveText,
    LiveWindow,
    SourceClip,
    SourceRequest,
    open_state,
    slice_clip,
)
from motion_service.together import Together, work_alike
from motion_service.vrm.resample import resample_clip

POSE_FRAMES: Final = 21
"""Frames of a given pose that are used: one more than the prefix, for the first frame's speeds."""
TOGETHER: Final = 64
"""How many windows are decoded at a time: more do not fit the cache of a core."""
PLANS_KEPT: Final = 1024
"""So many plans are remembered with what they mean."""
WAYS_KEPT: Final = 64
"""So many ways to sample are remembered."""
_Understood = tuple[Sequence[Cue], Sequence[Sequence[Meaning]]]
"""The texts of a plan, and what each may mean."""
_LAYOUT: Final = FrameLayout(CANONICAL_BONES)


class LiveDiffusionSource(EditingDiffusionSource):
    """``mini`` as source of clips, edits and streams."""

    @property
    def fps(self) -> float:
        return VRM_FPS

    @property
    def window_frames(self) -> int:
        return self._config.network.predict_frames

    @property
    def context_frames(self) -> int:
        return self._config.network.context_frames

    async def read(self, plan: PromptPlan, seed: int) -> tuple[LiveText, ...]:
        """The actions of a plan, read beside the model thread; a plan that was read lately needs no thread."""
        understood = self._plans.get(plan)
        if understood is None:
            understood = self._plans[plan] = await self._reading.call(plan)
            if len(self._plans) > PLANS_KEPT:
                del self._plans[next(iter(self._plans))]
        cues, meanings = understood
        readings = draw_readings(meanings, torch.Generator().manual_seed(seed))
        seconds = [part.seconds for part in plan.segments] or [plan.seconds]
        return tuple(
            LiveText(
                reading.embedding, cue.caption or cue.text, length, misread([cue], [reading], self.name, self._known)
            )
            for cue, reading, length in zip(cues, readings, seconds, strict=True)
        )

    @cached_property
    def _decided(self) -> dict[tuple[int | None, float | None], Sampling]:
        """By steps and guidance asked for: what windows of streams are sampled with, but for their noise."""
        return {}

    @cached_property
    def _plans(self) -> dict[PromptPlan, _Understood]:
        """Those that were read, the latest last."""
        return {}

    @cached_property
    def _reading(self) -> Together[PromptPlan, _Understood]:
        return Together(self._understand_plans, name="motion-reading")

    def _understand_plans(self, plans: Sequence[PromptPlan]) -> list[_Understood | Exception]:
        """What of a plan is the same for every seed. What one of them is at fault for, the others do not get."""
        understood: list[_Understood | Exception] = []
        for plan in plans:
            cues = plan_to_cues(plan, max(1, len(plan.segments)) * self.window_frames, VRM_FPS, self._known)
            try:
                understood.append((cues, self._understand(cues)))
            except MotionError as error:
                understood.append(error)
        return understood

    def open(self, pose: VrmClip | None, frame: int = 0) -> LiveState:
        """A state that stands neutral at the origin, or at the end of ``pose``, where that stands."""
        if pose is None:
            return replace(self._neutral, frame=frame)
        canonical = to_canonical(resample_clip(pose, VRM_FPS))
        lacking = max(0, POSE_FRAMES - canonical.num_frames)
        held = hold_first(canonical, lacking) if lacking else canonical
        last = slice_clip(held, held.num_frames - POSE_FRAMES, held.num_frames)
        whole, start = vrm_to_features(last)
        features = FeatureClip(whole.features[1:], "vrm", VRM_FPS)
        return _new_state(frame, (features.features - self._mean) / self._std, features, start)

    @cached_property
    def _neutral(self) -> LiveState:
        """After the frames that the model was given to begin with."""
        features = self._to_features(self._first_prefix.clone())
        features.features[:, YAW_RATE.start : ROOT_VELOCITY.stop] = 0  # it stands, whatever its speeds were
        return _new_state(0, self._first_prefix, features, RootStart())

    def label(self, clip: VrmClip, texts: Sequence[LiveText], order: LiveOrder) -> SourceClip:
        """A clip with checkpoint, licence, steps and guidance."""
        sampling, warnings = self._decide(_request(order))
        warnings += tuple(warning for text in texts for warning in text.warnings)
        labelled = self._to_source_clip(clip, _request(order), sampling, (), warnings, {})
        return replace(labelled, facts={"captions": [text.caption for text in texts]})

    async def sample(self, state: LiveState, text: LiveText, order: LiveOrder) -> Tensor:
        """The next window, normalised (P, 260)."""
        key = order.steps, order.guidance
        sampling = self._decided.get(key)
        if sampling is None:
            sampling = self._decided[key] = self._decide(_request(order))[0]
            if len(self._decided) > WAYS_KEPT:
                del self._decided[next(iter(self._decided))]
        window, _ = await self.sample_window(
            text.embedding,
            state.rows[-self.context_frames :],
            window_seed(order.seed, state.frame),
            sampling.steps,
            sampling.scale,
            order_to_urgency(order),
        )
        return window

    def extend_all(self, windows: Sequence[LiveWindow]) -> list[LiveState | MotionError]:
        """The states after windows, each decoded from the place where its motion stands."""
        return work_alike(self._extend_alike, windows, lambda window: window.num_frames, TOGETHER)

    def _extend_alike(self, windows: Sequence[LiveWindow]) -> list[LiveState | MotionError]:
        """The same where as many frames are wanted of each."""
        before = torch.stack([window.state.rows[-2:] for window in windows])  # (B, 2, F)
        sampled = torch.stack([window.rows for window in windows])  # (B, P, F)
        rows = continue_smoothly(before, sampled)[:, : windows[0].num_frames]
        features = self._denormalise(rows)  # (B, T, F)
        sound = torch.isfinite(features.sum((1, 2))).tolist()
        places = features_to_places(features, torch.stack([window.state.places[-1] for window in windows]))
        local, hips = place_planes(features, places)
        block = np.empty((*places.shape[:2], _LAYOUT.width), np.float32)  # (B, T, W)
        turns_of(block, len(CANONICAL_BONES))[:] = local
        block[..., _LAYOUT.hips : _LAYOUT.hips + 3] = np.moveaxis(hips, 0, -1)
        block[..., _LAYOUT.hips + 3 :] = features[..., CONTACTS].numpy()
        return [
            window.then(row, place, LiveFrames(_LAYOUT, made)) if finite else NonFiniteOutput()
            for window, row, place, made, finite in zip(windows, rows, places, block, sound, strict=True)
        ]


def _new_state(frame: int, rows: Tensor, features: FeatureClip, start: RootStart) -> LiveState:
    """After ``rows``, which are ``features`` normalised."""
    clip = features_to_vrm(features, start)
    return open_state(frame, rows, features_to_places(features.features, start), clip)


def _request(order: LiveOrder) -> SourceRequest:
    """What :meth:`DiffusionSource._decide` wants to know."""
    return SourceRequest(PromptPlan("", "en", ()), 0.0, order.seed, order.steps, order.guidance)
