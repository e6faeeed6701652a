"""Endless motion from an official window model: a :class:`~motion_service.source.LiveSource` on ``dip``.

The retarget needs to see some frames around each one, so a window is decoded together with the end of the one before.
Where that end comes out otherwise than it was played (the roll of a straight arm, the height of the floor), the
difference is carried into the new frames and dies away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, PromptPlan, VrmClip
from motion_service.diffusion.rollout import continue_smoothly
from motion_service.errors import GenerationFailed, MotionError
from motion_service.features.humanml3d import (
    HUMANML3D_FPS,
    ROOT_TURN,
    clip_to_features,
    features_to_clip,
    forward_direction,
)
from motion_service.features.prefixes import DEFAULT_PREFIX, load_prefixes
from motion_service.features.vrm_native import RootStart
from motion_service.geometry.rotation import (
    normalize,
    quat_conjugate,
    quat_identity,
    quat_multiply,
    quat_slerp,
    quat_unroll,
)
from motion_service.live_frames import clip_to_frames
from motion_service.mdm_adapter.clip_work import order_to_urgency, window_seed
from motion_service.mdm_adapter.cues import plan_to_caption_cues
from motion_service.mdm_adapter.mini_edit import hold_first
from motion_service.mdm_adapter.official import seeded_draw
from motion_service.mdm_adapter.official_source import OfficialSource, untranslated
from motion_service.source import LiveOrder, LiveState, LiveText, LiveWindow, SourceClip, open_state, slice_clip
from motion_service.vrm.body import MANNEQUIN_BODY, clip_to_body
from motion_service.vrm.joints import vrm_to_joints
from motion_service.vrm.resample import resample_clip
from motion_service.vrm.retarget import joints_to_vrm

CARRY_FRAMES: Final = 10
"""How long a difference between what was played and what is decoded anew takes to die away."""


class LiveOfficialSource(OfficialSource):
    """``dip`` as source of clips and streams."""

    @property
    def fps(self) -> float:
        return HUMANML3D_FPS

    @property
    def window_frames(self) -> int:
        return self.sampler.spec.predict_frames

    @property
    def context_frames(self) -> int:
        return self.sampler.spec.context_frames

    async def read(self, plan: PromptPlan, seed: int) -> tuple[LiveText, ...]:
        """The actions of a plan as English captions, encoded beside the model thread."""
        cues = plan_to_caption_cues(plan, max(1, len(plan.segments)) * self.window_frames, HUMANML3D_FPS)
        captions = [cue.text for cue in cues]
        embeddings = await self.texts.encode(captions)
        seconds = [part.seconds for part in plan.segments] or [plan.seconds]
        warnings = (*untranslated(plan), *self.sampler.cut_warnings(captions))
        return tuple(
            LiveText(embedding, caption, length, warnings)
            for embedding, caption, length in zip(embeddings, captions, seconds, strict=True)
        )

    def open(self, pose: VrmClip | None, frame: int = 0) -> LiveState:
        """A state that stands at the origin, or at the end of ``pose``, where that stands."""
        if pose is None:
            features = load_prefixes()[DEFAULT_PREFIX][-self.context_frames :]
            clip = joints_to_vrm(features_to_clip(FeatureClip(features, "humanml3d", HUMANML3D_FPS)))
            home = clip.hips[-1] * clip.hips.new_tensor([1.0, 0.0, 1.0])
            return self._new_state(frame, features, 0.0, replace(clip, hips=clip.hips - home))
        whole = _on_mannequin(resample_clip(pose, HUMANML3D_FPS), self.context_frames)
        joints = vrm_to_joints(whole)
        ahead = forward_direction(joints.positions[-1])
        features = clip_to_features(joints).features
        return self._new_state(frame, features, float(torch.atan2(ahead[0], ahead[2])), whole)

    def _new_state(self, frame: int, features: Tensor, heading: float, clip: VrmClip) -> LiveState:
        """After C rows of features that end facing ``heading``."""
        places = _headings(features, 0.0)
        places[:, 0] += heading - places[-1, 0]
        return open_state(frame, self.sampler.normalise(features), places, clip)

    def label(self, clip: VrmClip, texts: Sequence[LiveText], order: LiveOrder) -> SourceClip:
        """A clip with checkpoint, licence, steps and guidance."""
        run, warnings = self.sampler.new_run(order.steps, order.guidance, seeded_draw(order.seed, official=False))
        checkpoint = self.sampler.checkpoint
        return SourceClip(
            clip=clip,
            generator=self.name,
            checkpoint=checkpoint.name,
            licence=checkpoint.config.licence,
            steps=run.schedule.num_steps,
            guidance=run.guidance,
            seed=order.seed,
            warnings=(*warnings, *(warning for text in texts for warning in text.warnings)),
            facts={"engine": self.sampler.engine, "captions": [text.caption for text in texts]},
        )

    async def sample(self, state: LiveState, text: LiveText, order: LiveOrder) -> Tensor:
        """The next window, normalised (P, 263)."""
        seed = window_seed(order.seed, state.frame)
        run, _ = self.sampler.new_run(order.steps, order.guidance, seeded_draw(seed, official=False))
        window, _ = await self.sample_window(
            text.embedding,
            state.rows[-self.context_frames :],
            seed,
            self.sampler.steps(run),
            run.guidance,
            order_to_urgency(order),
        )
        return window

    def extend_all(self, windows: Sequence[LiveWindow]) -> list[LiveState | MotionError]:
        """The states after windows, each decoded together with the frames before it."""
        return [self._extend(window) for window in windows]

    def _extend(self, window: LiveWindow) -> LiveState | MotionError:
        state, seen = window.state, self.context_frames - 1
        rows = continue_smoothly(state.rows[None, -2:], window.rows[None])[0, : window.num_frames]
        heading = float(state.places[-self.context_frames, 0])
        features = self.sampler.to_features(torch.cat([state.rows[-seen:], rows]))
        try:
            joints = features_to_clip(FeatureClip(features, "humanml3d", HUMANML3D_FPS), RootStart(heading))
            clip = carry_over(state.newest(1), joints_to_vrm(joints), seen)
        except GenerationFailed as error:
            return error
        return window.then(rows, _headings(features[seen:], float(state.places[-1, 0])), clip_to_frames(clip))


def carry_over(played: VrmClip, decoded: VrmClip, seen: int) -> VrmClip:
    """The frames of ``decoded`` after its first ``seen``, the last of which is the frame ``played`` once more.

    They start from ``played``, place included; what differs in pose and height dies away, what differs in place stays.
    """
    bones = list(played.rotations)
    tracks = torch.stack([decoded.rotations[bone] for bone in bones])  # (J, T, 4)
    shown = torch.stack([played.rotations[bone] for bone in bones])  # (J, 1, 4)
    share = _dying(decoded.num_frames - seen)
    gap = quat_multiply(shown, quat_conjugate(tracks[:, seen - 1 : seen]))  # (J, 1, 4), in the parent's axes
    whole = gap.expand(-1, len(share), -1)
    part = quat_slerp(quat_identity(*whole.shape[:2]), whole, share.expand(len(bones), -1))
    turned = quat_unroll(normalize(quat_multiply(part, tracks[:, seen:])))
    away = played.hips[-1] - decoded.hips[seen - 1]  # (3,)
    height = away[1] * share
    hips = decoded.hips[seen:] + away * away.new_tensor([1.0, 0.0, 1.0])
    hips = torch.stack([hips[:, 0], hips[:, 1] + height, hips[:, 2]], dim=-1)
    return replace(
        played, rotations=dict(zip(bones, turned.unbind(0), strict=True)), hips=hips, contacts=decoded.contacts[seen:]
    )


def _dying(num_frames: int) -> Tensor:
    """(T,) from nearly 1 to 0 over :data:`CARRY_FRAMES`, softly at both ends."""
    s = ((torch.arange(num_frames) + 1) / CARRY_FRAMES).clamp(max=1)
    share: Tensor = 1 - s**3 * (10 + s * (6 * s - 15))
    return share


def _headings(features: Tensor, heading: float) -> Tensor:
    """(T, 3) float64: the heading after each row of (T, 263), the first of which faces ``heading``; places are 0."""
    turned = heading - 2 * torch.cumsum(features[:, ROOT_TURN].double()[:, 0], dim=0)
    return torch.stack([turned, torch.zeros_like(turned), torch.zeros_like(turned)], dim=-1)


def _on_mannequin(pose: VrmClip, num_frames: int) -> VrmClip:
    """The last frames of a pose with a track for every bone of the mannequin; a short one stands still before."""
    fitted = clip_to_body(pose, MANNEQUIN_BODY)
    rest = quat_identity(fitted.num_frames)
    full = VrmClip(
        {bone: fitted.rotations.get(bone, rest) for bone in MANNEQUIN_BODY.bones},
        fitted.hips,
        fitted.contacts,
        fitted.fps,
        fitted.rest_hips_height,
    )
    lacking = max(0, num_frames - full.num_frames)
    held = hold_first(full, lacking) if lacking else full
    return slice_clip(held, held.num_frames - num_frames, held.num_frames)
