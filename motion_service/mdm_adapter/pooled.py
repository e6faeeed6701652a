"""A :class:`~motion_service.engine.resident.Resident` on a GPU: many clips share a step, each step is one CUDA graph.

Clips keep their place in a :class:`~motion_service.mdm.fast_pool.Pool`; a batch is a table of who is stepped. The host
only uploads what is new and launches graphs; results come back in one copy while the device goes on.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.diffusion.schedule import Step
from motion_service.engine.costs import CostTable
from motion_service.engine.graphs import Graphs
from motion_service.engine.resident import DeviceFull, Ticket
from motion_service.engine.run import Batch, ModelLimits, SamplingRun
from motion_service.mdm.fast import FastDenoiser
from motion_service.mdm.fast_pool import Front, Pool, Start, new_plan
from motion_service.mdm_adapter.clip_work import ClipWork
from motion_service.mdm_adapter.text_shelf import TextShelf
from motion_service.mdm_adapter.tickets import EventTicket, HostEvent
from motion_service.telemetry import log_event

EncodeTarget = Callable[[Tensor, Tensor], Tensor]
"""Places (8, 3) and which are asked (8,), on the CPU -> (D,) on the CPU."""

FOLDS: Final = (1, 4, 16)
"""Texts that one graph prepares: the smallest that holds what is new is taken; larger ones take much memory."""
COMPILERS: Final = min(16, os.cpu_count() or 1)
"""Threads that compile kernels side by side."""
MOST_ENTRIES: Final = 8
"""Entries of the text table that one text may take."""
SPARE_ENTRIES: Final = 16
"""More than clips, for long texts among them."""
TIMED: Final = 3
"""Steps of each shape that warm-up times."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What of one network may be on the device at once."""

    lengths: tuple[int, ...]
    """Rows of a clip that graphs are recorded for, prefix included, ascending."""
    batches: tuple[int, ...]
    steps: int
    """Most of one clip."""
    columns: int
    """Tokens of an entry of the text table, a power of two; 1 = every text is one token."""

    @property
    def slots(self) -> int:
        """A full batch, and half of one that waits; three quarters must hold a batch, see ``InFlight.room``."""
        return max(4, 3 * self.batches[-1] // 2)

    @property
    def entries(self) -> int:
        """Of the text table."""
        return self.slots + (SPARE_ENTRIES if self.columns > 1 else 0)


class _TextPart(NamedTuple):
    """What goes into one entry of the text table."""

    entry: int
    tokens: Tensor  # (L, E), as many as an entry has columns at most
    mask: Tensor  # (L,)
    target: Tensor | None  # (D,)


class PooledResident:
    """See the module."""

    def __init__(
        self,
        new_fast: Callable[[bool], FastDenoiser],
        encode_target: EncodeTarget | None,
        sizes: Sizes,
        graphs: Graphs,
        name: str,
    ) -> None:
        """``new_fast(kernels)`` packs the network's weights; ``encode_target`` makes (D,) of a target, on the CPU.

        ``graphs`` are shared by all networks of the device, as only one runs at a time; ``name`` keeps theirs apart.
        """
        self._new_fast, self._encode_target = new_fast, encode_target
        self._sizes, self._graphs, self._name = sizes, graphs, name
        self._reason = ""
        self._build(kernels=True)

    def _build(self, *, kernels: bool) -> None:
        self._fast = self._new_fast(kernels)
        self._make_places()

    def _make_places(self) -> None:
        sizes = self._sizes
        self._pool: Pool = self._fast.new_pool(
            *(sizes.slots, sizes.lengths[-1], sizes.steps, sizes.entries, sizes.columns),
            most_entries=MOST_ENTRIES if sizes.columns > 1 else 1,
        )
        self._slots: dict[str, int] = {}
        self._free = list(reversed(range(sizes.slots)))
        self._keys: dict[str, Hashable] = {}
        self._shelf = TextShelf(sizes.entries)
        self._fronts: dict[tuple[int, int], Front] = {}
        self._stages = {size: self._pool.text_stage(size) for size in FOLDS if size <= sizes.slots}
        own = self._pool.kernels
        loops = {(length, 1, sizes.steps) for length in sizes.lengths} if own and self._graphs.enabled else set()
        self.limits = ModelLimits(sizes.lengths, sizes.batches, slots=sizes.slots, packed=own, loops=frozenset(loops))

    # --- once, before the first run -----------------------------------------------------------------------------------

    def prepare(self, costs: CostTable) -> None:
        """Record and time every graph. Falls back to plain PyTorch when own kernels cannot be made or run here."""
        try:
            self._prepare(costs)
        except Exception as error:  # the edge of a compiler: whatever it throws, plain PyTorch needs none
            if not self._pool.kernels or isinstance(error, torch.OutOfMemoryError):
                raise
            self._reason = f"own kernels failed ({type(error).__name__})"
            log_event("own kernels failed, plain PyTorch runs instead", level=logging.WARNING, error=error)
            self._forget_graphs()
            self._build(kernels=False)
            self._prepare(costs)

    @torch.inference_mode()
    def _prepare(self, costs: CostTable) -> None:
        text = torch.zeros(1, self._fast.spec.text_width), torch.ones(1, dtype=torch.bool)
        for size, stage in self._stages.items():
            self._record(("fold", size), stage.fold)
            stage.fill([0], [text[0]], [text[1]])
            self._run(("fold", size))
        self._compile_ahead()
        for width in reversed(self.limits.batches):  # what the widest graph has reserved holds all others
            try:
                for length in reversed(self.limits.lengths):
                    self._time(length, width, costs)
            except torch.OutOfMemoryError:
                self._give_up(width)

    def _compile_ahead(self) -> None:
        """Compile the kernels of every shape at once; where that fails, each is compiled when it is first launched."""
        if not (self._pool.kernels and self._graphs.enabled):
            return
        shapes: dict[Hashable, tuple[int, int]] = {}
        for width in self.limits.batches:
            for length in self.limits.lengths:  # the smallest of those with the same kernels: they take least memory
                shapes.setdefault(self._fast.kernels_for(length * width, self._longest(length, width)), (length, width))
        try:
            self._fast.compile_ahead((self._new_front(*shape) for shape in shapes.values()), COMPILERS)
        except Exception as error:  # the edge of a compiler: this is only to save time
            log_event("kernels were not compiled ahead", level=logging.WARNING, model=self._name, error=error)

    def _give_up(self, width: int) -> None:
        """Batches stay below ``width``: the device has no memory for it. Raises OutOfMemoryError when that is 1."""
        torch.cuda.empty_cache()
        narrower = tuple(other for other in self.limits.batches if other < width)
        if not narrower:
            raise torch.OutOfMemoryError("the GPU has no memory for a single clip: raise MOTION_GPU_MEMORY_MB")
        log_event("no memory for wide batches", level=logging.WARNING, model=self._name, widest=narrower[-1])
        for key in [key for key in self._graphs.keys if self._is_mine(key) and key[-1] == width]:
            self._graphs.forget(key)
        self._fronts = {shape: front for shape, front in self._fronts.items() if shape[1] != width}
        self.limits = replace(self.limits, batches=narrower)

    def _time(self, length: int, width: int, costs: CostTable) -> None:
        """Learn what steps of full batches of one shape take."""
        front = self._front(length, width)
        context, features = self._pool.context, self._pool.features
        prefix = torch.zeros(context, features) if context else None
        plan = np.zeros((self._sizes.steps, 5), dtype=np.float32)
        self._pool.begin([Start(i, (0,), length - context, i, plan, prefix) for i in range(width)])
        front.seat([(i, length) for i in range(width)])
        is_loop = self.limits.has_loop(length, width, self._sizes.steps) and self.limits.loops is not None
        modes = [("step", TIMED, 1), ("loop", 1, self._sizes.steps)] if is_loop else [("step", TIMED, 1)]
        for mode, times, steps in modes:
            key = (mode, length, width)
            self._step(front, key)
            started, ended = self._event(), self._event()
            started.record()
            for _ in range(times):
                self._step(front, key)
            ended.record()
            ended.synchronize()
            took_ms = float(started.elapsed_time(ended)) + costs.dispatch_ms
            costs.observe(self._name, length, width, "loop" if mode == "loop" else "step", times * steps, took_ms)
        front.seat([])

    # --- runs ---------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def run(self, batch: Batch) -> Ticket:
        """Enqueue the steps of ``batch``; what ends with it is copied to the host behind them.

        Memory that is missing in the middle of it is no DeviceFull: clips have changed and must begin anew.
        """
        try:
            self._begin([run for run in batch.runs if run.id not in self._slots])
            front = self._front(batch.bucket, batch.width)
            seats = tuple((self._slots[run.id], run.frames) for run in batch.runs)
            if front.seated != seats:
                front.seat(seats)
            started, ended = self._event(), self._event()
            started.record()
            stepped = True
            if batch.mode == "loop":
                self._run(("loop", batch.bucket, batch.width))
            else:
                for _ in range(batch.num_steps):
                    self._step(front, ("step", batch.bucket, batch.width))
            results = self._read([run for run in batch.runs if run.done + batch.num_steps == run.steps])
            ended.record()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            if stepped:  # clips may have changed: they have to begin anew
                raise
            raise DeviceFull("the GPU has no memory for this batch") from error
        return EventTicket(started, ended, results)

    def leave(self, run: SamplingRun) -> None:
        slot = self._slots.pop(run.id, None)
        if slot is not None:
            self._free.append(slot)
            self._shelf.give_back(self._keys.pop(run.id))

    def renewed(self) -> PooledResident:
        """The weights are shared: they are only read."""
        fresh = copy.copy(self)
        fresh._forget_graphs()
        fresh._make_places()
        return fresh

    def facts(self) -> Mapping[str, Any]:
        kernels = self._pool.kernels
        return {
            "engine": "kernels" if kernels else "plain",
            **({"reason": self._reason} if self._reason else {}),
            "device": self._fast.device.type,
            "dtype": str(self._fast.weights.dtype).removeprefix("torch."),
            "graphs": sum(self._is_mine(key) for key in self._graphs.keys) if self._graphs.enabled else 0,
            **self._graphs.counts(self._is_mine),
            "widest": self.limits.batches[-1],
            "in_flight": len(self._slots),
            "memory_mb": round(self.nbytes / 2**20),
        }

    @property
    def most_tokens(self) -> int:
        """Of a text that batches can take."""
        return self._sizes.columns * self._pool.most_entries

    @property
    def nbytes(self) -> int:
        """Device memory of weights, clips and texts; what graphs need is shared by all networks."""
        tables = sum(front.nbytes for front in self._fronts.values())
        return self._fast.nbytes + self._pool.nbytes + tables + sum(stage.nbytes for stage in self._stages.values())

    def _begin(self, runs: Sequence[SamplingRun]) -> None:
        """Give each new run a slot and its text; all or none."""
        if not runs:
            return
        taken: list[SamplingRun] = []
        new_texts: dict[Hashable, tuple[tuple[int, ...], ClipWork]] = {}
        starts = []
        try:
            for run in runs:
                work: ClipWork = run.work
                key = _text_key(work)
                entries, is_new = self._shelf.take(key, -(-len(work.text.tokens) // self._sizes.columns))
                self._keys[run.id] = key
                slot = self._slots[run.id] = self._free.pop()
                taken.append(run)
                if is_new:
                    new_texts[key] = (entries, work)
                plan = _plan(work.steps, work.guidance)
                starts.append(Start(slot, entries, work.frames, work.seed, plan, work.prefix))
            self._fold([part for new in new_texts.values() for part in self._parts(*new)])
            self._pool.begin(starts)
        except BaseException:
            for run in taken:
                self.leave(run)
            for key in new_texts:
                self._shelf.forget(key)
            raise

    def _parts(self, entries: tuple[int, ...], work: ClipWork) -> list[_TextPart]:
        """What goes into each entry of a text."""
        columns = self._sizes.columns
        tokens, masks = work.text.tokens.split(columns), work.text.mask.split(columns)
        target = None
        if self._encode_target is not None and work.target is not None:
            target = self._encode_target(*work.target)
        targets = (target, *[None] * (len(entries) - 1))  # a target acts as a whole: once a text
        return [_TextPart(*part) for part in zip(entries, tokens, masks, targets, strict=True)]

    def _fold(self, parts: Sequence[_TextPart]) -> None:
        """Write new texts into the table."""
        while parts:
            size = next((size for size in self._stages if size >= len(parts)), max(self._stages))
            now, parts = parts[:size], parts[size:]
            nothing = next((torch.zeros_like(part.target) for part in now if part.target is not None), None)
            targets = None if nothing is None else [nothing if p.target is None else p.target for p in now]
            entries, tokens, masks, _ = zip(*now, strict=True)
            self._stages[size].fill(entries, tokens, masks, targets)
            key = ("fold", size)
            if (self._name, *key) not in self._graphs:
                self._record(key, self._stages[size].fold)
            self._run(key)

    def _read(self, runs: Sequence[SamplingRun]) -> dict[str, Tensor]:
        """Frames (T, F) of clips by run id: filled when the stream comes to it."""
        if not runs:
            return {}
        frames = [run.work.frames for run in runs]
        made = self._pool.read([self._slots[run.id] for run in runs], max(frames))  # (n, T, F)
        host = torch.empty(made.shape, pin_memory=made.is_cuda)
        host.copy_(made, non_blocking=True)
        return {run.id: row[:num] for run, row, num in zip(runs, host, frames, strict=True)}

    def _event(self) -> Any:
        on_gpu = self._fast.device.type == "cuda"
        return torch.cuda.Event(enable_timing=True) if on_gpu else HostEvent()

    # --- graphs -------------------------------------------------------------------------------------------------------

    def _front(self, length: int, width: int) -> Front:
        """The front of one shape, its graphs recorded at first use."""
        front = self._fronts.get((length, width))
        if front is None:
            front = self._new_front(length, width)
            self._record(("step", length, width), lambda: self._fast.step(front))
            if self.limits.loops and (length, width, self._sizes.steps) in self.limits.loops:
                self._record(("loop", length, width), lambda: self._fast.step(front, count=self._sizes.steps), warm=1)
            self._fronts[length, width] = front
        return front

    def _new_front(self, length: int, width: int) -> Front:
        return self._pool.front(width, length * width, self._longest(length, width))

    def _longest(self, length: int, width: int) -> int:
        """The mean length counts where rows are packed, so any clip may be among them, unless it is alone."""
        return length if width == 1 or not self._pool.kernels else self._sizes.lengths[-1]

    def _step(self, front: Front, key: tuple[Hashable, ...]) -> None:
        front.draw()
        self._run(key)

    def _record(self, key: tuple[Hashable, ...], work: Callable[[], object], warm: int = 2) -> None:
        self._graphs.record((self._name, *key), work, warm=warm)

    def _run(self, key: tuple[Hashable, ...]) -> None:
        self._graphs.run((self._name, *key))

    def _forget_graphs(self) -> None:
        for key in [key for key in self._graphs.keys if self._is_mine(key)]:
            self._graphs.forget(key)

    def _is_mine(self, key: Hashable) -> TypeGuard[tuple[Hashable, ...]]:
        return isinstance(key, tuple) and key[0] == self._name


def _text_key(work: ClipWork) -> Hashable:
    """What makes two texts the same for the network."""
    text: TextEmbedding = work.text
    target = () if work.target is None else tuple(part.numpy().tobytes() for part in work.target)
    return (text.tokens.numpy().tobytes(), text.mask.numpy().tobytes(), *target)


@lru_cache(maxsize=256)
def _plan(steps: tuple[Step, ...], guidance: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return new_plan([(step.t, step.coef_x0, step.coef_xt, step.sigma) for step in steps], guidance)
