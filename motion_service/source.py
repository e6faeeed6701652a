"""The one interface between the pipeline and whatever makes motion: mdm, dip, mini, the placeholder, a fake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from motion_service.clips import PromptPlan, VrmClip


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


@dataclass(frozen=True, slots=True)
class SourceClip:
    """What a source made, with its provenance."""

    clip: VrmClip
    generator: str
    checkpoint: str | None
    licence: str | None
    steps: int
    """Steps really taken."""
    guidance: float
    seed: int
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further metadata, JSON values only."""


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
