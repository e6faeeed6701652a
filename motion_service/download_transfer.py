"""One address -> one file: resumed where it broke, tried again where that can help, never mistaken for a web page.

What has arrived lies in ``<name>.part``, and beside it ``<name>.part.json`` says of which file it is the beginning.
Nothing lies under the final name before every byte that the server promised is there.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Protocol

import httpx

from motion_service.download_page import NotAFile, page_to_address
from motion_service.errors import DownloadFailed

TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)
"""Seconds without a byte, after which the connection counts as broken."""
SPARE_BYTES: Final = 64 << 20
"""Room to leave on the disk."""
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_PAGE: Final = 1 << 20


class Report(Protocol):
    """Who is told how it goes."""

    def begin(self, name: str, total: int | None, done: int) -> None:
        """A file is being fetched; ``done`` of ``total`` bytes are here already. Called again after a break."""

    def advance(self, count: int) -> None:
        """``count`` more bytes of it."""

    def wait(self, seconds: float, reason: str) -> None:
        """It broke off, and is tried again after ``seconds``."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a transfer is tried again. Tries are counted anew whenever bytes have arrived."""

    tries: int = 6
    first_s: float = 1.0
    longest_s: float = 60.0
    longest_asked_s: float = 600.0
    """A server that asks for a longer wait than this is not waited for."""
    sleep: Callable[[float], None] = time.sleep

    def delay(self, failures: int) -> float:
        """Seconds before try ``failures`` + 1: doubled each time, with jitter."""
        return min(self.longest_s, self.first_s * 2.0 ** (failures - 1)) * random.uniform(0.75, 1.25)


class Again(Exception):
    """The transfer broke off in a way that may pass."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class NotThere(DownloadFailed):
    """The server has no such file."""


@dataclass(slots=True)
class _Part:
    """The beginning of a file, and what the server said of the whole."""

    target: Path
    url: str
    """Where the whole is fetched; what it redirects to may differ each time."""
    facts: dict[str, Any] = field(default_factory=dict)
    """``url``, ``length``, ``validator``, as far as they are known."""

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def _facts_path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def load(self) -> None:
        """Keep what is there only if it is known to be of the same file."""
        with suppress(OSError, ValueError):
            self.facts = json.loads(self._facts_path.read_text(encoding="utf-8"))
        if not isinstance(self.facts, dict) or self.facts.get("url") != self.url:
            self.restart()

    def restart(self, **facts: Any) -> None:
        self.path.unlink(missing_ok=True)
        self.facts = {"url": self.url, **facts}
        self._facts_path.write_text(json.dumps(self.facts), encoding="utf-8")

    def finish(self) -> None:
        os.replace(self.path, self.target)
        self._facts_path.unlink(missing_ok=True)


def fetch_file(
    http: httpx.Client,
    url: str,
    target: Path,
    report: Report,
    *,
    size: int | None = None,
    retry: Retry | None = None,
) -> str | None:
    """Fetch ``url`` into ``target``. ``size``: bytes it must have. Returns the SHA-256 that the server told, if any.

    Raises NotThere where the server has no such file, and DownloadFailed for everything that another try would not
    change, and when the tries are used up. What has arrived stays for the next run.
    """
    retry = retry or Retry()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target, url)
    part.load()
    best, failures, address = part.size, 0, url
    while True:
        try:
            told = _fetch_rest(http, address, part, report, size)
            part.finish()
            return told
        except NotAFile as page:
            if address != url:
                raise DownloadFailed(page.explanation) from None
            address = page_to_address(page, url)
        except (Again, httpx.TransportError) as problem:
            failures = 1 if part.size > best else failures + 1
            best = max(best, part.size)
            reason = str(problem) or type(problem).__name__
            if failures >= retry.tries:
                raise DownloadFailed(f"{target.name}: given up after {failures} tries in a row: {reason}") from problem
            asked = problem.wait_s if isinstance(problem, Again) else None
            if asked is not None and asked > retry.longest_asked_s:
                raise DownloadFailed(f"{target.name}: {reason}: the server asks to wait {asked:.0f} s") from None
            seconds = retry.delay(failures) if asked is None else asked
            report.wait(seconds, reason)
            retry.sleep(seconds)
        except httpx.HTTPError as error:  # no address, too many redirects: no try will change it
            raise DownloadFailed(f"{target.name}: {error}") from error


def _fetch_rest(http: httpx.Client, url: str, part: _Part, report: Report, size: int | None) -> str | None:
    """One request for what is missing. Returns the SHA-256 that the server told of the whole."""
    headers = {"Accept-Encoding": "identity"}  # so that lengths are those of the file
    if part.size and part.facts.get("length"):
        headers["Range"] = f"bytes={part.size}-"
        if part.facts.get("validator"):
            headers["If-Range"] = part.facts["validator"]
    with http.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
        _check_answer(answer, part)
        length = _begin(answer, part, size)
        make_room(part.path.parent, (length or 0) - part.size, part.target.name)
        report.begin(part.target.name, length, part.size)
        with part.path.open("ab") as file:
            for block in answer.iter_raw():  # as it arrives: what is buffered would be lost when it breaks
                file.write(block)
                report.advance(len(block))
        if length is not None and part.size < length:
            raise Again(f"the server ended after {part.size} of {length} bytes")
        return _told_sha256(answer)


def _check_answer(answer: httpx.Response, part: _Part) -> None:
    """Raise unless the body is the file or the rest of it."""
    status, name = answer.status_code, part.target.name
    if answer.url.scheme == "http" and any(one.url.scheme == "https" for one in answer.history):
        raise DownloadFailed(f"{name}: the server sends us from https to http")
    if status in _AGAIN:
        raise Again(f"the server answers {status} {answer.reason_phrase}", _retry_after(answer))
    if status == 416:
        part.restart()
        raise Again("the server cannot go on where it broke off: from the start")
    if status in (404, 410):
        raise NotThere(f"{name}: the server has no such file ({status})")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise NotAFile(name, _read_page(answer))
    if status not in (200, 206):
        raise DownloadFailed(f"{name}: the server answers {status} {answer.reason_phrase}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadFailed(f"{name}: the server compresses it, which was not asked for")


def _begin(answer: httpx.Response, part: _Part, size: int | None) -> int | None:
    """Bytes of the whole file, if known; the part is emptied when the body is not its rest."""
    if answer.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != part.size or int(found[2]) != part.facts.get("length"):
            part.restart()
            raise Again("the file at the server is another one now: from the start")
        return int(found[2])
    told = answer.headers.get("Content-Length")
    length = int(told) if told and told.isdigit() else None
    if size is not None and length not in (None, size):
        raise DownloadFailed(f"{part.target.name}: the server has {length} bytes, the manifest says {size}")
    tag = answer.headers.get("ETag", "")
    validator = answer.headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
    part.restart(length=length, validator=validator)
    return length if length is not None else size


def _read_page(answer: httpx.Response) -> str:
    page = b""
    for block in answer.iter_bytes():
        page += block
        if len(page) > _MAX_PAGE:
            break
    return page.decode("utf-8", "replace")


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the server asks to wait: a number, or a date. https://www.rfc-editor.org/rfc/rfc9110#name-retry-after"""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _told_sha256(answer: httpx.Response) -> str | None:
    """Hugging Face names the hash of large files where it redirects to them."""
    for one in (*answer.history, answer):
        tag = str(one.headers.get("X-Linked-Etag", "")).strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", tag):
            return tag
    return None


def make_room(directory: Path, count: int, name: str) -> None:
    """Raise DownloadFailed unless ``count`` more bytes, and some to spare, fit on the disk of ``directory``."""
    free = shutil.disk_usage(directory).free
    if count > 0 and count + SPARE_BYTES > free:
        raise DownloadFailed(f"{name} needs {count / 1e6:.0f} MB, and only {free / 1e6:.0f} MB are free in {directory}")
