"""Texts -> DistilBERT's last hidden states as the official MDM and DiP programs read them: a token of 768 numbers each.

[CLS] and [SEP] stay; texts beyond 512 tokens, an error in the official program, are cut. Sanh et al. 2019,
arXiv:1910.01108.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from motion_service.errors import ModelUnavailable
from motion_service.text_encoder import CACHE_BYTES, PretrainedEncoder


class BertEncoder(PretrainedEncoder):
    """``distilbert-base-uncased``: tokens (L, 768), mask (L,) all True, since texts are encoded without padding."""

    name = "distilbert-base-uncased"

    def __init__(self, directory: Path, *, device: torch.device | str = "cpu", cache_bytes: int = CACHE_BYTES) -> None:
        """``directory``: config.json, vocab.txt (or tokenizer.json) and model.safetensors of DistilBERT."""
        super().__init__(directory, "DistilBertModel", device, cache_bytes)
        self.width = int(self._model.config.dim)
        self._cls, self._sep = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        vocabulary = self._model.config.vocab_size
        if None in (self._cls, self._sep) or len(self._tokenizer) != vocabulary:
            raise ModelUnavailable(
                f"text encoder {directory.name!r}: {len(self._tokenizer)} words for {vocabulary} embeddings;"
                " its files belong to different models"
            )
        self._model.to(self._device)

    @property
    def _limit(self) -> int:
        return int(self._model.config.max_position_embeddings) - 2

    def _embed(self, text: str) -> Tensor:
        ids = [self._cls, *self._text_ids(text)[: self._limit], self._sep]
        row = torch.tensor([ids], device=self._device)  # (1, L)
        tokens: Tensor = self._model(input_ids=row).last_hidden_state[0]  # (L, 768)
        return tokens.float().cpu()
