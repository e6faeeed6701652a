"""Faults on purpose: a test says what breaks, at which point and how often; the service asks when it passes there.

Whoever was given no plan has an empty one, which costs a look at an empty list. Points that there are::

    batch     before a batch is handed to a model; subject: the batch
    results   what a batch made, by run id (``nan``)
    turn      once a turn of the model thread, outside of any batch or job
    answer    before an answer is made of a motion; subject: the job id
    write     before a file is written; subject: its final path
    written   after that, before it is moved to its place; subject: the temporary path (``torn``)
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Point = Literal["batch", "results", "turn", "answer", "write", "written"]
Kind = Literal["raise", "hang", "exit", "nan", "torn"]

ALWAYS: Final = -1


def _anything(subject: Any) -> bool:
    return True


@dataclass(slots=True)
class Fault:
    """One thing that breaks."""

    point: Point
    kind: Kind
    error: Callable[[], BaseException] = RuntimeError
    """Makes what is raised: memory that is not there is DeviceFull, a full disk is :func:`disk_full`."""
    times: int = 1
    """How often it strikes; :data:`ALWAYS` = every time."""
    after: int = 0
    """How many passes it lets go first."""
    seconds: float = 0.0
    """How long it hangs."""
    code: int = 9
    """With which the process ends, at once and without cleaning up."""
    applies: Callable[[Any], bool] = _anything
    """Which subjects it strikes; others pass and are not counted."""


class FaultPlan:
    """Every fault of one service. Any thread may add and strike."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._lock = threading.Lock()
        self.struck: list[tuple[Point, Kind]] = []
        """What has happened so far."""

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Nothing breaks any more."""
        with self._lock:
            self._faults.clear()

    def strike(self, point: Point, subject: Any = None) -> None:
        """Raise, hang or end the process when something is to break here."""
        fault = self._take(point, subject)
        if fault is None:
            return
        if fault.kind == "hang":
            time.sleep(fault.seconds)
        elif fault.kind == "exit":
            os._exit(fault.code)
        elif fault.kind == "torn":
            os.truncate(subject, os.path.getsize(subject) // 2)
            raise fault.error()
        elif fault.kind == "raise":
            raise fault.error()

    def spoil(self, point: Point, results: Mapping[str, Any]) -> Mapping[str, Any]:
        """``results``, the numbers of one of them replaced by NaN when that is to happen here."""
        for name, value in results.items() if self._faults else ():
            if self._take(point, name) is not None:
                return {**results, name: value * math.nan}
        return results

    def _take(self, point: Point, subject: Any) -> Fault | None:
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault.point != point or not fault.applies(subject):
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= fault.times > 0
                if not fault.times:
                    self._faults.remove(fault)
                self.struck.append((point, fault.kind))
                return fault
        return None


def disk_full() -> OSError:
    """There is no room left."""
    return OSError(errno.ENOSPC, "No space left on device")


def read_only() -> OSError:
    """The file system takes nothing."""
    return OSError(errno.EROFS, "Read-only file system")


def disk_broken() -> OSError:
    """The disk fails."""
    return OSError(errno.EIO, "Input/output error")
