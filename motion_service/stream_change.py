"""What a stream is asked to be and to become, and how it tells: the values that go in and out of a session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from motion_service.clips import PromptPlan, VrmClip
from motion_service.errors import MotionError
from motion_service.prompt.reading import plan_to_wire
from motion_service.source import LiveText
from motion_service.speak.performance import Performance

Reason = Literal["prompt", "seek", "stop", "speak", "state", "interrupt"]
BodyChange = Callable[[Performance, float], tuple[Performance, Mapping[str, Any]]]
"""What a body does by itself, changed at a moment in s; with it what the client is told."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream is asked to be, all decided."""

    session_id: str
    seed: int
    fps: float
    lead_sec: float = 1.0
    guidance: float | None = None
    steps: int | None = None
    first_frame: int = 0
    """Where the numbers of its frames begin."""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Understood:
    """A text and what was read out of it."""

    prompt: str
    plan: PromptPlan
    texts: tuple[LiveText, ...]

    def to_wire(self) -> dict[str, Any]:
        """The fields of messages that tell of it."""
        warnings = [warning for text in self.texts for warning in text.warnings]
        return {
            "captions": [text.caption for text in self.texts],
            "prompt_plan": plan_to_wire(self.plan),
            "warnings": warnings,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What a client asked for."""

    reason: Reason
    understood: Understood
    at: Literal["now", "next"] | float = "now"
    pose: VrmClip | None = None
    """Where a seek starts from."""
    body: BodyChange | None = None
    """For speak, state and interrupt."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the message that says when it takes effect."""


@dataclass(slots=True)
class SessionCounts:
    """What a stream has done."""

    chunks: int = 0
    late_chunks: int = 0
    """Sent after their first frame was due."""
    gaps: int = 0
    windows: int = 0
    changes: int = 0
    late_changes: int = 0
    """Changes whose frames came after they were due."""
    reactions_s: deque[float] = field(default_factory=lambda: deque(maxlen=256))
    """From each of the latest changes to the first frame that shows it, as far as the server can tell."""


def error_to_problem(error: MotionError, session_id: str) -> dict[str, Any]:
    """What ``error`` messages hold."""
    problem = {
        "type": error.type_uri,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": f"urn:stream:{session_id}",
        "request_id": session_id,
    }
    return problem if error.field is None else {**problem, "field": error.field}
