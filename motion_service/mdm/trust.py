"""Which pickles may be read: SHA-256 of files that somebody has vouched for. Nothing here opens a pickle.

Reading a pickle can run code that is in it. A file is read only when its hash is recorded: here, beside it in
``<name>.sha256`` (the format of ``sha256sum``), or in a cache directory when the other place cannot be written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from motion_service.errors import CheckpointMismatch

KNOWN_FILES: Final[Mapping[str, str]] = {}
"""SHA-256 -> what it is. Empty: the publishers name no hashes, and none of the files was at hand to take them."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_sha256(text: str) -> str:
    """64 hexadecimal digits as typed by a person, in lower case. Raises CheckpointMismatch."""
    digest = text.strip().lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(digest):
        raise CheckpointMismatch(f"a SHA-256 has 64 hexadecimal digits, got {len(digest)} characters")
    return digest


def is_trusted(path: Path, digest: str, cache_dir: Path | None = None) -> bool:
    """Whether ``digest``, that of the file at ``path``, is recorded."""
    return digest in KNOWN_FILES or any(
        digest in _recorded(record) for record in _records(path, digest, cache_dir) if record.is_file()
    )


def record_trust(path: Path, digest: str, cache_dir: Path | None = None) -> None:
    """Vouch for the file at ``path``: beside it, or in ``cache_dir`` where that directory cannot be written.

    Replaces what was recorded for an earlier file of that name. Raises CheckpointMismatch when no place is writable.
    """
    for record in _records(path, digest, cache_dir):
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
            return
        except OSError as error:
            failure = error
    raise CheckpointMismatch(
        f"the hash of {path.name} cannot be recorded ({failure.strerror}): make its directory writable once,"
        " or name a cache directory"
    ) from failure


def _records(path: Path, digest: str, cache_dir: Path | None) -> list[Path]:
    beside = path.with_name(path.name + ".sha256")
    return [beside] if cache_dir is None else [beside, cache_dir / f"{digest}.sha256"]


def _recorded(record: Path) -> set[str]:
    """Digests in a file of ``sha256sum`` lines; the first word counts, whatever name follows it."""
    text = record.read_text(encoding="utf-8", errors="replace")
    return {line.split()[0].lower() for line in text.splitlines() if line.strip()}
