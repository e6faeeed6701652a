"""Assets that are not in the repository, fetched to where the service looks for them.

Each file is fetched into ``downloads/<asset>/`` below its root, checked (size, structure, SHA-256 against the manifest
or what was recorded at the first download), unpacked there where it is an archive, and only then moved into place, so
that the service never sees half of an asset. A file that is already in ``downloads/<asset>/``, put there by hand, is
taken as if it had been fetched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

import httpx

from motion_service.download_archive import unpack_zip, unpacked_size
from motion_service.download_content import check_content
from motion_service.download_manifest import MAX_UNPACKED, Asset, RemoteFile, Root
from motion_service.download_record import Entry, Record, today
from motion_service.download_transfer import NotThere, Report, Retry, fetch_file, make_room
from motion_service.errors import DownloadFailed
from motion_service.mdm.trust import file_sha256

STAGING: Final = "downloads"
"""Directory below each root where files are before they are in place."""

State = Literal["present", "placed", "by hand"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one asset."""

    asset: Asset
    directory: Path
    state: State
    """present: it was there. placed: it is now. by hand: only the user may fetch it, and it is not there."""
    missing: tuple[str, ...] = ()
    fetched: Mapping[str, Entry] = field(default_factory=dict)
    """What was placed, by path below ``directory``."""
    is_vouched: bool = False
    """Whether somebody but the server of the moment stands for the content: a known or repeated hash, or the
    publisher's own address over https."""


@dataclass(frozen=True, slots=True)
class _Staged:
    file: RemoteFile
    is_vouched: bool


class Downloader:
    """Fetches assets below two roots."""

    def __init__(
        self,
        roots: Mapping[Root, Path],
        report: Report,
        tell: Callable[[str], None],
        *,
        http: httpx.Client | None = None,
        mirror: str | None = None,
        offline: bool = False,
        accept_changed: bool = False,
        retry: Retry | None = None,
    ) -> None:
        """``tell`` gets a line for every file. ``http``: None only with ``offline``. ``mirror``: address of a directory
        that holds ``<asset>/<file name>`` instead of the publishers. ``accept_changed``: a file that is not the one
        recorded takes its place, unless the manifest knows better.
        """
        self._roots = roots
        self._records = {root: Record(path) for root, path in roots.items()}
        self._report, self._tell = report, tell
        self._http = None if offline else http
        self._mirror = mirror.rstrip("/") if mirror else None
        self._accept_changed = accept_changed
        self._retry = retry

    def directory(self, asset: Asset) -> Path:
        """Where the service looks for it."""
        return self._roots[asset.root] / asset.directory

    def staging(self, asset: Asset) -> Path:
        """Where its files are before they are in place."""
        return self._roots[asset.root] / STAGING / asset.name

    def fetch(self, asset: Asset) -> Outcome:
        """Put one asset in place; nothing is touched where it is complete. Raises DownloadFailed."""
        directory = self.directory(asset)
        missing = tuple(asset.missing(directory))
        if not missing:
            self._check_present(asset, directory)
            return Outcome(asset, directory, "present")
        if not asset.files:
            return Outcome(asset, directory, "by hand", missing)
        with _alone(self._roots[asset.root]):
            staged = [one for file in asset.files if (one := self._stage(asset, file))]
            placed = self._place(asset, [one.file for one in staged])
            shutil.rmtree(self.staging(asset), ignore_errors=True)
        return Outcome(asset, directory, "placed", fetched=placed, is_vouched=all(one.is_vouched for one in staged))

    def verify(self, asset: Asset) -> None:
        """Compare every recorded file that lies in place with its recorded SHA-256. Raises DownloadFailed."""
        directory = self.directory(asset)
        for name, entry in self._records[asset.root].entries(asset.name).items():
            path = directory / name
            if path.is_file() and file_sha256(path) != entry.sha256:
                raise DownloadFailed(f"{path} is not what was downloaded on {entry.date}: delete it and run this again")

    # --- one file -----------------------------------------------------------------------------------------------------

    def _stage(self, asset: Asset, file: RemoteFile) -> _Staged | None:
        """Bring one file into the staging directory and check it there; None for an optional one that does not exist,
        and the alternative where there is one."""
        target = self.staging(asset) / file.name
        by_hand, told = target.is_file(), None
        if by_hand:
            self._tell(f"{asset.name}: {file.name} is in {target.parent} already")
        else:
            try:
                told = self._fetch(asset, file, target)
            except NotThere:
                alternative = file.alternative()
                if alternative is not None:
                    return self._stage(asset, alternative)
                if file.is_optional:
                    return None
                raise
        try:
            source = "" if by_hand or self._mirror else file.url
            return _Staged(file, self._check(asset, file, target, told, source))
        except DownloadFailed:
            target.unlink(missing_ok=True)  # or the next run would take it again
            raise

    def _fetch(self, asset: Asset, file: RemoteFile, target: Path) -> str | None:
        if self._http is None:
            raise DownloadFailed(f"{asset.name}: {file.name} is not here (--offline): put it into {target.parent}")
        url = f"{self._mirror}/{quote(asset.name)}/{quote(file.name)}" if self._mirror else file.url
        try:
            return fetch_file(self._http, url, target, self._report, size=file.size, retry=self._retry)
        except NotThere:
            raise
        except DownloadFailed as error:
            where = f"you may also fetch {file.url} with a browser, put it at {target} and run this again"
            raise DownloadFailed(f"{error.detail}; {where}") from error

    def _check(self, asset: Asset, file: RemoteFile, path: Path, told: str | None, source: str) -> bool:
        """Structure, size and hash, against all that is known; then record what is new. Whether the manifest, or the
        publisher over https now or earlier, stands for the content. ``source``: the publisher's address, where the file
        came from there."""
        check_content(path)
        size, digest = path.stat().st_size, file_sha256(path)
        if file.size not in (None, size):
            raise DownloadFailed(f"{file.name} has {size} bytes, the manifest says {file.size}")
        if told is not None and told != digest:
            raise DownloadFailed(f"{file.name} has the SHA-256 {digest}, its server says {told}: fetch it again")
        known = self._records[asset.root].entries(asset.name).get(file.name)
        how = self._compare(file, digest, known)
        self._tell(f"{file.name}  {size:,} bytes  SHA-256 {digest}  {how}")
        if known is not None and known.sha256 == digest:
            source = source or known.url
        self._records[asset.root].add(asset.name, {file.name: Entry(size, digest, today(), source)})
        return file.sha256 is not None or source.startswith("https:")

    def _compare(self, file: RemoteFile, digest: str, known: Entry | None) -> str:
        """How a hash stands to what is known, in words. Raises DownloadFailed where it is another one."""
        if file.sha256 is not None:
            if digest != file.sha256:
                raise DownloadFailed(f"{file.name} has the SHA-256 {digest}, the manifest says {file.sha256}")
            return "as in the manifest"
        if known is None:
            return "seen for the first time: recorded, and compared from now on"
        if known.sha256 == digest:
            return f"as on {known.date}"
        if not self._accept_changed:
            raise DownloadFailed(
                f"{file.name} has the SHA-256 {digest}, on {known.date} it had {known.sha256}: if you know why it"
                " changed, add --accept-changed"
            )
        return f"another file than on {known.date}, recorded anew"

    # --- into place ---------------------------------------------------------------------------------------------------

    def _place(self, asset: Asset, files: Sequence[RemoteFile]) -> dict[str, Entry]:
        """Move what is staged to where the service looks; what was placed, by path below the asset's directory."""
        staging, directory = self.staging(asset), self.directory(asset)
        source = staging
        for file in files:
            if file.unpack:
                source = self._unpack(asset, staging / file.name)
        lacking = asset.missing(source)
        if lacking:
            raise DownloadFailed(f"{asset.name}: {', '.join(lacking)} not among what was fetched")
        names = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
        placed = {name: _entry(source / name) for name in names}
        for name in names:
            if placed[name].size:
                check_content(source / name)
        _move(source, directory, names)
        self._records[asset.root].add(asset.name, placed)
        return placed

    def _unpack(self, asset: Asset, archive: Path) -> Path:
        """Unpack beside the archive; the directory in it that meets the asset's requirements."""
        unpacked = archive.with_name(f"{archive.name}.unpacked")
        shutil.rmtree(unpacked, ignore_errors=True)
        make_room(archive.parent, unpacked_size(archive), archive.name)
        unpack_zip(archive, unpacked, MAX_UNPACKED)
        candidates = [unpacked, *sorted(path for path in unpacked.rglob("*") if path.is_dir())]
        found = [path for path in candidates if not asset.missing(path)]
        if not found:
            held = ", ".join(sorted(path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*"))[:8])
            raise DownloadFailed(f"{archive.name} lacks {', '.join(asset.requires)}; it holds {held or 'nothing'}")
        return found[0]

    def _check_present(self, asset: Asset, directory: Path) -> None:
        """Notice a file that was cut or exchanged since, by its size (:meth:`verify` reads it whole), and one placed by
        hand that is something else."""
        recorded = self._records[asset.root].entries(asset.name)
        if not recorded:
            for path in asset.placed(directory):
                check_content(path)
        for name, entry in recorded.items():
            path = directory / name
            if path.is_file() and path.stat().st_size != entry.size:
                raise DownloadFailed(
                    f"{path} has {path.stat().st_size} bytes, {entry.size} were placed on {entry.date}: delete it and"
                    " run this again"
                )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two downloads into one root would write the same files."""
    (root / STAGING).mkdir(parents=True, exist_ok=True)
    with (root / STAGING / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadFailed(f"another download into {root} is running") from None
        yield


def _entry(path: Path) -> Entry:
    return Entry(path.stat().st_size, file_sha256(path), today())


def _move(source: Path, directory: Path, names: Sequence[str]) -> None:
    """In one step where nothing lies there yet, else file by file, each in one step."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    if not directory.exists():
        os.replace(source, directory)
        return
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / name, directory / name)


def report_to_json(outcome: Outcome) -> dict[str, object]:
    """For ``--json``."""
    files = {name: {"bytes": entry.size, "sha256": entry.sha256} for name, entry in outcome.fetched.items()}
    facts = {"asset": outcome.asset.name, "state": outcome.state, "directory": str(outcome.directory)}
    return {**facts, "missing": [*outcome.missing], "files": files}
