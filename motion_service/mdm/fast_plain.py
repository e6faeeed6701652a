"""One denoising step in plain PyTorch on packed weights: the reference of the kernels, for the CPU and any GPU.

The first half of a batch of 2B is the conditional one. Both halves are the same until the first cross attention, so
the first self attention runs once; guidance is linear, so it comes before the last projection.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_service.mdm.fast_pool import Front
from motion_service.mdm.fast_weights import FastLayer, FastWeights, TextState


def predict_plain(
    weights: FastWeights, frames: Tensor, t: Tensor, scale: Tensor, text: TextState, valid: Tensor | None
) -> Tensor:
    """Guided prediction of x0 (B, T, P) float32 for frames (B, T, P), prefix included.

    ``t`` (B,) int64, ``scale`` (B,), ``valid`` (B, T) bool, True = a frame of the clip; None = all.
    """
    num_frames = frames.shape[1]
    cross = (weights.times[t] + text.shift).to(weights.dtype)  # (B, I, 2, D)
    mask = None if valid is None else valid[:, None, None, :]
    h = F.linear(frames, weights.frame_weight) + weights.places[:num_frames]  # (B, T, D)
    for i, layer in enumerate(weights.layers):
        if i == 1 and mask is not None:
            mask = torch.cat([mask, mask])
        h = _self_attention(layer, h, mask, weights.spec.heads)
        with_text, without = (h, h) if i == 0 else h.chunk(2)
        with_text = with_text + cross[:, i, :1] + _text_attention(with_text, text, i, weights.spec.heads)
        h = torch.cat([with_text, without + cross[:, i, 1:]])  # (2B, T, D)
        h = _norm(h, layer.norms[1])
        wide = F.gelu(F.linear(h, layer.wide_weight, layer.wide_bias))
        h = _norm(h + F.linear(wide, layer.narrow_weight, layer.narrow_bias), layer.norms[2])
    with_text, without = h.float().chunk(2)
    mixed = (without + scale[:, None, None] * (with_text - without)).to(weights.dtype)
    return F.linear(mixed, weights.last_weight, weights.last_bias).float()


def advance_plain(weights: FastWeights, front: Front) -> None:
    """One step of every seated clip, with the noise that was drawn for it."""
    pool = front.pool
    slots, rows, valid = _who(front)
    if not len(slots):
        return
    now = pool.plan[slots, pool.progress[slots].long()]  # (B, 5)
    state = _of(pool.state, slots)[:, :rows]  # (B, T, P)
    text = TextState(*(_of(part, pool.entry[slots, 1].long()) for part in pool.text))
    x0 = predict_plain(weights, state.to(weights.dtype), now[:, 0].long(), now[:, 4], text, valid)
    _, coef_x0, coef_xt, sigma, _ = now[:, :, None, None].unbind(1)
    new = slice(pool.context, rows), slice(pool.features)
    noise = _of(pool.drawn, slots)[:, : rows - pool.context]
    x = coef_x0 * x0[:, *new] + coef_xt * state[:, *new] + sigma * noise
    pool.state[:, *new].index_copy_(0, slots, x)
    pool.progress.index_copy_(0, slots, (pool.progress[slots] + 1).clamp(max=pool.steps))


def _who(front: Front) -> tuple[Tensor, int, Tensor | None]:
    """Slots (B,), rows of the longest, and which rows are frames of a clip (B, T) bool; None = all.

    A graph must take whoever is seated when it is replayed: all seats, the longest there may be, and a mask.
    """
    if front.seats.is_cuda:
        slots, rows = front.seats[:, 0].long(), front.longest
        lengths = front.seats[:, 2].clamp(min=1)  # an empty seat sees itself: nothing to see would be NaN
    else:
        known = [length for _, length in front.seated]
        slots, rows = front.seats[: len(known), 0].long(), max(known, default=0)
        if min(known, default=0) == rows:
            return slots, rows, None
        lengths = front.seats[: len(known), 2]
    return slots, rows, torch.arange(rows, device=slots.device) < lengths[:, None]


def _of(values: Tensor, index: Tensor) -> Tensor:
    """Rows of ``values``; a view where it is one and the host knows which: no copy of a text a step."""
    if len(index) == 1 and not index.is_cuda:
        return values[int(index) :][:1]
    return values.index_select(0, index)


def _self_attention(layer: FastLayer, h: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    batch, frames, width = h.shape
    packed = F.linear(h, layer.qkv_weight, layer.qkv_bias).view(batch, frames, 3, heads, width // heads)
    q, k, v = packed.permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    return _norm(h + F.linear(out, layer.out_weight, layer.out_bias), layer.norms[0])


def _text_attention(h: Tensor, text: TextState, layer: int, heads: int) -> Tensor | float:
    """What texts add to (B, T, D), apart from the vectors that are the same for all frames."""
    if not text.keys.shape[2]:
        return 0.0
    bias = text.bias[:, layer, None].to(h.dtype)  # (B, 1, M)
    scores = torch.baddbmm(bias, h, text.keys[:, layer].transpose(1, 2))  # (B, T, M)
    shares = torch.softmax(scores.unflatten(2, (heads, -1)).float(), dim=-1).to(h.dtype).flatten(2)
    return torch.bmm(shares, text.values[:, layer])


def _norm(h: Tensor, scale_shift: Tensor) -> Tensor:
    return F.layer_norm(h, (h.shape[-1],), scale_shift[0], scale_shift[1])
