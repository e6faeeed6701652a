"""Every exception that this service raises on purpose, each with its HTTP status and problem type (RFC 9457).

::

    MotionError
     + BadRequest 422            UnsupportedFormat, PromptInvalid, KeyReused
     + PayloadTooLarge 413
     + TooSlow 408
     + NotFound 404
     + Unauthorized 401
     + Forbidden 403
     + Busy 503                  QueueFull 429, RateLimited 429, Starting, Draining, StorageAway
     + ModelUnavailable 503      CheckpointMissing, CheckpointMismatch
     + GenerationFailed 500      NonFiniteOutput, DeadlineExceeded, Cancelled, EngineLost
     + StorageFailed 507
     + DownloadFailed            an asset could not be fetched or placed; at the command line only
     + ClusterFailed             Ray did not do as it was told; at the command line only
     + ClientError               no usable answer came back to a client: Unreachable, TimedOut (no HTTP status)

Catch broadly (``MotionError``) to answer, narrowly to recover. ``detail`` is shown to users: it names the field and
the remedy and never holds a path, an address or stack text; such things belong in the exception's ``__cause__``.
"""

from __future__ import annotations

PROBLEM_BASE = "https://motion-service.invalid/problems/"


class MotionError(Exception):
    """Root of the tree. ``problem`` is the last path segment of the problem type URI."""

    status: int = 500
    problem: str = "internal"
    title: str = "The service failed"
    request_id: str | None = None
    """Of the request that failed, where a client knows it."""

    def __init__(self, detail: str = "", *, field: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.field = field

    @property
    def type_uri(self) -> str:
        """The problem type."""
        return PROBLEM_BASE + self.problem


class BadRequest(MotionError):
    status, problem, title = 422, "invalid-request", "The request is not valid"


class PromptInvalid(BadRequest):
    problem, title = "invalid-prompt", "The prompt is not valid"


class UnsupportedFormat(BadRequest):
    problem, title = "unsupported-format", "The format is not supported"


class KeyReused(BadRequest):
    problem, title = "idempotency-key-reused", "The Idempotency-Key belongs to another request"


class PayloadTooLarge(MotionError):
    status, problem, title = 413, "payload-too-large", "The request body is too large"


class TooSlow(MotionError):
    status, problem, title = 408, "too-slow", "The request did not arrive in time"


class NotFound(MotionError):
    status, problem, title = 404, "not-found", "There is nothing here"


class Unauthorized(MotionError):
    status, problem, title = 401, "unauthorized", "A valid API key is needed"


class Forbidden(MotionError):
    status, problem, title = 403, "forbidden", "This page may not use the service"


class Busy(MotionError):
    status, problem, title = 503, "busy", "The service is busy"

    def __init__(self, detail: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class QueueFull(Busy):
    status, problem, title = 429, "queue-full", "Too many requests are waiting"


class RateLimited(Busy):
    status, problem, title = 429, "rate-limited", "This key has sent too many requests"


class Starting(Busy):
    problem, title = "starting", "The service is getting ready"


class Draining(Busy):
    problem, title = "draining", "The service is shutting down"


class StorageAway(Busy):
    problem, title = "storage-away", "The files cannot be reached now"


class ModelUnavailable(MotionError):
    status, problem, title = 503, "model-unavailable", "The model is not loaded"


class CheckpointMissing(ModelUnavailable):
    problem, title = "checkpoint-missing", "The checkpoint was not found"


class CheckpointMismatch(ModelUnavailable):
    problem, title = "checkpoint-mismatch", "The checkpoint does not fit the network"


class GenerationFailed(MotionError):
    problem, title = "generation-failed", "The motion could not be generated"


class NonFiniteOutput(GenerationFailed):
    problem, title = "non-finite-output", "The model returned numbers that are not finite"


class DeadlineExceeded(GenerationFailed):
    status, problem, title = 504, "deadline", "The deadline passed before the motion was ready"


class Cancelled(GenerationFailed):
    status, problem, title = 499, "cancelled", "The request was cancelled"


class EngineLost(GenerationFailed):
    status, problem, title = 503, "engine-lost", "The model has stopped and is being started again"


class StorageFailed(MotionError):
    status, problem, title = 507, "storage", "The artifact could not be written"


class DownloadFailed(MotionError):
    """Raised by :mod:`motion_service.download`. It may name paths: whoever reads it downloaded them."""

    problem, title = "download", "The asset could not be downloaded"


class ClusterFailed(MotionError):
    """Raised by :mod:`motion_service.cluster_control`."""

    problem, title = "cluster", "The cluster does not do as it was told"


class ClientError(MotionError):
    """Raised by :mod:`motion_service.client` when no usable answer came back."""

    problem, title = "client", "The motion service did not answer"


class Unreachable(ClientError):
    problem, title = "unreachable", "The motion service could not be reached"


class TimedOut(ClientError):
    problem, title = "timed-out", "The motion service did not answer in time"
