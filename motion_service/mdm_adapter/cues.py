"""Which text drives which frames: a plan shared out over the length of a clip, and over the windows of a model.

``mini`` reads the words of each action beside the name it was trained with; ``dip`` one caption an action, ``mdm`` one
caption for the whole clip.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from motion_service.clips import PromptPlan, Segment
from motion_service.prompt.actions import ACTIONS, caption, fine_action
from motion_service.prompt.captions import is_caption

SHORTEST_ACTION_S: Final = 1.0
"""What an action of unknown length weighs, in seconds, when those of known length already fill the clip."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One text of a plan and how many frames it drives."""

    text: str
    num_frames: int
    action: str | None = None
    """What the prompt reader took it for, by the name that the model knows."""
    caption: str = ""
    """``action`` in plain words, for a model that takes ``text`` for something else."""
    asked: str | None = None
    """What was asked for, when ``action`` or what the model makes of ``text`` is only the nearest to it."""


def plan_to_cues(plan: PromptPlan, num_frames: int, fps: float, known: Collection[str] | None = None) -> list[Cue]:
    """Share ``num_frames`` among the segments of a plan, in order, as ``mini`` reads them.

    ``known``: the actions that the checkpoint was trained with (``TextReader.actions``); None = all there are.

    Lengths asked for in words are kept, the others share what is left; when that does not add up, all are scaled.
    """
    segments = plan.segments or (Segment(plan.prompt, plan.action),)
    return [
        _mini_cue(plan, part, frames, known)
        for part, frames in zip(segments, _shares(segments, num_frames, fps), strict=True)
    ]


def plan_to_caption_cues(plan: PromptPlan, num_frames: int, fps: float) -> list[Cue]:
    """The same with a caption each, for a window model that reads English captions only."""
    segments = plan.segments or (Segment(plan.prompt, plan.action),)
    frames = _shares(segments, num_frames, fps)
    return [Cue(part.caption or part.text, share, part.action) for part, share in zip(segments, frames, strict=True)]


def plan_to_caption(plan: PromptPlan) -> str:
    """One English text for a model that reads one: the prompt itself when it is a caption, else all captions joined."""
    captions = [part.caption or part.text for part in plan.segments]
    if len(captions) < 1 or not all(captions):
        return plan.prompt
    if plan.language == "en" and len(captions) > 1 and is_caption(plan.prompt):
        return plan.prompt
    first, *rest = captions
    return ", then ".join([first.rstrip(" ,."), *(text.removeprefix("a person ").rstrip(" ,.") for text in rest)])


def cues_to_windows(cues: Sequence[Cue], window_frames: int) -> list[tuple[int, int]]:
    """(index of the cue, frames to keep) of each window. Windows end with their cue, so every text starts on time."""
    return [
        (index, min(window_frames, cue.num_frames - start))
        for index, cue in enumerate(cues)
        for start in range(0, cue.num_frames, window_frames)
    ]


def _shares(segments: Sequence[Segment], num_frames: int, fps: float) -> list[int]:
    """Frames of each segment; they add up to ``num_frames``."""
    asked = [segment.seconds for segment in segments]
    left = num_frames / fps - sum(seconds or 0.0 for seconds in asked)
    fill = max(left / max(sum(not seconds for seconds in asked), 1), SHORTEST_ACTION_S)
    lengths = [seconds or fill for seconds in asked]
    ends = [round(num_frames * sum(lengths[: i + 1]) / sum(lengths)) for i in range(len(lengths))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _mini_cue(plan: PromptPlan, part: Segment, num_frames: int, known: Collection[str] | None) -> Cue:
    fine = fine_action(part.action, part.detail, part.text, known)
    if part.action is None:
        is_read = plan.language != "other" and bool(plan.segments) and fine.name is None
        return Cue(part.text, num_frames, fine.name, asked=part.text if is_read else None)
    if part.action not in ACTIONS:
        return Cue(part.text, num_frames, part.action)
    if not fine.exact:
        return Cue(fine.words, num_frames, fine.name, asked=part.action)
    return Cue(fine.words or part.text, num_frames, fine.name, caption(part.action, part.detail))
