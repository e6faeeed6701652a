"""What a store needs of the place where its files lie: a directory, or a bucket.

Names are relative, with ``/`` between their parts, and made by the service. All methods may be called from several
threads and wait for the disk or the network; they raise OSError, of its kinds FileNotFoundError for what is not there
and TimeoutError when nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file of this machine with what lies under a name."""

    path: Path
    close: Callable[[], object] = lambda: None
    """Say that it is no longer needed: a copy is deleted."""


class Place(Protocol):
    """Where files lie. A reader sees a whole file or none, whenever a writer ends."""

    def check(self) -> None:
        """Raises when nothing can be written there."""

    def locate(self, name: str) -> str:
        """Where an operator finds it: a path, or the URL of an object."""

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Put there what ``fill`` writes into a temporary file with the same ending; what was there is replaced."""

    def create(self, name: str, content: bytes) -> bool:
        """Put ``content`` there unless there is something already: of many that try at once one gets True."""

    def read(self, name: str) -> bytes:
        """What lies there."""

    def fetch(self, name: str) -> Fetched:
        """The same as a file."""

    def written(self, name: str) -> float:
        """When it was written, seconds since the epoch, by the clock of the place."""

    def remove(self, name: str) -> None:
        """Take it away, if it is there."""
