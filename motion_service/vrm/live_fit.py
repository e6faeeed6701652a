"""From the windows of a live source to the frames of avatars: what ``fit_clip`` does, for motions without an end.

Every step here looks back only, and what it remembers is kept for each frame. So the frames do not depend on how the
motion was cut into windows, and it can be rewound to any frame of its history and made anew from there. The windows of
many streams are fitted together, since a step costs little more for fifty of them than for one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.features.vrm_native import heading
from motion_service.geometry.planes import to_planes, unroll
from motion_service.geometry.rotation import quat_multiply, quat_rotate, yaw_to_quat
from motion_service.live_frames import Floats, LiveFrames, append, clip_to_frames, turns_of
from motion_service.together import work_alike
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.legs import LegBones, bend_legs, pose_legs
from motion_service.vrm.life import relaxed_fingers
from motion_service.vrm.live_figure import LiveFigure, new_figure
from motion_service.vrm.live_life import breathe
from motion_service.vrm.live_lock import MEMORY as LOCK_MEMORY
from motion_service.vrm.live_lock import Feet, hold_feet
from motion_service.vrm.live_stage import MEMORY as STAGE_MEMORY
from motion_service.vrm.live_stage import limit, stage_live
from motion_service.vrm.stage import BOUND, settle_clip

_STAGE: Final = slice(0, STAGE_MEMORY)
_HIPS: Final = slice(_STAGE.stop, _STAGE.stop + 3)
"""Hips as they came, before the stage."""
_LOCK: Final = slice(_HIPS.stop, _HIPS.stop + LOCK_MEMORY)
_MOODS: Final = slice(_LOCK.stop, _LOCK.stop + 5)
MEMORY: Final = _MOODS.stop
"""Numbers that are remembered after each frame."""
TOGETHER: Final = 64
"""How many windows are fitted at a time: more do not fit the cache of a core."""


@dataclass(frozen=True, slots=True)
class FittedMotion:
    """The last frames of an endless motion on an avatar."""

    figure: LiveFigure
    frame: int
    """Number of the frame that comes next, at the source's rate."""
    frames: LiveFrames
    """(H) VRM 1.0 axes."""
    memory: Floats
    """(H, M) what the filters remember after each of these frames."""

    @property
    def fitting(self) -> Fitting:
        """The avatar, and how it is to be played."""
        return self.figure.fitting

    def rewind(self, frame: int) -> FittedMotion:
        """As it was when ``frame`` came next. Raises BadRequest where the history does not reach."""
        kept = len(self.frames) - (self.frame - frame)
        if not 1 <= kept <= len(self.frames):
            raise BadRequest("this moment of the stream is forgotten", field="frame")
        return replace(self, frame=frame, frames=self.frames.part(0, kept), memory=self.memory[:kept])

    def take(self, first: int, num_frames: int, fps: float) -> LiveFrames:
        """Frames ``first`` onwards at ``fps``, counted from 0, in the axes of the avatar."""
        rate, oldest = self.figure.kind.fps, self.frame - len(self.frames)
        if fps == rate and oldest <= first <= self.frame - num_frames:
            frames = self.frames.part(first - oldest, first - oldest + num_frames)
        else:
            at = (first + np.arange(num_frames, dtype=np.float64)) * (rate / fps)
            frames = self.frames.between(at - oldest)
        return frames.to_vrm0() if self.fitting.convention == "vrm0" else frames


@dataclass(frozen=True, slots=True)
class NextWindow:
    """Frames (the source's body and axes) to put behind a motion."""

    motion: FittedMotion
    window: LiveFrames
    mood: str | None
    history: int
    """How many frames of past are kept."""


def open_fit(
    prefix: LiveFrames, rest_height: float, fps: float, fitting: Fitting, frame: int = 0, memory: Floats | None = None
) -> FittedMotion:
    """The motion of a source that was just opened: ``prefix`` are the frames before number ``frame``.

    ``rest_height`` of the hips of the source's body, m. A figure with a bounded root starts where the prefix ends, at
    most at the border. ``memory`` (M,): of a motion that this one resumes.
    """
    figure = new_figure(fitting, prefix.bones, rest_height, fps)
    plain = new_figure(replace(fitting, root="free", foot_lock=False), prefix.bones, rest_height, fps)
    if memory is None:
        hips = prefix.hips[-1].numpy() * figure.stretch
        memory = np.zeros(MEMORY, np.float32)
        memory[_STAGE][:2] = limit(hips[[0, 2]].astype(np.float64), BOUND)
        memory[_HIPS] = hips
        memory[_LOCK] = np.nan
    together = LiveFrames(prefix.layout, prefix.block[None])
    fitted, _ = fit_windows([plain], together, [frame - len(prefix)], [None], memory[None], None)
    frames = LiveFrames(fitted.layout, fitted.block[0])
    if fitting.root != "free":
        place = limit(memory[_STAGE][:2].astype(np.float64), BOUND)
        frames.hips[:, [0, 2]] = torch.from_numpy(place.astype(np.float32))
    return FittedMotion(figure, frame, frames, np.repeat(memory[None], len(frames), axis=0))


def extend_all(windows: Sequence[NextWindow]) -> list[FittedMotion]:
    """Each motion with the frames of its window behind it. What comes out does not depend on who is fitted together."""

    def kind(item: NextWindow) -> Hashable:
        return item.motion.figure.kind, len(item.window), item.window.layout

    return work_alike(_extend_alike, windows, kind, TOGETHER)


def _extend_alike(windows: Sequence[NextWindow]) -> list[FittedMotion]:
    """The same for figures of one kind and windows of one length."""
    motions = [item.motion for item in windows]
    fitted, memory = fit_windows(
        [motion.figure for motion in motions],
        LiveFrames(windows[0].window.layout, np.stack([item.window.block for item in windows])),
        [motion.frame for motion in motions],
        [item.mood for item in windows],
        np.stack([motion.memory[-1] for motion in motions]),
        np.stack([motion.frames.block[-1] for motion in motions]),
    )
    return [
        replace(
            item.motion,
            frame=item.motion.frame + len(block),
            frames=item.motion.frames.then(LiveFrames(fitted.layout, block), item.history),
            memory=append(item.motion.memory, after, item.history),
        )
        for item, block, after in zip(windows, fitted.block, memory, strict=True)
    ]


def fit_windows(
    figures: Sequence[LiveFigure],
    windows: LiveFrames,
    frames: Sequence[int],
    moods: Sequence[str | None],
    memory: Floats,
    before: Floats | None,
) -> tuple[LiveFrames, Floats]:
    """Windows (B, T) on B figures of one kind, and the memory after each frame, (B, T, M).

    ``frames``: numbers of their first frames. ``memory`` (B, M) after the frames before them, and these frames
    themselves, ``before`` (B, width), after which signs of quaternions go on; None: there are none.
    """
    kind, layout = figures[0].kind, figures[0].kind.layout
    fitted = LiveFrames(layout, np.empty((*windows.block.shape[:2], layout.width), np.float32))
    after = np.zeros((*windows.block.shape[:2], MEMORY), np.float32)
    local = turns_of(windows.block, len(kind.source_bones)).copy()
    times = _times(frames, len(windows), kind.fps)
    breathe(local, kind.source_bones, [figure.temper for figure in figures], times)
    local = kind.fold(local)
    fitted.contacts.copy_(windows.contacts)
    stretch = np.array([figure.stretch for figure in figures], np.float32)
    after[..., _HIPS] = windows.hips.numpy() * stretch[:, None, None]
    hips, after[..., _STAGE] = _stage(figures, after[..., _HIPS], memory)
    fitted.hips.copy_(torch.from_numpy(hips))
    after[..., _LOCK] = memory[:, None, _LOCK]
    if kind.legs is not None:
        _hold_feet(figures, kind.legs, fitted, local, after[..., _LOCK])
    start = None if before is None else turns_of(before, len(kind.bones))
    turns_of(fitted.block, len(kind.bones))[:] = unroll(local, start)
    if kind.life is not None:
        _live(figures, fitted, frames, moods, memory[:, _MOODS], after[..., _MOODS])
        if fitted.gaze is not None and windows.gaze is not None:
            fitted.gaze.add_(windows.gaze)
    return fitted, after


def _stage(figures: Sequence[LiveFigure], raw: Floats, memory: Floats) -> tuple[Floats, Floats]:
    """Hips (B, T, 3) on their stages, and what these remember (B, T, 6)."""
    hips, after = stage_live(
        raw.astype(np.float64),
        memory[:, _HIPS].astype(np.float64),
        memory[:, _STAGE].astype(np.float64),
        [figure.fitting.root for figure in figures],
        np.array([figure.rest_height for figure in figures]),
        np.array([figure.scale for figure in figures]),
        figures[0].kind.fps,
    )
    return hips.astype(np.float32), after.astype(np.float32)


def _hold_feet(
    figures: Sequence[LiveFigure], legs: LegBones, fitted: LiveFrames, local: Floats, memory: Floats
) -> None:
    """Bend the legs in ``local`` (4, J, B, T), in place, so that standing feet stay where they stand.

    ``memory`` (B, T, 36) holds what was remembered before and is overwritten.
    """
    kind, sides = figures[0].kind, list(legs.sides)
    offsets = np.stack([figure.leg_offsets for figure in figures], axis=-1).swapaxes(0, 1)  # (3, L, B)
    tracks = kind.leg_rotations(local, legs)  # (4, L, B, T)
    pose = pose_legs(legs, tracks, to_planes(fitted.hips), offsets[..., None])
    remembered = memory.reshape(*memory.shape[:2], 2, -1)  # (B, T, 2, 18)
    labels = fitted.contacts.numpy().reshape(*memory.shape[:2], 2, 2)[:, :, sides] > 0.5
    feet = Feet(
        np.ascontiguousarray(pose.parts.T, dtype=np.float64),  # (T, B, S, P, 3)
        labels.swapaxes(0, 1),
        np.stack([figure.floor for figure in figures]),
        np.array([[figure.scale] for figure in figures]),
        kind.fps,
    )
    moved, after = hold_feet(feet, remembered[:, 0, sides].astype(np.float64))  # (T, B, S, ...)
    bent, _ = bend_legs(legs, tracks, pose, np.ascontiguousarray(moved.T, dtype=np.float32))
    local[:, [kind.bones.index(bone) for bone in legs.chain]] = bent.reshape(4, len(legs.chain), *memory.shape[:2])
    remembered[:, :, sides] = after.swapaxes(0, 1)
    memory[:] = remembered.reshape(memory.shape)


def _live(
    figures: Sequence[LiveFigure],
    fitted: LiveFrames,
    frames: Sequence[int],
    asked: Sequence[str | None],
    before: Floats,
    memory: Floats,
) -> None:
    """Put fingers, face and gaze into the frames, and what is remembered of the moods into ``memory`` (B, T, 5)."""
    kind, count = figures[0].kind, len(fitted)
    life = kind.life
    assert life is not None
    tempers = [figure.temper for figure in figures]
    sways = torch.stack([temper.sways for temper in tempers])
    time = torch.from_numpy(_times(frames, count, kind.fps))
    fitted.rotations[..., len(kind.bones) :, :] = relaxed_fingers(sways, time, life.fingers)
    felt = life.feel(asked, before[:, : len(life.moods)], count, kind.fps)
    memory[..., : len(life.moods)] = felt
    weights, gaze = life.show(tempers, frames, felt, kind.fps)
    fitted.weights.copy_(torch.from_numpy(weights))
    if fitted.gaze is not None:
        fitted.gaze.copy_(torch.from_numpy(gaze))


def _times(frames: Sequence[int], count: int, fps: float) -> npt.NDArray[np.float64]:
    """(B, T) seconds of ``count`` frames from those numbers on."""
    return (np.array(frames)[:, None] + np.arange(count)) / fps


def settle_here(window: LiveFrames, rest_height: float, fps: float) -> LiveFrames:
    """The window with its last part eased to the neutral pose where it stands, facing where it faces at its end."""
    clip = window.to_clip(fps, rest_height)
    yaw = heading(clip.rotations["hips"][-1])
    place = clip.hips[-1] * clip.hips.new_tensor([1.0, 0.0, 1.0])
    home = _turned(replace(clip, hips=clip.hips - place), yaw_to_quat(-yaw))
    away = _turned(settle_clip(home), yaw_to_quat(yaw))
    return clip_to_frames(replace(away, hips=away.hips + place))


def _turned(clip: VrmClip, turn: Tensor) -> VrmClip:
    rotations = {**clip.rotations, "hips": quat_multiply(turn, clip.rotations["hips"])}
    return replace(clip, rotations=rotations, hips=quat_rotate(turn, clip.hips))
