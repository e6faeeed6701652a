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
from motion_service.text_encoder import CACHE_BYTES, PretrainedEncoder, Recorder

RECORDED_TOKENS: Final = 64
"""Longer texts are rare, and run without a recording."""
USUAL_TOKENS: Final = range(3, 25)
"""Lengths of most captions, the tokens around them included."""


class BertEncoder(PretrainedEncoder):
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
        if half:
            self._model.half()
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
        return int(self._model.config.max_position_embeddings) - 2

    def _embed(self, text: str) -> Tensor:
        ids = [self._cls, *self._text_ids(text)[: self._limit], self._sep]
        if self._recorder is not None and len(ids) <= RECORDED_TOKENS:
            return self._replay(ids, self._recorder)
        return self._states(torch.tensor([ids], device=self._device)).float().cpu()

    def _states(self, row: Tensor) -> Tensor:
        """(1, L) -> (L, 768)"""
        tokens: Tensor = self._model(input_ids=row).last_hidden_state[0]
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
