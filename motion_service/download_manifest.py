"""What can be downloaded, where it goes and what makes it complete: the table ``assets.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from motion_service.errors import DownloadFailed

Root = Literal["models", "data"]
MAX_UNPACKED: Final = 8 << 30
"""Bytes that one archive may unpack to."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to fetch."""

    name: str
    """What it is called here, and on a mirror."""
    url: str
    unpack: bool = False
    """A zip archive that holds the asset, in whatever directory of it."""
    is_optional: bool = False
    """The publisher may not have it."""
    otherwise: str | None = None
    """Another name, beside the first at its source, to take where the first does not exist."""
    size: int | None = None
    """Bytes, where known."""
    sha256: str | None = None
    """64 lower-case hexadecimal digits, where known."""

    def alternative(self) -> RemoteFile | None:
        """The file to take instead where this one does not exist."""
        if self.otherwise is None:
            return None
        return RemoteFile(self.otherwise, f"{self.url.rpartition('/')[0]}/{self.otherwise}")


@dataclass(frozen=True, slots=True)
class Asset:
    """One thing that the service, a model or an evaluation needs."""

    name: str
    title: str
    root: Root
    directory: str
    """Below its root."""
    requires: tuple[str, ...]
    """Patterns of files; ``a|b`` is met by either."""
    files: tuple[RemoteFile, ...] = ()
    """Empty where only the user may fetch it."""
    needs: tuple[str, ...] = ()
    """Assets that it is no use without."""
    is_usual: bool = False
    """Whether it is fetched when nothing is named."""
    licence: str = ""
    by_hand: str = ""
    """How the user gets it, where only the user may."""

    def missing(self, directory: Path) -> list[str]:
        """The requirements that ``directory`` does not meet. An empty file meets none."""
        return [wanted for wanted in self.requires if _first(directory, wanted) is None]

    def placed(self, directory: Path) -> list[Path]:
        """A file for each requirement that is met."""
        return [path for wanted in self.requires if (path := _first(directory, wanted))]


def _first(directory: Path, wanted: str) -> Path | None:
    paths = (path for pattern in wanted.split("|") for path in directory.glob(pattern))
    return next((path for path in paths if path.is_file() and path.stat().st_size), None)


@cache
def load_manifest() -> Mapping[str, Asset]:
    """Every asset by name, in the order of the table."""
    return parse_manifest(files("motion_service").joinpath("assets.toml").read_text(encoding="utf-8"))


def parse_manifest(text: str) -> dict[str, Asset]:
    """A table like ``assets.toml``. Raises KeyError and TypeError for one that is not: it is ours."""
    return {name: _to_asset(name, table) for name, table in tomllib.loads(text).items()}


def _to_asset(name: str, table: Mapping[str, Any]) -> Asset:
    base = table.get("base")
    return Asset(
        name=name,
        title=table["title"],
        root=table["root"],
        directory=table["directory"],
        requires=tuple(table["requires"]),
        files=tuple(_to_file(entry, base) for entry in table.get("files", ())),
        needs=tuple(table.get("needs", ())),
        is_usual=table.get("usual", False),
        licence=table["licence"],
        by_hand=table.get("by_hand", ""),
    )


def _to_file(entry: Mapping[str, Any], base: str | None) -> RemoteFile:
    return RemoteFile(
        name=entry["name"],
        url=entry.get("url") or f"{base}/{entry['name']}",
        unpack=entry.get("unpack", False),
        is_optional=entry.get("optional", False),
        otherwise=entry.get("or"),
        size=entry.get("size"),
        sha256=entry.get("sha256"),
    )


def choose_assets(names: Iterable[str], manifest: Mapping[str, Asset]) -> list[Asset]:
    """The named assets, or the usual ones, each after what it needs. Raises DownloadFailed for an unknown name."""
    wanted = [*names] or [asset.name for asset in manifest.values() if asset.is_usual]
    chosen: dict[str, Asset] = {}

    def add(name: str) -> None:
        if name not in manifest:
            raise DownloadFailed(f"there is no asset {name!r}; there are: {', '.join(manifest)}")
        for needed in manifest[name].needs:
            add(needed)
        chosen.setdefault(name, manifest[name])

    for name in wanted:
        add(name)
    return [*chosen.values()]
