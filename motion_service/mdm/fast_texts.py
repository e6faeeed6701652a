"""The text table of a pool, and the way into it: texts are folded once a prompt and kept on the device."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class TextStage:
    """A way into the text table for up to ``size`` texts at once. Made by :meth:`Pool.text_stage`."""

    size: int

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
        raise NotImplementedError

    def fold(self) -> None:
        """Write what was filled into the table; may be recorded as a CUDA graph, once, and replayed after each fill."""
        raise NotImplementedError
