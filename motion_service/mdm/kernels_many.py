"""A denoising step for many rows: the library's products, and one kernel each for what stands between them.

From about a thousand rows on the products decide, and cuBLAS makes them better than own kernels do. What is left is
memory traffic: residual, norms and cross attention in one pass, the activation inside the product before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from motion_service.mdm import kernels
from motion_service.mdm.fast_rows import Rows
from motion_service.mdm.fast_weights import FastLayer, FastWeights
from motion_service.mdm.kernels_few import Tile, launch_attention, launch_cross


@dataclass(frozen=True, slots=True)
class ManyTiles:
    """Tile of each kernel (a whole row in columns, or 64 keys of attention); found by measuring."""

    attention: Tile = Tile(64, 64, 4)
    cross: Tile = Tile(32, 0, 8)
    norm: Tile = Tile(8, 0, 8)
    posterior: Tile = Tile(4, 0, 4)


DEFAULT: Final = ManyTiles()
LIBRARY_ROWS: Final = 4096
"""From here on the library's attention is faster for clips of equal length, if one block of keys does not hold them."""
LIBRARIES: Final = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Its kinds, the fastest first."""


def advance_many(
    weights: FastWeights, rows: Rows, progress: Tensor, tiles: ManyTiles = DEFAULT, *, masked: bool = True
) -> None:
    """One step of every clip in ``rows``. ``progress`` (B,) int32; ``masked``: some are shorter than the longest."""
    num, width = rows.num_rows, weights.spec.width
    last = len(weights.layers) - 1
    equal = rows.even and not masked and rows.longest > tiles.attention.columns
    h = torch.addmm(rows.placed, rows.half, weights.frame_weight.T)  # (R, D)
    for i, layer in enumerate(weights.layers):
        qkv = F.linear(h, layer.qkv_weight, layer.qkv_bias)
        if equal and num >= LIBRARY_ROWS:
            heads = _library_attention(weights, rows.longest, qkv)
        else:
            heads = _own_attention(weights, rows, qkv, tiles.attention)
        out = F.linear(heads, layer.out_weight, layer.out_bias)
        x = h.new_empty(2 * num, width)
        launch_cross(
            weights,
            rows,
            progress,
            i,
            h,
            out,
            x,
            tiles.cross.rows,
            width,
            close=True,
            EARLY=False,
            num_warps=tiles.cross.warps,
        )
        added = F.linear(_wide(layer, x), layer.narrow_weight, layer.narrow_bias)
        if i < last:
            h = torch.empty_like(x)
            kernels.add_norm_kernel[(triton.cdiv(2 * num, tiles.norm.rows),)](
                x, added, layer.norms[2], h, 2 * num, width, tiles.norm.rows, num_warps=tiles.norm.warps
            )
    mixed = h.new_empty(num, width)
    kernels.add_norm_guide_kernel[(triton.cdiv(num, tiles.norm.rows),)](
        *(x, added, weights.layers[last].norms[2], mixed, rows.owner, rows.plan, progress, num, rows.steps),
        *(width, tiles.norm.rows),
        num_warps=tiles.norm.warps,
    )
    x0 = F.linear(mixed, weights.last_weight, weights.last_bias)  # (R, P)
    kernels.posterior_kernel[(triton.cdiv(num, tiles.posterior.rows),)](
        *(x0, rows.state, rows.half, rows.noise, rows.owner, rows.position, rows.plan, progress),
        *(num, rows.noise.stride(0), rows.steps, rows.context, rows.features, weights.padded, tiles.posterior.rows),
        triton.next_power_of_2(weights.padded),
        num_warps=tiles.posterior.warps,
    )


def _own_attention(weights: FastWeights, rows: Rows, qkv: Tensor, tile: Tile) -> Tensor:
    """Each clip within itself, (R, 3D) or both halves (2R, 3D) -> (.., D).

    As fast as the library where one block of keys is enough, and it takes clips of other lengths without padding.
    """
    heads = qkv.new_empty(len(qkv), weights.spec.width)
    launch_attention(
        *(weights, rows, qkv, heads, rows.slots * (len(qkv) // rows.num_rows), tile.rows, tile.columns),
        EARLY=False,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return heads


def _library_attention(weights: FastWeights, length: int, qkv: Tensor) -> Tensor:
    """The same for clips that are all ``length`` long."""
    by_head = qkv.view(-1, length, 3, weights.spec.heads, weights.spec.width // weights.spec.heads)
    q, k, v = by_head.permute(2, 0, 3, 1, 4)
    with sdpa_kernel(LIBRARIES, set_priority=True):
        heads = F.scaled_dot_product_attention(q, k, v)
    return heads.transpose(1, 2).reshape(len(qkv), weights.spec.width)


def _wide(layer: FastLayer, x: Tensor) -> Tensor:
    """GELU inside the product: as a tanh on CUDA, where it costs nothing and makes no measurable difference in fp16."""
    if x.is_cuda and x.dtype == torch.float16:
        made: Tensor = torch._addmm_activation(layer.wide_bias, x, layer.wide_weight.T, use_gelu=True)
        return made
    return F.gelu(F.linear(x, layer.wide_weight, layer.wide_bias))
