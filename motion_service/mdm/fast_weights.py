"""Weights of a :class:`~motion_service.mdm.network.Denoiser`, packed so that sampling does no work twice.

Exact algebra, no approximation (measured before it was built: docs/engine-notes.md). Memory of the cross attention is
text plus time, and both projections of it are linear:

* What time adds to the keys shifts all scores of a query by the same number, which softmax takes out again. What it
  adds to the values comes out as it went in, because attention weights sum to one. So time reaches cross attention
  only as one vector a layer and noise level (:attr:`FastWeights.times`), and texts once a request.
* Without text all memory tokens are equal: unconditional cross attention *is* that vector. The same holds for a text
  of one token, and for what a target adds.
* Query weights go into the keys and output weights into the values of a text (:func:`fold_text`).

Letters: N noise levels, I layers, H heads, M = H * L columns of scores.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from motion_service.mdm.layers import DecoderLayer
from motion_service.mdm.network import Denoiser, NetworkSpec

HIDDEN = -1e4
"""Score of a token that is only padding; finite in fp16."""


@dataclass(frozen=True, slots=True)
class FastLayer:
    """One decoder layer without its cross attention. Weights in the compute dtype."""

    qkv_weight: Tensor  # (3D, D)
    qkv_bias: Tensor
    out_weight: Tensor  # (D, D)
    out_bias: Tensor
    wide_weight: Tensor  # (W, D)
    wide_bias: Tensor
    narrow_weight: Tensor  # (D, W)
    narrow_bias: Tensor
    norms: Tensor  # (3, 2, D) scale and shift of each LayerNorm


@dataclass(frozen=True, slots=True)
class TextFold:
    """What turns texts into keys and values, all layers at once. Float32: used once a request."""

    project: nn.Module  # (B, L, E) -> (B, L, D)
    query: Tensor  # (I, H, D/H, D), divided by sqrt(D/H)
    query_bias: Tensor  # (I, H, D/H)
    key: Tensor  # (I, D, D)
    value: Tensor  # (I, D, D)
    out: Tensor  # (I, H, D/H, D): transposed
    norm: Tensor  # (I, 2, D) scale and shift of the norm before the queries


@dataclass(frozen=True, slots=True)
class FastWeights:
    """Everything of a network that sampling needs."""

    spec: NetworkSpec
    padded: int
    """Features of a frame, rounded up to a multiple of 8 with zeros: P."""
    frame_weight: Tensor  # (D, P)
    places: Tensor  # (positions, D) bias of the frame embedding and sinusoids
    layers: tuple[FastLayer, ...]
    times: Tensor  # (N, I, 2, D) float32: cross attention's vector with and without text
    last_weight: Tensor  # (P, D)
    last_bias: Tensor  # (P,)
    text: TextFold

    @property
    def dtype(self) -> torch.dtype:
        return self.frame_weight.dtype

    @property
    def device(self) -> torch.device:
        return self.frame_weight.device

    @property
    def nbytes(self) -> int:
        """Memory that all of it takes."""
        layers = [getattr(layer, field.name) for layer in self.layers for field in fields(layer)]
        texts = [getattr(self.text, field.name) for field in fields(self.text)[1:]]
        own = (self.frame_weight, self.places, self.times, self.last_weight, self.last_bias)
        return sum(part.nbytes for part in (*own, *layers, *texts, *self.text.project.parameters()))


class TextState(NamedTuple):
    """What the network needs of texts. Does not depend on time; rows of other requests can be stacked."""

    keys: Tensor
    """(B, I, M, D); M is 0 where every text is one token, and then everything is in ``shift``."""
    bias: Tensor
    """(B, I, M) float32, added to scores."""
    values: Tensor
    """(B, I, M, D)"""
    shift: Tensor
    """(B, I, 2, D) float32, added to :attr:`FastWeights.times`."""
    sums: Tensor
    """(B, I, M) float32 sums of the keys, where keys have taken in the norm before them; else M = 0."""


def pack_weights(
    network: Denoiser, num_times: int, device: torch.device, dtype: torch.dtype, positions: int = 256
) -> FastWeights:
    """``num_times``: steps the network was trained with, so t < num_times; ``positions``: longest sequence.

    Products of weights are made in float64. The network itself stays as it is.
    """
    spec = network.spec
    layers = list(cast(Iterable[DecoderLayer], network.seqTransDecoder["layers"]))
    padded = (spec.features + 7) // 8 * 8
    into, last = network.input_process["poseEmbedding"], network.output_process["poseFinal"]
    assert isinstance(into, nn.Linear) and isinstance(last, nn.Linear)

    def cast_to(value: Tensor) -> Tensor:
        return value.detach().to(device, dtype).contiguous()

    extra = padded - spec.features
    return FastWeights(
        spec=spec,
        padded=padded,
        frame_weight=cast_to(nn.functional.pad(into.weight.detach(), (0, extra))),
        places=cast_to(network.pe[:positions] + into.bias.detach()),
        layers=tuple(_pack_layer(layer, cast_to) for layer in layers),
        times=_time_vectors(network, layers, num_times).to(device),
        last_weight=cast_to(nn.functional.pad(last.weight.detach(), (0, 0, 0, extra))),
        last_bias=cast_to(nn.functional.pad(last.bias.detach(), (0, extra))),
        text=_pack_text(network, layers, device),
    )


def fold_text(
    weights: FastWeights, tokens: Tensor, mask: Tensor, target: Tensor | None, columns: int, *, normed: bool = True
) -> TextState:
    """Texts -> :class:`TextState`. ``tokens`` (B, L, E) float32, ``mask`` (B, L) bool, True = a token.

    ``target`` (B, D) from :meth:`Denoiser.encode_target`. ``columns``: tokens to pad to (1 keeps single tokens out of
    attention altogether). Not ``normed``: queries come before their LayerNorm y -> (y - mean) / deviation * scale +
    shift; keys take in the scale and the bias the shift, so a score is (y @ key - mean * sum) / deviation + bias.
    """
    fold, heads = weights.text, weights.spec.heads
    layers, _, head_width, width = fold.query.shape
    batch, num_tokens, _ = tokens.shape
    projected = fold.project(tokens).flatten(0, 1)  # (B*L, D)
    values = projected @ fold.value.transpose(1, 2)  # (I, B*L, D)
    shift = projected.new_zeros(batch, layers, 2, width)
    if target is not None:
        shift += _through_out(fold, target @ fold.value.transpose(1, 2)).transpose(0, 1)[:, :, None]
    if columns == 1:
        shift[:, :, 0] += _through_out(fold, values).transpose(0, 1)
        empty = tokens.new_zeros(batch, layers, 0, width, dtype=weights.dtype)
        nothing = shift.new_zeros(batch, layers, 0)
        return TextState(empty, nothing, empty, shift, nothing)
    by_head = (layers, batch * num_tokens, heads, head_width)
    keys = (projected @ fold.key.transpose(1, 2)).view(by_head).transpose(1, 2)  # (I, H, B*L, D/H)
    values = values.view(by_head).transpose(1, 2)
    bias, keys = keys @ fold.query_bias[..., None], keys @ fold.query  # (I, H, B*L, 1), (I, H, B*L, D)
    if not normed:
        scale, norm_shift = fold.norm[:, :, None, None].unbind(1)  # (I, 1, 1, D) each
        bias, keys = bias + (keys * norm_shift).sum(-1, keepdim=True), keys * scale
    bias = bias.unflatten(2, (batch, num_tokens)).squeeze(-1).masked_fill(~mask, HIDDEN)  # (I, H, B, L)
    missing = columns - num_tokens
    bias = nn.functional.pad(bias, (0, missing), value=HIDDEN)

    def columns_of(product: Tensor) -> Tensor:
        """(I, H, B*L, D) -> (B, I, M, D)"""
        by_row = nn.functional.pad(product.unflatten(2, (batch, num_tokens)), (0, 0, 0, missing))
        return by_row.permute(2, 0, 1, 3, 4).flatten(2, 3).to(weights.dtype).contiguous()

    bias = bias.permute(2, 0, 1, 3).flatten(2).contiguous()
    folded = columns_of(keys)
    sums = folded.new_zeros(batch, layers, 0).float() if normed else folded.sum(-1, dtype=torch.float32)
    return TextState(folded, bias, columns_of(values @ fold.out), shift, sums)


def _through_out(fold: TextFold, values: Tensor) -> Tensor:
    """Values (I, B, D) through the output projections of their layers, without bias."""
    return values @ fold.out.flatten(1, 2)


def _pack_layer(layer: DecoderLayer, cast_to: Callable[[Tensor], Tensor]) -> FastLayer:
    own, norms = layer.self_attn, (layer.norm1, layer.norm2, layer.norm3)
    return FastLayer(
        qkv_weight=cast_to(own.in_proj_weight),
        qkv_bias=cast_to(own.in_proj_bias),
        out_weight=cast_to(own.out_proj.weight),
        out_bias=cast_to(own.out_proj.bias),
        wide_weight=cast_to(layer.linear1.weight),
        wide_bias=cast_to(layer.linear1.bias),
        narrow_weight=cast_to(layer.linear2.weight),
        narrow_bias=cast_to(layer.linear2.bias),
        norms=cast_to(torch.stack([torch.stack([norm.weight, norm.bias]) for norm in norms])),
    )


def _time_vectors(network: Denoiser, layers: list[DecoderLayer], num_times: int) -> Tensor:
    """Cross attention of memory tokens that are time alone, and time plus the dropped text. (N, I, 2, D) float32"""
    embed = copy.deepcopy(network.embed_timestep["time_embed"]).cpu().double()
    project = copy.deepcopy(network.embed_text).cpu().double()
    times = embed(network.pe[:num_times].detach().cpu().double())  # (N, D)
    dropped = project(times.new_zeros(1, network.spec.text_width))  # (1, D)
    memory = torch.stack([times, times + dropped], dim=1)  # (N, 2, D)
    made = []
    for layer in layers:
        cross = copy.deepcopy(layer.multihead_attn).cpu().double()
        _, values = cross.keys_values(memory)  # (N, H, 2, D/H)
        made.append(cross.out_proj(values.transpose(1, 2).flatten(2)))
    return torch.stack(made, dim=1).detach().float()


def _pack_text(network: Denoiser, layers: list[DecoderLayer], device: torch.device) -> TextFold:
    spec = network.spec
    head_width = spec.width // spec.heads
    packed = torch.stack([layer.multihead_attn.in_proj_weight.detach().float() for layer in layers])
    query, key, value = packed.chunk(3, dim=1)  # (I, D, D) each
    bias = torch.stack([layer.multihead_attn.in_proj_bias.detach().float() for layer in layers])[:, : spec.width]
    out = torch.stack([layer.multihead_attn.out_proj.weight.detach().float() for layer in layers])
    scale = 1 / math.sqrt(head_width)

    def place(value: Tensor) -> Tensor:
        return value.to(device).contiguous()

    return TextFold(
        project=copy.deepcopy(network.embed_text).to(device, torch.float32).eval().requires_grad_(False),
        query=place(query.unflatten(1, (spec.heads, head_width)) * scale),
        query_bias=place(bias.unflatten(1, (spec.heads, head_width)) * scale),
        key=place(key),
        value=place(value),
        out=place(out.transpose(1, 2).unflatten(1, (spec.heads, head_width))),
        norm=place(
            torch.stack([torch.stack([layer.norm1.weight, layer.norm1.bias]) for layer in layers]).detach().float()
        ),
    )
