"""The wire of jobs: what became of requests, and how far those are that are not answered yet."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from motion_service.schemas import ArtifactStatus

JobState = Literal["running", "done", "failed"]


class JobProgress(BaseModel):
    """How far a job is."""

    position: int = Field(description="How many that came before it still wait for the model.")
    done: int = Field(description="Denoising steps taken; 0 while it waits.")
    steps: int = Field(description="Denoising steps in all, as far as is known; 0 before the prompt is read.")


class JobOut(BaseModel):
    """A job as it stands now."""

    job_id: str
    state: JobState
    created: str = Field(description="ISO 8601, UTC.")
    request_id: str | None
    metadata: dict[str, Any] = Field(description="As in the answer, without the contacts.")
    artifacts: dict[str, ArtifactStatus]
    thumbnail: str | None = Field(None, description="URL of a small picture of its poses, once it is done.")
    progress: JobProgress | None = Field(None, description="Only while it runs.")


class JobList(BaseModel):
    """Recent jobs, newest first."""

    jobs: list[JobOut]
