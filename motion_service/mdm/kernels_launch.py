"""What both sets of kernels share on the host: tiles of programs, folded weights, cross attention by whole rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from motion_service.mdm import kernels
from motion_service.mdm.fast_pool import Front
from motion_service.mdm.fast_weights import FastWeights
from motion_service.mdm.kernels_compile import launch


class Tile(NamedTuple):
    """Rows and columns of what one program makes, its warps, and how many loads of a loop are under way."""

    rows: int
    columns: int
    warps: int
    stages: int = 3

    def within(self, columns: int) -> Tile:
        """The same for at most this many columns."""
        return self._replace(columns=min(self.columns, columns))

    def is_whole(self, width: int) -> bool:
        """Whether it spans rows of ``width``; 0 columns are all."""
        return not 0 < self.columns < width

    def options(self, early: int) -> dict[str, Any]:
        """Of a launch, see :data:`AT_ONCE`."""
        return launch_options(self.warps, self.stages, early)


NOT: Final = 0
AT_ONCE: Final = 1
"""Programmatic dependent launch: the next kernel may start as soon as this one has; compute capability 9 or more."""
AT_THE_END: Final = 2
"""The same, when most is done."""


def launch_options(warps: int, stages: int, early: int, registers: int | None = None) -> dict[str, Any]:
    """Keywords of a launch; ``early`` is one of the above, ``registers`` the most of a thread."""
    chosen = {"EARLY": early, "num_warps": warps, "num_stages": stages, **({"maxnreg": registers} if registers else {})}
    return {**chosen, "launch_pdl": True} if early else chosen


class Folded(NamedTuple):
    """A product behind a LayerNorm: weight with the norm's scale in it, its row sums, bias with the norm's shift."""

    weight: Tensor
    sums: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Folds:
    """Weights that have taken in what stands before them. Made in float64."""

    first: Tensor
    """(4D, P) the frame embedding through queries, keys and values of the first layer, and as it is."""
    placed: Tensor
    """(positions, 4D) float32: biases and sinusoids of that."""
    qkv: tuple[Folded, ...]
    """Of all layers but the first, behind the last norm of the layer before."""
    wide: tuple[Folded, ...]
    """Of all layers, behind their second norm."""
    last: Folded

    @property
    def nbytes(self) -> int:
        folded = [part for fold in (*self.qkv, *self.wide, self.last) for part in fold]
        return sum(part.nbytes for part in (self.first, self.placed, *folded))


def fold_weights(weights: FastWeights) -> Folds:
    """Once a model."""
    layers, first = weights.layers, weights.layers[0]
    through = first.qkv_weight.double() @ weights.frame_weight.double()
    places = weights.places.double()
    biases = places @ first.qkv_weight.double().T + first.qkv_bias.double()
    return Folds(
        first=torch.cat([through, weights.frame_weight.double()]).to(weights.dtype).contiguous(),
        placed=torch.cat([biases, places], dim=1).float().contiguous(),
        qkv=tuple(
            _fold_norm(layer.qkv_weight, layer.qkv_bias, before.norms[2])
            for before, layer in zip(layers[:-1], layers[1:], strict=True)
        ),
        wide=tuple(_fold_norm(layer.wide_weight, layer.wide_bias, layer.norms[1]) for layer in layers),
        last=_fold_norm(weights.last_weight, weights.last_bias, layers[-1].norms[2]),
    )


def _fold_norm(weight: Tensor, bias: Tensor, norm: Tensor) -> Folded:
    """LayerNorm with ``norm`` (2, D), then a linear map."""
    scale, shift = norm.double()
    scaled = (weight.double() * scale).to(weight.dtype).contiguous()
    shifted = (weight.double() @ shift + bias.double()).float().contiguous()
    return Folded(scaled, scaled.double().sum(1).float(), shifted)


def score_scale(weights: FastWeights) -> float:
    """Of attention's scores, for powers of two."""
    return math.log2(math.e) / math.sqrt(weights.spec.width // weights.spec.heads)


def launch_cross(
    weights: FastWeights, front: Front, ahead: int, layer: int, y: Tensor, out: Tensor, tile: Tile, early: int
) -> None:
    """First norm of y, (R, D) in the first layer, else (2R, D), and cross attention -> (2R, D).

    Where tiles are whole rows the second norm follows.
    """
    spec, pool, text, norms = weights.spec, front.pool, front.pool.text, weights.layers[layer].norms
    columns = spec.width if tile.is_whole(spec.width) else tile.columns
    programs = triton.cdiv(front.longest, tile.rows) * (spec.width // columns)
    launch(
        kernels.cross_kernel,
        (2 * front.width * programs,),
        *(y, out, norms[0], norms[1], weights.times, text.shift, text.keys, text.sums, text.bias, text.values),
        *(front.seats, pool.entry, pool.plan, pool.progress, front.width, front.rows, front.longest),
        *(ahead, pool.steps, layer, spec.layers, layer == 0),
        *(spec.width, spec.heads, text.keys.shape[2] // spec.heads, pool.most_entries, tile.rows, columns),
        **tile.options(early),
    )
