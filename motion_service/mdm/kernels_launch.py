"""What both sets of kernels share on the host: tiles, folded weights, the kernels that few and many rows have alike."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from motion_service.mdm import kernels
from motion_service.mdm.fast_pool import Front
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


class First(NamedTuple):
    """The frame embedding through queries, keys and values of the first layer, and as it is."""

    weight: Tensor
    """(4D, P)"""
    placed: Tensor
    """(positions, 4D) float32: biases and sinusoids."""


class Folded(NamedTuple):
    """A product behind a LayerNorm: weight with the norm's scale in it, its row sums, bias with the norm's shift."""

    weight: Tensor
    sums: Tensor
    bias: Tensor


def fold_first(weights: FastWeights) -> First:
    """Products of weights are made in float64."""
    layer = weights.layers[0]
    through = layer.qkv_weight.double() @ weights.frame_weight.double()
    weight = torch.cat([through, weights.frame_weight.double()]).to(weights.dtype).contiguous()
    places = weights.places.double()
    biases = places @ layer.qkv_weight.double().T + layer.qkv_bias.double()
    return First(weight, torch.cat([biases, places], dim=1).float().contiguous())


def fold_norm(weight: Tensor, bias: Tensor, norm: Tensor) -> Folded:
    """LayerNorm with ``norm`` (2, D), then a linear map."""
    scale, shift = norm.double()
    scaled = (weight.double() * scale).to(weight.dtype).contiguous()
    shifted = (weight.double() @ shift + bias.double()).float().contiguous()
    return Folded(scaled, scaled.double().sum(1).float(), shifted)


def launch_embed(
    weights: FastWeights, first: First, front: Front, qkv: Tensor, h: Tensor, tile: Tile, **launch: Any
) -> None:
    """Frames of the seated clips -> (R, 3D) of the first layer and (R, D)."""
    pool, width, padded = front.pool, weights.spec.width, weights.padded
    tile = tile.within(width)
    k1 = max(16, 1 << (padded.bit_length() - 1))
    k2 = max(16, triton.next_power_of_2(padded - k1)) if padded > k1 else 0
    kernels.embed_kernel[(triton.cdiv(front.rows, tile.rows) * (4 * width // tile.columns),)](
        *(pool.state, *first, front.packed, qkv, h, front.rows, pool.longest),
        *(padded, k1, k2, width, tile.rows, tile.columns),
        **launch,
    )


def launch_attention(
    weights: FastWeights, front: Front, qkv: Tensor, out: Tensor, halves: int, queries: int, keys: int, **launch: Any
) -> None:
    """Self attention of every seated clip in one or both halves, blocks of queries and keys."""
    heads, head_width = weights.spec.heads, weights.spec.width // weights.spec.heads
    kernels.attention_kernel[(triton.cdiv(front.longest, queries), heads, halves * front.width)](
        *(qkv, out, front.seats, front.width, front.rows),
        *(_LOG2_E / math.sqrt(head_width), heads, head_width, queries, keys, front.longest > keys),
        **launch,
    )


def launch_cross(
    weights: FastWeights,
    front: Front,
    ahead: int,
    layer: int,
    y: Tensor,
    add: Tensor,
    out: Tensor,
    tile: Tile,
    *,
    close: bool,
    **launch: Any,
) -> None:
    """First norm and cross attention of a layer; with ``close`` the residual before and the second norm behind."""
    spec, norms, pool = weights.spec, weights.layers[layer].norms, front.pool
    blocks = triton.cdiv(front.longest, tile.rows)
    kernels.cross_kernel[(2 * front.width * blocks * (spec.width // tile.columns),)](
        *(y, add, out, norms[0], norms[1], weights.times, pool.text.shift),
        *(pool.text.keys, pool.text.bias, pool.text.values, front.seats, pool.entry, pool.plan, pool.progress),
        *(front.width, front.rows, front.longest, ahead, pool.steps, layer, spec.layers, layer == 0),
        *(spec.width, spec.heads, pool.text.keys.shape[2] // spec.heads, close, tile.rows, tile.columns),
        **launch,
    )
