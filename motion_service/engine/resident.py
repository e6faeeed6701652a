"""What the worker asks of a model that lives on the device. Knows neither torch nor motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from motion_service.engine.costs import CostTable
from motion_service.engine.run import Batch, ModelLimits, SamplingRun


class DeviceFull(Exception):
    """The device has no memory for a batch; nothing has changed, a narrower one may fit."""


class Ticket(Protocol):
    """A batch that was handed to the device."""

    @property
    def done(self) -> bool:
        """Whether the device has finished it; asks without waiting."""
        ...

    def wait(self) -> float:
        """Wait for it; milliseconds that the device took. Raises what went wrong on the device."""
        ...

    def results(self) -> Mapping[str, Any]:
        """After :meth:`wait`: what was made, by id, of the runs that took their last step in this batch."""
        ...


class Resident(Protocol):
    """A loaded model. Its methods are called on the model thread only."""

    @property
    def limits(self) -> ModelLimits:
        """What may run at once."""
        ...

    def prepare(self, costs: CostTable) -> None:
        """Make now what is made once, and tell ``costs`` what batches take; nothing is in flight. Limits may change."""
        ...

    def run(self, batch: Batch) -> Ticket:
        """Hand ``batch`` to the device, behind what it was handed before. Runs that have not begun take a place first.

        Raises :class:`DeviceFull` when nothing has changed, any other exception when the runs of the batch are lost.
        """
        ...

    def leave(self, run: SamplingRun) -> None:
        """Give up the place of a run that ended, was cancelled or was lost; nothing when it has none."""
        ...

    def renewed(self) -> Resident:
        """Another one of the same weights with nothing in flight, for another thread; this one is not used any more."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What an operator wants to know: JSON values."""
        ...


class DoneTicket:
    """The ticket of a device that does everything at once."""

    done = True

    def __init__(self, took_ms: float, results: Mapping[str, Any]) -> None:
        self._took_ms, self._results = took_ms, results

    def wait(self) -> float:
        return self._took_ms

    def results(self) -> Mapping[str, Any]:
        return self._results
