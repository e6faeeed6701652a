"""Large matrices of a weights file in 8 bits: half the size of fp16, for weights that are shipped beside others.

Every row is stored as whole numbers from -127 to 127 and one factor (absmax rounding), which is off by at most half a
factor: 0.4 % of the largest value in the row. Vectors and small matrices stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

_FACTOR: Final = ".row_factor"
_LEVELS: Final = 127
_LARGE: Final = 4096
"""Values from which a matrix is worth rounding."""


def to_eight_bits(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, large float matrices (R, C) as int8 beside ``NAME.row_factor`` (R, 1), float32."""
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or tensor.numel() < _LARGE:
            packed[name] = tensor
            continue
        factor = (tensor.float().abs().amax(dim=1, keepdim=True) / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        packed[name] = (tensor.float() / factor).round().to(torch.int8)
        packed[name + _FACTOR] = factor
    return packed


def from_eight_bits(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of :func:`to_eight_bits`, all in float32; files without such matrices pass through.

    Raises KeyError for a rounded matrix without its factors and RuntimeError for factors of another shape.
    """
    return {
        name: tensor.float() * tensors[name + _FACTOR] if tensor.dtype == torch.int8 else tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith(_FACTOR)
    }
