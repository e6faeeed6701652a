"""From the windows of a live source to the frames of one avatar: what ``fit_clip`` does, for a motion without an end.

Every step here looks back only, and what it remembers is kept for each frame. So the frames do not depend on how the
motion was cut into windows, and it can be rewound to any frame of its history and made anew from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.features.vrm_native import heading
from motion_service.geometry.rotation import quat_multiply, quat_rotate, yaw_to_quat
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT, VRM_PARENT
from motion_service.vrm.body import clip_to_body
from motion_service.vrm.fitting import PRESET_EXPRESSIONS, Fitting
from motion_service.vrm.live_frames import LiveFrames, clip_to_frames
from motion_service.vrm.live_life import LiveLife, breathe
from motion_service.vrm.live_lock import MEMORY as LOCK_MEMORY
from motion_service.vrm.live_lock import lock_live
from motion_service.vrm.live_stage import MEMORY as STAGE_MEMORY
from motion_service.vrm.live_stage import height_bound, limit, stage_live
from motion_service.vrm.stage import BOUND, settle_clip

_STAGE: Final = slice(0, STAGE_MEMORY)
_HIPS: Final = slice(_STAGE.stop, _STAGE.stop + 3)
"""Hips as they came, before the stage."""
_LOCK: Final = slice(_HIPS.stop, _HIPS.stop + LOCK_MEMORY)
_MOODS: Final = slice(_LOCK.stop, _LOCK.stop + 5)
MEMORY: Final = _MOODS.stop
"""Numbers that are remembered after each frame."""


@dataclass(frozen=True, slots=True)
class FittedMotion:
    """The last frames of an endless motion on an avatar."""

    fitting: Fitting
    fps: float
    """Of the source."""
    frame: int
    """Number of the frame that comes next, at that rate."""
    frames: LiveFrames
    """(H) VRM 1.0 axes."""
    memory: Tensor
    """(H, M) what the filters remember after each of these frames."""

    def rewind(self, frame: int) -> FittedMotion:
        """As it was when ``frame`` came next. Raises BadRequest where the history does not reach."""
        kept = len(self.frames) - (self.frame - frame)
        if not 1 <= kept <= len(self.frames):
            raise BadRequest("this moment of the stream is forgotten", field="frame")
        return replace(self, frame=frame, frames=self.frames.part(0, kept), memory=self.memory[:kept])

    def extend(self, window: VrmClip, mood: str | None, history: int) -> FittedMotion:
        """With the frames of ``window`` (the source's body and axes) behind it, and ``history`` frames of past."""
        clip, memory = _fit(window, self.fitting, self.frame, mood, self.memory[-1])
        joined = self.frames.then(clip_to_frames(clip))
        start = max(0, len(joined) - history)
        return replace(
            self,
            frame=self.frame + window.num_frames,
            frames=joined.part(start, len(joined)),
            memory=torch.cat([self.memory, memory])[start:],
        )

    def take(self, first: int, num_frames: int, fps: float) -> LiveFrames:
        """Frames ``first`` onwards at ``fps``, counted from 0, in the axes of the avatar."""
        start = first - (self.frame - len(self.frames))
        if fps == self.fps and 0 <= start <= len(self.frames) - num_frames:
            frames = self.frames.part(start, start + num_frames)
        else:
            at = (first + torch.arange(num_frames, dtype=torch.float64)) * (self.fps / fps)
            frames = self.frames.between(at - (self.frame - len(self.frames)))
        return frames.to_vrm0() if self.fitting.convention == "vrm0" else frames


def open_fit(prefix: VrmClip, fitting: Fitting, frame: int = 0, memory: Tensor | None = None) -> FittedMotion:
    """The motion of a source that was just opened: ``prefix`` are the frames before number ``frame``.

    A figure with a bounded root starts where the prefix ends, at most at the border. ``memory`` (M,): of a motion that
    this one resumes.
    """
    if memory is None:
        hips = clip_to_body(prefix, fitting.body).hips[-1:]
        memory = torch.zeros(MEMORY)
        memory[_STAGE][:2] = limit(hips[:, [0, 2]], BOUND)[0]
        memory[_HIPS] = hips[0]
        memory[_LOCK] = torch.nan
    plain = replace(fitting, root="free", foot_lock=False)
    clip, _ = _fit(prefix, plain, frame - prefix.num_frames, None, memory)
    if fitting.root != "free":
        x, z = limit(memory[None, _STAGE][:, :2], BOUND)[0].expand(clip.num_frames, 2).unbind(1)
        clip = replace(clip, hips=torch.stack([x, clip.hips[:, 1], z], dim=-1))
    return FittedMotion(fitting, clip.fps, frame, clip_to_frames(clip), memory.expand(clip.num_frames, -1))


def settle_here(window: VrmClip) -> VrmClip:
    """The window with its last part eased to the neutral pose where it stands, facing where it faces at its end."""
    yaw = heading(window.rotations["hips"][-1])
    place = window.hips[-1] * window.hips.new_tensor([1.0, 0.0, 1.0])
    home = _turned(replace(window, hips=window.hips - place), yaw_to_quat(-yaw))
    away = _turned(settle_clip(home), yaw_to_quat(yaw))
    return replace(away, hips=away.hips + place)


def _turned(clip: VrmClip, turn: Tensor) -> VrmClip:
    rotations = {**clip.rotations, "hips": quat_multiply(turn, clip.rotations["hips"])}
    return replace(clip, rotations=rotations, hips=quat_rotate(turn, clip.hips))


def _fit(window: VrmClip, fitting: Fitting, frame: int, mood: str | None, memory: Tensor) -> tuple[VrmClip, Tensor]:
    """A window on the avatar and the memory after each frame, (T, M)."""
    clip = clip_to_body(breathe(window, frame, fitting.seed), fitting.body)
    scale = clip.rest_hips_height / CANONICAL_HIPS_HEIGHT
    raw = clip.hips
    hips, stage = stage_live(
        raw, memory[_HIPS], memory[_STAGE], fitting.root, clip.rest_hips_height, height_bound(scale), clip.fps
    )
    clip = replace(clip, hips=hips)
    lock = memory[_LOCK].expand(clip.num_frames, -1)
    if fitting.foot_lock:
        clip, lock = lock_live(clip, fitting.body, memory[_LOCK])
    moods = torch.zeros(clip.num_frames, MEMORY - _MOODS.start)
    if fitting.expressions:
        life = life_of(fitting, clip.fps)
        count = len(life.moods)
        moods[:, :count] = life.feel(mood, memory[_MOODS][:count], clip.num_frames)
        clip = life.add(clip, frame, moods[:, :count])
    return clip, torch.cat([stage, raw, lock, moods], dim=1)


def life_of(fitting: Fitting, fps: float) -> LiveLife:
    """What the avatar can show besides the motion."""
    avatar = fitting.avatar
    if avatar is None:
        return LiveLife(frozenset(VRM_PARENT), PRESET_EXPRESSIONS, (), True, fitting.seed, fps)
    own = tuple(sorted(avatar.own_names.items()))
    return LiveLife(
        frozenset(avatar.body.bones), frozenset(avatar.expressions), own, avatar.has_look_at, fitting.seed, fps
    )
