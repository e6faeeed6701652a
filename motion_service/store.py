"""Where artifacts lie, how they get there whole or not at all, and the URL that clients fetch them by.

``OUTPUT_DIR/<job_id>.json`` and beside it ``OUTPUT_DIR/<job_id>/``; URL = mount path + path relative to the data root.
Job ids are made by the server, 32 hexadecimal digits; no name in here ever comes from a user.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qs

from motion_service.clips import Artifact
from motion_service.errors import NotFound, StorageFailed
from motion_service.faults import FaultPlan

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_PARTIAL: Final = ".partial-"
"""Prefix of files that are still being written. What is left of a crash is swept at the next start."""

MAX_FLUSHING: Final = 256
"""Files that may wait to be brought to the disk."""
FLUSH_S: Final = 0.1
"""How long they are gathered before."""
URL_SECONDS: Final = 24 * 3600.0
"""How long a signed URL is good for."""


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """File name and content type of one format."""

    file_name: str
    """Relative to OUTPUT_DIR, with ``{job_id}`` to fill in."""
    media_type: str


ARTIFACT_KINDS: Final[Mapping[str, ArtifactKind]] = {
    "vrm-json": ArtifactKind("{job_id}.json", "application/json"),
    "npy": ArtifactKind("{job_id}/results.npy", "application/octet-stream"),
    "mp4": ArtifactKind("{job_id}/sample00_rep00.mp4", "video/mp4"),
    "vrma": ArtifactKind("{job_id}/motion.vrma", "model/gltf-binary"),
    "bvh": ArtifactKind("{job_id}/motion.bvh", "text/plain; charset=utf-8"),
    "smpl": ArtifactKind("{job_id}/sample00_rep00_smpl_params.npy", "application/octet-stream"),
    "hik": ArtifactKind("{job_id}/sample00_rep00_hik.json", "application/json"),
}
"""Every format that a job can leave behind."""


class ArtifactStore:
    """The artifacts of one output directory. Safe to use from several threads: each write has a temporary file."""

    def __init__(
        self,
        output_dir: Path,
        data_root: Path,
        mount_path: str,
        *,
        secret: bytes = b"",
        durable: bool = False,
        faults: FaultPlan | None = None,
    ) -> None:
        """With a ``secret`` URLs are signed: whoever has one may fetch that file, for :data:`URL_SECONDS`.

        ``durable``: a file is on the disk before it is seen; else a moment later, and nobody waits for that.
        """
        relative = output_dir.absolute().resolve().relative_to(data_root.absolute().resolve())
        self.output_dir = output_dir
        self._secret, self._durable, self._faults = secret, durable, faults
        self._flushing: _Flushing | None = None
        self.leases = Leases()
        self.url_prefix = "/".join(part for part in (mount_path, *relative.parts) if part)
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
            for leftover in [*output_dir.glob(f"{_PARTIAL}*"), *output_dir.glob(f"*/{_PARTIAL}*")]:
                leftover.unlink(missing_ok=True)
            for file in output_dir.glob("*.json"):
                if not file.stat().st_size:  # what a power cut leaves of a file whose name came to the disk before it
                    file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed("the output directory cannot be written: check OUTPUT_DIR") from error

    def __getstate__(self) -> dict[str, object]:
        """Another process that writes into the same directory has a thread of its own."""
        return {**self.__dict__, "_flushing": None, "_faults": None}

    def path(self, job_id: str, kind: str) -> Path:
        """Where the artifact of this kind lies or will lie."""
        return self.output_dir / ARTIFACT_KINDS[kind].file_name.format(job_id=job_id)

    def url(self, job_id: str, kind: str) -> str:
        """Where clients fetch it."""
        path = f"{self.url_prefix}/{ARTIFACT_KINDS[kind].file_name.format(job_id=job_id)}"
        if not self._secret:
            return path
        expires = str(int(time.time() + URL_SECONDS))
        return f"{path}?expires={expires}&signature={self._sign(path, expires)}"

    def is_signed(self, path: str, query: str) -> bool:
        """Whether a URL is one that :meth:`url` gave, not too long ago. Takes the same time for all that are not."""
        try:
            asked = parse_qs(query, max_num_fields=4)
        except ValueError:
            return False
        expires, signature = asked.get("expires", [""])[0], asked.get("signature", [""])[0]
        expected = self._sign(path, expires)
        genuine = hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode())
        return bool(self._secret) and genuine and time.time() < int(expires)

    def _sign(self, path: str, expires: str) -> str:
        told = f"{path}\n{expires}".encode("utf-8", "replace")
        return base64.urlsafe_b64encode(hmac.digest(self._secret, told, hashlib.sha256)[:18]).decode()

    def save(self, job_id: str, kind: str, write: Callable[[Path], object]) -> Artifact:
        """Let ``write`` fill a temporary file beside the final place, then move it there in one step.

        A reader sees the whole file or none, whenever the process ends; then only the temporary file remains. Unless
        the store is ``durable`` the disk has it a moment later: a power cut may leave the newest files empty. Raises
        :class:`StorageFailed` when the disk refuses.
        """
        name = ARTIFACT_KINDS[kind].file_name.format(job_id=job_id)
        final = self.output_dir / name
        partial = final.with_name(f"{_PARTIAL}{uuid.uuid4().hex}-{final.name}")
        written = False
        try:
            self._strike("write", final)
            os.makedirs(final.parent, exist_ok=True)
            write(partial)
            self._strike("written", partial)
            if self._durable:
                _flush(partial)
            os.replace(partial, final)
            written = True
            if self._durable:
                _flush(final.parent)
            else:
                self._flush_soon(final)
        except OSError as error:
            raise StorageFailed(f"the {kind} artifact could not be written") from error
        finally:
            if not written:
                with suppress(OSError):  # a disk that refused the file may refuse this too; the next start sweeps it
                    partial.unlink(missing_ok=True)
        return Artifact(job_id, kind, name, self.url(job_id, kind))

    def _strike(self, point: Literal["write", "written"], path: Path) -> None:
        if self._faults is not None:
            self._faults.strike(point, path)

    def _flush_soon(self, path: Path) -> None:
        """Have the file brought to the disk. Behind too many others it is left to the system, which does it in time."""
        if self._flushing is None:
            self._flushing = _Flushing()
        self._flushing.add(path)

    def find(self, job_id: str, kind: str) -> Path:
        """The finished file of a job. Raises :class:`NotFound` for anything else, symbolic links included."""
        if not _JOB_ID.fullmatch(job_id):
            raise NotFound("there is no such artifact")
        path = self.path(job_id, kind)
        linked = path.is_symlink() or (path.parent != self.output_dir and path.parent.is_symlink())
        if linked or not path.is_file():
            raise NotFound("there is no such artifact")
        return path


class Leases:
    """Which jobs' files are being sent right now, so that nobody deletes them under the reader's eyes."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Leases], tuple[()]]:
        """Another process sends other files."""
        return Leases, ()

    @contextmanager
    def hold(self, job_id: str) -> Iterator[None]:
        """Keep a job's files while they are sent."""
        with self._lock:
            self._held[job_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[job_id] -= 1
                if not self._held[job_id]:
                    del self._held[job_id]

    @contextmanager
    def unless_held(self, job_id: str) -> Iterator[bool]:
        """Whether nobody holds the job; as long as this lasts, nobody can begin to."""
        with self._lock:
            yield job_id not in self._held


class _Flushing:
    """The thread that waits for the disk. It wakes once for many files: waking it for each costs more than writing."""

    def __init__(self) -> None:
        self._paths: deque[Path] = deque()
        self._asked = threading.Event()
        threading.Thread(target=self._run, name="motion-flush", daemon=True).start()

    def add(self, path: Path) -> None:
        if len(self._paths) < MAX_FLUSHING:
            self._paths.append(path)
        if not self._asked.is_set():
            self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            time.sleep(FLUSH_S)
            self._asked.clear()
            paths = [self._paths.popleft() for _ in range(len(self._paths))]
            for path in (*paths, *{path.parent for path in paths}):
                with suppress(OSError):  # deleted already, or a disk that refuses: it was told at writing
                    _flush(path)


def _flush(path: Path) -> None:
    """Wait until the disk has a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
