"""A denoising step for few rows (a clip, some windows): own products, six kernels a layer, each preloading.

With so few rows a step is a chain of dependent kernels and not arithmetic, so everything that is no product or
attention is folded into the kernels before and after it. Weights are folded once a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from motion_service.mdm import kernels
from motion_service.mdm.fast_device import has_little_memory
from motion_service.mdm.fast_pool import Front
from motion_service.mdm.fast_weights import FastWeights
from motion_service.mdm.kernels_compile import launch
from motion_service.mdm.kernels_launch import (
    AT_ONCE,
    NOT,
    Folded,
    Folds,
    Tile,
    launch_cross,
    score_scale,
)


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tile of each kernel; found by measuring (``bench_engine --tune``), never for correctness."""

    embed: Tile
    qkv: Tile
    attention: Tile
    """Rows of queries."""
    out: Tile
    cross: Tile
    """0 columns: whole rows, and the norm behind goes along."""
    wide: Tile
    narrow: Tile
    last: Tile


UP_TO_80_ROWS: Final = Tiles(
    embed=Tile(64, 32, 4),
    qkv=Tile(16, 128, 4),
    attention=Tile(16, 0, 4),
    out=Tile(32, 64, 4),
    cross=Tile(16, 64, 4),
    wide=Tile(16, 128, 4),
    narrow=Tile(32, 32, 4),
    last=Tile(16, 32, 4),
)
"""A window alone: 60 rows and as many without text."""
MORE_ROWS: Final = Tiles(
    embed=Tile(64, 64, 4),
    qkv=Tile(64, 64, 8),
    attention=Tile(32, 0, 4),
    out=Tile(32, 64, 4),
    cross=Tile(16, 0, 8),
    wide=Tile(16, 128, 4),
    narrow=Tile(32, 32, 4),
    last=Tile(16, 32, 4),
)
"""A clip of 5 s alone: 100 rows and as many without text."""
FROM_150_ROWS: Final = Tiles(
    embed=Tile(64, 64, 4),
    qkv=Tile(128, 64, 8),
    attention=Tile(32, 0, 8),
    out=Tile(32, 64, 4),
    cross=Tile(16, 0, 8),
    wide=Tile(64, 64, 8),
    narrow=Tile(64, 32, 8),
    last=Tile(16, 64, 8),
)
"""The longest clip alone, or a few windows."""


LITTLE_MEMORY: Final = Tiles(
    embed=Tile(64, 32, 4),
    qkv=Tile(32, 64, 4),
    attention=Tile(16, 0, 4),
    out=Tile(32, 64, 4),
    cross=Tile(16, 64, 4),
    wide=Tile(32, 64, 4),
    narrow=Tile(16, 32, 4),
    last=Tile(16, 32, 4),
)
"""At most 99 KiB of shared memory each, for sm_120 and sm_121 (DGX Spark). Compiled for those, never measured there."""


def tiles_for(rows: int, *, little_memory: bool = False) -> Tiles:
    """The fastest that were found for so many rows of the conditional half."""
    if little_memory:
        return LITTLE_MEMORY
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


class _Norm(NamedTuple):
    """A LayerNorm that a residual has still to go through: scale and shift (2, D), and moments of its rows (2R, 2)."""

    norm: Tensor
    moments: Tensor


class FewRows:
    """The step of a model. One at a time: scratch memory is shared by all calls."""

    def __init__(
        self, weights: FastWeights, folds: Folds, max_rows: int, *, early: bool, tiles: Tiles | None = None
    ) -> None:
        """``early``: programmatic dependent launch, which needs a GPU of compute capability 9 or more."""
        self.max_rows = max_rows
        self._weights, self._folds = weights, folds
        self._early = AT_ONCE if early else NOT
        self._tiles, self._little_memory = tiles, has_little_memory(weights.device)
        self._scratch = self._new_scratch(2 * max_rows)

    def _new_scratch(self, rows: int) -> _Scratch:
        spec, dtype, device = self._weights.spec, self._weights.dtype, self._weights.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return _Scratch(
            qkv=zeros(rows, 3 * spec.width),
            heads=zeros(rows, spec.width),
            y1=zeros(rows, spec.width),
            y2=zeros(rows, spec.width),
            y3=zeros(rows, spec.width),
            wide=zeros(rows, spec.feedforward),
            moments2=torch.zeros(rows, 2, device=device),
            moments3=torch.zeros(rows, 2, device=device),
        )

    @property
    def nbytes(self) -> int:
        """Scratch memory."""
        return sum(part.nbytes for part in self._scratch)

    def advance(self, front: Front, ahead: int) -> None:
        """One step of every seated clip, ``ahead`` steps after those that are counted."""
        weights, folds, s, rows = self._weights, self._folds, self._scratch, 2 * front.rows
        tiles = self._tiles or tiles_for(front.rows, little_memory=self._little_memory)
        self._embed(front, tiles.embed)
        before: _Norm | None = None
        for i, layer in enumerate(weights.layers):
            if before:
                self._product(tiles.qkv, s.y3, folds.qkv[i - 1], s.qkv, rows, moments=s.moments3)
            self._attention(front, tiles.attention, 2 if before else 1)
            out = (layer.out_weight, layer.out_bias)
            self._product(tiles.out, s.heads, out, s.y1, rows if before else front.rows, residual=s.y3, norm=before)
            launch_cross(weights, front, ahead, i, s.y1, s.y2, tiles.cross, self._early)
            narrow, second = (layer.narrow_weight, layer.narrow_bias), None
            if tiles.cross.is_whole(weights.spec.width):
                self._product(tiles.wide, s.y2, (layer.wide_weight, layer.wide_bias), s.wide, rows, gelu=True)
            else:
                self._product(tiles.wide, s.y2, folds.wide[i], s.wide, rows, gelu=True, moments=s.moments2)
                second = _Norm(layer.norms[1], s.moments2)
            self._product(tiles.narrow, s.wide, narrow, s.y3, rows, residual=s.y2, norm=second)
            before = _Norm(layer.norms[2], s.moments3)
        self._finish(front, ahead, tiles.last)

    def _embed(self, front: Front, tile: Tile) -> None:
        """Frames of the seated clips -> queries, keys and values of the first layer, and its residual."""
        pool, width, padded = front.pool, self._weights.spec.width, self._weights.padded
        tile = tile.within(width)
        k1 = max(16, 1 << (padded.bit_length() - 1))
        k2 = max(16, triton.next_power_of_2(padded - k1)) if padded > k1 else 0
        launch(
            kernels.embed_kernel,
            (triton.cdiv(front.rows, tile.rows) * (4 * width // tile.columns),),
            *(pool.state, self._folds.first, self._folds.placed, front.packed, self._scratch.qkv, self._scratch.y3),
            *(front.rows, pool.longest, padded, k1, k2, width, tile.rows, tile.columns),
            **tile.options(self._early),
        )

    def _product(
        self,
        tile: Tile,
        a: Tensor,
        product: Folded | tuple[Tensor, Tensor],
        out: Tensor,
        num: int,
        *,
        gelu: bool = False,
        moments: Tensor | None = None,
        residual: Tensor | None = None,
        norm: _Norm | None = None,
    ) -> None:
        """Rows of ``a`` through a weight and a bias: behind a LayerNorm if ``Folded``, whose ``moments`` are kept.

        ``norm``: of the residual, by moments kept before.
        """
        weight, bias = product[0], product[-1]
        outputs, inputs = weight.shape
        tile = tile.within(min(outputs, self._weights.spec.width))
        kept = norm.moments if norm else bias if moments is None else moments
        launch(
            kernels.product_kernel,
            (triton.cdiv(num, tile.rows) * (outputs // tile.columns),),
            *(a, weight, product[1], bias, out if residual is None else residual, kept),
            *(norm.norm if norm else bias, out, num, outputs, inputs),
            *(isinstance(product, Folded), gelu, 0 if residual is None else 2 if norm else 1),
            *(tile.rows, tile.columns),
            **tile.options(self._early),
        )

    def _attention(self, front: Front, tile: Tile, halves: int) -> None:
        spec, s = self._weights.spec, self._scratch
        keys = max(16, triton.next_power_of_2(front.longest))
        launch(
            kernels.attention_kernel,
            (triton.cdiv(front.longest, tile.rows), spec.heads, halves * front.width),
            *(s.qkv, s.heads, front.seats, front.width, front.rows, score_scale(self._weights)),
            *(spec.heads, spec.width // spec.heads, tile.rows, keys, False),
            **tile.options(self._early),
        )

    def _finish(self, front: Front, ahead: int, tile: Tile) -> None:
        """Last norm and projection of both halves, guidance, posterior."""
        pool, blocks = front.pool, triton.cdiv(front.longest - front.pool.context, tile.rows)
        launch(
            kernels.last_kernel,
            (front.width * blocks * triton.cdiv(pool.features, tile.columns),),
            *(self._scratch.y3, *self._folds.last, pool.state, front.seats, pool.plan, pool.progress, pool.seed),
            *(front.rows, ahead, pool.steps, front.longest, pool.longest),
            *(pool.context, pool.features, self._weights.padded, self._weights.spec.width, tile.rows, tile.columns),
            **tile.options(self._early),
        )
