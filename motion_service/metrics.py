"""What is counted and timed, in Prometheus' terms. Names are a contract with dashboards; no label tells of a client.

Anything may count here, on any thread of the service's own process. What is only looked at when somebody asks (depths
of queues) is a function that is called then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY: Final = CollectorRegistry(auto_describe=True)
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for every counter, which nobody reads

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_WIDTHS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BYTES: Final = (1e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 1e7, 3e7)
_SHARES: Final = (0.25, 0.5, 0.75, 0.9, 1.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"motion_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"motion_{name}", text, labels, registry=REGISTRY, buckets=buckets)


REQUESTS: Final = _counter("requests", "Requests answered, and what made their motion", "route", "code", "source")
DURATION: Final = _histogram("request_duration_seconds", "From the request to the end of its answer", _SECONDS, "route")
QUEUE_WAIT: Final = _histogram("queue_wait_seconds", "From a run's arrival to its first step", _SECONDS)
BATCH_SECONDS: Final = _histogram("gpu_batch_seconds", "What the device took for a batch", _BATCH_SECONDS)
STEP_SECONDS: Final = _histogram("step_seconds", "What the device took for a denoising step of a batch", _BATCH_SECONDS)
BATCH_SIZE: Final = _histogram("batch_size", "Clips in a batch", _WIDTHS)
FILL: Final = _histogram("batch_fill_ratio", "Share of a batch's rows that were frames of clips", _SHARES)
REJECTED: Final = _counter("rejected", "Requests refused before any work", "reason")
CANCELLED: Final = _counter("cancelled", "Runs that nobody waited for any more, by how far they were", "stage")
OOM: Final = _counter("oom", "Batches that the device had no memory for")
RESTARTS: Final = _counter("worker_restarts", "Model threads that were replaced", "reason")
NOT_FINITE: Final = _counter("nan_outputs", "Clips whose numbers were not finite")
PLACEHOLDERS: Final = _counter("placeholder", "Answers by the placeholder", "reason")
FRAME_LAG: Final = _histogram("stream_frame_lag_seconds", "How late frames of streams were sent", _SECONDS)
ARTIFACT_BYTES: Final = _histogram("artifact_bytes", "Bytes of answers", _BYTES)
WRITE_FAILURES: Final = _counter("artifact_write_failures", "Files that could not be written", "kind")
MODEL: Final = Gauge("motion_model_info", "Loaded models", ("provider", "torch", "device"), registry=REGISTRY)

_QUEUE_DEPTH: Final = Gauge("motion_queue_depth", "Runs and jobs that wait for their first step", registry=REGISTRY)
_IN_FLIGHT: Final = Gauge("motion_inflight", "Requests inside", registry=REGISTRY)
_STREAMS: Final = Gauge("motion_streams_active", "Open streams", registry=REGISTRY)
_READY: Final = Gauge("motion_ready", "1 = /readyz says 200", registry=REGISTRY)


def look_at(gauges: Mapping[str, Callable[[], float]]) -> None:
    """Functions that tell ``queue_depth``, ``inflight``, ``streams_active`` and ``ready`` when somebody asks."""
    known = {"queue_depth": _QUEUE_DEPTH, "inflight": _IN_FLIGHT, "streams_active": _STREAMS, "ready": _READY}
    for name, read in gauges.items():
        known[name].set_function(read)


def exposition() -> bytes:
    """Everything, as Prometheus reads it."""
    return generate_latest(REGISTRY)
