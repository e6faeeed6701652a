"""Which text drives which frames: a plan shared out over the length of a clip, and over the windows of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from motion_service.clips import PromptPlan

SHORTEST_ACTION_S: Final = 1.0
"""What an action of unknown length weighs, in seconds, when those of known length already fill the clip."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One text of a plan and how many frames it drives."""

    text: str
    num_frames: int
    action: str | None = None
    """What the prompt reader took it for."""


def plan_to_cues(plan: PromptPlan, num_frames: int, fps: float) -> list[Cue]:
    """Share ``num_frames`` among the segments of a plan, in order.

    Lengths asked for in words are kept, the others share what is left; when that does not add up, all are scaled.
    """
    texts = [(segment.text, segment.action) for segment in plan.segments] or [(plan.prompt, plan.action)]
    asked = [segment.seconds for segment in plan.segments] or [None]
    left = num_frames / fps - sum(seconds or 0.0 for seconds in asked)
    fill = max(left / max(sum(not seconds for seconds in asked), 1), SHORTEST_ACTION_S)
    lengths = [seconds or fill for seconds in asked]
    ends = [round(num_frames * sum(lengths[: i + 1]) / sum(lengths)) for i in range(len(lengths))]
    starts = [0, *ends]
    return [Cue(text, end - start, act) for (text, act), start, end in zip(texts, starts, ends, strict=False)]


def cues_to_windows(cues: Sequence[Cue], window_frames: int) -> list[tuple[int, int]]:
    """(index of the cue, frames to keep) of each window. Windows end with their cue, so every text starts on time."""
    return [
        (index, min(window_frames, cue.num_frames - start))
        for index, cue in enumerate(cues)
        for start in range(0, cue.num_frames, window_frames)
    ]
