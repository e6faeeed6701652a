"""What artifacts are called, the URL that clients fetch them by, and who may.

``OUTPUT_DIR/<job_id>.json`` and beside it ``OUTPUT_DIR/<job_id>/``, in a directory or in a bucket; URL = mount path +
path relative to the data root, of a bucket mount path + ``animations``. Job ids are made by the server, 32 hexadecimal
digits; no name in here ever comes from a user.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from motion_service.clips import Artifact
from motion_service.errors import NotFound, StorageAway, StorageFailed
from motion_service.faults import FaultPlan
from motion_service.store_directory import Directory
from motion_service.store_place import Fetched, Place

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
URL_SECONDS: Final = 24 * 3600.0
"""How long a signed URL is good for."""
AWAY_S: Final = 5.0
"""When to come again for files that cannot be reached."""


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
    """The artifacts of one output directory or bucket. Safe to use from several threads and by several services."""

    def __init__(
        self,
        output_dir: Path | str,
        data_root: Path,
        mount_path: str,
        *,
        secret: bytes = b"",
        durable: bool = False,
        faults: FaultPlan | None = None,
    ) -> None:
        """``output_dir``: a directory under ``data_root``, or the URL of a bucket, ``s3://bucket/prefix``.

        With a ``secret`` URLs are signed: whoever has one may fetch that file, for :data:`URL_SECONDS`.
        ``durable``: a file is on the disk before it is seen; else a moment later, and nobody waits for that.
        Raises :class:`StorageFailed` for a directory that cannot be made, and for a bucket without the extra ``s3``.
        """
        self._secret, self._faults = secret, faults
        self.leases = Leases()
        self.output_dir = None if isinstance(output_dir, str) else output_dir
        """None where it is a bucket."""
        if isinstance(output_dir, str):
            self.place: Place = _open_bucket(output_dir)
            self.url_prefix = f"{mount_path}/animations"
            return
        relative = output_dir.absolute().resolve().relative_to(data_root.absolute().resolve())
        self.url_prefix = "/".join(part for part in (mount_path, *relative.parts) if part)
        try:
            self.place = Directory(output_dir, durable)
        except OSError as error:
            raise StorageFailed("the output directory cannot be written: check OUTPUT_DIR") from error

    def __getstate__(self) -> dict[str, object]:
        """Another process is to break nothing."""
        return {**self.__dict__, "_faults": None}

    def job_id(self, name: str) -> str:
        """The id of a job that has a name: the same at every service that signs with the same secret, and without that
        secret nobody can tell the name from it.
        """
        return hmac.digest(self._secret, f"job\n{name}".encode("utf-8", "replace"), hashlib.sha256).hex()[:32]

    def locate(self, job_id: str, kind: str) -> str:
        """Where the artifact of this kind lies or will lie: a path, or the URL of an object."""
        return self.place.locate(_name(job_id, kind))

    def url(self, job_id: str, kind: str) -> str:
        """Where clients fetch it."""
        path = f"{self.url_prefix}/{_name(job_id, kind)}"
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
        """Let ``write`` fill a temporary file, then put it in its place in one step.

        A reader sees the whole file or none, whenever the process ends. Raises :class:`StorageFailed` when the disk or
        the bucket refuses.
        """
        name = _name(job_id, kind)

        try:
            self.place.write(name, write if self._faults is None else self._with_faults(name, write, self._faults))
        except OSError as error:
            raise StorageFailed(f"the {kind} artifact could not be written") from error
        return Artifact(job_id, kind, name, self.url(job_id, kind))

    def _with_faults(self, name: str, write: Callable[[Path], object], faults: FaultPlan) -> Callable[[Path], object]:
        def fill(partial: Path) -> None:
            faults.strike("write", Path(self.place.locate(name)))
            write(partial)
            faults.strike("written", partial)

        return fill

    def check(self) -> None:
        """Whether files can be written. Raises :class:`StorageFailed` when that is refused, :class:`StorageAway` when
        nobody answers."""
        try:
            self.place.check()
        except TimeoutError as error:
            raise StorageAway("the place where files lie does not answer") from error
        except OSError as error:
            raise StorageFailed(f"OUTPUT_DIR cannot be written: {error}") from error

    def read(self, job_id: str, kind: str) -> bytes:
        """A finished file of a job. Raises :class:`NotFound`, and :class:`StorageAway` when it cannot be read now."""
        with reading():
            return self.place.read(_checked_name(job_id, kind))

    def fetch(self, job_id: str, kind: str) -> Fetched:
        """The same as a file of this machine. Raises as :meth:`read` does."""
        with reading():
            return self.place.fetch(_checked_name(job_id, kind))

    def written(self, job_id: str, kind: str) -> float:
        """When it was written, seconds since the epoch. Raises as :meth:`read` does."""
        with reading():
            return self.place.written(_checked_name(job_id, kind))


def _open_bucket(url: str) -> Place:
    try:
        from motion_service.store_bucket import Bucket

        return Bucket(url)
    except ImportError as error:
        raise StorageFailed("OUTPUT_DIR is a bucket: pip install 'motion-service[s3]'") from error


def is_job_id(text: str) -> bool:
    """Whether it could be an id of ours."""
    return _JOB_ID.fullmatch(text) is not None


def _name(job_id: str, kind: str) -> str:
    return ARTIFACT_KINDS[kind].file_name.format(job_id=job_id)


def _checked_name(job_id: str, kind: str) -> str:
    """The name under an id that may be anything. Raises :class:`NotFound` for what is no id of ours."""
    if not is_job_id(job_id):
        raise NotFound("there is no such artifact")
    return _name(job_id, kind)


@contextmanager
def reading() -> Iterator[None]:
    """Around what reads of a place: OSError becomes :class:`NotFound` or :class:`StorageAway`."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("there is no such artifact") from error
    except OSError as error:
        raise StorageAway(retry_after_s=AWAY_S) from error


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
