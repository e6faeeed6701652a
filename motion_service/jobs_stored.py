"""What the files of a job tell of it: enough for any replica to say how it stands and to give its answer again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import orjson

from motion_service.answer import MEDIA_TYPES, Answer
from motion_service.errors import NotFound
from motion_service.store import ARTIFACT_KINDS, ArtifactStore

LATE_S: Final = 600.0
"""A file that was to follow an answer and is not there so long after it will not come: its maker has ended."""
_BINARY: Final = "{job_id}/motion.msgpack"
"""The answer in format msgpack, kept only for a job that may be asked for again."""


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job that was answered."""

    written: float
    """When, seconds since the epoch."""
    body: bytes
    """Its answer as JSON."""
    metadata: dict[str, Any]
    """As in the answer, without contacts and artifacts."""
    artifacts: dict[str, dict[str, Any]]
    """As in the answer."""


def read_stored(store: ArtifactStore, job_id: str) -> StoredJob:
    """An answered job. Raises :class:`NotFound` when there is none or its file is damaged, :class:`StorageAway`."""
    body = store.read(job_id, "vrm-json")
    try:
        metadata = orjson.loads(body)["metadata"]
        artifacts = metadata.pop("artifacts")
        states = {kind: status["state"] for kind, status in artifacts.items()}
        if "vrm-json" not in states or not isinstance(metadata.get("generator"), str):
            raise KeyError("vrm-json")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise NotFound("the job's file is damaged") from error
    metadata.pop("contacts", None)
    return StoredJob(store.written(job_id, "vrm-json"), body, metadata, artifacts)


def artifacts_now(store: ArtifactStore, job_id: str, stored: StoredJob) -> dict[str, dict[str, Any]]:
    """How its artifacts stand now, with URLs that are good from now on."""
    return {kind: _status_now(store, job_id, kind, stored) for kind in stored.artifacts if kind in ARTIFACT_KINDS}


def _status_now(store: ArtifactStore, job_id: str, kind: str, stored: StoredJob) -> dict[str, Any]:
    status = stored.artifacts[kind] | {"url": store.url(job_id, kind)}
    if status["state"] != "pending":
        return status
    try:
        store.written(job_id, kind)
    except NotFound:
        is_late = time.time() - stored.written > LATE_S
        return status | ({"state": "failed", "error": f"the {kind} artifact did not follow"} if is_late else {})
    return status | {"state": "ready"}


def keep_body(store: ArtifactStore, answer: Answer) -> None:
    """Keep the body of an answer in format msgpack, which no artifact holds. Raises OSError."""
    store.place.write(_BINARY.format(job_id=answer.job_id), lambda path: path.write_bytes(answer.body))


def answer_again(store: ArtifactStore, job_id: str, kind: str) -> Answer:
    """The answer of a job in the format that it was made in, byte for byte.

    Raises :class:`NotFound` while it is not all there, :class:`StorageAway`.
    """
    stored = read_stored(store, job_id)
    body = stored.body if kind == "vrm-json" else _read_body(store, job_id, kind)
    return Answer(job_id, body, MEDIA_TYPES[kind], stored.metadata, stored.artifacts, pending={})


def _read_body(store: ArtifactStore, job_id: str, kind: str) -> bytes:
    if kind in ARTIFACT_KINDS:
        return store.read(job_id, kind)
    try:
        return store.place.read(_BINARY.format(job_id=job_id))
    except OSError as error:
        raise NotFound("the answer is not there") from error
