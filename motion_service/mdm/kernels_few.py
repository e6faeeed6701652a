"""A denoising step for few rows (one clip, a few windows): own products, six kernels a layer, each next one preloading.

With so few rows a step is a chain of dependent kernels and not arithmetic, so everything that is no product or
attention is folded into the kernels before and after it. Weights are folded once a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from motion_service.mdm import kernels
from motion_service.mdm.fast_rows import Rows
from motion_service.mdm.fast_weights import FastWeights

_LOG2_E: Final = math.log2(math.e)


class Tile(NamedTuple):
    """Rows and columns of what one program makes, its warps, and how many loads of a loop are under way."""

    rows: int
    columns: int
    warps: int
    stages: int = 3

    def within(self, columns: int) -> Tile:
        """The same for at most this many columns."""
        return self._replace(columns=min(self.columns, columns))


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


class _Folded(NamedTuple):
    """A product behind a LayerNorm: weight with the norm's scale in it, its row sums, bias with the norm's shift."""

    weight: Tensor
    sums: Tensor
    bias: Tensor


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

    def __init__(self, weights: FastWeights, max_rows: int, *, early: bool, tiles: Tiles | None = None) -> None:
        """``early``: programmatic dependent launch, which needs a GPU of compute capability 9 or more."""
        self._chosen = tiles
        self.tiles = tiles or MORE_ROWS
        self.max_rows = max_rows
        self._weights = weights
        self._early = early
        layers = weights.layers
        first = layers[0]
        self._first = torch.cat([_times(first.qkv_weight, weights.frame_weight), weights.frame_weight.double()])
        self._first = self._first.to(weights.dtype).contiguous()
        places = weights.places.double()
        through = places @ first.qkv_weight.double().T + first.qkv_bias.double()
        self._placed = torch.cat([through, places], dim=1).float().contiguous()
        before = [layer.norms[2] for layer in layers]
        self._qkv = [
            _fold(layer.qkv_weight, layer.qkv_bias, norm) for layer, norm in zip(layers[1:], before[:-1], strict=True)
        ]
        self._wide = [_fold(layer.wide_weight, layer.wide_bias, layer.norms[1]) for layer in layers]
        self._last = _fold(weights.last_weight, weights.last_bias, before[-1])
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
        return sum(part.nbytes for part in (self._first, self._placed, *folded, *self._scratch))

    def advance(self, rows: Rows, progress: Tensor) -> None:
        """One step of every clip; ``progress`` (B,) int32 must not change while kernels run."""
        num, slots = rows.num_rows, rows.slots
        s = self._scratch
        self.tiles = self._chosen or tiles_for(num)
        self._embed(rows, num)
        for i, layer in enumerate(self._weights.layers):
            shared = i == 0
            if not shared:
                self._normed_product(self.tiles.qkv, s.y3, self._qkv[i - 1], s.qkv, s.moments3, 2 * num, gelu=False)
            self._attention(rows, slots if shared else 2 * slots)
            norm = self._weights.layers[max(i - 1, 0)].norms[2]
            residual = (s.y3, s.moments3, norm)
            product = (s.heads, layer.out_weight, layer.out_bias)
            self._residual_product(
                self.tiles.out, *product, *residual, s.y1, num if shared else 2 * num, normed=not shared
            )
            self._cross(rows, progress, i)
            self._normed_product(self.tiles.wide, s.y2, self._wide[i], s.wide, s.moments2, 2 * num, gelu=True)
            product = (s.wide, layer.narrow_weight, layer.narrow_bias)
            residual = (s.y2, s.moments2, layer.norms[1])
            self._residual_product(self.tiles.narrow, *product, *residual, s.y3, 2 * num, normed=True)
        self._finish(rows, progress)

    def _launch(self, warps: int) -> dict[str, Any]:
        return {"EARLY": self._early, "num_warps": warps, **({"launch_pdl": True} if self._early else {})}

    def _embed(self, rows: Rows, num: int) -> None:
        width, padded = self._weights.spec.width, self._weights.padded
        tile = self.tiles.embed.within(width)
        k1 = max(16, 1 << (padded.bit_length() - 1))
        k2 = max(16, triton.next_power_of_2(padded - k1)) if padded > k1 else 0
        kernels.embed_kernel[(triton.cdiv(num, tile.rows) * (4 * width // tile.columns),)](
            *(rows.half, self._first, self._placed, rows.position, self._scratch.qkv, self._scratch.y3, num),
            *(padded, k1, k2, width, tile.rows, tile.columns),
            **self._launch(tile.warps),
        )

    def _normed_product(
        self, tile: Tile, y: Tensor, fold: _Folded, out: Tensor, moments: Tensor, num: int, *, gelu: bool
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

    def _attention(self, rows: Rows, sequences: int) -> None:
        launch_attention(
            *(self._weights, rows, self._scratch.qkv, self._scratch.heads, sequences),
            *(self.tiles.attention.rows, max(16, triton.next_power_of_2(rows.longest))),
            **self._launch(self.tiles.attention.warps),
        )

    def _cross(self, rows: Rows, progress: Tensor, layer: int) -> None:
        tile, s = self.tiles.cross.within(self._weights.spec.width), self._scratch
        launch_cross(
            *(
                self._weights,
                rows,
                progress,
                layer,
                s.y1,
                s.y1,
                s.y2,
                tile.rows,
                tile.columns,
            ),
            close=False,
            **self._launch(tile.warps),
        )

    def _finish(self, rows: Rows, progress: Tensor) -> None:
        tile, spec = self.tiles.last, self._weights.spec
        blocks = triton.cdiv(rows.longest - rows.context, tile.rows)
        kernels.last_kernel[(rows.slots * blocks * triton.cdiv(rows.features, tile.columns),)](
            *(self._scratch.y3, *self._last, rows.state, rows.half, rows.noise, rows.first, rows.length),
            *(rows.plan, progress, rows.num_rows, rows.noise.stride(0), rows.steps, rows.longest),
            *(rows.context, rows.features, self._weights.padded, spec.width, tile.rows, tile.columns),
            **self._launch(tile.warps),
        )


def launch_attention(
    weights: FastWeights, rows: Rows, qkv: Tensor, out: Tensor, sequences: int, queries: int, keys: int, **launch: Any
) -> None:
    """Self attention of ``sequences`` clips (B, or 2B with the unconditional half), blocks of queries and keys."""
    heads, head_width = weights.spec.heads, weights.spec.width // weights.spec.heads
    kernels.attention_kernel[(triton.cdiv(rows.longest, queries), heads, sequences)](
        *(qkv, out, rows.first, rows.length, rows.slots, rows.num_rows),
        *(_LOG2_E / math.sqrt(head_width), heads, head_width, queries, keys, rows.longest > keys),
        **launch,
    )


def launch_cross(
    weights: FastWeights,
    rows: Rows,
    progress: Tensor,
    layer: int,
    y: Tensor,
    add: Tensor,
    out: Tensor,
    tile_rows: int,
    tile_columns: int,
    *,
    close: bool,
    **launch: Any,
) -> None:
    """First norm and cross attention of a layer; with ``close`` the residual before and the second norm behind."""
    spec, norms = weights.spec, weights.layers[layer].norms
    blocks = triton.cdiv(rows.longest, tile_rows)
    kernels.cross_kernel[(2 * rows.slots * blocks * (spec.width // tile_columns),)](
        *(y, add, out, norms[0], norms[1], weights.times, rows.text.shift),
        *(rows.text.keys, rows.text.bias, rows.text.values, rows.first, rows.length, rows.plan, progress),
        *(rows.slots, rows.num_rows, rows.longest, rows.steps, layer, spec.layers, layer == 0),
        *(spec.width, spec.heads, rows.text.keys.shape[2] // spec.heads, close, tile_rows, tile_columns),
        **launch,
    )


def _times(a: Tensor, b: Tensor) -> Tensor:
    return a.double() @ b.double()


def _fold(weight: Tensor, bias: Tensor, norm: Tensor) -> _Folded:
    """LayerNorm with ``norm`` (2, D), then a linear map."""
    scale, shift = norm.double()
    scaled = (weight.double() * scale).to(weight.dtype).contiguous()
    return _Folded(
        scaled, scaled.double().sum(1).float(), (weight.double() @ shift + bias.double()).float().contiguous()
    )
