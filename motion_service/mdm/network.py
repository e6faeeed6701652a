"""The denoiser of MDM and DiP: (x_t, t, text) -> x0, a post-norm transformer decoder with prefix completion.

Tevet et al. 2023, "Human Motion Diffusion Model"; Tevet et al. 2025, "CLoSD" (DiP). The module tree exists for one
purpose: parameter names equal those of the official checkpoints, so that weights load without a renaming table. It
knows neither noise schedules nor humans: a frame is ``features`` numbers, ``t`` is an index into a table.

Memory of the cross attention is text plus time (policy "add") or time before text ("concat"). Keys and values are
linear in it, so the text part is computed once per clip (:meth:`Denoiser.encode_text`) and the time part per step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_POSITIONS: Final = 5000
"""Rows of the sinusoid table: frames of a sequence and diffusion steps both index it."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Everything that shapes a :class:`Denoiser`. Travels as JSON beside the weights."""

    features: int
    width: int
    layers: int
    heads: int
    feedforward: int
    text_width: int
    text_policy: Literal["add", "concat"] = "add"
    """How text meets time in the memory: added to every token, or one more token in front."""
    text_hidden: int | None = None
    """None: one Linear, as in the official models. A number: Linear - SiLU - Linear of that hidden width."""
    context_frames: int = 0
    """Clean frames before the noisy ones; 0 = no prefix."""
    predict_frames: int = 0
    """Frames of one window; 0 = any length."""
    mask_frames: bool = False
    """Whether invalid frames are hidden from attention. False: a frame mask is ignored, as the official model does."""
    dropout: float = 0.1
    arch: Literal["trans_dec"] = "trans_dec"
    emb_trans_dec: Literal[False] = False

    def __post_init__(self) -> None:
        if self.arch != "trans_dec" or self.emb_trans_dec:
            raise ValueError(f"network: arch {self.arch!r} with emb_trans_dec {self.emb_trans_dec} is not supported")
        if self.text_policy not in ("add", "concat"):
            raise ValueError(f"network: text_policy must be 'add' or 'concat', got {self.text_policy!r}")
        sizes = (self.features, self.width, self.layers, self.heads, self.feedforward, self.text_width)
        if min(sizes) < 1 or min(self.context_frames, self.predict_frames) < 0 or self.text_hidden == 0:
            raise ValueError("network: every size must be a positive number")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"network: width {self.width} must be even and a multiple of heads {self.heads}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NetworkSpec:
        """Inverse of :meth:`to_json`. Raises ValueError that names the fields missing or unknown."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"network: unknown fields {', '.join(unknown)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"network: {error}") from error


class TextMemory(NamedTuple):
    """What cross attention needs of the texts; does not depend on time."""

    keys: tuple[Tensor, ...]
    """One (B, H, L, D/H) a layer."""
    values: tuple[Tensor, ...]
    mask: Tensor
    """(B, 1, 1, M) bool, True = attend; M is L, or L + 1 under "concat" where the time token comes first."""


def sinusoids(positions: int, width: int) -> Tensor:
    """Sines at even, cosines at odd columns (Vaswani et al. 2017, 3.5), float32 throughout. (positions, width)"""
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angles = torch.arange(positions).float()[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


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

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.self_attn = Attention(spec.width, spec.heads)
        self.multihead_attn = Attention(spec.width, spec.heads)
        self.linear1 = nn.Linear(spec.width, spec.feedforward)
        self.linear2 = nn.Linear(spec.feedforward, spec.width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(spec.width) for _ in range(3))
        self.drop = nn.Dropout(spec.dropout)

    def forward(
        self, h: Tensor, frame_mask: Tensor | None, keys: Tensor, values: Tensor, memory_mask: Tensor
    ) -> Tensor:
        h = self.norm1(h + self.drop(self.self_attn.within(h, frame_mask)))
        h = self.norm2(h + self.drop(self.multihead_attn.across(h, keys, values, memory_mask)))
        wide = self.drop(F.gelu(self.linear1(h)))  # (B, T, feedforward)
        out: Tensor = self.norm3(h + self.drop(self.linear2(wide)))
        return out


class Denoiser(nn.Module):
    """The network. ``forward`` for training; ``encode_text`` once and ``denoise`` per step for sampling."""

    pe: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.input_process = nn.ModuleDict({"poseEmbedding": nn.Linear(spec.features, width)})
        time_embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_timestep = nn.ModuleDict({"time_embed": time_embed})
        self.embed_text = _text_projection(spec)
        self.seqTransDecoder = nn.ModuleDict({"layers": nn.ModuleList(DecoderLayer(spec) for _ in range(spec.layers))})
        self.output_process = nn.ModuleDict({"poseFinal": nn.Linear(width, spec.features)})
        self.drop = nn.Dropout(spec.dropout)
        self.register_buffer("pe", sinusoids(MAX_POSITIONS, width), persistent=False)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        tokens: Tensor,
        text_mask: Tensor,
        prefix: Tensor | None,
        frame_mask: Tensor | None,
        drop_text: Tensor,
    ) -> Tensor:
        """Predict the clean frames x0 (B, T, F).

        ``x_t`` (B, T, F) noisy frames; ``t`` (B,) long, index of the noise level; ``tokens`` (B, L, E) and
        ``text_mask`` (B, L) bool, True = a token (at least one a row); ``prefix`` (B, C, F) clean frames before them;
        ``frame_mask`` (B, T) bool, True = valid; ``drop_text`` (B,) bool, True = unconditional.
        """
        return self.denoise(x_t, t, self.encode_text(tokens, text_mask, drop_text), prefix, frame_mask)

    def encode_text(self, tokens: Tensor, text_mask: Tensor, drop_text: Tensor) -> TextMemory:
        """The part of the memory that stays the same over all steps. Shapes as in :meth:`forward`."""
        # The unconditional input is zero before the projection, hence its bias after it (spec: CFG of MDM).
        projected = self.embed_text(tokens.masked_fill(drop_text[:, None, None], 0.0))  # (B, L, D)
        pairs = [layer.multihead_attn.keys_values(projected) for layer in self._layers()]
        if self.spec.text_policy == "concat":
            text_mask = F.pad(text_mask, (1, 0), value=True)
        keys, values = zip(*pairs, strict=True)
        return TextMemory(keys, values, text_mask[:, None, None, :])

    def denoise(
        self, x_t: Tensor, t: Tensor, memory: TextMemory, prefix: Tensor | None = None, frame_mask: Tensor | None = None
    ) -> Tensor:
        """One prediction of x0 (B, T, F) with texts encoded before. Shapes as in :meth:`forward`."""
        num_context = 0 if prefix is None else prefix.shape[1]
        frames = x_t if prefix is None else torch.cat([prefix, x_t], dim=1)  # (B, C + T, F)
        h = self.drop(self.input_process["poseEmbedding"](frames) + self.pe[: frames.shape[1]])
        time = self.embed_timestep["time_embed"](self.pe[t])[:, None]  # (B, 1, D)
        mask = self._attention_mask(frame_mask, num_context)
        for i, layer in enumerate(self._layers()):
            keys, values = self._with_time(layer, time, memory.keys[i], memory.values[i])
            h = layer(h, mask, keys, values, memory.mask)
        x0: Tensor = self.output_process["poseFinal"](h[:, num_context:])
        return x0

    def _layers(self) -> Iterable[DecoderLayer]:
        return cast(Iterable[DecoderLayer], self.seqTransDecoder["layers"])

    def _with_time(self, layer: DecoderLayer, time: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of text joined with those of the time token."""
        if self.spec.text_policy == "concat":
            time_keys, time_values = layer.multihead_attn.keys_values(time)  # (B, H, 1, D/H)
            return torch.cat([time_keys, keys], dim=2), torch.cat([time_values, values], dim=2)
        time_keys, time_values = layer.multihead_attn.keys_values(time, bias=False)  # text already brought the bias
        return keys + time_keys, values + time_values

    def _attention_mask(self, frame_mask: Tensor | None, num_context: int) -> Tensor | None:
        """(B, 1, 1, C + T) bool for self attention, or None when every frame may be seen."""
        if frame_mask is None or not self.spec.mask_frames:
            return None
        return F.pad(frame_mask, (num_context, 0), value=True)[:, None, None, :]


def _text_projection(spec: NetworkSpec) -> nn.Module:
    if spec.text_hidden is None:
        return nn.Linear(spec.text_width, spec.width)
    return nn.Sequential(
        nn.Linear(spec.text_width, spec.text_hidden), nn.SiLU(), nn.Linear(spec.text_hidden, spec.width)
    )
