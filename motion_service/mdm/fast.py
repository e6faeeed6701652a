"""The fast path of a :class:`~motion_service.mdm.network.Denoiser`: texts once a prompt, then steps in place.

    fast = FastDenoiser(network, num_times=50, device="cuda", dtype=torch.float16)
    pool = fast.new_pool(slots=128, longest=160, steps=50, texts=256, columns=16)   # clips in flight: fast_pool.py
    front = pool.front(width=8, rows=800, longest=100)                              # a batch of them
    front.draw()
    fast.step(front)                                         # all its clips, each at its own step; may be a CUDA graph

Float32 equals the Denoiser within rounding; float16 keeps states and sampler in float32. Three engines make a step:
plain PyTorch anywhere, own kernels for few rows, library products and own kernels between them for many.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import Tensor

from motion_service.mdm.fast_device import has_little_memory
from motion_service.mdm.fast_plain import advance_plain, predict_plain
from motion_service.mdm.fast_pool import Front, Pool
from motion_service.mdm.fast_weights import TextState, fold_text, pack_weights
from motion_service.mdm.network import Denoiser, NetworkSpec

if TYPE_CHECKING:
    from motion_service.mdm.kernels_few import FewRows
    from motion_service.mdm.kernels_launch import Folds
    from motion_service.mdm.kernels_many import ManyRows

Engine = Literal["plain", "few", "many"]

LITTLE_LONGEST: Final = 128
"""Rows of a clip whose keys and values few rows hold at once, where shared memory is short."""
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

        ``kernels``: None takes them in half precision on a GPU that has Triton. Networks of sizes that they cannot
        take go through plain PyTorch. Raises ValueError for a
        network without a fast path, see :func:`supports`.
        """
        if not supports(network.spec):
            raise ValueError("this network has no fast path; sample with the Denoiser itself")
        self.spec = network.spec
        self.device = torch.device(device)
        self.weights = pack_weights(network, num_times, self.device, dtype, positions)
        self.has_kernels = has_triton(self.device) and dtype.itemsize == 2 if kernels is None else kernels
        self.has_kernels &= kernels_fit(self.spec)
        self._folds: Folds | None = None
        self._few: FewRows | None = None
        self._many: ManyRows | None = None

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

    def new_pool(
        self, slots: int, longest: int, steps: int, texts: int, columns: int, *, most_entries: int = 1
    ) -> Pool:
        """Memory for clips in flight, see :class:`~motion_service.mdm.fast_pool.Pool` for what the numbers mean.

        Raises ValueError for clips longer than the positions of the weights.
        """
        if longest > len(self.weights.places):
            raise ValueError(f"clips have at most {len(self.weights.places)} rows, got {longest}")
        fits = longest <= LONGEST and self.spec.heads * columns <= MAX_COLUMNS
        kernels = self.has_kernels and fits
        most_entries = most_entries if kernels else 1
        return Pool(self.weights, slots, longest, steps, texts, columns, most_entries=most_entries, kernels=kernels)

    def engine_for(self, front: Front) -> Engine:
        """Which engine steps these clips fastest."""
        if not front.pool.kernels:
            return "plain"
        fits = front.longest <= LITTLE_LONGEST or not has_little_memory(self.device)
        return "few" if 2 * front.rows <= FEW_ROWS and fits else "many"

    @torch.inference_mode()
    def step(self, front: Front, *, engine: Engine | None = None, count: int = 1) -> None:
        """``count`` steps of every seated clip, in place: each at its own noise level and guidance.

        Clips at their end stay as they are. Plain PyTorch takes one step at a time, with the noise that
        :meth:`Front.draw` drew for it. May be recorded as a CUDA graph: a whole loop is one with all steps.
        """
        engine = engine or self.engine_for(front)
        if (engine == "plain") == front.pool.kernels:
            raise ValueError(f"engine {engine!r} does not fit this pool: kernels step it, or plain PyTorch does")
        if engine == "plain":
            if count != 1:
                raise ValueError("plain PyTorch draws noise before every step: one at a time")
            advance_plain(self.weights, front)
            return
        made = self._few_rows(front.rows) if engine == "few" else self._many_rows()
        for ahead in range(count):
            made.advance(front, ahead)
        from motion_service.mdm.kernels_pool import launch_count

        launch_count(front, count)

    def kernels_for(self, rows: int, longest: int) -> Hashable:
        """Fronts of so many rows, ``longest`` a clip, for which this is equal are stepped by the same kernels."""
        from motion_service.mdm import kernels_few, kernels_many

        tiles = kernels_few.tiles_for(rows) if 2 * rows <= FEW_ROWS else kernels_many.tiles_for(rows)
        return id(tiles), (longest - 1).bit_length()

    def compile_ahead(self, fronts: Iterable[Front], threads: int) -> None:
        """Compile all kernels that steps of ``fronts`` need side by side, which saves most of a first start.

        Nothing is launched but a few library products on memory that nobody reads. What cannot be compiled is left
        for the first step to say.
        """
        from motion_service.mdm.kernels_compile import compile_ahead

        with compile_ahead(threads):
            for front in fronts:
                self.step(front)

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

    @property
    def nbytes(self) -> int:
        """Device memory of the weights, folded ones and the scratch memory of few rows included."""
        folded = self._folds.nbytes if self._folds else 0
        return self.weights.nbytes + folded + (self._few.nbytes if self._few else 0)

    @property
    def folds(self) -> Folds:
        """Folded weights of the kernels, made at first use."""
        if self._folds is None:
            from motion_service.mdm.kernels_launch import fold_weights

            self._folds = fold_weights(self.weights)
        return self._folds

    @property
    def early(self) -> bool:
        """Whether the GPU knows programmatic dependent launch."""
        return self.device.type == "cuda" and torch.cuda.get_device_capability(self.device)[0] >= 9

    def _few_rows(self, rows: int) -> FewRows:
        """Scratch memory is made at first use; Triton is imported only then."""
        if self._few is None or self._few.max_rows < rows:
            from motion_service.mdm.kernels_few import FewRows

            self._few = FewRows(self.weights, self.folds, max(rows, FEW_ROWS // 2), early=self.early)
        return self._few

    def _many_rows(self) -> ManyRows:
        if self._many is None:
            from motion_service.mdm.kernels_many import ManyRows

            self._many = ManyRows(self.weights, self.folds, early=self.early)
        return self._many


def has_triton(device: torch.device) -> bool:
    """Whether own kernels can be made for ``device``."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
