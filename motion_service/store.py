"""Where artifacts lie, how they get there whole or not at all, and the URL that clients fetch them by.

``OUTPUT_DIR/<job_id>.json`` and beside it ``OUTPUT_DIR/<job_id>/``; URL = mount path + path relative to the data root.
Job ids are made by the server, 32 hexadecimal digits; no name in here ever comes from a user.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from motion_service.clips import Artifact
from motion_service.errors import NotFound, StorageFailed

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_PARTIAL: Final = ".partial-"
"""Prefix of files that are still being written. What is left of a crash is swept at the next start."""


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

    def __init__(self, output_dir: Path, data_root: Path, mount_path: str) -> None:
        relative = output_dir.absolute().resolve().relative_to(data_root.absolute().resolve())
        self.output_dir = output_dir
        self.url_prefix = "/".join(part for part in (mount_path, *relative.parts) if part)
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
            for leftover in [*output_dir.glob(f"{_PARTIAL}*"), *output_dir.glob(f"*/{_PARTIAL}*")]:
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed("the output directory cannot be written: check OUTPUT_DIR") from error

    def path(self, job_id: str, kind: str) -> Path:
        """Where the artifact of this kind lies or will lie."""
        return self.output_dir / ARTIFACT_KINDS[kind].file_name.format(job_id=job_id)

    def url(self, job_id: str, kind: str) -> str:
        """Where clients fetch it."""
        return f"{self.url_prefix}/{ARTIFACT_KINDS[kind].file_name.format(job_id=job_id)}"

    def save(self, job_id: str, kind: str, write: Callable[[Path], object]) -> Artifact:
        """Let ``write`` fill a temporary file beside the final place, then move it there in one step.

        A reader sees the whole file or none; after a crash only the temporary file remains. Raises
        :class:`StorageFailed` when the disk refuses.
        """
        final = self.path(job_id, kind)
        partial = final.with_name(f"{_PARTIAL}{uuid.uuid4().hex}-{final.name}")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            write(partial)
            _sync(partial)
            os.replace(partial, final)
            _sync(final.parent)
        except OSError as error:
            raise StorageFailed(f"the {kind} artifact could not be written") from error
        finally:
            with suppress(OSError):  # a disk that refused the file may refuse this too; the next start sweeps it
                partial.unlink(missing_ok=True)
        return Artifact(job_id, kind, str(final.relative_to(self.output_dir)), self.url(job_id, kind))

    def find(self, job_id: str, kind: str) -> Path:
        """The finished file of a job. Raises :class:`NotFound` for anything else, symbolic links included."""
        if not _JOB_ID.fullmatch(job_id):
            raise NotFound("there is no such artifact")
        path = self.path(job_id, kind)
        linked = path.is_symlink() or (path.parent != self.output_dir and path.parent.is_symlink())
        if linked or not path.is_file():
            raise NotFound("there is no such artifact")
        return path


def _sync(path: Path) -> None:
    """Make the file or directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
