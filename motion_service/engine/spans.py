"""Which rows of a fixed buffer are free: spans handed out first fit, from the front. Knows neither torch nor motion."""

from __future__ import annotations

import bisect


class Spans:
    """Rows 0 .. size - 1. What is in use stays near the front, so that work can end at :attr:`used`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken: list[tuple[int, int]] = []  # (first, length), in order

    def take(self, length: int) -> int | None:
        """First row of a span that was free, or None when no gap is long enough. Raises ValueError for length < 1."""
        if length < 1:
            raise ValueError(f"a span has at least one row, got {length}")
        begin = 0
        for first, taken in [*self._taken, (self.size, 0)]:
            if first - begin >= length:
                bisect.insort(self._taken, (begin, length))
                return begin
            begin = first + taken
        return None

    def give_back(self, first: int) -> None:
        """Free the span that starts at ``first``. Raises KeyError if none does."""
        at = bisect.bisect_left(self._taken, (first, 0))
        if at == len(self._taken) or self._taken[at][0] != first:
            raise KeyError(first)
        del self._taken[at]

    @property
    def used(self) -> int:
        """Rows up to the end of the last span in use."""
        return sum(self._taken[-1]) if self._taken else 0

    @property
    def taken(self) -> int:
        """Rows in use."""
        return sum(length for _, length in self._taken)
