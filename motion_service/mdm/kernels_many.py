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

from motion_service.mdm import kernels_between
from motion_service.mdm.fast_pool import Front
from motion_service.mdm.fast_weights import FastLayer, FastWeights
from motion_service.mdm.kernels_launch import First, Tile, launch_attention, launch_cross, launch_embed


@dataclass(frozen=True, slots=True)
class ManyTiles:
    """Tile of each kernel (a whole row in columns, or the keys of attention); found by measuring."""

    embed: Tile = Tile(64, 128, 4)
    attention: Tile = Tile(64, 64, 4)
    cross: Tile = Tile(32, 0, 8)
    norm: Tile = Tile(8, 0, 8)
    posterior: Tile = Tile(256, 0, 4)


DEFAULT: Final = ManyTiles()


class ManyRows:
    """The step of a model."""

    def __init__(self, weights: FastWeights, first: First, tiles: ManyTiles = DEFAULT) -> None:
        self.tiles = tiles
        self._weights, self._first = weights, first

    def advance(self, front: Front, ahead: int) -> None:
        """One step of every seated clip, ``ahead`` steps after those that are counted."""
        weights, tiles, num = self._weights, self.tiles, front.rows
        width, norm = weights.spec.width, tiles.norm
        qkv = weights.frame_weight.new_empty(num, 3 * width)
        h = qkv.new_empty(num, width)
        launch_embed(weights, self._first, front, qkv, h, tiles.embed, EARLY=False, num_warps=tiles.embed.warps)
        for i, layer in enumerate(weights.layers):
            if i:
                qkv = F.linear(h, layer.qkv_weight, layer.qkv_bias)
            out = F.linear(self._attention(front, qkv), layer.out_weight, layer.out_bias)
            x = h.new_empty(2 * num, width)
            cross = tiles.cross._replace(columns=width)
            launch_cross(*(weights, front, ahead, i, h, out, x, cross), close=True, EARLY=False, num_warps=cross.warps)
            added = F.linear(_wide(layer, x), layer.narrow_weight, layer.narrow_bias)
            if i < len(weights.layers) - 1:
                h = torch.empty_like(x)
                kernels_between.add_norm_kernel[(triton.cdiv(2 * num, norm.rows),)](
                    *(x, added, layer.norms[2], h, 2 * num, width, norm.rows), num_warps=norm.warps
                )
        self._finish(front, ahead, x, added)

    def _attention(self, front: Front, qkv: Tensor) -> Tensor:
        """Each clip within itself, (R, 3D) or both halves (2R, 3D) -> (.., D)."""
        heads, tile = qkv.new_empty(len(qkv), self._weights.spec.width), self.tiles.attention
        launch_attention(
            *(self._weights, front, qkv, heads, len(qkv) // front.rows, tile.rows, tile.columns),
            EARLY=False,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return heads

    def _finish(self, front: Front, ahead: int, x: Tensor, added: Tensor) -> None:
        """Last norm, guidance, projection and posterior."""
        weights, pool, num = self._weights, front.pool, front.rows
        norm, tile, width = self.tiles.norm, self.tiles.posterior, self._weights.spec.width
        mixed = x.new_empty(num, width)
        kernels_between.add_norm_guide_kernel[(triton.cdiv(num, norm.rows),)](
            *(x, added, weights.layers[-1].norms[2], mixed, front.packed, pool.plan, pool.progress),
            *(num, ahead, pool.steps, width, norm.rows),
            num_warps=norm.warps,
        )
        x0 = F.linear(mixed, weights.last_weight, weights.last_bias)  # (R, P)
        kernels_between.posterior_kernel[(triton.cdiv(num * weights.padded // 4, tile.rows),)](
            *(x0, pool.state, front.packed, pool.plan, pool.progress, pool.seed, num, ahead, pool.steps, pool.longest),
            *(pool.context, pool.features, weights.padded, tile.rows),
            num_warps=tile.warps,
        )


def _wide(layer: FastLayer, x: Tensor) -> Tensor:
    """GELU inside the product: as a tanh on CUDA, where it costs nothing and makes no measurable difference in fp16."""
    if x.is_cuda and x.dtype == torch.float16:
        made: Tensor = torch._addmm_activation(layer.wide_bias, x, layer.wide_weight.T, use_gelu=True)
        return made
    return F.gelu(F.linear(x, layer.wide_weight, layer.wide_bias))
