"""A bucket of an S3-compatible store, by way of fsspec: ``s3://bucket/prefix``. Needs the extra ``s3``.

A PUT is whole or not at all, which is what a rename is for in a directory. :meth:`Bucket.create` is a conditional PUT
(``If-None-Match: *``): https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

Credentials, region and endpoint are those of the usual variables and files (``AWS_ACCESS_KEY_ID``, ``AWS_REGION``,
``AWS_ENDPOINT_URL``, ``~/.aws``, ``FSSPEC_S3_...``); nothing of them is read or kept here.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import fsspec
from botocore.exceptions import BotoCoreError, ConnectionError, HTTPClientError
from fsspec.asyn import sync

from motion_service.store_place import Fetched

CONNECT_S: Final = 2.0
"""Longest wait for a connection; it is tried once more."""
ANSWER_S: Final = 10.0
"""Longest time that a request may take, all of it."""
AWAY_S: Final = 5.0
"""After a bucket did not answer, everything is refused at once for so long: answers shall not wait for it again."""

CONFLICTS: Final = 4
"""How often an object that others are creating at the same moment is tried to be created."""

_CONFIG: Final = {"connect_timeout": CONNECT_S, "read_timeout": ANSWER_S, "retries": {"total_max_attempts": 2}}
_PART: Final = 64 * 2**20
"""Bytes. Files of two and more go in parts; they too are seen only when all parts are there."""
_PROBE: Final = ".motion-service"
"""An object that stays, to try with at every start whether the bucket can be written."""


class Bucket:
    """A :class:`~motion_service.store_place.Place` that is a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """``url``: as above. Nothing is asked of the bucket yet."""
        self._root = url.rstrip("/")
        self._connect()

    def _connect(self) -> None:
        self._files: Any = fsspec.filesystem("s3", config_kwargs=_CONFIG, use_listings_cache=False)
        self._files.retries = 1  # botocore tries again by itself
        self._away_until = 0.0

    def __getstate__(self) -> dict[str, object]:
        """Another process has connections of its own."""
        return {"_root": self._root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._root = state["_root"]
        self._connect()

    def check(self) -> None:
        """Also whether it knows conditional PUTs, and says of an object that it is not there."""
        self.create(_PROBE, b"")
        if self.create(_PROBE, b""):
            raise OSError("the bucket ignores If-None-Match: replicas could not agree who makes a job")
        try:
            self.read(_PROBE + "-nothing")
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise OSError("the bucket does not tell what is not there: allow s3:ListBucket") from error

    def locate(self, name: str) -> str:
        return f"{self._root}/{name}"

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory(prefix="motion-") as folder:
            path = Path(folder) / Path(name).name
            fill(path)
            media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self._ask("put_file", str(path), self.locate(name), chunksize=_PART, ContentType=media_type)

    def create(self, name: str, content: bytes) -> bool:
        for _ in range(CONFLICTS):
            try:
                self._ask("pipe_file", self.locate(name), content, mode="create")
                return True
            except OSError as error:
                if isinstance(error, FileExistsError) or _code(error) in ("PreconditionFailed", "412"):
                    return False
                if _code(error) != "ConditionalRequestConflict":
                    raise
        raise OSError("too many write the same object at once")

    def read(self, name: str) -> bytes:
        content: bytes = self._ask("cat_file", self.locate(name), max_concurrency=1)
        return content

    def fetch(self, name: str) -> Fetched:
        """The copy has the time of the object, so that readers of two copies see one file."""
        with ExitStack() as on_failure:
            copy = on_failure.enter_context(tempfile.NamedTemporaryFile(prefix="motion-"))  # deleted when it is closed
            written = self.written(name)
            self._ask("get_file", self.locate(name), copy.name, max_concurrency=1)
            os.utime(copy.name, (written, written))
            on_failure.pop_all()
        return Fetched(Path(copy.name), copy.close)

    def written(self, name: str) -> float:
        return float(self._ask("info", self.locate(name))["LastModified"].timestamp())

    def remove(self, name: str) -> None:
        self._ask("rm_file", self.locate(name))

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the file system; whatever goes wrong is an OSError."""

        async def within_its_time() -> Any:
            async with asyncio.timeout(ANSWER_S):
                return await getattr(self._files, f"_{method}")(*arguments, **options)

        if time.monotonic() < self._away_until:
            raise TimeoutError("the bucket did not answer a moment ago")
        try:
            return sync(self._files.loop, within_its_time)
        except (HTTPClientError, ConnectionError, TimeoutError) as error:
            self._away_until = time.monotonic() + AWAY_S
            raise TimeoutError(f"the bucket does not answer ({type(error).__name__})") from error
        except BotoCoreError as error:  # no credentials, say
            raise OSError(str(error)) from error


def _code(error: OSError) -> str | None:
    """What S3 calls an error that it answered with."""
    answer: dict[str, Any] = getattr(error.__cause__, "response", None) or {}
    code: str | None = answer.get("Error", {}).get("Code")
    return code
