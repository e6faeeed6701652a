"""Which pickles may be read: SHA-256 of files that somebody has vouched for. Nothing here opens a pickle.

Reading a pickle can run code that is in it. A file is read only when its hash is recorded in this installation's
``trusted-checkpoints.json``: in the conversion directory where one is named, else in the user's own configuration
directory. Never beside the pickle, nor anywhere above it: what a download unpacks there cannot vouch for itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from motion_service.errors import CheckpointMismatch

TRUST_FILE: Final = "trusted-checkpoints.json"
"""``{SHA-256: {"name": file name, "hash_repeated": true or false}}``."""

KNOWN_FILES: Final[Mapping[str, str]] = {}
"""SHA-256 -> what it is. Empty: the publishers name no hashes, and none of the files was at hand to take them."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Trust:
    """Somebody vouched for a file."""

    hash_repeated: bool
    """Whether its SHA-256 was given, too, and not only shown."""


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


def user_directory() -> Path:
    """The user's own configuration directory, whether it exists or not. Raises OSError when there is no home."""
    try:
        return Path.home() / ".config" / "motion-service"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise FileNotFoundError(2, "no home directory") from error


def find_trust(path: Path, digest: str, conversion_dir: Path | None = None) -> Trust | None:
    """What is recorded of ``digest``, that of the file at ``path``; None when nobody vouched for it."""
    if digest in KNOWN_FILES:
        return Trust(hash_repeated=True)
    try:
        entry = _read(_trust_file(path, conversion_dir)).get(digest)
    except (OSError, ValueError):
        return None
    return Trust(entry.get("hash_repeated") is True) if isinstance(entry, dict) else None


def record_trust(path: Path, digest: str, conversion_dir: Path | None = None, *, hash_repeated: bool = False) -> None:
    """Vouch for the content of the file at ``path``; ``hash_repeated`` as in :class:`Trust`, and never taken back.

    Raises CheckpointMismatch with one line when it cannot be written.
    """
    before = find_trust(path, digest, conversion_dir)
    repeated = hash_repeated or (before is not None and before.hash_repeated)
    try:
        record = _trust_file(path, conversion_dir)
        record.parent.mkdir(parents=True, exist_ok=True)
        entries = {**_read(record), digest: {"name": path.name, "hash_repeated": repeated}}
        _write(record, json.dumps(entries, indent=2) + "\n")
    except ValueError as error:
        raise CheckpointMismatch(f"{TRUST_FILE} is damaged: delete it and vouch for your files again") from error
    except OSError as error:
        raise CheckpointMismatch(
            f"the hash of {path.name} cannot be recorded ({error.strerror}): set MOTION_CONVERSION_DIR, or --cache-dir,"
            " to a directory that can be written"
        ) from error


def _trust_file(path: Path, conversion_dir: Path | None) -> Path:
    """A directory that holds the pickle is no place for its record: whoever made the archive could have filled it."""
    inside = conversion_dir is not None and path.resolve().is_relative_to(conversion_dir.resolve())
    return (user_directory() if conversion_dir is None or inside else conversion_dir) / TRUST_FILE


def _read(record: Path) -> dict[str, Any]:
    """All entries; none where there is no file. Raises ValueError for anything but a JSON object, and OSError."""
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(entries, dict):
        raise ValueError(f"{record.name} is no JSON object")
    return entries


def _write(record: Path, text: str) -> None:
    """Replace the file at once, so that no reader sees half of it. Others may read it, only its owner may write."""
    handle, name = tempfile.mkstemp(prefix=".trust-", suffix=".part", dir=record.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        part.chmod(0o644)
        part.replace(record)
    finally:
        part.unlink(missing_ok=True)
