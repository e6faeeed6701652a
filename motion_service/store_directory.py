"""A directory of this machine or of a file server, for one service or for several.

A file is written beside its place and moved there in one step, so nobody ever sees half of one. Its writer holds a lock
on it meanwhile: what another service finds without one is left of a crash.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from motion_service.store_place import Fetched

PARTIAL: Final = ".partial-"
"""Prefix of files that are still being written. What is left of a crash is swept at the next start."""
MAX_FLUSHING: Final = 256
"""Files that may wait to be brought to the disk."""
FLUSH_S: Final = 0.1
"""How long they are gathered before."""


class Directory:
    """A :class:`~motion_service.store_place.Place` that is a directory."""

    def __init__(self, path: Path, durable: bool = False) -> None:
        """Made when it is missing, and swept. ``durable``: a file is on the disk before it is seen; else a moment
        later, and nobody waits for that. Raises OSError.
        """
        self.path = path
        self._durable = durable
        self._flushing: _Flushing | None = None
        path.mkdir(parents=True, exist_ok=True)
        for leftover in [*path.glob(f"{PARTIAL}*"), *path.glob(f"*/{PARTIAL}*")]:
            if not _is_locked(leftover):
                leftover.unlink(missing_ok=True)
        for file in path.glob("*.json"):
            with suppress(FileNotFoundError):  # another service sweeps too
                if not file.stat().st_size:  # what a power cut leaves of a file whose name came to the disk before it
                    file.unlink()

    def __getstate__(self) -> dict[str, object]:
        """Another process that writes into the same directory has a thread of its own."""
        return {**self.__dict__, "_flushing": None}

    def check(self) -> None:
        """It was made; whether its files can be written is told with each of them."""

    def locate(self, name: str) -> str:
        return str(self.path / name)

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Whenever the process ends, only the temporary file remains. Unless the directory is ``durable`` the disk has
        the file a moment later: a power cut may leave the newest empty.
        """
        final = self.path / name
        partial = _beside(final)
        written = False
        try:
            os.makedirs(final.parent, exist_ok=True)
            lock = _lock_new(partial)
            try:
                fill(partial)
                if self._durable:
                    _flush(partial)
                os.replace(partial, final)
            finally:
                os.close(lock)
            written = True
            if self._durable:
                _flush(final.parent)
            else:
                self._flush_soon(final)
        finally:
            if not written:
                with suppress(OSError):  # a disk that refused the file may refuse this too; the next start sweeps it
                    partial.unlink(missing_ok=True)

    def create(self, name: str, content: bytes) -> bool:
        """A link to a whole file, so that nobody sees half of one and a full disk leaves none."""
        path = self.path / name
        partial = _beside(path)
        while True:
            os.makedirs(path.parent, exist_ok=True)
            try:
                partial.write_bytes(content)
                os.link(partial, path)
            except FileExistsError:
                return False
            except FileNotFoundError:  # another service took the last file out of the directory, and the directory
                continue
            finally:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
            return True

    def read(self, name: str) -> bytes:
        return self._find(name).read_bytes()

    def fetch(self, name: str) -> Fetched:
        return Fetched(self._find(name))

    def written(self, name: str) -> float:
        return self._find(name).stat().st_mtime

    def remove(self, name: str) -> None:
        path = self.path / name
        path.unlink(missing_ok=True)
        if path.parent != self.path:
            with suppress(OSError):  # it holds something else
                path.parent.rmdir()

    def _find(self, name: str) -> Path:
        """The file of that name; FileNotFoundError for anything else, symbolic links included."""
        path = self.path / name
        linked = path.is_symlink() or (path.parent != self.path and path.parent.is_symlink())
        if linked or not path.is_file():
            raise FileNotFoundError(name)
        return path

    def _flush_soon(self, path: Path) -> None:
        """Have the file brought to the disk. Behind too many others it is left to the system, which does it in time."""
        if self._flushing is None:
            self._flushing = _Flushing()
        self._flushing.add(path)


def _beside(final: Path) -> Path:
    """A name for what becomes ``final`` when it is whole."""
    return final.with_name(f"{PARTIAL}{uuid.uuid4().hex}-{final.name}")


def _lock_new(partial: Path) -> int:
    """A new file that others see somebody is at, until this descriptor is closed. A file system without locks does
    without."""
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_locked(partial: Path) -> bool:
    """Whether somebody is at it."""
    try:
        with partial.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it is gone, or this file system has no locks
        return False
    return False


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
