"""What was downloaded before: names, sizes and SHA-256, one file ``downloads.json`` a root.

The publishers of most assets name no hashes. So the first download is believed and recorded, and every later one must
be the same, whoever serves it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from motion_service.errors import DownloadFailed

RECORD: Final = "downloads.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    size: int
    sha256: str
    date: str
    """Day of the download, ISO 8601."""
    url: str = ""
    """Where it was from; empty for a file out of an archive."""


class Record:
    """The entries of one root, by asset and file name. Written at every change, in one step."""

    def __init__(self, root: Path) -> None:
        self._path = root / RECORD
        self._assets: dict[str, dict[str, dict[str, Any]]] = {}
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        try:
            self._assets = json.loads(text)
            for name in self._assets:
                self.entries(name)
        except (ValueError, TypeError, AttributeError) as error:
            raise DownloadFailed(f"{self._path} is damaged: delete it, and hashes are recorded anew") from error

    def entries(self, asset: str) -> dict[str, Entry]:
        """What is recorded of an asset, by file name: fetched files, and those out of archives below the asset's own
        directory."""
        return {name: Entry(**facts) for name, facts in self._assets.get(asset, {}).items()}

    def add(self, asset: str, entries: dict[str, Entry]) -> None:
        """Record these files of an asset, beside those that are recorded already."""
        self._assets.setdefault(asset, {}).update({name: asdict(entry) for name, entry in entries.items()})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{RECORD}.part")
        part.write_text(json.dumps(self._assets, indent=2) + "\n", encoding="utf-8")
        os.replace(part, self._path)


def today() -> str:
    """The day, in UTC."""
    return datetime.now(UTC).date().isoformat()
