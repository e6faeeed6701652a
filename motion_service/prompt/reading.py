"""What a language module hands back to :mod:`motion_service.prompt.plan`, and the plan as JSON values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from motion_service.clips import PromptPlan, Segment
from motion_service.prompt.actions import DETAILS

MAX_SEGMENTS = 16
"""Actions that are told apart in one prompt; later ones stay with the last."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as a language module understood it."""

    segments: tuple[Segment, ...]
    """In order of time, never empty; action "none" for a text without bodily action, None for an unknown one."""
    seconds: float | None
    """Length of the whole, only when asked for in words."""
    confidence: float
    """0..1: how sure the reader is of the first action."""


def sorted_detail(words: Collection[str]) -> tuple[str, ...]:
    """Direction and side words in the order of :data:`DETAILS`, each once."""
    return tuple(name for name in DETAILS if name in words)


def plan_to_wire(plan: PromptPlan) -> dict[str, Any]:
    """The plan as JSON values, as ``metadata.prompt_plan`` and ``motion prompt`` show it."""
    return {
        "prompt": plan.prompt,
        "language": plan.language,
        "action": plan.action,
        "confidence": round(plan.confidence, 4),
        "seconds": plan.seconds,
        "times": plan.times,
        "segments": [
            {
                "text": part.text,
                "action": part.action,
                "detail": list(part.detail),
                "seconds": part.seconds,
                "caption": part.caption,
            }
            for part in plan.segments
        ],
        "captions": list(plan.captions),
    }
