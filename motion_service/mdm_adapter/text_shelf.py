"""Which entry of a text table holds which text: texts in use stay, of the others the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from motion_service.engine.resident import DeviceFull


class TextShelf:
    """Entries 0 .. size - 1. What is in them is the business of the caller."""

    def __init__(self, size: int) -> None:
        self._free = list(reversed(range(size)))
        self._entries: dict[Hashable, int] = {}
        self._users: dict[int, int] = {}
        self._idle: OrderedDict[int, Hashable] = OrderedDict()

    def take(self, key: Hashable) -> tuple[int, bool]:
        """The entry of a text, and whether it must be written first. Raises DeviceFull when all are in use."""
        entry = self._entries.get(key)
        is_new = entry is None
        if entry is None:
            entry = self._new_entry()
            self._entries[key] = entry
        self._idle.pop(entry, None)
        self._users[entry] = self._users.get(entry, 0) + 1
        return entry, is_new

    def give_back(self, key: Hashable) -> None:
        """One user less. Raises KeyError for a text that is not here."""
        entry = self._entries[key]
        self._users[entry] -= 1
        if not self._users[entry]:
            self._idle[entry] = key

    def forget(self, key: Hashable) -> None:
        """The entry of a text without users is not as it should be; nothing when it has some."""
        entry = self._entries.get(key)
        if entry is not None and entry in self._idle:
            del self._idle[entry], self._entries[key]
            self._free.append(entry)

    def _new_entry(self) -> int:
        if self._free:
            return self._free.pop()
        if not self._idle:
            raise DeviceFull("every entry of the text table is in use")
        entry, key = self._idle.popitem(last=False)
        del self._entries[key]
        return entry
