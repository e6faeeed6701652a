"""Old artifacts make room: those past their age, then the oldest until the rest fits; never one being sent.

A job is removed whole, its JSON and its directory. Whatever in the output directory does not look like a job is left
alone. Several services may sweep one directory. Only this process knows what it sends; where the same directory is also
served by another program, the age has to be longer than anybody needs a file. In a bucket its lifecycle rules do this.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from motion_service.store import ArtifactStore
from motion_service.telemetry import log_event

INTERVAL_S: Final = 60.0
YOUNGEST_S: Final = 60.0
"""Whatever the limits say, a job stays so long after its last file was written: somebody is about to fetch it."""

_JOB: Final = re.compile(r"([0-9a-f]{32})(?:\.json)?")
_REMOVED: Final = ".removed-"
"""Prefix of what is being deleted; what a crash leaves of it is deleted at the next sweep."""


@dataclass(slots=True)
class _Job:
    newest: float = 0.0
    """Time of its last change, seconds since the epoch."""
    size: int = 0
    """Bytes."""
    paths: list[Path] = field(default_factory=list)


class Retention:
    """Sweeps one output directory."""

    def __init__(
        self,
        store: ArtifactStore,
        ttl_s: float = 0.0,
        max_bytes: int = 0,
        on_removed: Callable[[list[str]], None] = lambda job_ids: None,
    ) -> None:
        """``ttl_s``: jobs older than this go; ``max_bytes``: the oldest go until the others fit; 0 = no limit.
        ``on_removed`` is told the job ids, on the event loop. A bucket has no limits here."""
        self._store, self._directory = store, store.output_dir or Path()
        self._ttl_s, self._max_bytes = ttl_s, max_bytes
        self._on_removed = on_removed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sweep from now on, in the background. Nothing where there is no limit."""
        if self._ttl_s or self._max_bytes:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Sweep no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                removed = await asyncio.to_thread(self.sweep)
            except OSError as error:  # a disk that is away may come back
                log_event("old artifacts could not be removed", level=logging.WARNING, error=error)
            else:
                if removed:
                    self._on_removed(removed)
            await asyncio.sleep(INTERVAL_S)

    def sweep(self, now: float | None = None) -> list[str]:
        """Remove what has to go, oldest first; the ids of the jobs that went. Raises OSError when the directory cannot
        be read."""
        now = time.time() if now is None else now
        jobs = self._scan()
        total = sum(job.size for job in jobs.values())
        removed: list[str] = []
        for job_id, job in sorted(jobs.items(), key=lambda item: item[1].newest):
            age = now - job.newest
            is_old = bool(self._ttl_s) and age > self._ttl_s
            is_too_much = bool(self._max_bytes) and total > self._max_bytes
            if age < YOUNGEST_S or not (is_old or is_too_much):
                break  # all others are younger
            if self._remove(job_id, job):
                removed.append(job_id)
                total -= job.size
        if removed:
            log_event("old artifacts removed", jobs=len(removed), bytes_left=total)
        return removed

    def _scan(self) -> dict[str, _Job]:
        """Every job of the directory. Links are not followed, and not ours."""
        jobs: dict[str, _Job] = {}
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.startswith(_REMOVED):
                    _delete(Path(entry.path))
                found = _JOB.fullmatch(entry.name)
                if not found or entry.is_symlink():
                    continue
                job = jobs.setdefault(found[1], _Job())
                job.paths.append(Path(entry.path))
                for path in _files(Path(entry.path)):
                    with suppress(FileNotFoundError):  # a temporary file that has its final name by now
                        facts = path.lstat()
                        job.newest, job.size = max(job.newest, facts.st_mtime), job.size + facts.st_size
        return jobs

    def _remove(self, job_id: str, job: _Job) -> bool:
        """Take the job's names away in one go, unless it is being sent; then delete what was behind them."""
        doomed = []
        with self._store.leases.unless_held(job_id) as is_free:
            if not is_free:
                return False
            for path in job.paths:
                target = path.with_name(_REMOVED + path.name)
                with suppress(FileNotFoundError):
                    os.replace(path, target)
                    doomed.append(target)
        for target in doomed:
            _delete(target)
        return True


def _files(path: Path) -> list[Path]:
    """What is in a directory; of an empty one, which somebody is about to fill, and of a file, itself."""
    with suppress(FileNotFoundError):  # another service sweeps too
        return (path.is_dir() and [*path.iterdir()]) or [path]
    return []


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
