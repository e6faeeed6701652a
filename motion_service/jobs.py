"""What became of recent requests: one record a job, in memory, and the artifacts that are finished after the answer.

The newest :data:`KEPT_JOBS` are remembered. Of others, and of those that another replica made, the files tell.
"""

from __future__ import annotations

import uuid
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from motion_service import metrics
from motion_service.answer import Answer
from motion_service.edit_schemas import EditRequest
from motion_service.errors import BadRequest, Busy, Cancelled, MotionError, NotFound, StorageAway
from motion_service.events import Events
from motion_service.jobs_claims import find_claim
from motion_service.jobs_stored import artifacts_now, read_stored
from motion_service.pipeline import Pipeline, Route
from motion_service.progress import Progress
from motion_service.progress import current as progress_context
from motion_service.schemas import GenerateRequest
from motion_service.store import ArtifactStore
from motion_service.telemetry import job_id as job_id_context
from motion_service.telemetry import log_event

KEPT_JOBS: Final = 256
MAX_PENDING: Final = 64
"""Artifacts that may wait for the writing thread; one more is given up and says so."""


@dataclass(slots=True)
class JobRecord:
    """One job. The writing thread replaces entries of ``artifacts``; everything else changes on the event loop only."""

    job_id: str
    created: str
    request_id: str | None
    state: str = "running"
    metadata: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    progress: Progress | None = None
    """While it runs."""

    @property
    def waits(self) -> bool:
        """Whether the model has not begun with it."""
        return self.progress is not None and not self.progress.begun


class Jobs:
    """Runs requests through the pipeline and remembers them. Tells :attr:`events` what becomes of each."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.events = Events()
        self.ended: Counter[str] = Counter()
        """How many ended how: done, placeholder (which is done too), failed, and refusals by their problem."""
        self._records: OrderedDict[str, JobRecord] = OrderedDict()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="motion-artifacts")
        self._pending = 0
        self.storage: Literal["ok", "degraded"] = "ok"
        """``degraded``: the newest answer could not be written to its file."""

    async def generate(
        self, request: GenerateRequest, route: Route, request_id: str | None = None, job_id: str | None = None
    ) -> Answer:
        """One request from record to answer; slow artifacts follow in a thread. Without a ``job_id`` one is drawn."""
        return await self._run(lambda job_id: self.pipeline.generate(request, route, job_id), request_id, job_id)

    async def edit(self, request: EditRequest, request_id: str | None = None, job_id: str | None = None) -> Answer:
        """The same for an edit of a clip."""
        return await self._run(lambda job_id: self.pipeline.edit(request, job_id), request_id, job_id)

    async def _run(
        self, make: Callable[[str], Awaitable[Answer]], request_id: str | None, job_id: str | None
    ) -> Answer:
        """Give ``make`` a job id, remember what became of it, and start what is to be written afterwards."""
        record = self._open(request_id, job_id or uuid.uuid4().hex)
        job_id_context.set(record.job_id)
        progress_context.set(record.progress)
        try:
            answer = await make(record.job_id)
        except (BadRequest, Busy) as error:
            self._records.pop(record.job_id, None)  # nothing was started: not a job
            self._tell_failure(record, error)
            raise
        except BaseException as error:
            record.state = "failed"
            self._tell_failure(record, error)
            raise
        finally:
            record.progress = None
        record.metadata = {key: value for key, value in answer.metadata.items() if key != "artifacts"}
        record.artifacts = {kind: dict(status) for kind, status in answer.artifacts.items()}
        record.state = "done"
        self._note(answer)
        self._tell_done(record)
        self._save_later(record, answer.pending)
        log_event("motion answered", generator=record.metadata.get("generator"), timings=record.metadata["timings_ms"])
        return answer

    def find(self, job_id: str) -> JobRecord:
        """The record of one job: from memory, else from its files. May wait for the disk.

        Raises :class:`NotFound`, and :class:`StorageAway` when its files cannot be reached.
        """
        record = self._records.get(job_id)
        if record is not None and record.state != "failed":
            return record
        try:
            return _files_to_record(self.pipeline.store, job_id)  # what failed here may be done elsewhere by now
        except (NotFound, StorageAway):
            if record is not None:
                return record
            raise

    def recent(self, limit: int) -> list[JobRecord]:
        """The newest records, newest first."""
        return [*reversed(self._records.values())][:limit]

    def running(self) -> list[JobRecord]:
        """Those that are not answered yet, oldest first."""
        return [record for record in self._records.values() if record.progress is not None]

    def positions(self) -> dict[str, int]:
        """{job id: how many that came before it still wait for the model} of those that run; 0 for the next one, and
        for what has begun.
        """
        positions, waiting = {}, 0
        for record in self.running():
            positions[record.job_id] = waiting if record.waits else 0
            waiting += record.waits
        return positions

    def forget(self, job_ids: Iterable[str]) -> None:
        """Drop the records of jobs whose files are gone."""
        for job_id in job_ids:
            self._records.pop(job_id, None)

    def close(self) -> None:
        """Finish the artifact being written and give up those that wait."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    def _note(self, answer: Answer) -> None:
        """Count what was made."""
        failed = [kind for kind, status in answer.artifacts.items() if status["state"] == "failed"]
        self.storage = "degraded" if "vrm-json" in failed else "ok"
        for kind in failed:
            metrics.WRITE_FAILURES.labels(kind).inc()
        metrics.ARTIFACT_BYTES.observe(len(answer.body))
        if (reason := answer.metadata.get("fallback_reason")) is not None:
            metrics.PLACEHOLDERS.labels(reason).inc()

    def _open(self, request_id: str | None, job_id: str) -> JobRecord:
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = JobRecord(job_id, created, request_id, progress=Progress())
        self._records[record.job_id] = record
        while len(self._records) > KEPT_JOBS:
            self._records.popitem(last=False)
        if self.events.readers:
            self.events.tell("job_queued", **_name(record), position=self.positions()[record.job_id])
        return record

    def _tell_done(self, record: JobRecord) -> None:
        facts = record.metadata
        is_placeholder = "fallback_reason" in facts
        self.ended.update(["done", *(["placeholder"] if is_placeholder else [])])
        self.events.tell(
            "job_done",
            **_name(record),
            url=facts["url"],
            fps=facts["fps"],
            seconds=facts["motion_length"],
            generator=facts["generator"],
            fallback_used=is_placeholder,
            fallback_reason=facts.get("fallback_reason"),
            total_ms=facts["timings_ms"].get("total"),
        )

    def _tell_failure(self, record: JobRecord, error: BaseException) -> None:
        if isinstance(error, MotionError):
            known = error
        else:
            known = MotionError() if isinstance(error, Exception) else Cancelled()  # the task itself was cancelled
        self.ended[known.problem if isinstance(error, BadRequest | Busy) else "failed"] += 1
        self.events.tell("job_failed", **_name(record), problem=known.problem, title=known.title)

    def _save_later(self, record: JobRecord, pending: Mapping[str, Any]) -> None:
        for kind, late in pending.items():
            if self._pending >= MAX_PENDING:
                record.artifacts[kind] |= {"state": "failed", "error": "too many artifacts were waiting to be written"}
                continue
            self._pending += 1
            self._writer.submit(copy_context().run, self._save, record, kind, late)

    def _save(self, record: JobRecord, kind: str, late: Any) -> None:
        status = record.artifacts[kind]
        try:
            self.pipeline.finisher.save(late)
            record.artifacts[kind] = status | {"state": "ready"}
        except Exception as error:  # the edge of the writing thread
            log_event("artifact not written", error=error, kind=kind)
            detail = error.detail if isinstance(error, MotionError) else f"the {kind} artifact could not be made"
            record.artifacts[kind] = status | {"state": "failed", "error": detail}
            metrics.WRITE_FAILURES.labels(kind).inc()
        finally:
            self._pending -= 1


def _files_to_record(store: ArtifactStore, job_id: str) -> JobRecord:
    """What the files of a job say of it. Raises :class:`NotFound`, :class:`StorageAway`."""
    claim, is_alive = find_claim(store, job_id)
    try:
        stored = read_stored(store, job_id)
    except NotFound:
        if claim is None:
            raise NotFound("there is no such job, or its files are gone") from None
        return JobRecord(job_id, claim.created, claim.request_id, "running" if is_alive else "failed")
    created = datetime.fromtimestamp(stored.written, UTC).isoformat(timespec="milliseconds")
    artifacts = artifacts_now(store, job_id, stored)
    if claim is None:
        return JobRecord(job_id, created, None, "done", stored.metadata, artifacts)
    return JobRecord(job_id, claim.created, claim.request_id, "done", stored.metadata, artifacts)


def _name(record: JobRecord) -> dict[str, Any]:
    """Which job an event is about."""
    return {"job_id": record.job_id, "request_id": record.request_id}
