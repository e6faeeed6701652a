"""The wire of diagnostics: how the service is, what happens in it, and how long it takes for a clip."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from motion_service.job_schemas import JobProgress

# --- GET /v1/diagnostics ----------------------------------------------------------------------------------------------


class DeviceOut(BaseModel):
    """What the models run on."""

    kind: Literal["cpu", "cuda"]
    name: str
    cores: int = Field(description="Cores that this process may use.")
    threads: int = Field(description="Threads of one operation on the CPU.")
    torch: str = Field(description="Version.")


class QueueOut(BaseModel):
    """Requests at the door, and what the thread that owns the models has to do."""

    inside: int = Field(description="Requests being worked on or waiting.")
    limit: int = Field(description="One more is refused.")
    waiting: int = Field(description="Jobs that wait for their first step.")
    runs_waiting: int = Field(description="Clips and windows handed to the engine and not yet begun.")
    runs_active: int
    runs_done: int
    runs_failed: int
    runs_cancelled: int
    busy_s: float = Field(description="Seconds that the model thread has worked.")


class BatchesOut(BaseModel):
    """What shared denoising steps so far."""

    count: int
    mean_width: float | None = Field(description="Clips that shared a step on average.")
    widths: dict[str, int] = Field(description="How many batches had so many clips.")


class StageOut(BaseModel):
    """How long one stage took in the latest answers, ms."""

    p50: float
    p95: float
    count: int


class MemoryOut(BaseModel):
    """Memory, MB."""

    process_mb: float | None = Field(description="Of this process; null where the system does not tell.")
    gpu_used_mb: float | None = Field(description="Held by this process's models on the GPU; null without a GPU.")
    gpu_free_mb: float | None = Field(description="Of the whole device, other programs considered.")
    gpu_total_mb: float | None


class StreamOut(BaseModel):
    """One live stream."""

    session_id: str
    generator: str
    fps: float
    lead_sec: float
    revision: int
    played: int = Field(description="The frame on the client's screen, as far as is known.")
    chunks: int
    late_chunks: int
    gaps: int
    changes: int
    late_changes: int


class StreamsOut(BaseModel):
    """Live streams."""

    open: int
    limit: int
    refused: int
    sessions: list[StreamOut] = Field(description="The first 64.")


class JobCounts(BaseModel):
    """What became of requests since the start."""

    done: int
    placeholder: int = Field(description="Of those done, how many a placeholder answered.")
    failed: int


class DiagnosticsOut(BaseModel):
    """How the service is."""

    version: str
    uptime_s: float
    device: DeviceOut
    providers: list[str] = Field(description="Engines that are loaded.")
    placeholder: bool = Field(description="Whether a placeholder answers when an engine fails.")
    engines: dict[str, dict[str, Any]] = Field(
        description="How each network runs: engine, dtype, graphs, graph_hits, graph_misses, widest, memory_mb, reason."
    )
    queue: QueueOut
    batches: BatchesOut
    stages_ms: dict[str, StageOut] = Field(description="Of the latest 256 answers, by stage; total is the whole.")
    memory: MemoryOut
    streams: StreamsOut
    jobs: JobCounts
    refusals: dict[str, int] = Field(description="Requests refused, by problem.")
    events_readers: int
    files: str = Field(description="Where files of jobs are fetched: this, then /<job_id>.json and so on.")


# --- WS /v1/diagnostics/events ----------------------------------------------------------------------------------------


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    v: Literal[1]


class _JobEvent(_Event):
    job_id: str
    request_id: str | None


class JobQueued(_JobEvent):
    """A job waits for the model; again when its position has changed."""

    type: Literal["job_queued"]
    position: int = Field(description="How many that came before it still wait.")


class JobStep(_JobEvent, JobProgress):
    """A job is being made; at most ten times a second."""

    type: Literal["job_step"]


class JobDone(_JobEvent):
    """A job is answered."""

    type: Literal["job_done"]
    url: str = Field(description="Of the VRM JSON, as metadata.url.")
    fps: float
    seconds: float
    generator: str
    fallback_used: bool
    fallback_reason: str | None
    total_ms: float | None


class JobFailed(_JobEvent):
    """A job ended without a motion, or the request was refused."""

    type: Literal["job_failed"]
    problem: str
    title: str


class EventsMissed(_Event):
    """This client did not read fast enough: so many events before the next one were dropped."""

    type: Literal["missed"]
    count: int


EVENTS = (JobQueued, JobStep, JobDone, JobFailed, EventsMissed)
"""Every event."""

# --- /v1/diagnostics/benchmark ----------------------------------------------------------------------------------------


class BenchmarkRow(BaseModel):
    """One engine with one number of steps."""

    provider: str
    steps: int
    guidance: float
    runs: int = Field(description="Clips timed, after one that is not.")
    median_ms: float = Field(description="From the request to the answer.")
    best_ms: float
    sample_ms: float = Field(description="Of the median, in the model.")
    times_real_time: float = Field(description="Seconds of motion made in a second.")
    quality: dict[str, float | None] = Field(description="As metadata.quality of the last clip.")
    failed: str | None = Field(description="Why the engine made no clip; then all times are 0.")


class BenchmarkRecord(BaseModel):
    """One run over all engines."""

    at: str = Field(description="ISO 8601, UTC.")
    prompt: str
    seconds: float
    device: DeviceOut
    rows: list[BenchmarkRow]


class BenchmarkOut(BaseModel):
    """The benchmark as it stands."""

    state: Literal["never-run", "running", "done", "failed"]
    done: int = Field(description="Engines and steps measured, of the run that is under way.")
    of: int
    record: BenchmarkRecord | None = Field(description="The latest complete run, also of an earlier process.")
