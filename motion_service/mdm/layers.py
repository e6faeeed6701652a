"""The transformer layers of MDM: attention, one encoder layer and one decoder layer, batch first, post-norm.

Parameter names and shapes are those of ``nn.MultiheadAttention``, ``nn.TransformerEncoderLayer`` and
``nn.TransformerDecoderLayer``, so official weights load as they are; tests compare with those classes. They exist here
because keys and values of a memory must be computable apart from attention. Layers know neither time nor text.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with packed projections (rows q, k, v), the parameters of ``nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def _project(self, h: Tensor, first: int, last: int, *, bias: bool = True) -> tuple[Tensor, ...]:
        """Projections ``first`` to ``last`` of q, k, v from (B, T, D), each (B, H, T, D/H)."""
        batch, frames, width = h.shape
        rows = slice(first * width, last * width)
        packed = F.linear(h, self.in_proj_weight[rows], self.in_proj_bias[rows] if bias else None)
        heads = packed.view(batch, frames, last - first, self.heads, width // self.heads)
        return tuple(heads.permute(2, 0, 3, 1, 4))

    def keys_values(self, memory: Tensor, *, bias: bool = True) -> tuple[Tensor, Tensor]:
        """Keys and values of memory tokens (B, L, D), each (B, H, L, D/H)."""
        keys, values = self._project(memory, 1, 3, bias=bias)
        return keys, values

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.training:
            heads = _plain_attention(q, k, v, mask)
        else:
            heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, T, D/H)
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))  # (B, T, D)
        return out

    def within(self, h: Tensor, mask: Tensor | None) -> Tensor:
        """Self attention over (B, T, D); ``mask`` (B, 1, 1, T) bool, True = attend."""
        q, k, v = self._project(h, 0, 3)
        return self._attend(q, k, v, mask)

    def across(self, h: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Cross attention from (B, T, D) to the keys and values of a memory."""
        (q,) = self._project(h, 0, 1)
        return self._attend(q, keys, values, mask)


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention written out, softmax in float32, for training. (B, H, T, D/H)

    With a memory of one token the true gradient of queries and keys is zero. The fused kernels return rounding noise
    there, which Adam turns into full steps until training collapses (docs/training-log.md); this returns zero.
    """
    scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])  # (B, H, T, M)
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return torch.softmax(scores, dim=-1).to(v.dtype) @ v


class DecoderLayer(nn.Module):
    """Self attention, cross attention, feed-forward; each is added, then normalised (post-norm, exact GELU)."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.multihead_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, h: Tensor, frame_mask: Tensor | None, keys: Tensor, values: Tensor, memory_mask: Tensor
    ) -> Tensor:
        """``h`` (B, T, D); ``frame_mask`` (B, 1, 1, T), ``memory_mask`` (B, 1, 1, M) bool, True = attend."""
        h = self.norm1(h + self.drop(self.self_attn.within(h, frame_mask)))
        h = self.norm2(h + self.drop(self.multihead_attn.across(h, keys, values, memory_mask)))
        wide = self.drop(F.gelu(self.linear1(h)))  # (B, T, feedforward)
        out: Tensor = self.norm3(h + self.drop(self.linear2(wide)))
        return out


class EncoderLayer(nn.Module):
    """Self attention, feed-forward; each is added, then normalised (post-norm, exact GELU)."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1, self.norm2 = (nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, frame_mask: Tensor | None) -> Tensor:
        """``h`` (B, T, D); ``frame_mask`` (B, 1, 1, T) bool, True = attend."""
        h = self.norm1(h + self.drop(self.self_attn.within(h, frame_mask)))
        wide = self.drop(F.gelu(self.linear1(h)))  # (B, T, feedforward)
        out: Tensor = self.norm2(h + self.drop(self.linear2(wide)))
        return out
