"""The text table of a pool, and the way into it: texts are folded once a prompt and kept on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from motion_service.mdm.fast_upload import Upload, Words
from motion_service.mdm.fast_weights import FastWeights, TextState, fold_text


def new_table(weights: FastWeights, texts: int, columns: int, *, normed: bool) -> TextState:
    """``texts`` entries and one more, into which goes what nobody wants. ``columns`` tokens each; 1 needs no keys.

    ``normed`` as in :func:`~motion_service.mdm.fast_weights.fold_text`.
    """
    spec, device = weights.spec, weights.device
    shape = (texts + 1, spec.layers)
    columns = 0 if columns == 1 else columns * spec.heads

    def zeros(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros((*shape, *sizes), dtype=dtype, device=device)

    return TextState(
        zeros(columns, spec.width, dtype=weights.dtype),
        zeros(columns),
        zeros(columns, spec.width, dtype=weights.dtype),
        zeros(2, spec.width),
        zeros(0 if normed else columns),
    )


class TextStage:
    """A way into the text table for up to ``size`` texts at once. Made by :meth:`Pool.text_stage`."""

    def __init__(self, weights: FastWeights, table: TextState, columns: int, size: int, *, normed: bool) -> None:
        self.size = size
        self._normed = normed
        self.columns = columns
        self._weights, self._table = weights, table
        spec = weights.spec
        self._target = spec.width if spec.target_encoder else 0
        self._record = columns + self._target + columns * spec.text_width  # mask, target, tokens of one text
        self._upload = Upload(size * (1 + self._record), weights.device)
        self._upload.words[:size] = self._dump

    def fill(
        self,
        entries: Sequence[int],
        tokens: Sequence[Tensor],
        masks: Sequence[Tensor],
        targets: Sequence[Tensor] | Tensor | None = None,
    ) -> None:
        """Texts for :meth:`fold`, one asynchronous upload: tokens (L, E), masks (L,) bool, True = a token, on the CPU.

        ``targets`` (n, D) from :meth:`Denoiser.encode_target`. Raises ValueError for more texts than ``size``, or more
        tokens than the table has columns.
        """
        count, record, first = len(entries), self._record, self.size
        self._check(entries, tokens, targets)

        def pack(words: Words) -> int:
            words[:first] = self._dump
            words[:count] = entries
            records = words[first : first + count * record].reshape(count, record)
            numbers = records.view(np.float32)
            at = self.columns + self._target
            for i, (text, mask) in enumerate(zip(tokens, masks, strict=True)):
                length = len(text)
                records[i, :length] = mask
                records[i, length : self.columns] = 0
                numbers[i, at : at + text.numel()] = text.numpy().ravel()
                numbers[i, at + text.numel() :] = 0
            if self._target:
                numbers[:, self.columns : at] = 0 if targets is None else np.stack([row.numpy() for row in targets])
            return first + count * record

        self._upload.send(pack)

    @torch.inference_mode()
    def fold(self) -> None:
        """Write what was filled into the table; may be recorded as a CUDA graph, once, and replayed after each fill."""
        size, columns = self.size, self.columns
        entries = self._upload.words[:size].long()
        records = self._upload.words[size:].view(size, self._record)
        numbers = records.view(torch.float32)
        at = columns + self._target
        target = numbers[:, columns:at] if self._target else None
        tokens = numbers[:, at:].unflatten(1, (columns, -1))
        made = fold_text(self._weights, tokens, records[:, :columns] != 0, target, columns, normed=self._normed)
        for mine, part in zip(self._table, made, strict=True):
            mine.index_copy_(0, entries, part)

    @property
    def nbytes(self) -> int:
        """Device memory of what was filled."""
        return self._upload.words.nbytes

    @property
    def _dump(self) -> int:
        """Entry for what is not filled."""
        return len(self._table.shift) - 1

    def _check(
        self, entries: Sequence[int], tokens: Sequence[Tensor], targets: Sequence[Tensor] | Tensor | None
    ) -> None:
        if len(entries) > self.size:
            raise ValueError(f"text: {len(entries)} texts, but only {self.size} fit")
        if entries and not 0 <= min(entries) <= max(entries) < self._dump:
            raise ValueError(f"text: entries are 0 to {self._dump - 1}, got {list(entries)}")
        longest = max((len(text) for text in tokens), default=0)
        if longest > self.columns:
            raise ValueError(f"text: {longest} tokens, but only {self.columns} fit")
        if targets is not None and (not self._target or len(targets) != len(entries)):
            raise ValueError("text: targets must be one for each text of a network that takes them")
