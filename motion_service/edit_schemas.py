"""The wire of ``POST /v1/motion/edit``: the options of a generation, and which part of which clip is made anew."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, field_validator

from motion_service.schemas import MAX_PROMPT, GenerateRequest

MAX_EDIT_BODY: Final = 4 * 2**20
"""Longest body of a request in bytes: 120 s at 20 fps of 22 bones are 3.6 MB."""


class EditRequest(GenerateRequest):
    """A clip, or the job that made it, and what shall become of it.

    Of the options, ``duration_sec`` and ``target_joints`` are not taken. Some have another default here, so that what
    is kept comes back as it was sent: ``fps`` and ``target`` are the clip's own, ``avatar`` is that of the job, and
    ``root``, ``settle``, ``foot_lock`` and ``expressions`` leave the clip as it is.
    """

    prompt: str = Field(
        "", max_length=MAX_PROMPT, description="What the new part shows. Empty: whatever fits, guidance 0."
    )
    mode: Literal["in_between", "upper_body"] = Field(
        description="in_between: a gap in time is made anew; upper_body: spine, head and arms are."
    )
    clip: dict[str, Any] | None = Field(
        None,
        description="A clip as answers hold it: tracks, root_position or rootPosition, fps; target, and "
        "metadata.rest_hips_height, metadata.target and metadata.contacts if known. This or job_id.",
    )
    job_id: str | None = Field(
        None, pattern="^[0-9a-f]{32}$", description="The job whose clip is edited. This or clip."
    )
    prefix_end: float = Field(
        0.25, ge=0, le=1, allow_inf_nan=False, description="in_between: share of the clip where the gap begins."
    )
    suffix_start: float = Field(
        0.75, ge=0, le=1, allow_inf_nan=False, description="in_between: share of the clip where the gap ends."
    )

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: str) -> str:
        return super()._check_prompt(prompt) if prompt.strip() else ""

    @field_validator("duration_sec")
    @classmethod
    def _refuse_duration(cls, seconds: float | None) -> float | None:
        if seconds is not None:
            raise ValueError("an edit lasts as long as its clip; leave it out")
        return seconds

    @field_validator("loop", "timeline", "continue_from")
    @classmethod
    def _refuse_others(cls, value: object) -> object:
        if value:
            raise ValueError("is not for edits; leave it out")
        return value

    @field_validator("target_joints")
    @classmethod
    def _refuse_targets(cls, joints: object) -> None:
        if joints is not None:
            raise ValueError("no model can edit towards targets; leave it out")
