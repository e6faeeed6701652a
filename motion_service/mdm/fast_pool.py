"""Clips in flight on the device, and the batches that are stepped: any of the clips, in any order, the others paused.

    pool = fast.new_pool(slots=128, longest=160, steps=50, texts=256, columns=16)
    stage = pool.text_stage(8)                       # once; stage.fold may be recorded as a CUDA graph
    stage.fill([entry], [tokens], [mask]); stage.fold()
    pool.begin([Start(slot, (entry,), frames, seed, new_plan(steps, guidance), prefix)])
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
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motion_service.mdm.fast_texts import TextStage, new_table
from motion_service.mdm.fast_upload import Upload, Words
from motion_service.mdm.fast_weights import FastWeights

PLAN: Final = ("t", "coef_x0", "coef_xt", "sigma", "guidance")
"""Columns of a plan, one row a step: what the network is told, the posterior, the guidance scale."""

_STAY: Final = (0.0, 0.0, 1.0, 0.0, 0.0)
"""Behind the last step of a plan: clips at their end stay as they are."""
_HEADER: Final = 6
"""Words of a begin's record before the entries of its text."""

Draw = Callable[[int], Tensor]
"""k -> noise (T, F) of a clip on the CPU: 0 = the start, k = after step k. Called once for each k, in order."""


class Start(NamedTuple):
    """A clip that begins."""

    slot: int
    entries: tuple[int, ...]
    """Of the text table: where its text is. More than one where it is longer than an entry, and kernels step it."""
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

    def __init__(
        self,
        weights: FastWeights,
        slots: int,
        longest: int,
        steps: int,
        texts: int,
        columns: int,
        *,
        most_entries: int,
        kernels: bool,
    ) -> None:
        """``longest``: most rows of a clip, prefix included; ``steps``: most of a clip; ``texts``: entries of the text
        table; ``columns``: tokens that an entry is padded to, 1 = every text is one token; ``most_entries``: of one
        text; ``kernels``: own kernels step it, else plain PyTorch does, which takes one entry a text, and
        :meth:`Front.draw` must come before each step.
        """
        spec, device = weights.spec, weights.device
        self.slots, self.longest, self.steps, self.texts, self.columns = slots, longest, steps, texts, columns
        self.most_entries, self.kernels = most_entries, kernels
        self.context, self.features = spec.context_frames, spec.features

        def zeros(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(slots + 1, *sizes, dtype=dtype, device=device)  # the last one is for empty seats

        self.state = zeros(longest, weights.padded)
        self.plan = zeros(steps + 1, len(PLAN))
        self.plan[:] = torch.tensor(_STAY)
        self.progress = zeros(dtype=torch.int32)
        self.seed = zeros(dtype=torch.int64)
        self.entry = zeros(1 + most_entries, dtype=torch.int32)
        self.text = new_table(weights, texts, columns, normed=not kernels)
        self.drawn = zeros(0 if kernels else longest, spec.features)
        self._weights = weights
        self._draws: dict[int, tuple[Draw, int]] = {}
        self._record = _HEADER + most_entries + (steps + 1) * len(PLAN) + spec.context_frames * spec.features
        self._begun = Upload(slots * self._record, device)
        self._wanted = Upload(slots, device)

    @torch.inference_mode()
    def begin(self, starts: Sequence[Start]) -> None:
        """Put clips at their first step: noise, prefix, plan, text. One upload and one launch, however many.

        Raises ValueError for a clip that does not fit; then none has begun.
        """
        if not starts:
            return
        self._check(starts)
        self._begun.send(lambda words: self._pack(starts, words))
        records = self._begun.words[: len(starts) * self._record].view(len(starts), self._record)
        if self.kernels:
            from motion_service.mdm.kernels_pool import launch_begin

            launch_begin(self, records)
        else:
            self._begin_plain(starts, records)

    def front(self, width: int, rows: int, longest: int) -> Front:
        """A batch of at most ``width`` clips, ``rows`` rows in all (prefixes included), ``longest`` rows a clip.

        All seats are empty; steps then change nothing, so graphs can be recorded while clips are in flight. In plain
        PyTorch each seat takes ``longest`` rows. Raises ValueError for clips that the pool cannot hold.
        """
        if longest > self.longest or width > self.slots:
            raise ValueError(f"the pool has {self.slots} slots of {self.longest} rows, asked: {width} of {longest}")
        return Front(self, width, rows if self.kernels else width * longest, longest)

    def text_stage(self, size: int) -> TextStage:
        """A way into the text table for at most ``size`` texts at once."""
        return TextStage(self._weights, self.text, self.columns, size, normed=not self.kernels)

    @torch.inference_mode()
    def read(self, slots: Sequence[int], frames: int) -> Tensor:
        """The first ``frames`` frames of clips as they are now, prefixes left out: (n, T, F) float32, a new tensor."""
        frames_of = self.state[:, self.context : self.context + frames, : self.features]
        if len(slots) == 1:
            return frames_of[slots[0]].clone()[None]

        def pack(words: Words) -> int:
            words[: len(slots)] = slots
            return len(slots)

        self._wanted.send(pack)
        return frames_of.index_select(0, self._wanted.words[: len(slots)])

    @torch.inference_mode()
    def noise(self, seed: int, frames: int, steps: int) -> Tensor:
        """All noise of a clip without ``draw``, start first: (1 + steps, T, F). For references and tests."""
        if self.kernels:
            from motion_service.mdm.kernels_pool import launch_noise

            out = self.state.new_empty(1 + steps, frames, self.features)
            launch_noise(seed, out)
            return out
        draw = self._seeded(seed, frames)
        return torch.stack([draw(k) for k in range(1 + steps)])

    @property
    def nbytes(self) -> int:
        """Device memory of the pool, its text table included, fronts and stages not."""
        own = (self.state, self.plan, self.progress, self.seed, self.entry, self.drawn)
        return sum(part.nbytes for part in (*own, *self.text, self._begun.words, self._wanted.words))

    def draw_next(self, slot: int) -> None:
        """Draw the noise of the next step of a clip in plain PyTorch."""
        draw, step = self._draws[slot]
        noise = draw(step)
        self.drawn[slot, : len(noise)] = noise
        self._draws[slot] = draw, step + 1

    def _check(self, starts: Sequence[Start]) -> None:
        slots, entries, frames, _, plans, prefixes, draws = zip(*starts, strict=True)
        if not 0 <= min(slots) <= max(slots) < self.slots or len(set(slots)) < len(slots):
            raise ValueError(f"slots are 0 to {self.slots - 1}, one a clip, got {slots}")
        if not all(1 <= len(own) <= self.most_entries for own in entries):
            raise ValueError(f"a text has 1 to {self.most_entries} entries here, got {entries}")
        if not 0 <= min(map(min, entries)) <= max(map(max, entries)) < self.texts:
            raise ValueError(f"texts are entries 0 to {self.texts - 1}, got {entries}")
        if min(frames) < 1 or self.context + max(frames) > self.longest:
            raise ValueError(
                f"a clip has 1 to {self.longest - self.context} frames, got {min(frames)} to {max(frames)}"
            )
        if not all(0 < len(plan) <= self.steps and plan.shape[1] == len(PLAN) for plan in plans):
            raise ValueError(f"a clip must have 1 to {self.steps} steps, {len(PLAN)} numbers each")
        wanted = (self.context, self.features)
        if self.context and not all(prefix is not None and prefix.shape == wanted for prefix in prefixes):
            raise ValueError(f"a clip of this network needs a prefix of {wanted}")
        if not self.context and any(prefix is not None for prefix in prefixes):
            raise ValueError("this network takes no prefix")
        if self.kernels and any(draws):
            raise ValueError("own kernels make their noise themselves: given noise needs plain PyTorch")

    def _pack(self, starts: Sequence[Start], words: Words) -> int:
        """One record a clip: slot, number of entries, rows, nothing, seed (2 words), entries, plan, prefix."""
        slots, entries, frames, seeds, plans, prefixes, _ = zip(*starts, strict=True)
        count, plan_at, plan_end = len(starts), *self._plan_words
        records = words[: count * self._record].reshape(count, self._record)
        numbers = records.view(np.float32)
        records[:, 0] = slots
        records[:, 1] = [len(own) for own in entries]
        records[:, 2] = np.add(frames, self.context)
        records[:, 4:_HEADER] = np.array(seeds, dtype=np.int64)[:, None].view(np.int32)
        records[:, _HEADER:plan_at] = [own + (0,) * (self.most_entries - len(own)) for own in entries]
        by_step = numbers[:, plan_at:plan_end].reshape(count, self.steps + 1, len(PLAN))
        if len({len(plan) for plan in plans}) == 1:
            same = len(plans[0])
            by_step[:, :same] = np.stack(plans)
            by_step[:, same:] = _STAY
        else:
            by_step[:] = _STAY
            for mine, plan in zip(by_step, plans, strict=True):
                mine[: len(plan)] = plan
        if self.context:
            shape = (count, self.context, self.features)
            np.stack([prefix.numpy() for prefix in prefixes], out=numbers[:, plan_end:].reshape(shape))
        return count * self._record

    @property
    def _plan_words(self) -> tuple[int, int]:
        """Where a record's plan begins and ends."""
        begin = _HEADER + self.most_entries
        return begin, begin + (self.steps + 1) * len(PLAN)

    def _begin_plain(self, starts: Sequence[Start], records: Tensor) -> None:
        slots, plan_at, plan_end = records[:, 0].long(), *self._plan_words
        numbers = records.view(torch.float32)
        self.entry.index_copy_(0, slots, torch.cat([records[:, 1:2], records[:, _HEADER:plan_at]], dim=1))
        self.progress.index_fill_(0, slots, 0)
        self.plan.index_copy_(0, slots, numbers[:, plan_at:plan_end].unflatten(1, (-1, len(PLAN))))
        if self.context:
            prefix = numbers[:, plan_end:].unflatten(1, (self.context, self.features))
            self.state[:, : self.context, : self.features].index_copy_(0, slots, prefix)
        for start in starts:
            draw = start.draw or self._seeded(start.seed, start.frames)
            end = self.context + start.frames
            self.state[start.slot, self.context : end, : self.features] = draw(0)
            self._draws[start.slot] = draw, 1

    def _seeded(self, seed: int, frames: int) -> Draw:
        device = self.state.device
        generator = torch.Generator(device).manual_seed(seed)
        return lambda k: torch.randn(frames, self.features, generator=generator, device=device)


class Front:
    """A batch: who is stepped. What a CUDA graph is recorded for; its tables are its own and stay where they are."""

    def __init__(self, pool: Pool, width: int, rows: int, longest: int) -> None:
        self.pool = pool
        self.width, self.rows, self.longest = width, rows, longest
        self.seated: tuple[tuple[int, int], ...] = ()
        """(slot, rows) of each clip, as the host knows it."""
        self._table = Upload(4 * width + (2 * rows if pool.kernels else 0), pool.state.device)
        self.seats = self._table.words[: 4 * width].view(width, 4)
        """(B, 4) int32: slot, first packed row, rows (0 = empty), nothing."""
        self.packed = self._table.words[4 * width :].view(-1, 2)
        """(R, 2) int32 with kernels: slot and frame of each row."""
        self.seat([])

    @torch.inference_mode()
    def seat(self, seats: Sequence[tuple[int, int]]) -> None:
        """Step these clips from now on, (slot, rows with prefix) each: one asynchronous upload.

        Not needed again while the same clips stay. Raises ValueError for clips that do not fit; then nothing changes.
        """
        slots, lengths = np.array(seats, dtype=np.int32).reshape(-1, 2).T
        self._check(slots, lengths)
        self.seated = tuple(seats)
        self._table.send(lambda words: self._pack(slots, lengths, words))

    def draw(self) -> None:
        """Draw the noise of the next step of every seated clip, outside of any graph. Nothing to do with kernels."""
        if not self.pool.kernels:
            for slot, _ in self.seated:
                self.pool.draw_next(slot)

    @property
    def nbytes(self) -> int:
        """Device memory of its tables."""
        return self._table.words.nbytes

    def _check(self, slots: Words, lengths: Words) -> None:
        pool = self.pool
        if len(slots) > self.width or lengths.sum() > self.rows:
            raise ValueError(f"{len(slots)} clips of {lengths.sum()} rows do not fit {self.width} of {self.rows}")
        if not len(slots):
            return
        if not pool.context < lengths.min() <= lengths.max() <= self.longest:
            raise ValueError(f"clips here have {pool.context + 1} to {self.longest} rows, got {lengths.tolist()}")
        if not 0 <= slots.min() <= slots.max() < pool.slots or len(set(slots.tolist())) < len(slots):
            raise ValueError(f"slots are 0 to {pool.slots - 1}, each once, got {slots.tolist()}")

    def _pack(self, slots: Words, lengths: Words, words: Words) -> int:
        count, nobody = len(slots), self.pool.slots
        first = lengths.cumsum() - lengths
        seats = words[: 4 * self.width].reshape(self.width, 4)
        seats[count:] = (nobody, 0, 0, 0)
        for column, values in enumerate((slots, first, lengths)):
            seats[:count, column] = values
        if self.pool.kernels:
            used = int(lengths.sum())
            packed = words[4 * self.width :].reshape(self.rows, 2)
            packed[:used, 0] = slots.repeat(lengths)
            packed[:used, 1] = np.arange(used) - first.repeat(lengths)
            packed[used:] = (nobody, 0)
        return len(words)
