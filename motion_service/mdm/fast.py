"""The fast path of a :class:`~motion_service.mdm.network.Denoiser`: texts once a request, then steps in place.

    fast = FastDenoiser(network, num_times=50, device="cuda", dtype=torch.float16)
    rows = fast.new_rows(slots=8, rows=800, longest=100, steps=50, columns=16)
    text = fast.prepare_text(tokens, mask)                                 # once a request, may be kept
    start, noise = draw_noise(seed, 50, 100, 263, fast.device)
    rows.join([Seat(slot, first_row, Clip(text, new_plan(steps, 2.5, fast.device), start, noise))])
    fast.step(rows)                                                        # all clips, each at its own step
    rows.clip(first_row, 100)

Float32 equals the Denoiser within rounding; float16 keeps states and sampler in float32. Three engines make a step:
plain PyTorch anywhere, own kernels for few rows, library products and own kernels between them for many.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import Tensor

from motion_service.mdm.fast_plain import advance_plain, predict_plain
from motion_service.mdm.fast_rows import Rows, new_rows
from motion_service.mdm.fast_weights import TextState, fold_text, pack_weights
from motion_service.mdm.network import Denoiser, NetworkSpec

if TYPE_CHECKING:
    from motion_service.mdm.kernels_few import FewRows

Engine = Literal["plain", "few", "many"]

FEW_ROWS: Final = 480
"""Up to here (both halves counted) own products are faster; measured on one H100, docs/engine-notes.md."""
LONGEST: Final = 256
"""Rows of one clip that the kernels can take; more go through plain PyTorch."""
MAX_COLUMNS: Final = 128
"""Heads times text tokens that the kernels can take."""


def supports(spec: NetworkSpec) -> bool:
    """Whether a network has a fast path: a decoder whose memory is text plus time. All others use the Denoiser."""
    decodes = spec.arch == "trans_dec" and not spec.emb_trans_dec
    return decodes and spec.text_policy == "add" and spec.text_width > 0


def kernels_fit(spec: NetworkSpec) -> bool:
    """Whether the kernels can take its sizes: powers of two where they make tiles of them."""
    sizes = (spec.width, spec.feedforward, spec.width // spec.heads, spec.heads)
    powers = all(size & (size - 1) == 0 for size in sizes)
    return powers and 64 <= spec.width <= 512 and spec.feedforward <= 1024 and spec.width // spec.heads >= 16


class FastDenoiser:
    """See the module. Not thread-safe: call it on the model thread only."""

    def __init__(
        self,
        network: Denoiser,
        num_times: int,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        positions: int = LONGEST,
        kernels: bool | None = None,
    ) -> None:
        """``num_times``: steps of its training; ``positions``: rows of the longest clip, prefix included.

        ``kernels``: None takes them on a GPU that has Triton and for sizes they can take. Raises ValueError for a
        network without a fast path, see :func:`supports`.
        """
        if not supports(network.spec):
            raise ValueError("this network has no fast path; sample with the Denoiser itself")
        self.spec = network.spec
        self.device = torch.device(device)
        self.weights = pack_weights(network, num_times, self.device, dtype, positions)
        self.has_kernels = has_triton(self.device) if kernels is None else kernels
        self.has_kernels &= kernels_fit(self.spec)
        self._few: FewRows | None = None
        self._whole: dict[tuple[int, int], Tensor] = {}

    @torch.inference_mode()
    def prepare_text(
        self, tokens: Tensor, mask: Tensor, target: Tensor | None = None, *, columns: int | None = None
    ) -> TextState:
        """All that steps need of texts: ``tokens`` (B, L, E), ``mask`` (B, L) bool, True = a token, at least one a row.

        ``columns``: tokens to pad to, as the rows have that the texts shall join; None = L. ``target`` (B, D) from
        :meth:`Denoiser.encode_target`. Raises ValueError for more tokens than columns.
        """
        columns = tokens.shape[1] if columns is None else columns
        if tokens.shape[1] > columns:
            raise ValueError(f"text: {tokens.shape[1]} tokens, but only {columns} fit")
        tokens, mask = tokens.to(self.device, torch.float32), mask.to(self.device)
        target = None if target is None else target.to(self.device, torch.float32)
        return fold_text(self.weights, tokens, mask, target, columns)

    def new_rows(
        self, slots: int, rows: int, longest: int, steps: int, columns: int, *, even: bool | None = None
    ) -> Rows:
        """Buffers for clips, see :func:`~motion_service.mdm.fast_rows.new_rows`; ``even`` where kernels are missing."""
        if longest > len(self.weights.places):
            raise ValueError(f"clips have at most {len(self.weights.places)} rows, got {longest}")
        with torch.inference_mode():
            packed = self._kernels_take(longest, columns)
            even = not packed if even is None else even
            return new_rows(self.weights, slots, rows, longest, steps, columns, even=even)

    def engine_for(self, rows: Rows) -> Engine:
        """Which engine steps these rows fastest."""
        if not self._kernels_take(rows.longest, rows.text.keys.shape[2] // self.spec.heads):
            return "plain"
        return "few" if 2 * rows.num_rows <= FEW_ROWS else "many"

    @torch.inference_mode()
    def step(self, rows: Rows, *, engine: Engine | None = None, masked: bool = True) -> None:
        """One step of every clip, in place: each at its own noise level and guidance. Clips at their end stay."""
        self._advance(rows, rows.progress, engine or self.engine_for(rows), masked)
        torch.minimum(rows.progress + 1, rows.progress.new_full((), rows.steps - 1), out=rows.progress)

    @torch.inference_mode()
    def sample(self, rows: Rows, steps: int, *, engine: Engine | None = None, masked: bool = True) -> None:
        """All steps of clips that have just joined and have ``steps`` steps each. Their progress does not count."""
        key = (steps, rows.slots)
        if key not in self._whole:
            # Rows of a multiple of 16 bytes: else Triton makes every kernel that reads them twice.
            counted = torch.arange(steps, dtype=torch.int32, device=self.device)[:, None]
            self._whole[key] = counted.expand(steps, (rows.slots + 3) // 4 * 4).contiguous()[:, : rows.slots]
        for progress in self._whole[key]:
            self._advance(rows, progress, engine or self.engine_for(rows), masked)

    @torch.inference_mode()
    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        text: TextState,
        scale: float | Tensor,
        *,
        prefix: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Guided x0 (B, T, F) float32 in plain PyTorch: for samplers and editors that do more between steps.

        ``x_t`` (B, T, F), ``t`` (B,), ``prefix`` (B, C, F), ``valid`` (B, C + T) bool, True = a frame of the clip.
        """
        before = 0 if prefix is None else prefix.shape[1]
        frames = x_t if prefix is None else torch.cat([prefix, x_t], dim=1)
        frames = torch.nn.functional.pad(frames, (0, self.weights.padded - self.spec.features))
        scales = torch.as_tensor(scale, dtype=torch.float32, device=self.device).expand(len(x_t))
        x0 = predict_plain(self.weights, frames.to(self.weights.dtype), t, scales, text, valid)
        return x0[:, before:, : self.spec.features]

    def _advance(self, rows: Rows, progress: Tensor, engine: Engine, masked: bool) -> None:
        if engine == "plain":
            if not rows.even:
                raise ValueError("plain PyTorch needs even rows")
            advance_plain(self.weights, rows, progress, masked=masked)
        elif engine == "few":
            self._few_rows(rows.num_rows).advance(rows, progress)
        else:
            from motion_service.mdm.kernels_many import advance_many

            advance_many(self.weights, rows, progress, masked=masked)

    def _few_rows(self, rows: int) -> FewRows:
        """Folded weights and scratch, made at first use; Triton is imported only then."""
        if self._few is None or self._few.max_rows < rows:
            from motion_service.mdm.kernels_few import FewRows

            early = self.device.type == "cuda" and torch.cuda.get_device_capability(self.device)[0] >= 9
            self._few = FewRows(self.weights, max(rows, FEW_ROWS // 2), early=early)
        return self._few

    def _kernels_take(self, longest: int, columns: int) -> bool:
        return self.has_kernels and longest <= LONGEST and self.spec.heads * columns <= MAX_COLUMNS


def has_triton(device: torch.device) -> bool:
    """Whether own kernels can be made for ``device``."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
