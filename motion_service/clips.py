"""The nouns that travel between the stages. Frozen, checked at birth, without behaviour.

World everywhere: right-handed, +Y up, +Z forward, +X is the figure's left; metres, seconds, radians. Quaternions are
xyzw and unit. Letters: B batch, T frames, J bones, F features, L tokens, E text width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from operator import attrgetter
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from motion_service.errors import GenerationFailed, NonFiniteOutput
from motion_service.humanoid import VRM_PARENT

Language = Literal["en", "ja", "other"]
Noun = TypeVar("Noun")


def travels(noun: type[Noun]) -> type[Noun]:
    """A dataclass that goes to other processes as one plain tuple: by themselves they look up their fields each time,
    in Python."""
    values = attrgetter(*(item.name for item in dataclass_fields(noun)))  # type: ignore[arg-type]
    noun.__reduce__ = lambda self: (noun, values(self))  # type: ignore[method-assign]
    return noun


_SHORTEST, _LONGEST = 1 - 1e-3, 1 + 1e-3
"""What passes for the length of a unit quaternion."""


@travels
@dataclass(frozen=True, slots=True)
class Segment:
    """One action of a prompt, in order of time."""

    text: str
    """The words of this action, normalised, in the prompt's language."""
    action: str | None = None
    """Name of the action understood; "none" when no bodily action is asked for, None when it is unknown."""
    detail: tuple[str, ...] = ()
    """Direction and side words found: left, right, both, forward, backward, turn."""
    seconds: float | None = None
    """Length, only when asked for in words."""
    caption: str = ""
    """The same as an English sentence in the style of motion captions: "a person waves with the right hand"."""


@travels
@dataclass(frozen=True, slots=True)
class PromptPlan:
    """What was understood of a prompt."""

    prompt: str
    """Normalised text."""
    language: Language
    segments: tuple[Segment, ...]
    seconds: float | None = None
    """Whole length, only when asked for in words."""
    action: str | None = None
    confidence: float = 0.0
    """0..1: how sure the reader is of ``action``."""
    times: int | None = None
    """How often the action is asked for ("twice"), when it is the only one; a clip of unsaid length lasts so long."""
    captions: tuple[str, ...] = ()
    """English sentences for models that only read English captions."""


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """A text as a network reads it."""

    tokens: Tensor
    """(L, E) float32."""
    mask: Tensor
    """(L,) bool, True = a real token."""
    encoder: str
    """Name of the encoder that made it; a network refuses embeddings of another."""

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or self.mask.shape != self.tokens.shape[:1]:
            raise GenerationFailed(
                f"text tokens {tuple(self.tokens.shape)} and mask {tuple(self.mask.shape)} do not fit"
            )


def _is_finite(numbers: Tensor) -> bool:
    """Whether there is no NaN and no infinity: both show in the bounds, and looking for these passes over it once."""
    return numbers.numel() == 0 or all(map(math.isfinite, torch.aminmax(numbers)))


@dataclass(frozen=True, slots=True)
class FeatureClip:
    """Network output in physical units (de-normalised)."""

    features: Tensor
    """(T, F) float32."""
    layout: Literal["vrm", "humanml3d"]
    fps: float

    def __post_init__(self) -> None:
        widths = {"vrm": 260, "humanml3d": 263}
        if self.features.ndim != 2 or self.features.shape[1] != widths[self.layout]:
            got, expected = tuple(self.features.shape), widths[self.layout]
            raise GenerationFailed(f"{self.layout} features need shape (T, {expected}), got {got}")
        if not _is_finite(self.features):
            raise NonFiniteOutput()

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes the numbers travel as one plain array."""
        return _receive_features, (self.features.numpy(), self.layout, self.fps)


@dataclass(frozen=True, slots=True)
class JointClip:
    """Joint positions of the 22-joint HumanML3D skeleton."""

    positions: Tensor
    """(T, 22, 3) world, m."""
    contacts: Tensor
    """(T, 4) in 0..1: left ankle, left toe, right ankle, right toe."""
    fps: float

    def __post_init__(self) -> None:
        if self.positions.ndim != 3 or self.positions.shape[1:] != (22, 3):
            raise GenerationFailed(f"joints need shape (T, 22, 3), got {tuple(self.positions.shape)}")
        if not _is_finite(self.positions):
            raise NonFiniteOutput()


@dataclass(frozen=True, slots=True)
class VrmClip:
    """Motion of a VRM 1.0 humanoid: local rotations of the normalised bones and the absolute place of the hips."""

    rotations: Mapping[str, Tensor]
    """{bone: (T, 4)} xyzw, local to the parent bone, identity = T-pose."""
    hips: Tensor
    """(T, 3) m, world position of the hips bone."""
    contacts: Tensor
    """(T, 4) in 0..1: left ankle, left toe, right ankle, right toe."""
    fps: float
    rest_hips_height: float
    """Height of the hips in the T-pose of the body this clip was made for, m."""
    expressions: Mapping[str, Tensor] = field(default_factory=dict)
    """{VRM expression: (T,) in 0..1}."""
    gaze: Tensor | None = None
    """(T, 2) radians against the head: yaw about +Y (to the left), pitch about +X (down); or None."""

    def __post_init__(self) -> None:
        frames = self.hips.shape[0]
        if self.hips.ndim != 2 or self.hips.shape[1] != 3 or frames == 0:
            raise GenerationFailed(f"hips need shape (T, 3) with T >= 1, got {tuple(self.hips.shape)}")
        if self.contacts.shape != (frames, 4):
            raise GenerationFailed(f"contacts need shape ({frames}, 4), got {tuple(self.contacts.shape)}")
        if not (math.isfinite(self.fps) and self.fps > 0 and self.rest_hips_height > 0):
            raise GenerationFailed(f"fps {self.fps} and rest hips height {self.rest_hips_height} must be positive")
        if "hips" not in self.rotations:
            raise GenerationFailed("a clip needs a rotation track for the hips")
        for bone in self.rotations.keys() - VRM_PARENT.keys():
            raise GenerationFailed(f"{bone!r} is not a VRM humanoid bone")
        tracks = [*self.rotations.values()]
        for shape in {track.shape for track in tracks} - {(frames, 4)}:
            raise GenerationFailed(f"rotation tracks need shape ({frames}, 4), got {tuple(shape)}")
        rows = torch.cat(tracks)
        shortest, longest = map(float, torch.aminmax(rows.square() @ rows.new_ones(4)))  # squares of lengths
        if not (math.isfinite(shortest + longest) and _is_finite(self.hips)):
            raise NonFiniteOutput()
        if shortest < _SHORTEST**2 or longest > _LONGEST**2:
            raise GenerationFailed("rotation tracks must hold unit quaternions")

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes the tracks travel as a few plain arrays."""
        fields = {item.name: getattr(self, item.name) for item in dataclass_fields(self)}
        fields["rotations"] = torch.stack([*self.rotations.values()]).numpy()  # (J, T, 4)
        fields["expressions"] = torch.stack([*self.expressions.values()]).numpy() if self.expressions else None
        for name in ("hips", "contacts", "gaze"):
            fields[name] = None if fields[name] is None else fields[name].numpy()
        return _receive_clip, (tuple(self.rotations), tuple(self.expressions), fields)

    @property
    def num_frames(self) -> int:
        return int(self.hips.shape[0])

    @property
    def seconds(self) -> float:
        """Length of the data: frames divided by rate."""
        return self.num_frames / self.fps


def _receive_features(features: Any, layout: Literal["vrm", "humanml3d"], fps: float) -> FeatureClip:
    return FeatureClip(torch.from_numpy(features), layout, fps)


def _receive_clip(bones: tuple[str, ...], expressions: tuple[str, ...], fields: dict[str, Any]) -> VrmClip:
    tensors = {name: torch.from_numpy(part) if isinstance(part, np.ndarray) else part for name, part in fields.items()}
    rows = tensors["expressions"] if expressions else ()
    return VrmClip(
        **tensors
        | {
            "rotations": dict(zip(bones, tensors["rotations"].unbind(0), strict=True)),
            "expressions": dict(zip(expressions, rows, strict=True)),
        }
    )


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file that was written for a job."""

    job_id: str
    format: str
    """vrm-json, npy, mp4, vrma or bvh."""
    path: str
    """Where it lies, relative to the output directory."""
    url: str
    """Where clients fetch it."""
