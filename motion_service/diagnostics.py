"""How the service is, gathered from those who know: jobs, streams, the model thread, the device. Changes nothing."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch

from motion_service.engine.tally import WorkerStats
from motion_service.jobs import KEPT_JOBS, Jobs
from motion_service.streams import OpenStream, Streams

VERSION: Final = "1.0.0"
"""Of the HTTP interface."""
SHOWN_STREAMS: Final = 64
NOT_REFUSALS: Final = frozenset({"done", "placeholder", "failed"})


class Engine(Protocol):
    """The thread of the models, as far as it tells of itself."""

    @property
    def stats(self) -> WorkerStats: ...

    def facts(self) -> Mapping[str, Mapping[str, Any]]: ...


class Diagnostics:
    """The facts of one process. ``worker`` is None where no model has a thread, as with fakes."""

    def __init__(self, jobs: Jobs, streams: Streams, worker: Engine | None = None) -> None:
        self.jobs = jobs
        self._streams = streams
        self._worker = worker
        self._started = time.monotonic()

    def to_wire(self) -> dict[str, Any]:
        """Fields of :class:`~motion_service.diagnostics_schemas.DiagnosticsOut`."""
        pipeline = self.jobs.pipeline
        engines = self._worker.facts() if self._worker else {}
        stats = self._worker.stats if self._worker else _NOTHING
        ended = self.jobs.ended
        return {
            "version": VERSION,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "device": device_facts(),
            "providers": sorted(pipeline.sources),
            "placeholder": pipeline.placeholder is not None,
            "engines": {name: dict(facts) for name, facts in engines.items()},
            "queue": {
                "inside": pipeline.admission.inside,
                "limit": pipeline.admission.limit,
                "waiting": sum(record.waits for record in self.jobs.running()),
                **_queue(stats),
            },
            "batches": _batches(stats),
            "stages_ms": stage_times([record.metadata for record in self.jobs.recent(KEPT_JOBS)]),
            "memory": memory_facts(),
            "streams": self._stream_facts(),
            "jobs": {name: ended[name] for name in ("done", "placeholder", "failed")},
            "refusals": {name: count for name, count in sorted(ended.items()) if name not in NOT_REFUSALS},
            "events_readers": self.jobs.events.readers,
            "files": pipeline.store.url_prefix,
        }

    def _stream_facts(self) -> dict[str, Any]:
        places = self._streams.places
        return {
            "open": places.inside,
            "limit": places.limit,
            "refused": places.refused,
            "sessions": [_session(stream) for stream in self._streams.sessions[:SHOWN_STREAMS]],
        }


_NOTHING: Final = WorkerStats(
    waiting=0, running=0, done=0, failed=0, cancelled=0, busy_s=0.0, batches=0, batch_steps=0, clip_steps=0, widths={}
)


def _queue(stats: WorkerStats) -> dict[str, float]:
    return {
        "runs_waiting": stats.waiting,
        "runs_active": stats.running,
        "runs_done": stats.done,
        "runs_failed": stats.failed,
        "runs_cancelled": stats.cancelled,
        "busy_s": round(stats.busy_s, 3),
    }


def _batches(stats: WorkerStats) -> dict[str, Any]:
    mean = stats.clip_steps / stats.batch_steps if stats.batch_steps else None
    widths = {str(width): count for width, count in sorted(stats.widths.items())}
    return {"count": stats.batches, "mean_width": mean if mean is None else round(mean, 3), "widths": widths}


def _session(stream: OpenStream) -> dict[str, Any]:
    session = stream.session
    counts = session.counts
    return {
        "session_id": session.options.session_id,
        "generator": session.source.name,
        "fps": session.options.fps,
        "lead_sec": session.options.lead_sec,
        "revision": session.revision,
        "played": session.played,
        "chunks": counts.chunks,
        "late_chunks": counts.late_chunks,
        "gaps": counts.gaps,
        "changes": counts.changes,
        "late_changes": counts.late_changes,
    }


def stage_times(answers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """{stage: p50, p95 in ms and how many} of the metadata of answers; those without timings are left out."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    for metadata in answers:
        for stage, ms in metadata.get("timings_ms", {}).items():
            took[stage].append(ms)
    return {
        stage: {
            "p50": round(float(np.percentile(all_ms, 50)), 3),
            "p95": round(float(np.percentile(all_ms, 95)), 3),
            "count": len(all_ms),
        }
        for stage, all_ms in sorted(took.items())
    }


def device_facts() -> dict[str, Any]:
    """What the models run on."""
    on_gpu = torch.cuda.is_initialized()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "kind": "cuda" if on_gpu else "cpu",
        "name": torch.cuda.get_device_name() if on_gpu else cpu_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """As the kernel tells it (Linux), else just that it is one."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"


def memory_facts() -> dict[str, float | None]:
    """MB that this process and its models take; None what cannot be known here."""
    resident = Path("/proc/self/statm")
    pages = int(resident.read_text().split()[1]) if resident.is_file() else None
    facts: dict[str, float | None] = {
        "process_mb": None if pages is None else round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "gpu_used_mb": None,
        "gpu_free_mb": None,
        "gpu_total_mb": None,
    }
    if torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        used = torch.cuda.memory_reserved()
        named = {"gpu_used_mb": used, "gpu_free_mb": free, "gpu_total_mb": total}
        facts |= {name: round(nbytes / 2**20, 1) for name, nbytes in named.items()}
    return facts
