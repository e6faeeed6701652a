"""Texts -> the sentence embedding of CLIP ViT-B/32 as the official MDM program makes it: one token of 512 numbers.

A text is cleaned as CLIP does (ftfy, HTML entities), cut to 20 tokens (MDM's rule for HumanML3D), put between the start
and the end token and padded with zeros to 77. The embedding is the projected, not normalised feature at the end token.
Radford et al. 2021, arXiv:2103.00020.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from motion_service.errors import ModelUnavailable
from motion_service.text_clip_network import ClipText
from motion_service.text_encoder import CACHE_BYTES, PretrainedEncoder
from motion_service.text_files import import_official, load_pretrained
from motion_service.text_tokenizers import CLIP_END, CLIP_START, open_clip_tokenizer

TEXT_TOKENS: Final = 20
"""Tokens of a text that are read, besides start and end."""
CONTEXT: Final = 77


class ClipEncoder(PretrainedEncoder[ClipText]):
    """The text tower of CLIP: tokens (1, 512), mask (1,)."""

    name = "clip-vit-b-32"

    def __init__(
        self,
        directory: Path,
        *,
        half: bool = True,
        compute_half: bool = False,
        device: torch.device | str = "cpu",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """``directory``: config.json, vocab.json and merges.txt (or tokenizer.json) and model.safetensors of CLIP.

        ``half``: parameters are rounded to half precision, as in the official program, which also computes in half
        precision; here sums are float32, the same on every device. Random weights on a CPU: 0.35 % of the standard
        deviation away from the official order of operations, 0.42 % with ``half`` off (largest number of a feature).
        ``compute_half``: sums too, on a GPU, in half of the memory.
        """
        tokenizer, network = load_pretrained(
            directory,
            ClipText,
            open_clip_tokenizer,
            device=device,
            dtype=torch.float16 if compute_half else torch.float32,
        )
        super().__init__(tokenizer, network, device=device, cache_bytes=cache_bytes)
        self._ftfy = import_official("ftfy")
        self.width = network.sizes.projection_dim
        num_words, vocabulary = tokenizer.get_vocab_size(), network.sizes.vocab_size
        positions = network.sizes.max_position_embeddings
        start, end = tokenizer.token_to_id(CLIP_START), tokenizer.token_to_id(CLIP_END)
        if start is None or end is None or positions != CONTEXT or num_words != vocabulary:
            raise ModelUnavailable(
                f"text encoder {directory.name!r}: {num_words} words for {vocabulary} embeddings and"
                f" {positions} positions; CLIP has as many words as embeddings and {CONTEXT} positions"
            )
        self._start, self._end = start, end
        if half:
            _round_to_half(network)

    @property
    def _limit(self) -> int:
        return TEXT_TOKENS

    def _text_ids(self, text: str) -> list[int]:
        clean = html.unescape(html.unescape(self._ftfy.fix_text(text)))
        return super()._text_ids(clean.strip())

    def _embed(self, text: str) -> Tensor:
        ids = [self._start, *self._text_ids(text)[:TEXT_TOKENS], self._end]
        row = torch.tensor([ids + [0] * (CONTEXT - len(ids))], device=self._device)  # (1, 77)
        feature: Tensor = self._network(row)  # (1, E)
        return feature.float().cpu()


def _round_to_half(model: nn.Module) -> None:
    """Round all parameters but those of LayerNorm, which CLIP computes in float32."""
    for module in model.modules():
        if not isinstance(module, nn.LayerNorm):
            for parameter in module.parameters(recurse=False):
                parameter.copy_(parameter.half())
