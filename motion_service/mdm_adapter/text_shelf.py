"""Which entries of a text table hold which text: texts in use stay, of the others the least recently used goes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from motion_service.engine.resident import DeviceFull


class TextShelf:
    """Entries 0 .. size - 1; a long text takes several. What is in them is the business of the caller."""

    def __init__(self, size: int) -> None:
        self._free = list(reversed(range(size)))
        self._entries: dict[Hashable, tuple[int, ...]] = {}
        self._users: dict[Hashable, int] = {}
        self._idle: OrderedDict[Hashable, None] = OrderedDict()

    def take(self, key: Hashable, num: int = 1) -> tuple[tuple[int, ...], bool]:
        """The ``num`` entries of a text, and whether they must be written first.

        Raises DeviceFull when too few are out of use.
        """
        is_new = key not in self._entries
        if is_new:
            self._entries[key] = self._new_entries(num)
        self._idle.pop(key, None)
        self._users[key] = self._users.get(key, 0) + 1
        return self._entries[key], is_new

    def give_back(self, key: Hashable) -> None:
        """One user less. Raises KeyError for a text that is not here."""
        self._users[key] -= 1
        if not self._users[key]:
            self._idle[key] = None

    def forget(self, key: Hashable) -> None:
        """The entries of a text without users are not as they should be; nothing when it has some."""
        if key in self._idle:
            del self._idle[key]
            self._drop(key)

    def _new_entries(self, num: int) -> tuple[int, ...]:
        idle = sum(len(self._entries[key]) for key in self._idle) if len(self._free) < num else 0
        if len(self._free) + idle < num:
            raise DeviceFull("every entry of the text table is in use")
        while len(self._free) < num:
            self._drop(self._idle.popitem(last=False)[0])
        return tuple(self._free.pop() for _ in range(num))

    def _drop(self, key: Hashable) -> None:
        del self._users[key]
        self._free.extend(self._entries.pop(key))
