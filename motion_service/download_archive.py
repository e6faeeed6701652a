"""Zip archives unpacked so that nothing in them can reach outside, grow without end or be more than plain files."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from motion_service.errors import DownloadFailed

MAX_FILES: Final = 100_000
_CHUNK: Final = 1 << 20
_ENCRYPTED: Final = 0x1


def unpack_zip(archive: Path, directory: Path, max_bytes: int, max_files: int = MAX_FILES) -> None:
    """Unpack into ``directory``, which is made. Everything is checked before the first file is written.

    Raises DownloadFailed for names that leave the directory, links, devices, encrypted or doubled entries, more files
    or bytes than allowed, and for damaged content. What was written till then stays: unpack where it can be thrown
    away.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = _checked(archive.name, zipped, max_bytes, max_files)
            for target, entry in entries.items():
                _write(zipped, entry, directory / target)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise DownloadFailed(f"{archive.name} is damaged, or no zip archive") from error


def unpacked_size(archive: Path) -> int:
    """Bytes that the archive says it unpacks to. Raises DownloadFailed when it is none."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            return sum(entry.file_size for entry in zipped.infolist())
    except zipfile.BadZipFile as error:
        raise DownloadFailed(f"{archive.name} is damaged, or no zip archive") from error


def _checked(name: str, zipped: zipfile.ZipFile, max_bytes: int, max_files: int) -> dict[str, zipfile.ZipInfo]:
    """{path below the directory: entry} of all files."""
    infos = zipped.infolist()
    if len(infos) > max_files:
        raise DownloadFailed(f"{name} holds {len(infos)} files, more than {max_files}")
    if (total := sum(entry.file_size for entry in infos)) > max_bytes:  # zipfile never reads more than an entry says
        raise DownloadFailed(f"{name} would unpack to {total} bytes, more than {max_bytes}")
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in infos:
        target = _safe_path(name, entry)
        if entry.is_dir():
            continue
        if target in entries:
            raise DownloadFailed(f"{name} holds {target!r} twice")
        entries[target] = entry
    return entries


def _safe_path(name: str, entry: zipfile.ZipInfo) -> str:
    path = PurePosixPath(entry.filename)
    parts = entry.filename.rstrip("/").split("/")
    is_plain = all(part not in ("", ".", "..") and not set(part) & {"\\", ":", "\0"} for part in parts)
    if path.is_absolute() or not is_plain:
        raise DownloadFailed(f"{name} holds a path that leads elsewhere: {entry.filename!r}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DownloadFailed(f"{name} holds a link or a device: {entry.filename!r}")
    if entry.flag_bits & _ENCRYPTED:
        raise DownloadFailed(f"{name} is encrypted")
    return str(path)


def _write(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Plain permissions, whatever the archive says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(entry) as source, target.open("xb") as file:
        while block := source.read(_CHUNK):
            file.write(block)
