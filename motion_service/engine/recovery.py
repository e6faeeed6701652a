"""What to do about a batch that failed: the run that breaks it is to fail alone, and a lost device is to be told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from motion_service.engine.replies import Reply
from motion_service.engine.run import SamplingRun
from motion_service.errors import EngineLost

Waiting = tuple[SamplingRun, Reply]
"""A run and who waits for it."""

_companies: Final = itertools.count(1)


def halves(waiting: Sequence[Waiting]) -> Iterator[Waiting]:
    """Several runs ready to begin anew, each half apart from all others: what breaks one leaves the other in peace.

    Whoever is in a broken half is halved again, so after log2(n) batches the culprit is alone. Runs draw noise from
    their own seed, so beginning anew makes the same motion.
    """
    middle = len(waiting) // 2
    for half in (waiting[:middle], waiting[middle:]):
        company = next(_companies)
        for run, reply in half:
            run.begin_anew(company)
            yield run, reply


def is_device_lost(error: BaseException) -> bool:
    """Whether the CUDA context is broken, after which every call fails until the process ends.

    PyTorch has a class for errors of the device since 2.8; its words are older. Memory that is not there passes.
    """
    if isinstance(error, DeviceLost):
        return True
    words = str(error)
    told = type(error).__name__ == "AcceleratorError" or "CUDA error" in words or "device-side assert" in words
    return told and "out of memory" not in words


class DeviceLost(EngineLost):
    """The device answers nothing any more; only another process can use it again."""
