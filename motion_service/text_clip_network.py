"""The text tower of CLIP with its projection: ids of tokens -> one feature a text, not normalised.

Pre-norm layers with a causal mask, over words plus learned positions. Radford et al. 2021, arXiv:2103.00020, section
2.4. Parameters are named as in published files. Shapes: B texts, L tokens, D numbers a token, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_service.text_files import PublishedNetwork, empty_embedding, named_fields


def _quick_gelu(h: Tensor) -> Tensor:
    return h * torch.sigmoid(1.702 * h)


_ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {"quick_gelu": _quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True, slots=True)
class ClipSizes:
    """What ``config.json`` says of the text tower, by its names; defaults are those of ViT-B/32."""

    vocab_size: int = 49_408
    max_position_embeddings: int = 77
    hidden_size: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    projection_dim: int = 512
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


class _Embeddings(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.token_embedding = empty_embedding(sizes.vocab_size, sizes.hidden_size)
        self.position_embedding = empty_embedding(sizes.max_position_embeddings, sizes.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)"""
        words: Tensor = self.token_embedding(ids)
        return words + self.position_embedding.weight[: ids.shape[1]]


class _Attention(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.heads = sizes.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); a token sees itself and those before it."""
        q, k, v = (
            project(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, D/H)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.hidden_size, sizes.intermediate_size)
        self.fc2 = nn.Linear(sizes.intermediate_size, sizes.hidden_size)
        self.activation = _ACTIVATIONS[sizes.hidden_act]

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        out: Tensor = self.fc2(self.activation(self.fc1(h)))
        return out


class _Layer(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        self.self_attn = _Attention(sizes)
        self.layer_norm2 = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        self.mlp = _FeedForward(sizes)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        h = h + self.self_attn(self.layer_norm1(h))
        out: Tensor = h + self.mlp(self.layer_norm2(h))
        return out


class _Layers(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.num_hidden_layers))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        for layer in self.layers:
            h = layer(h)
        return h


class ClipText(PublishedNetwork):
    """The network. Make it on the meta device and give it weights: a new one holds no numbers that mean anything."""

    title: ClassVar = "CLIP's text tower"
    prefix: ClassVar = "text_model."

    def __init__(self, sizes: ClipSizes) -> None:
        """Raises ValueError for sizes that fit no network, LookupError for an unknown activation."""
        super().__init__()
        if sizes.hidden_size % sizes.num_attention_heads:
            raise ValueError(f"{sizes.num_attention_heads} heads do not divide {sizes.hidden_size} numbers")
        self.sizes = sizes
        self.embeddings = _Embeddings(sizes)
        self.encoder = _Layers(sizes)
        self.final_layer_norm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        self.text_projection = nn.Linear(sizes.hidden_size, sizes.projection_dim, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """By the content of ``config.json``, of the text tower or of the whole of CLIP."""
        return cls(named_fields(ClipSizes, config.get("text_config", config)))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) -> features (B, E), each read at the largest id of its text, which is the end token's."""
        h: Tensor = self.encoder(self.embeddings(ids))
        ends = h[torch.arange(len(ids), device=ids.device), ids.argmax(dim=-1)]  # (B, D)
        features: Tensor = self.text_projection(self.final_layer_norm(ends))
        return features
