"""DistilBERT without a head: ids of tokens -> its last hidden states.

Six post-norm encoder layers over words plus learned positions. Sanh et al. 2019, arXiv:1910.01108; the layers are
those of Devlin et al. 2019, arXiv:1810.04805. Parameters are named as in published files. Shapes: B texts, L tokens,
D numbers a token, H heads. Every token is read: there is no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import torch.nn.functional as F
from torch import Tensor, nn

from motion_service.text_files import PublishedNetwork, empty_embedding, named_fields

_ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {"gelu": F.gelu, "relu": F.relu}
_EPSILON: Final = 1e-12


@dataclass(frozen=True, slots=True)
class BertSizes:
    """What ``config.json`` says of the network, by its names; defaults are those of ``distilbert-base-uncased``."""

    vocab_size: int = 30_522
    max_position_embeddings: int = 512
    dim: int = 768
    n_layers: int = 6
    n_heads: int = 12
    hidden_dim: int = 3072
    activation: str = "gelu"


class _Embeddings(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.word_embeddings = empty_embedding(sizes.vocab_size, sizes.dim)
        self.position_embeddings = empty_embedding(sizes.max_position_embeddings, sizes.dim)
        self.LayerNorm = nn.LayerNorm(sizes.dim, eps=_EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)"""
        positions = self.position_embeddings.weight[: ids.shape[1]]  # (L, D)
        normed: Tensor = self.LayerNorm(self.word_embeddings(ids) + positions)
        return normed


class _Attention(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.heads = sizes.n_heads
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(sizes.dim, sizes.dim) for _ in range(4))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        q, k, v = (
            project(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, D/H)
            for project in (self.q_lin, self.k_lin, self.v_lin)
        )
        heads = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_lin(heads.transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.lin1 = nn.Linear(sizes.dim, sizes.hidden_dim)
        self.lin2 = nn.Linear(sizes.hidden_dim, sizes.dim)
        self.activation = _ACTIVATIONS[sizes.activation]

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        out: Tensor = self.lin2(self.activation(self.lin1(h)))
        return out


class _Layer(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.attention = _Attention(sizes)
        self.sa_layer_norm = nn.LayerNorm(sizes.dim, eps=_EPSILON)
        self.ffn = _FeedForward(sizes)
        self.output_layer_norm = nn.LayerNorm(sizes.dim, eps=_EPSILON)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        h = self.sa_layer_norm(self.attention(h) + h)
        out: Tensor = self.output_layer_norm(self.ffn(h) + h)
        return out


class _Layers(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(sizes) for _ in range(sizes.n_layers))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        for layer in self.layer:
            h = layer(h)
        return h


class DistilBert(PublishedNetwork):
    """The network. Make it on the meta device and give it weights: a new one holds no numbers that mean anything."""

    title: ClassVar = "DistilBERT"
    prefix: ClassVar = "distilbert."

    def __init__(self, sizes: BertSizes) -> None:
        """Raises ValueError for sizes that fit no network, LookupError for an unknown activation."""
        super().__init__()
        if sizes.dim % sizes.n_heads:
            raise ValueError(f"{sizes.n_heads} heads do not divide {sizes.dim} numbers")
        self.sizes = sizes
        self.embeddings = _Embeddings(sizes)
        self.transformer = _Layers(sizes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """By the content of ``config.json``."""
        return cls(named_fields(BertSizes, config))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) -> last hidden states (B, L, D)"""
        h: Tensor = self.transformer(self.embeddings(ids))
        return h
