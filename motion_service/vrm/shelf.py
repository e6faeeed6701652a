"""Keeps what is known of uploaded avatars, by id: in memory, and as one small JSON file each for the next start.

The ``.vrm`` files themselves are not kept. Several processes may share a directory, or a bucket.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from motion_service.errors import BadRequest, NotFound, StorageAway, StorageFailed
from motion_service.store_place import Place
from motion_service.vrm.avatar import ID_DIGITS, Avatar

MAX_AVATARS: Final = 1000
"""Avatars kept besides those that are pinned. With one more, the one that was used longest ago goes."""

_ID: Final = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")
_PARTIAL: Final = ".partial-"
_NAME: Final = "avatars/{}.json"
"""In a bucket."""
_JSON: Final = TypeAdapter(Avatar)


class AvatarShelf:
    """The avatars of one directory, or only of this process with None. Safe to use from several threads."""

    def __init__(self, directory: Path | None, max_avatars: int = MAX_AVATARS, bucket: Place | None = None) -> None:
        """``bucket``: where they are kept instead of in a directory. Nothing is removed there."""
        self._directory, self._bucket = directory, bucket
        self._max_avatars = max_avatars
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, Avatar] = OrderedDict()
        """Least recently used first."""
        self._pinned: set[str] = set()

    def put(self, avatar: Avatar, pinned: bool = False) -> bool:
        """Keep an avatar; True when it was not known. Raises :class:`StorageFailed` when the disk refuses.

        One that was put ``pinned`` stays as long as this process runs, and does not count.
        """
        if self._bucket is not None and not pinned:  # a pinned one is in the settings of every replica
            return self._put_in(self._bucket, avatar)
        path = self._path(avatar.id)
        partial = None if path is None else _write_beside(path, _JSON.dump_json(avatar))  # may take its time: no lock
        with self._lock:
            known = avatar.id in self._memory or path is not None and path.is_file()
            if pinned:
                self._pinned.add(avatar.id)
            if path is not None and partial is not None:
                _move(partial, path)
                self._sweep(path.parent)
            self._remember(avatar)
            return not known

    def get(self, avatar_id: str) -> Avatar:
        """A kept avatar. Raises :class:`NotFound`, whose cause, if any, says what is wrong with the file on disk, and
        :class:`StorageAway`.
        """
        path = self._path(avatar_id) if _ID.fullmatch(avatar_id) else None
        with self._lock:
            avatar = self._memory.get(avatar_id)
        if avatar is None and self._bucket is not None and _ID.fullmatch(avatar_id):
            avatar = _read_in(self._bucket, avatar_id)
        elif avatar is None:
            if path is None or not path.is_file():
                raise _unknown()
            avatar = _read(path)
        if path is not None:
            _touch(path)
        with self._lock:
            self._remember(avatar)
        return avatar

    def _put_in(self, bucket: Place, avatar: Avatar) -> bool:
        name = _NAME.format(avatar.id)
        try:
            is_new = bucket.create(name, content := _JSON.dump_json(avatar))
            if not is_new:  # what lies there may be damaged
                bucket.write(name, lambda path: path.write_bytes(content))
        except OSError as error:
            raise StorageFailed("what is known of the avatar could not be written") from error
        with self._lock:
            self._remember(avatar)
        return is_new

    def _path(self, avatar_id: str) -> Path | None:
        return None if self._directory is None else self._directory / f"{avatar_id}.json"

    def _remember(self, avatar: Avatar) -> None:
        self._memory[avatar.id] = avatar
        self._memory.move_to_end(avatar.id)
        if len(self._memory) > self._max_avatars + len(self._pinned):
            del self._memory[next(avatar_id for avatar_id in self._memory if avatar_id not in self._pinned)]

    def _sweep(self, directory: Path) -> None:
        """Remove the files that are too many. Another process may be doing the same."""
        with suppress(OSError):
            names = (path for path in directory.glob("*.json") if _ID.fullmatch(path.stem))
            files = [path for path in names if path.stem not in self._pinned]
            too_many = max(0, len(files) - self._max_avatars)
            for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[:too_many]:
                path.unlink(missing_ok=True)
                self._memory.pop(path.stem, None)


def _unknown() -> NotFound:
    return NotFound("there is no such avatar: upload it with POST /v1/avatars", field="avatar")


def _read_in(bucket: Place, avatar_id: str) -> Avatar:
    try:
        content = bucket.read(_NAME.format(avatar_id))
    except FileNotFoundError:
        raise _unknown() from None
    except OSError as error:
        raise StorageAway("what is known of avatars cannot be reached now") from error
    return _parse(content, avatar_id)


def _read(path: Path) -> Avatar:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _lost() from error
    return _parse(content, path.stem)


def _parse(content: bytes, avatar_id: str) -> Avatar:
    try:
        avatar = _JSON.validate_json(content)
        if avatar.id != avatar_id:
            raise BadRequest("the file holds another avatar")
    except (ValidationError, BadRequest) as error:
        raise _lost() from error
    return avatar


def _lost() -> NotFound:
    return NotFound("what was known of this avatar is lost: upload it again", field="avatar")


def _touch(path: Path) -> None:
    """Mark a file as used now, finer than the clock of the file system. It may be gone, by another process."""
    now = time.time_ns()
    with suppress(OSError):
        os.utime(path, ns=(now, now))


def _write_beside(path: Path, data: bytes) -> Path:
    """A file with ``data``, safe on the disk, that can take the place of ``path``."""
    partial = path.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _refused(partial) from error
    return partial


def _move(partial: Path, path: Path) -> None:
    """The whole file or none."""
    try:
        os.replace(partial, path)
    except OSError as error:
        raise _refused(partial) from error
    _touch(path)


def _refused(partial: Path) -> StorageFailed:
    with suppress(OSError):
        partial.unlink()
    return StorageFailed("what is known of the avatar could not be written")
