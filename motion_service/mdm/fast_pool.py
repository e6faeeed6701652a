"""Clips in flight on the device, and the batches that are stepped: any of the clips, in any order, the others paused.

    pool = fast.new_pool(slots=128, longest=160, steps=50, texts=256, columns=16)
    stage = pool.text_stage(8)                       # once; stage.fold may be recorded as a CUDA graph
    stage.fill([entry], [tokens], [mask]); stage.fold()
    pool.begin([Start(slot, entry, frames, seed, new_plan(steps, guidance), prefix)])
    front = pool.front(width=8, rows=800, longest=160)   # once a size; fast.step(front) may be recorded for it
    front.seat([(slot, context + frames), ...])      # a batch: who is stepped from now on
    front.draw(); fast.step(front)                   # one step of each, at its own noise level
    pool.read([slot], frames)                        # (1, T, F) on the device

A clip keeps its slot from its begin to its end and never moves; only activations are packed, one clip after the other
without padding, by tables that a front owns. So a change of company is one small upload, and what is not seated is not
touched. Everything is asynchronous and in the order of the current stream: use one stream for all of it.

With kernels noise is a function of (seed, step, frame, feature): nothing is stored, and :meth:`Front.draw` has nothing
to do. Plain PyTorch draws from a generator a clip, or from what :attr:`Start.draw` gives.

Letters: B seats, R packed rows, S steps, P padded features, I layers, M text columns, C frames of the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from motion_service.mdm.fast_texts import TextStage

PLAN: Final = ("t", "coef_x0", "coef_xt", "sigma", "guidance")
"""Columns of a plan, one row a step: what the network is told, the posterior, the guidance scale."""

Draw = Callable[[int], Tensor]
"""k -> noise (T, F) of a clip on the CPU: 0 = the start, k = after step k. Called once for each k, in order."""


class Start(NamedTuple):
    """A clip that begins."""

    slot: int
    text: int
    """Entry of the text table."""
    frames: int
    """T: new frames, the prefix not counted."""
    seed: int
    plan: NDArray[np.float32]
    """(at most S, 5), see :func:`new_plan`."""
    prefix: Tensor | None = None
    """(C, F) float32 on the CPU: clean frames before it; None where the network takes none."""
    draw: Draw | None = None
    """Noise instead of the seed's; plain PyTorch only."""


def new_plan(steps: Sequence[tuple[int, float, float, float]], guidance: float) -> NDArray[np.float32]:
    """Steps in sampling order, (t, coef_x0, coef_xt, sigma) each, and the guidance scale of all. (S, 5)"""
    return np.array([(*step, guidance) for step in steps], dtype=np.float32)


class Pool:
    """See the module. Make one with :meth:`FastDenoiser.new_pool`. Not thread-safe."""

    slots: int
    longest: int
    """Most rows of one clip, prefix included."""
    steps: int
    """Most steps of one clip."""
    texts: int
    """Entries of the text table."""
    kernels: bool
    """Whether own kernels step it; else plain PyTorch does, and :meth:`Front.draw` must come before each step."""

    def begin(self, starts: Sequence[Start]) -> None:
        """Put clips at their first step: noise, prefix, plan, text. One upload and one launch, however many.

        Raises ValueError for a clip that does not fit; then none has begun.
        """
        raise NotImplementedError

    def front(self, width: int, rows: int, longest: int) -> Front:
        """A batch of at most ``width`` clips, ``rows`` rows in all (prefixes included), ``longest`` rows a clip.

        All seats are empty; steps then change nothing, so graphs can be recorded while clips are in flight. In plain
        PyTorch each seat takes ``longest`` rows.
        """
        raise NotImplementedError

    def text_stage(self, size: int) -> TextStage:
        """A way into the text table for at most ``size`` texts at once."""
        raise NotImplementedError

    def read(self, slots: Sequence[int], frames: int) -> Tensor:
        """The first ``frames`` frames of clips as they are now, prefixes left out: (n, T, F) float32, a new tensor."""
        raise NotImplementedError

    def noise(self, seed: int, frames: int, steps: int) -> Tensor:
        """All noise of a clip without ``draw``, start first: (1 + steps, T, F). For references and tests."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Device memory of the pool, its text table included, fronts and stages not."""
        raise NotImplementedError


class Front:
    """A batch: who is stepped. What a CUDA graph is recorded for; its tables are its own and stay where they are."""

    pool: Pool
    width: int
    rows: int
    longest: int

    def seat(self, seats: Sequence[tuple[int, int]]) -> None:
        """Step these clips from now on, (slot, rows with prefix) each: one asynchronous upload.

        Not needed again while the same clips stay. Raises ValueError for clips that do not fit; then nothing changes.
        """
        raise NotImplementedError

    def draw(self) -> None:
        """Draw the noise of the next step of every seated clip, outside of any graph. Nothing to do with kernels."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Device memory of its tables."""
        raise NotImplementedError
