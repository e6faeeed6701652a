"""The denoiser of MDM and DiP: (x_t, t, text) -> x0, a post-norm transformer with prefix completion.

Tevet et al. 2023, "Human Motion Diffusion Model"; Tevet et al. 2025, "CLoSD" (DiP). The module tree exists for one
purpose: parameter names equal those of the official checkpoints, so that weights load without a renaming table. It
knows neither noise schedules nor humans: a frame is ``features`` numbers, ``t`` is an index into a table.

Memory of the cross attention is text plus time (policy "add") or time before text ("concat"). Keys and values are
linear in it, so the text part is computed once per clip (:meth:`Denoiser.encode_text`) and the time part per step.
The encoder architecture has no memory: text plus time is one token in front of the frames.

How to sample::

    spec = NetworkSpec(**state_dict_to_spec_facts(shapes), heads=4, mask_frames=True)     # mdm/official_keys.py
    target = network.encode_target(places, asked_rows(names, is_heading))                 # mdm/target.py, or None
    denoise = conditioned(network, tokens, text_mask, scale=7.5, prefix=prefix, target=target)  # mdm/guidance.py
    x0 = sample_ddpm(denoise, start, named_schedule("cosine", 10), noise)                 # diffusion/samplers.py

Frames are (B, T, F) here and (B, F, 1, T) in official files: ``official.squeeze(-2).transpose(-1, -2)``. Text tokens
are (B, L, E) with True = a token; official BERT ones are (L, B, E) with True = padding. A CLIP text is one token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_service.mdm.layers import DecoderLayer, EncoderLayer
from motion_service.mdm.target import TargetEncoder, check_target_encoder, new_target_encoder

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
    """Numbers of one text token. 0 = the network takes no text (official ``cond_mode`` "no_cond")."""
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
    arch: Literal["trans_dec", "trans_enc"] = "trans_dec"
    """Decoder that attends to the text, or encoder with the text as its first token."""
    emb_trans_dec: bool = False
    """Decoder only: time stands before the frames too, as a token of its own."""
    target_encoder: TargetEncoder | None = None
    """How targets are encoded (mdm/target.py); None = the network takes none."""
    target_layers: int = 1
    """Hidden layers of the target encoder."""

    def __post_init__(self) -> None:
        if self.arch not in ("trans_dec", "trans_enc"):
            raise ValueError(f"network: arch must be 'trans_dec' or 'trans_enc', got {self.arch!r}")
        if self.text_policy not in ("add", "concat"):
            raise ValueError(f"network: text_policy must be 'add' or 'concat', got {self.text_policy!r}")
        if self.arch == "trans_enc" and (self.emb_trans_dec or self.text_policy == "concat"):
            raise ValueError("network: emb_trans_dec and text_policy 'concat' need arch 'trans_dec'")
        sizes = (self.features, self.width, self.layers, self.heads, self.feedforward)
        counts = (self.text_width, self.context_frames, self.predict_frames)
        if min(sizes) < 1 or min(counts) < 0 or self.text_hidden == 0:
            raise ValueError("network: every size must be a positive number")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"network: width {self.width} must be even and a multiple of heads {self.heads}")
        if self.target_encoder is not None:
            check_target_encoder(self.target_encoder, self.width, self.target_layers)

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
    """What the network needs of the texts; does not depend on time. A batch of one serves any batch."""

    keys: tuple[Tensor, ...]
    """One (B, H, L, D/H) a decoder layer; none in an encoder."""
    values: tuple[Tensor, ...]
    mask: Tensor
    """(B, 1, 1, M) bool, True = attend; M is L, or L + 1 under "concat" where the time token comes first."""
    projected: Tensor
    """(B, L, D) texts in the width of the network: what an encoder puts in front of the frames."""


def sinusoids(positions: int, width: int) -> Tensor:
    """Sines at even, cosines at odd columns (Vaswani et al. 2017, 3.5), float32 throughout. (positions, width)"""
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angles = torch.arange(positions).float()[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


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
        if spec.text_width:
            self.embed_text = _text_projection(spec)
        shape = (width, spec.heads, spec.feedforward, spec.dropout)
        if spec.arch == "trans_enc":
            encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(spec.layers))
            self.seqTransEncoder = nn.ModuleDict({"layers": encoder})
        else:
            decoder = nn.ModuleList(DecoderLayer(*shape) for _ in range(spec.layers))
            self.seqTransDecoder = nn.ModuleDict({"layers": decoder})
        if spec.target_encoder is not None:
            self.embed_target_cond = new_target_encoder(spec.target_encoder, width, spec.target_layers)
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
        target: Tensor | None = None,
    ) -> Tensor:
        """Predict the clean frames x0 (B, T, F).

        ``x_t`` (B, T, F) noisy frames; ``t`` (B,) long, index of the noise level; ``tokens`` (B, L, E) and
        ``text_mask`` (B, L) bool, True = a token (at least one a row); ``prefix`` (B, C, F) clean frames before them;
        ``frame_mask`` (B, T) bool, True = valid (at least one a row where nothing stands before the frames), one of a
        single column is ignored; ``drop_text`` (B,) bool, True = unconditional; ``target`` (B, D) from
        :meth:`encode_target`, which dropping the text does not drop.
        """
        return self.denoise(x_t, t, self.encode_text(tokens, text_mask, drop_text), prefix, frame_mask, target)

    def encode_text(self, tokens: Tensor, text_mask: Tensor, drop_text: Tensor) -> TextMemory:
        """The part of the memory that stays the same over all steps. Shapes as in :meth:`forward`.

        A network without text takes one token of width 0. Raises ValueError for tokens it cannot read.
        """
        _, num_tokens, width = tokens.shape
        if width != self.spec.text_width:
            raise ValueError(f"text: tokens are {width} wide, the network reads {self.spec.text_width}")
        if num_tokens != 1 and (self.spec.arch == "trans_enc" or not width):
            raise ValueError(f"text: this network reads one token a text, got {num_tokens}")
        projected = self._project_text(tokens, drop_text)
        pairs = [layer.multihead_attn.keys_values(projected) for layer in self._decoder_layers()]
        if self.spec.text_policy == "concat":
            text_mask = F.pad(text_mask, (1, 0), value=True)
        keys, values = tuple(k for k, _ in pairs), tuple(v for _, v in pairs)
        return TextMemory(keys, values, text_mask[:, None, None, :], projected)

    def encode_target(self, places: Tensor, asked: Tensor) -> Tensor:
        """Where a window shall end, (B, D). ``places`` (B, 8, 3) and ``asked`` (B, 8) bool as in mdm/target.py.

        Raises ValueError when the network takes no targets.
        """
        if self.spec.target_encoder is None:
            raise ValueError("target: this network takes no targets; leave them out")
        out: Tensor = self.embed_target_cond(places, asked)
        return out

    def denoise(
        self,
        x_t: Tensor,
        t: Tensor,
        memory: TextMemory,
        prefix: Tensor | None = None,
        frame_mask: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """One prediction of x0 (B, T, F) with texts encoded before. Shapes as in :meth:`forward`."""
        frames = x_t if prefix is None else torch.cat([prefix, x_t], dim=1)  # (B, C + T, F)
        time = self.embed_timestep["time_embed"](self.pe[t])[:, None]  # (B, 1, D)
        if target is not None:
            time = time + target[:, None]
        h = self._with_first_token(self.input_process["poseEmbedding"](frames), time, memory)
        num_before = h.shape[1] - x_t.shape[1]  # what stands before the noisy frames: token, prefix
        h = self.drop(h + self.pe[: h.shape[1]])
        mask = self._attention_mask(frame_mask, num_before)
        for encoder_layer in self._encoder_layers():
            h = encoder_layer(h, mask)
        for i, layer in enumerate(self._decoder_layers()):
            keys, values = self._with_time(layer, time, memory.keys[i], memory.values[i])
            h = layer(h, mask, keys, values, memory.mask)
        x0: Tensor = self.output_process["poseFinal"](h[:, num_before:])
        return x0

    def _decoder_layers(self) -> Iterable[DecoderLayer]:
        return cast(Iterable[DecoderLayer], self.seqTransDecoder["layers"]) if self.spec.arch == "trans_dec" else ()

    def _encoder_layers(self) -> Iterable[EncoderLayer]:
        return cast(Iterable[EncoderLayer], self.seqTransEncoder["layers"]) if self.spec.arch == "trans_enc" else ()

    def _project_text(self, tokens: Tensor, drop_text: Tensor) -> Tensor:
        """(B, L, D); zeros when the network takes no text."""
        if not self.spec.text_width:
            return tokens.new_zeros(*tokens.shape[:2], self.spec.width)
        # The unconditional input is zero before the projection, hence its bias after it (spec: CFG of MDM).
        projected: Tensor = self.embed_text(tokens.masked_fill(drop_text[:, None, None], 0.0))
        return projected

    def _with_first_token(self, h: Tensor, time: Tensor, memory: TextMemory) -> Tensor:
        """Frames (B, T, D) behind the token that this network puts in front of them, if any."""
        if self.spec.arch == "trans_enc":
            return torch.cat([memory.projected + time, h], dim=1)
        return torch.cat([time, h], dim=1) if self.spec.emb_trans_dec else h

    def _with_time(self, layer: DecoderLayer, time: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of text joined with those of the time token."""
        if self.spec.text_policy == "concat":
            time_keys, time_values = layer.multihead_attn.keys_values(time)  # (B, H, 1, D/H)
            batch = len(time_keys)
            keys, values = keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)
            return torch.cat([time_keys, keys], dim=2), torch.cat([time_values, values], dim=2)
        time_keys, time_values = layer.multihead_attn.keys_values(time, bias=False)  # text already brought the bias
        return keys + time_keys, values + time_values

    def _attention_mask(self, frame_mask: Tensor | None, num_before: int) -> Tensor | None:
        """(B, 1, 1, tokens) bool for self attention, or None when every frame may be seen."""
        if frame_mask is None or not self.spec.mask_frames or frame_mask.shape[-1] == 1:
            return None
        return F.pad(frame_mask, (num_before, 0), value=True)[:, None, None, :]


def _text_projection(spec: NetworkSpec) -> nn.Module:
    if spec.text_hidden is None:
        return nn.Linear(spec.text_width, spec.width)
    return nn.Sequential(
        nn.Linear(spec.text_width, spec.text_hidden), nn.SiLU(), nn.Linear(spec.text_hidden, spec.width)
    )
