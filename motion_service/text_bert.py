"""Texts -> DistilBERT's last hidden states as the official MDM and DiP programs read them: a token of 768 numbers each.

[CLS] and [SEP] stay; texts beyond 512 tokens, an error in the official program, are cut. Sanh et al. 2019,
arXiv:1910.01108.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from motion_service.errors import ModelUnavailable
from motion_service.text_bert_network import DistilBert
from motion_service.text_encoder import CACHE_BYTES, PretrainedEncoder, Recorder
from motion_service.text_files import load_pretrained
from motion_service.text_tokenizers import open_bert_tokenizer

RECORDED_TOKENS: Final = 64
"""Longer texts are rare, and run without a recording."""
USUAL_TOKENS: Final = range(3, 25)
"""Lengths of most captions, the tokens around them included."""


class BertEncoder(PretrainedEncoder[DistilBert]):
    """``distilbert-base-uncased``: tokens (L, 768), mask (L,) all True, since texts are encoded without padding."""

    name = "distilbert-base-uncased"

    def __init__(
        self,
        directory: Path,
        *,
        device: torch.device | str = "cpu",
        cache_bytes: int = CACHE_BYTES,
        half: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        """``directory``: config.json, vocab.txt (or tokenizer.json) and model.safetensors of DistilBERT.

        ``half``: float16 weights and sums, for a GPU. ``recorder``: lengths that come are recorded, one text is then
        one launch and not some hundred; it is used by this encoder only.
        """
        tokenizer, network = load_pretrained(
            directory, DistilBert, open_bert_tokenizer, device=device, dtype=torch.float16 if half else torch.float32
        )
        super().__init__(tokenizer, network, device=device, cache_bytes=cache_bytes)
        self.width = network.sizes.dim
        num_words, vocabulary = tokenizer.get_vocab_size(), network.sizes.vocab_size
        cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        if cls is None or sep is None or num_words != vocabulary:
            raise ModelUnavailable(
                f"text encoder {directory.name!r}: {num_words} words for {vocabulary} embeddings;"
                " its files belong to different models"
            )
        self._cls, self._sep = cls, sep
        self._recorder = recorder
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}

    def warm_up(self) -> None:
        """Record the usual lengths now rather than when they come. Nothing without a recorder."""
        if self._recorder is not None:
            with self._lock, torch.inference_mode():
                for length in USUAL_TOKENS:
                    self._replay([self._cls] * length, self._recorder)

    @property
    def _limit(self) -> int:
        return self._network.sizes.max_position_embeddings - 2

    def _embed(self, text: str) -> Tensor:
        ids = [self._cls, *self._text_ids(text)[: self._limit], self._sep]
        if self._recorder is not None and len(ids) <= RECORDED_TOKENS:
            return self._replay(ids, self._recorder)
        return self._states(torch.tensor([ids], device=self._device)).float().cpu()

    def _states(self, row: Tensor) -> Tensor:
        """(1, L) -> (L, 768)"""
        tokens: Tensor = self._network(row)[0]
        return tokens

    def _replay(self, ids: Sequence[int], recorder: Recorder) -> Tensor:
        length = len(ids)
        if length not in self._rows:
            row = torch.full((1, length), self._cls, device=self._device)
            out = torch.zeros(length, self.width, device=self._device)
            recorder.record(length, lambda: out.copy_(self._states(row)))
            self._rows[length] = row, out
        row, out = self._rows[length]
        row.copy_(torch.tensor([ids]))
        recorder.run(length)
        return out.cpu().clone()
