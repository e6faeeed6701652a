"""A denoising step for few rows (one clip, a few windows): own products, six kernels a layer, each next one preloading.

With so few rows a step is a chain of dependent kernels and not arithmetic, so everything that is no product or
attention is folded into the kernels before and after it. Weights are folded once a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from motion_service.mdm import kernels
from motion_service.mdm.fast_pool import Front
from motion_service.mdm.fast_weights import FastWeights
from motion_service.mdm.kernels_launch import (
    First,
    Folded,
    Tile,
    fold_norm,
    launch_attention,
    launch_cross,
    launch_embed,
)


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tile of each kernel; found by measuring (``bench_engine --tune``), never for correctness."""

    embed: Tile
    qkv: Tile
    attention: Tile
    out: Tile
    cross: Tile
    wide: Tile
    narrow: Tile
    last: Tile


UP_TO_80_ROWS: Final = Tiles(
    embed=Tile(16, 64, 4),
    qkv=Tile(16, 128, 4),
    attention=Tile(16, 0, 4),
    out=Tile(64, 16, 4),
    cross=Tile(16, 64, 4),
    wide=Tile(16, 128, 4),
    narrow=Tile(32, 32, 4),
    last=Tile(16, 32, 4),
)
"""A window alone: 60 rows and as many without text."""
MORE_ROWS: Final = Tiles(
    embed=Tile(64, 64, 4),
    qkv=Tile(64, 64, 8),
    attention=Tile(16, 0, 4),
    out=Tile(32, 32, 4),
    cross=Tile(16, 128, 8),
    wide=Tile(32, 64, 4),
    narrow=Tile(16, 32, 4),
    last=Tile(16, 32, 8),
)
"""A clip of 5 s alone: 100 rows and as many without text."""
FROM_150_ROWS: Final = Tiles(
    embed=Tile(64, 64, 4),
    qkv=Tile(64, 64, 8),
    attention=Tile(32, 0, 8),
    out=Tile(16, 64, 4),
    cross=Tile(16, 128, 4),
    wide=Tile(64, 64, 8),
    narrow=Tile(32, 32, 4),
    last=Tile(16, 32, 4),
)
"""The longest clip alone, or a few windows."""


def tiles_for(rows: int) -> Tiles:
    """The fastest that were found for so many rows of the conditional half."""
    if rows <= 80:
        return UP_TO_80_ROWS
    return MORE_ROWS if rows < 150 else FROM_150_ROWS


class _Scratch(NamedTuple):
    """Results between kernels, for 2R rows."""

    qkv: Tensor
    heads: Tensor
    y1: Tensor
    y2: Tensor
    y3: Tensor
    wide: Tensor
    moments2: Tensor
    moments3: Tensor


class FewRows:
    """The step of a model. One at a time: scratch memory is shared by all calls."""

    def __init__(
        self, weights: FastWeights, first: First, max_rows: int, *, early: bool, tiles: Tiles | None = None
    ) -> None:
        """``early``: programmatic dependent launch, which needs a GPU of compute capability 9 or more."""
        self._chosen = tiles
        self.tiles = tiles or MORE_ROWS
        self.max_rows = max_rows
        self._weights, self._first = weights, first
        self._early = early
        layers = weights.layers
        self._qkv = [
            fold_norm(layer.qkv_weight, layer.qkv_bias, before.norms[2])
            for before, layer in zip(layers[:-1], layers[1:], strict=True)
        ]
        self._wide = [fold_norm(layer.wide_weight, layer.wide_bias, layer.norms[1]) for layer in layers]
        self._last = fold_norm(weights.last_weight, weights.last_bias, layers[-1].norms[2])
        self._scratch = self._new_scratch(2 * max_rows)

    def _new_scratch(self, rows: int) -> _Scratch:
        spec, dtype, device = self._weights.spec, self._weights.dtype, self._weights.device
        widths = (3 * spec.width, *[spec.width] * 4, spec.feedforward)
        halves = [torch.zeros(rows, width, dtype=dtype, device=device) for width in widths]
        return _Scratch(*halves, *(torch.empty(rows, 2, device=device) for _ in range(2)))

    @property
    def nbytes(self) -> int:
        """Memory of folded weights and scratch."""
        folded = [part for fold in (*self._qkv, *self._wide, self._last) for part in fold]
        return sum(part.nbytes for part in (*folded, *self._scratch))

    def advance(self, front: Front, ahead: int) -> None:
        """One step of every seated clip, ``ahead`` steps after those that are counted."""
        num, s = front.rows, self._scratch
        self.tiles = self._chosen or tiles_for(num)
        embed = self.tiles.embed
        launch_embed(self._weights, self._first, front, s.qkv, s.y3, embed, **self._launch(embed.warps))
        for i, layer in enumerate(self._weights.layers):
            shared = i == 0
            if not shared:
                self._normed_product(self.tiles.qkv, s.y3, self._qkv[i - 1], s.qkv, s.moments3, 2 * num, gelu=False)
            self._attention(front, 1 if shared else 2)
            norm = self._weights.layers[max(i - 1, 0)].norms[2]
            residual = (s.y3, s.moments3, norm)
            product = (s.heads, layer.out_weight, layer.out_bias)
            self._residual_product(
                self.tiles.out, *product, *residual, s.y1, num if shared else 2 * num, normed=not shared
            )
            self._cross(front, ahead, i)
            self._normed_product(self.tiles.wide, s.y2, self._wide[i], s.wide, s.moments2, 2 * num, gelu=True)
            product = (s.wide, layer.narrow_weight, layer.narrow_bias)
            residual = (s.y2, s.moments2, layer.norms[1])
            self._residual_product(self.tiles.narrow, *product, *residual, s.y3, 2 * num, normed=True)
        self._finish(front, ahead)

    def _launch(self, warps: int) -> dict[str, Any]:
        return {"EARLY": self._early, "num_warps": warps, **({"launch_pdl": True} if self._early else {})}

    def _normed_product(
        self, tile: Tile, y: Tensor, fold: Folded, out: Tensor, moments: Tensor, num: int, *, gelu: bool
    ) -> None:
        outputs, inputs = fold.weight.shape
        tile = tile.within(inputs)
        kernels.normed_product_kernel[(triton.cdiv(num, tile.rows) * (outputs // tile.columns),)](
            *(y, *fold, out, moments, num, outputs, inputs, gelu, tile.rows, tile.columns),
            **self._launch(tile.warps),
        )

    def _residual_product(
        self,
        tile: Tile,
        a: Tensor,
        weight: Tensor,
        bias: Tensor,
        y: Tensor,
        moments: Tensor,
        norm: Tensor,
        out: Tensor,
        num: int,
        *,
        normed: bool,
    ) -> None:
        outputs, inputs = weight.shape
        tile = tile.within(outputs)
        kernels.residual_product_kernel[(triton.cdiv(num, tile.rows) * (outputs // tile.columns),)](
            *(a, weight, bias, y, moments, norm, out, num),
            *(outputs, inputs, normed, tile.rows, tile.columns),
            **self._launch(tile.warps),
        )

    def _attention(self, front: Front, halves: int) -> None:
        launch_attention(
            *(self._weights, front, self._scratch.qkv, self._scratch.heads, halves),
            *(self.tiles.attention.rows, max(16, triton.next_power_of_2(front.longest))),
            **self._launch(self.tiles.attention.warps),
        )

    def _cross(self, front: Front, ahead: int, layer: int) -> None:
        tile, s = self.tiles.cross.within(self._weights.spec.width), self._scratch
        launch_cross(
            *(self._weights, front, ahead, layer, s.y1, s.y1, s.y2, tile), close=False, **self._launch(tile.warps)
        )

    def _finish(self, front: Front, ahead: int) -> None:
        tile, spec, pool = self.tiles.last, self._weights.spec, front.pool
        blocks = triton.cdiv(front.longest - pool.context, tile.rows)
        kernels.last_kernel[(front.width * blocks * triton.cdiv(pool.features, tile.columns),)](
            *(self._scratch.y3, *self._last, pool.state, front.seats, pool.plan, pool.progress, pool.seed),
            *(front.rows, ahead, pool.steps, front.longest, pool.longest),
            *(pool.context, pool.features, self._weights.padded, spec.width, tile.rows, tile.columns),
            **self._launch(tile.warps),
        )
