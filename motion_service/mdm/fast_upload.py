"""Small uploads that neither wait for the device nor take more than one copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.int32]

DEPTH: Final = 8
"""Uploads that may be queued ahead of the device before the next one waits."""


class Upload:
    """Words on the device, and pinned memory on the host that is copied into them, several in turn.

    What was uploaded stays until the stream comes to the next upload, so work launched in between reads its own.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.words = torch.zeros(size, dtype=torch.int32, device=device)
        self._staged: list[tuple[Tensor, Words, torch.cuda.Event]] = []
        self._turn = 0
        if device.type == "cuda":
            for _ in range(DEPTH):
                pinned = torch.zeros(size, dtype=torch.int32, pin_memory=True)
                self._staged.append((pinned, pinned.numpy(), torch.cuda.Event()))

    def send(self, pack: Callable[[Words], int]) -> None:
        """``pack`` fills host memory (what is in it is old) and says how many words of it count."""
        if not self._staged:
            pack(self.words.numpy())
            return
        pinned, memory, copied = self._staged[self._turn]
        self._turn = (self._turn + 1) % DEPTH
        copied.synchronize()  # returns at once unless the device is DEPTH uploads behind
        size = pack(memory)
        self.words[:size].copy_(pinned[:size], non_blocking=True)
        copied.record()
