"""The one interface between the pipeline and whatever makes motion: mdm, dip, mini, the placeholder, a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

from torch import Tensor

from motion_service.clips import FeatureClip, PromptPlan, VrmClip


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
