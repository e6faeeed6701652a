"""Whether a thread still goes on, as seen from another one: it says how long what it does next may take."""

from __future__ import annotations

import math
import time
from typing import Final

TURN_S: Final = 0.7
"""Longest time of anything short; with :data:`~motion_service.engine.guard.LOOK_S` a stall is seen within a second."""
SLACK: Final = 10.0
"""How many times what was predicted a batch may take."""
FIRST_S: Final = 120.0
"""Longest time of the first batch of a shape, which may have to compile and record what others only run."""
JOB_S: Final = 60.0
"""Longest time between two steps of a job."""


class Pulse:
    """Of one thread, which writes; anybody reads."""

    def __init__(self) -> None:
        self._due = math.inf

    def rest(self) -> None:
        """There is nothing to do: nothing can take too long."""
        self._due = math.inf

    def expect(self, seconds: float = TURN_S) -> None:
        """What comes now takes at most ``seconds``."""
        self._due = time.monotonic() + max(TURN_S, seconds)

    @property
    def overdue_s(self) -> float:
        """How long what the thread does has taken too long; 0 while it has not."""
        return max(0.0, time.monotonic() - self._due)
