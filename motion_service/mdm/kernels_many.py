"""A denoising step for many rows: the library's products, and one kernel each for what stands between them.

From about a thousand rows on the products decide, and cuBLAS makes them better than own kernels do. What is left is
memory traffic: residual, norms and cross attention in one pass, the activation inside the product before it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from motion_service.mdm import kernels
from motion_service.mdm.fast_rows import Rows
from motion_service.mdm.fast_weights import FastLayer, FastWeights
from motion_service.mdm.kernels_few import Tile, launch_attention, launch_cross

CROSS = Tile(32, 0, 8)
NORM = Tile(8, 0, 8)
ATTENTION = Tile(64, 64, 4)


def advance_many(weights: FastWeights, rows: Rows, progress: Tensor) -> None:
    """One step of every clip in ``rows``. ``progress`` (B,) int32."""
    num, width = rows.num_rows, weights.spec.width
    last = len(weights.layers) - 1
    h = torch.addmm(rows.placed, rows.half, weights.frame_weight.T)  # (R, D)
    for i, layer in enumerate(weights.layers):
        out = _attention(weights, rows, layer, h, first=i == 0)
        x = h.new_empty(2 * num, width)
        launch_cross(
            weights, rows, progress, i, h, out, x, CROSS.rows, width, close=True, EARLY=False, num_warps=CROSS.warps
        )
        added = F.linear(_wide(layer, x), layer.narrow_weight, layer.narrow_bias)
        if i < last:
            h = torch.empty_like(x)
            kernels.add_norm_kernel[(triton.cdiv(2 * num, NORM.rows),)](
                x, added, layer.norms[2], h, 2 * num, width, NORM.rows, num_warps=NORM.warps
            )
    mixed = h.new_empty(num, width)
    kernels.add_norm_guide_kernel[(triton.cdiv(num, NORM.rows),)](
        *(x, added, weights.layers[last].norms[2], mixed, rows.owner, rows.plan, progress, num, rows.steps),
        *(width, NORM.rows),
        num_warps=NORM.warps,
    )
    x0 = F.linear(mixed, weights.last_weight, weights.last_bias)  # (R, P)
    kernels.posterior_kernel[(triton.cdiv(num, 4),)](
        *(x0, rows.state, rows.half, rows.noise, rows.owner, rows.position, rows.plan, progress),
        *(num, rows.noise.stride(0), rows.steps, rows.context, rows.features, weights.padded, 4),
        triton.next_power_of_2(weights.padded),
    )


def _attention(weights: FastWeights, rows: Rows, layer: FastLayer, h: Tensor, *, first: bool) -> Tensor:
    """Self attention without its residual, (R, D) in the first layer, else (2R, D)."""
    qkv = F.linear(h, layer.qkv_weight, layer.qkv_bias)
    heads = torch.empty_like(h)
    sequences = rows.slots if first else 2 * rows.slots
    launch_attention(
        *(weights, rows, qkv, heads, sequences, ATTENTION.rows, ATTENTION.columns),
        EARLY=False,
        num_warps=ATTENTION.warps,
    )
    return F.linear(heads, layer.out_weight, layer.out_bias)


def _wide(layer: FastLayer, x: Tensor) -> Tensor:
    """GELU inside the product: as a tanh on CUDA, where it costs nothing and makes no measurable difference in fp16."""
    if x.is_cuda and x.dtype == torch.float16:
        made: Tensor = torch._addmm_activation(layer.wide_bias, x, layer.wide_weight.T, use_gelu=True)
        return made
    return F.gelu(F.linear(x, layer.wide_weight, layer.wide_bias))
