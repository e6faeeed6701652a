"""A denoising step for many rows: own products that take norms and residuals with them, seven kernels a layer.

From about a thousand rows on the arithmetic of products decides, and memory traffic of what stands between them. So a
norm costs no pass of its own: products read sums before the norm and correct behind, and keep what the next needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor
from triton.tools.tensor_descriptor import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
    TensorDescriptor,
)

from motion_service.mdm import kernels, kernels_between, kernels_large
from motion_service.mdm.fast_device import has_little_memory
from motion_service.mdm.fast_pool import Front
from motion_service.mdm.fast_weights import FastWeights
from motion_service.mdm.kernels_compile import launch
from motion_service.mdm.kernels_launch import (
    AT_THE_END,
    NOT,
    Folded,
    Folds,
    Tile,
    launch_cross,
    launch_options,
    score_scale,
)


class Block(NamedTuple):
    """Tile of a large product: rows, columns, inputs a turn, warps, turns under way."""

    rows: int
    columns: int
    inputs: int
    warps: int
    stages: int
    programs: int = 0
    """Programs an SM, each one tile after the other; 0 = a program a tile."""
    pieces: int = 1
    """2 = the columns end in two halves, which needs less room."""
    registers: int | None = None
    """Most of a thread."""


@dataclass(frozen=True, slots=True)
class ManyTiles:
    """Tile of each kernel; found by measuring (``bench_engine --tune``), never for correctness."""

    first: Block
    qkv: Block
    attention: Tile
    """Rows of queries, columns of keys."""
    out: Block
    cross: Tile
    """Rows, and columns of a piece; 0: whole rows, and the norm behind goes along."""
    without: Tile
    """The same of the unconditional half, if in pieces."""
    wide: Block
    narrow: Block
    norm: Tile = Tile(8, 0, 8)
    frames: Tile = Tile(256, 0, 4)
    """Four features each: what is done frame by frame."""


UP_TO_4096_ROWS: Final = ManyTiles(
    first=Block(64, 128, 64, 4, 4),
    qkv=Block(64, 128, 64, 4, 4),
    attention=Tile(32, 64, 4),
    out=Block(64, 64, 64, 4, 4),
    cross=Tile(16, 0, 8),
    without=Tile(16, 0, 8),
    wide=Block(64, 128, 64, 4, 4),
    narrow=Block(64, 64, 64, 4, 4),
)
"""Both halves counted. Small enough that every SM has something to do; not measured yet."""
MORE_ROWS: Final = ManyTiles(
    first=Block(128, 128, 64, 4, 3, pieces=2),
    qkv=Block(128, 256, 64, 8, 3, programs=1),
    attention=Tile(64, 64, 4, 1),
    out=Block(128, 128, 64, 4, 3),
    cross=Tile(64, 128, 8),
    without=Tile(8, 128, 2),
    wide=Block(128, 128, 64, 8, 3, programs=2, pieces=2, registers=128),
    narrow=Block(128, 128, 64, 4, 3),
)


LITTLE_MEMORY: Final = replace(UP_TO_4096_ROWS, cross=MORE_ROWS.cross, without=MORE_ROWS.without)
"""At most 99 KiB of shared memory each, for sm_120 and sm_121; wider products get along with fewer stages there, see
:func:`~motion_service.mdm.kernels_compile.launch`."""


def tiles_for(rows: int, *, little_memory: bool = False) -> ManyTiles:
    """For so many rows of the conditional half."""
    if 2 * rows > 4096:
        return MORE_ROWS
    return LITTLE_MEMORY if little_memory else UP_TO_4096_ROWS


class _Sums(NamedTuple):
    """Rows before a LayerNorm (2R, D), and sums of their parts and of their squares (2R, parts, 2)."""

    y: Tensor
    parts: Tensor
    norm: Tensor
    """(2, D)"""


class ManyRows:
    """The step of a model."""

    def __init__(self, weights: FastWeights, folds: Folds, *, early: bool, tiles: ManyTiles | None = None) -> None:
        """``early``: programmatic dependent launch, which needs a GPU of compute capability 9 or more."""
        self._tiles, self._little_memory = tiles, has_little_memory(weights.device)
        self._early = AT_THE_END if early else NOT
        self._weights, self._folds = weights, folds
        on_gpu = weights.device.type == "cuda"
        self._sms = torch.cuda.get_device_properties(weights.device).multi_processor_count if on_gpu else 1

    def advance(self, front: Front, ahead: int) -> None:
        """One step of every seated clip, ``ahead`` steps after those that are counted."""
        tiles = self._tiles or tiles_for(front.rows, little_memory=self._little_memory)
        before: _Sums | None = None
        for layer in range(len(self._weights.layers)):
            before = self._layer(front, ahead, layer, before, tiles)
        assert before
        self._finish(front, ahead, before, tiles)

    def _layer(self, front: Front, ahead: int, number: int, before: _Sums | None, tiles: ManyTiles) -> _Sums:
        """One layer, None = the first. What is not needed any more is let go: these are the largest there are."""
        layer, folds, width = self._weights.layers[number], self._folds, self._weights.spec.width
        heads, residual = self._attended(front, number, before, tiles)
        y = self._product(tiles.out, heads, (layer.out_weight, layer.out_bias), residual=residual)
        del heads, residual, before
        x = self._cross(front, ahead, number, y, tiles)
        del y
        wide = (layer.wide_weight, layer.wide_bias) if isinstance(x, Tensor) else folds.wide[number]
        made = self._product(tiles.wide, x, wide, gelu=True)
        columns = min(tiles.narrow.columns, width) // tiles.narrow.pieces
        parts = self._parts(front.rows, width // columns)
        y = self._product(tiles.narrow, made, (layer.narrow_weight, layer.narrow_bias), residual=x, keep=parts)
        return _Sums(y, parts, layer.norms[2])

    def _attended(
        self, front: Front, number: int, before: _Sums | None, tiles: ManyTiles
    ) -> tuple[Tensor, Tensor | _Sums]:
        """Self attention (.., D) before its output projection, and the residual of that."""
        if before is None:
            qkv, h = self._embed(front, tiles)
            return self._attention(front, qkv, tiles.attention), h
        qkv = self._product(tiles.qkv, before, self._folds.qkv[number - 1])
        return self._attention(front, qkv, tiles.attention), before

    def _parts(self, rows: int, parts: int) -> Tensor:
        return torch.empty(2 * rows, parts, 2, device=self._weights.device)

    def _embed(self, front: Front, tiles: ManyTiles) -> tuple[Tensor, Tensor]:
        """Queries, keys and values of the first layer (R, 3D), and its residual (R, D)."""
        weights, folds, pool, tile = self._weights, self._folds, front.pool, tiles.frames
        frames = weights.frame_weight.new_empty(front.rows, weights.padded)
        launch(
            kernels_between.gather_kernel,
            (triton.cdiv(frames.numel() // 4, tile.rows),),
            *(pool.state, front.packed, frames, front.rows, pool.longest, weights.padded, tile.rows),
            **tile.options(self._early),
        )
        width = 3 * weights.spec.width
        rows = slice(width), slice(width, None)
        qkv, h = (
            self._product(tiles.first, frames, (folds.first[part],), placed=(folds.placed[:, part], front.packed))
            for part in rows
        )
        return qkv, h

    def _product(
        self,
        block: Block,
        a: Tensor | _Sums,
        product: Folded | tuple[Tensor, ...],
        *,
        placed: tuple[Tensor, Tensor] | None = None,
        residual: Tensor | _Sums | None = None,
        gelu: bool = False,
        keep: Tensor | None = None,
    ) -> Tensor:
        """(rows, K) -> (rows, N), see :func:`~motion_service.mdm.kernels_large.product_kernel`.

        ``product`` is weight and bias, ``Folded`` behind a norm; ``placed``: biases by position, and positions.
        """
        rows = a.y if isinstance(a, _Sums) else a
        weight, bias = product[0], product[-1]
        outputs, inputs = weight.shape
        out = rows.new_empty(len(rows), outputs)
        sums = a if isinstance(a, _Sums) else residual if isinstance(residual, _Sums) else None
        y = residual.y if isinstance(residual, _Sums) else residual
        columns = min(block.columns, outputs, self._weights.spec.width)
        step = min(block.inputs, triton.next_power_of_2(inputs))
        programs = triton.cdiv(len(rows), block.rows) * (outputs // columns)
        pieces = [block.rows, columns // block.pieces]
        to = TensorDescriptor.from_tensor(out, pieces)
        launch(
            kernels_large.product_kernel,
            (min(programs, self._sms * block.programs) if block.programs else programs,),
            TensorDescriptor.from_tensor(rows, [block.rows, step]),
            TensorDescriptor.from_tensor(weight, [columns, step]),
            *(bias, product[1] if isinstance(product, Folded) else bias, sums.parts if sums else bias),
            to if y is None else TensorDescriptor.from_tensor(y, pieces),
            *(sums.norm if sums else bias, *(placed or (bias, bias)), to, bias if keep is None else keep),
            *(len(rows), outputs, inputs, isinstance(product, Folded), gelu, rows.dtype == torch.float32),
            *(0 if y is None else 1 if y is residual else 2, placed[0].stride(0) if placed else 0, keep is not None),
            *(sums.parts.shape[1] if sums else 0, self._weights.spec.width),
            *(block.rows, columns, step, block.pieces, block.programs > 0),
            **launch_options(block.warps, block.stages, self._early, block.registers),
        )
        return out

    def _attention(self, front: Front, qkv: Tensor, tile: Tile) -> Tensor:
        """Each clip within itself, (R, 3D) or both halves (2R, 3D) -> (.., D)."""
        spec = self._weights.spec
        heads = qkv.new_empty(len(qkv), spec.width)
        keys = min(tile.columns, max(16, triton.next_power_of_2(front.longest)))
        halves = len(qkv) // front.rows
        launch(
            kernels.attention_kernel,
            (triton.cdiv(front.longest, tile.rows), spec.heads, halves * front.width),
            *(qkv, heads, front.seats, front.width, front.rows, score_scale(self._weights)),
            *(spec.heads, spec.width // spec.heads, tile.rows, keys, front.longest > keys),
            **tile.options(self._early),
        )
        return heads

    def _cross(self, front: Front, ahead: int, layer: int, y: Tensor, tiles: ManyTiles) -> Tensor | _Sums:
        """First norm and cross attention: what comes out of the second norm, or goes into it. (2R, D)"""
        weights, spec, pool, text = self._weights, self._weights.spec, front.pool, front.pool.text
        x, norms = y.new_empty(2 * front.rows, spec.width), weights.layers[layer].norms
        if tiles.cross.columns == 0:
            launch_cross(weights, front, ahead, layer, y, x, tiles.cross, self._early)
            return x
        parts = self._parts(front.rows, 1)
        scores = parts.new_empty(front.rows if pool.most_entries > 1 else 0, pool.most_entries, text.keys.shape[2])
        for half, tile in enumerate((tiles.cross, tiles.without)):
            columns = 0 if half else text.keys.shape[2] // spec.heads
            launch(
                kernels_large.cross_kernel,
                (front.width * triton.cdiv(front.longest, tile.rows),),
                *(y, x, parts, norms[0], weights.times, text.shift, text.keys, text.sums, text.bias, text.values),
                *(scores, front.seats, pool.entry, pool.plan, pool.progress, front.width, front.rows, front.longest),
                *(ahead, pool.steps, layer, spec.layers, half, layer == 0),
                *(spec.width, spec.heads, columns, pool.most_entries, tile.rows, min(tile.columns, spec.width)),
                **tile.options(self._early),
            )
        return _Sums(x, parts, norms[1])

    def _finish(self, front: Front, ahead: int, before: _Sums, tiles: ManyTiles) -> None:
        """Last norm, guidance, projection and posterior."""
        weights, pool, num = self._weights, front.pool, front.rows
        norm, tile, width = tiles.norm, tiles.frames, weights.spec.width
        mixed = before.y.new_empty(num, width)
        launch(
            kernels_between.norm_guide_kernel,
            (triton.cdiv(num, norm.rows),),
            *(before.y, before.norm, mixed, front.packed, pool.plan, pool.progress),
            *(num, ahead, pool.steps, width, norm.rows),
            **norm.options(self._early),
        )
        x0 = F.linear(mixed, weights.last_weight, weights.last_bias)  # (R, P)
        launch(
            kernels_between.posterior_kernel,
            (triton.cdiv(x0.numel() // 4, tile.rows),),
            *(x0, pool.state, front.packed, pool.plan, pool.progress, pool.seed, num, ahead, pool.steps, pool.longest),
            *(pool.context, pool.features, weights.padded, tile.rows),
            num_warps=tile.warps,
        )
