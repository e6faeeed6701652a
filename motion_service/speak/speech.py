"""One thing said, as a value: read once from a request, then put on any clip that a source made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from motion_service.clips import PromptPlan, VrmClip
from motion_service.geometry.planes import to_planes, to_tensor
from motion_service.speak.beats import Beat
from motion_service.speak.enact import enact, gaze
from motion_service.speak.envelope import Envelope, read_envelope
from motion_service.speak.performance import Performance
from motion_service.speak.phrases import HEAD_ACTS, Act, Spoken, text_to_spoken
from motion_service.speak.style import STYLES
from motion_service.speak_schemas import Emotion, SpeakRequest, State
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.live_life import breathe, look_about, new_temper

TAIL_S: Final = 0.25
"""A clip goes on so long after the last word, s: everything rests by then."""


@dataclass(frozen=True)
class Speech:
    """What is said, and how."""

    spoken: Spoken
    emotion: Emotion = "neutral"
    envelope: Envelope | None = None
    estimated: bool = False
    """Whether its length is."""
    still: frozenset[str] = frozenset()
    """Signs of life that are left out."""
    seed: int = 0
    then: State = "idle"

    @property
    def seconds(self) -> float:
        """Length of a clip of it, s: until everything rests."""
        return self.spoken.seconds + TAIL_S

    @property
    def acts(self) -> tuple[Act, ...]:
        """Actions that a model has to make."""
        return tuple(act for act in self.spoken.acts if act.plan.action not in HEAD_ACTS)

    @property
    def mood(self) -> str | None:
        """The VRM expression that goes with it."""
        return STYLES[self.emotion].mood

    @cached_property
    def performed(self) -> tuple[Performance, tuple[Beat, ...]]:
        """What the body does from the start of the speech, which is at 0 s, and its beats."""
        opened = Performance(self.seed).change("idle", 0.0, self.emotion)
        performance, beats = opened.speak(
            self.spoken, 0.0, emotion=self.emotion, envelope=self.envelope, then=self.then, still=self.still
        )
        return performance.until(self.seconds), beats

    def parts(self, idle: PromptPlan) -> list[tuple[PromptPlan, float]]:
        """(what a model is to make, s) in order of time, ``idle`` where the body has nothing of its own to do."""
        parts, time = list[tuple[PromptPlan, float]](), 0.0
        for act in self.acts:
            if act.start > time + 1e-6:
                parts.append((idle, act.start - time))
            parts.append((act.plan, act.seconds))
            time = act.end
        return [*parts, (idle, max(self.seconds - time, 1e-3))] if self.seconds > time else parts

    def begin(self, performance: Performance, at: float) -> tuple[Performance, tuple[Beat, ...]]:
        """``performance`` with it said from ``at`` s on, and its beats, whose times count from there."""
        return performance.speak(self.spoken, at, emotion=self.emotion, envelope=self.envelope, then=self.then)

    def to_wire(self, beats: Sequence[Beat] | None = None) -> dict[str, Any]:
        """As answers and messages tell it, JSON values. ``beats``: those of :meth:`begin`."""
        return {
            "seconds": round(self.spoken.seconds, 3),
            "estimated": self.estimated,
            "emotion": self.emotion,
            "phrases": [
                {"text": phrase.text, "start": round(phrase.start, 3), "end": round(phrase.end, 3)}
                for phrase in self.spoken.phrases
            ],
            "beats": [
                {"t": round(beat.time, 3), "strength": round(beat.strength, 2)}
                for beat in (self.performed[1] if beats is None else beats)
            ],
            "acts": [
                {"action": act.plan.action, "start": round(act.start, 3), "end": round(act.end, 3)}
                for act in self.spoken.acts
            ],
        }


def new_speech(
    text: str,
    seed: int,
    *,
    seconds: float | None = None,
    loudness: Mapping[str, Any] | None = None,
    emotion: Emotion = "neutral",
    still: frozenset[str] = frozenset(),
    then: State = "idle",
) -> Speech:
    """What is said, in ``seconds`` (None: as long as the envelope is, else estimated).

    ``loudness``: {rate: Hz, values: RMS} of the voice.
    """
    envelope = None
    if loudness is not None:
        envelope = read_envelope(np.asarray(loudness["values"], np.float64), float(loudness["rate"]))
    spoken = text_to_spoken(text, seconds, envelope)
    return Speech(spoken, emotion, envelope, seconds is None and envelope is None, still, seed, then)


def request_to_speech(request: SpeakRequest, seed: int) -> Speech:
    """What a request asks to be said."""
    return new_speech(
        *(request.prompt, seed),
        seconds=request.seconds,
        loudness=None if request.audio_envelope is None else request.audio_envelope.model_dump(),
        emotion=request.emotion,
        still=frozenset(request.still),
    )


def speech_to_fitting(speech: Speech, fitting: Fitting) -> Fitting:
    """How a clip of it is to be played: in its mood, and eased home where the body acted at its end."""
    return replace(
        fitting,
        mood=speech.mood or fitting.mood,
        settle=fitting.settle or bool(speech.acts),
        still=fitting.still | speech.still,
    )


def perform(clip: VrmClip, speech: Speech, seed: int) -> VrmClip:
    """``clip`` of a figure that stands, or acts what is asked for, with the speech on it."""
    performance, _ = replace(speech, seed=seed).performed
    return show(clip, performance, speech.still, seed)


@torch.inference_mode()
def show(clip: VrmClip, performance: Performance, still: frozenset[str], seed: int) -> VrmClip:
    """``clip`` with a performance on it from its first frame on, but for the signs of life that are ``still``."""
    times = np.arange(clip.num_frames) / clip.fps
    channels = performance.until(float(times[-1]) + 1.0).channels(times)
    bones = tuple(clip.rotations)
    local = torch.stack([*clip.rotations.values()], dim=1)
    if "breathing" not in still:
        breathing = to_planes(local.transpose(0, 1))  # (4, J, T)
        breathe(breathing[:, :, None], bones, [new_temper(seed)], times[None])
        local = to_tensor(breathing).transpose(0, 1)
    local, hips = enact(channels, bones, local, clip.hips)
    looks = None if "gaze" in still else gaze(channels) + look_about(seed, clip.fps, 0, clip.num_frames)
    return replace(clip, rotations=dict(zip(bones, local.unbind(1), strict=True)), hips=hips, gaze=looks)
