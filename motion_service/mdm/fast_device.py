"""What kernels have to know of a GPU before they are chosen. Nothing here needs Triton."""

from __future__ import annotations

from typing import Final

import torch

_ENOUGH_SHARED: Final = 160 << 10
"""Bytes of shared memory a block, of which all tiles but the little ones need most."""


def has_little_memory(device: torch.device) -> bool:
    """Whether a block of this GPU has less shared memory than the usual tiles take: 99 KiB on sm_120 and sm_121."""
    if device.type != "cuda":
        return False
    told = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", _ENOUGH_SHARED)
    return int(told) < _ENOUGH_SHARED
