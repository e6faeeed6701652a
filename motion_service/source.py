"""The one interface between the pipeline and whatever makes motion: mdm, dip, mini, the placeholder, a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, PromptPlan, TextEmbedding, VrmClip, travels
from motion_service.errors import BadRequest, MotionError
from motion_service.live_frames import LiveFrames, append, clip_to_frames


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A request as sources see it: everything decided, nothing left to default."""

    plan: PromptPlan
    seconds: float
    seed: int
    steps: int | None = None
    """Denoising steps wanted; None = the model's own number."""
    guidance: float | None = None
    """Classifier-free guidance scale; None = the model's own default."""
    sampler: Literal["ddpm", "ddim"] = "ddpm"
    """Ancestral sampling, or DDIM without noise (eta 0)."""
    official_noise: bool = False
    """Draw noise as the official CPU program does for this seed; only sources of official weights can."""
    target_joints: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Where joints are to be at the end of each window: {joint: (x, y, z) m} or {"heading": (rad,)}."""


@travels
@dataclass(frozen=True, slots=True)
class SourceClip:
    """What a source made, with its provenance."""

    clip: VrmClip | FeatureClip
    """Bones, or the features of a model as they are: these are decoded where the answer is made."""
    generator: str
    checkpoint: str | None
    licence: str | None
    steps: int
    """Steps really taken."""
    guidance: float
    seed: int
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    joints: Tensor | None = None
    """(T, 22, 3) HumanML3D joints in m that go with bones, where the source makes both."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further metadata, JSON values only."""


EditMode = Literal["in_between", "upper_body"]

LOWER_BODY: Final = frozenset(
    ["hips", *(f"{side}{part}" for side in ("left", "right") for part in ("UpperLeg", "LowerLeg", "Foot", "Toes"))]
)
"""The bones that upper_body keeps."""


@dataclass(frozen=True, slots=True)
class EditPlan:
    """Which part of a clip is made anew. The other part stays the client's."""

    mode: EditMode
    prefix_end: float = 0.25
    suffix_start: float = 0.75
    """in_between: share of the clip where the gap begins, and where it ends."""

    def gap(self, num_frames: int) -> tuple[int, int]:
        """First frame of the gap and first frame after it, counted as the official ``sample.edit`` does."""
        return int(self.prefix_end * num_frames), int(self.suffix_start * num_frames)


@runtime_checkable
class MotionSource(Protocol):
    """Something that turns a planned prompt into a clip. Raises :class:`~motion_service.errors.GenerationFailed`."""

    name: str
    """The provider name: mdm, mdm-encoder, dip, mini or placeholder."""
    max_seconds: float
    """Longest clip it makes; ``math.inf`` when endless."""

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip at the source's native rate. The event loop must stay free while it works."""
        ...


@runtime_checkable
class EditingSource(MotionSource, Protocol):
    """A source that can also make a part of a given clip anew."""

    async def edit(self, request: SourceRequest, clip: VrmClip, plan: EditPlan) -> SourceClip:
        """A clip of the length of ``clip`` at the source's own rate, led by what the plan keeps of it.

        ``clip`` has VRM 1.0 axes, any body and rate, and is not longer than ``max_seconds``; ``request.seconds`` says
        nothing. What is kept comes back as far as the source can tell it; :mod:`motion_service.edit` puts the
        client's own numbers there.
        """
        ...


# --- endless motion ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LiveText:
    """One action as a live source reads it."""

    embedding: TextEmbedding
    caption: str
    """What the model is told, in words."""
    seconds: float | None = None
    """How long it is to last; None = until something else is asked for."""
    warnings: tuple[str, ...] = ()
    mood: str | None = None
    """Emotion in the words, for the face: one of the VRM presets."""


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """How the next window is to be made."""

    seed: int
    """Of the whole stream; every window draws its own noise from it and from where it begins."""
    guidance: float | None = None
    steps: int | None = None
    deadline: float = float("inf")
    """When it is needed, in monotonic seconds."""
    client: str = ""
    """Clients take turns."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """The last frames of an endless motion, at the source's rate: all that is needed to go on from any of them."""

    frame: int
    """Number of the frame that comes next; frames of the prefix count backwards from the stream's first one."""
    rows: Tensor
    """(H, F) what the network reads of the last H frames."""
    places: Tensor
    """(H, 3) float64: heading in rad, x and z in m from which the frame after each row is decoded."""
    frames: LiveFrames
    """The same H frames as motion."""
    fps: float
    rest_hips_height: float
    """Of the source's body, m."""

    @property
    def clip(self) -> VrmClip:
        """The motion as a clip, checked."""
        return self.newest(len(self.frames))

    def rewind(self, frame: int) -> LiveState:
        """The state as it was when ``frame`` came next. Raises BadRequest where the history does not reach."""
        kept = len(self.rows) - (self.frame - frame)
        if not 1 <= kept <= len(self.rows):
            raise BadRequest("this moment of the stream is forgotten", field="frame")
        return replace(
            self, frame=frame, rows=self.rows[:kept], places=self.places[:kept], frames=self.frames.part(0, kept)
        )

    def window(self, num_frames: int) -> LiveFrames:
        """The last ``num_frames`` frames."""
        return self.frames.part(len(self.frames) - num_frames, len(self.frames))

    def newest(self, num_frames: int) -> VrmClip:
        """The same as a clip, checked."""
        return self.window(num_frames).to_clip(self.fps, self.rest_hips_height)


@dataclass(frozen=True, slots=True, eq=False)
class LiveWindow:
    """A window as the network made it, to be put behind a state."""

    state: LiveState
    rows: Tensor
    """(P, F)."""
    num_frames: int
    """How many of its frames are wanted."""
    history: int
    """How many frames of past are kept."""

    def then(self, rows: Tensor, places: Tensor, frames: LiveFrames) -> LiveState:
        """The state after ``rows`` (n, F), which continue it without a jump; ``places`` and ``frames`` are theirs."""
        state = self.state
        return replace(
            state,
            frame=state.frame + len(rows),
            rows=torch.from_numpy(append(state.rows.numpy(), rows.numpy(), self.history)),
            places=torch.from_numpy(append(state.places.numpy(), places.numpy(), self.history)),
            frames=state.frames.then(frames, self.history),
        )


def open_state(frame: int, rows: Tensor, places: Tensor, clip: VrmClip) -> LiveState:
    """The state of a source after the frames of ``clip``, which ``rows`` (H, F) and ``places`` (H, 3) belong to."""
    return LiveState(frame, rows, places, clip_to_frames(clip), clip.fps, clip.rest_hips_height)


@runtime_checkable
class LiveSource(Protocol):
    """A source that goes on for ever, window after window, and from any frame it has made."""

    name: str

    @property
    def fps(self) -> float:
        """Its own rate."""
        ...

    @property
    def window_frames(self) -> int:
        """Frames that one call of :meth:`sample` makes."""
        ...

    @property
    def context_frames(self) -> int:
        """Frames of past that a window is made from."""
        ...

    async def read(self, plan: PromptPlan, seed: int) -> tuple[LiveText, ...]:
        """The actions of a plan in order of time. Off the event loop and not behind windows that are being made."""
        ...

    def open(self, pose: VrmClip | None, frame: int = 0) -> LiveState:
        """A state to start from, whose next frame is number ``frame``: a neutral stance, or the end of ``pose``
        (VRM 1.0 axes, any body and rate), where it stands."""
        ...

    def label(self, clip: VrmClip, texts: Sequence[LiveText], order: LiveOrder) -> SourceClip:
        """A clip made of these texts in this way, with where it comes from."""
        ...

    async def sample(self, state: LiveState, text: LiveText, order: LiveOrder) -> Tensor:
        """What the network makes of the next ``window_frames`` frames, (P, F) as in :attr:`LiveState.rows`.

        Raises GenerationFailed; cancelling frees the model.
        """
        ...

    def extend_all(self, windows: Sequence[LiveWindow]) -> list[LiveState | MotionError]:
        """The states after windows, which continue those before without a jump; the error where there is no pose.

        Takes a millisecond for one and a small part of that for each further one: call it in a thread.
        """
        ...


def extend_state(source: LiveSource, window: LiveWindow) -> LiveState:
    """:meth:`LiveSource.extend_all` for one. Raises GenerationFailed for numbers that make no pose."""
    (state,) = source.extend_all([window])
    if isinstance(state, MotionError):
        raise state
    return state


def slice_clip(clip: VrmClip, start: int, stop: int) -> VrmClip:
    """Frames ``start`` to ``stop - 1`` of a clip."""
    rows = slice(start, stop)
    return replace(
        clip,
        rotations={bone: track[rows] for bone, track in clip.rotations.items()},
        hips=clip.hips[rows],
        contacts=clip.contacts[rows],
        expressions={name: track[rows] for name, track in clip.expressions.items()},
        gaze=None if clip.gaze is None else clip.gaze[rows],
    )


def join_clips(first: VrmClip, second: VrmClip) -> VrmClip:
    """One clip after the other; both of one body and rate, with the same tracks."""
    return replace(
        first,
        rotations={bone: torch.cat([track, second.rotations[bone]]) for bone, track in first.rotations.items()},
        hips=torch.cat([first.hips, second.hips]),
        contacts=torch.cat([first.contacts, second.contacts]),
        expressions={name: torch.cat([track, second.expressions[name]]) for name, track in first.expressions.items()},
        gaze=None if first.gaze is None or second.gaze is None else torch.cat([first.gaze, second.gaze]),
    )
