"""The clips that are denoised together: fixed buffers on the device that kernels and CUDA graphs work on in place.

Frames of all clips lie one after the other in R rows; each clip has a slot, a first row and a length, and rows and
slots never move. So clips of different length, text, guidance and progress share a batch without padding, one can join
or leave between two steps, and a step needs nothing from the host: how far a clip is counts on the device. A graph for
few clips works on the front of the same buffers (:meth:`Rows.front`).

Letters: B slots, R rows, S steps, P padded features, I layers, M text columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from motion_service.mdm.fast_weights import FastWeights, TextState

PLAN: Final = ("t", "coef_x0", "coef_xt", "sigma", "guidance")
"""Columns of a plan, one row a step: what the network is told, the posterior, the guidance scale."""


class Clip(NamedTuple):
    """One clip to be sampled."""

    text: TextState
    """Of one text."""
    plan: Tensor
    """(S, 5) float32, see :data:`PLAN` and :func:`new_plan`."""
    start: Tensor
    """(T, F) pure noise."""
    noise: Tensor
    """(S, T, F) noise of each step."""
    prefix: Tensor | None = None
    """(C, F) clean frames before it."""


class Seat(NamedTuple):
    """Where a clip sits."""

    slot: int
    first_row: int
    clip: Clip


def new_plan(steps: Sequence[tuple[int, float, float, float]], guidance: float, device: torch.device) -> Tensor:
    """Steps in sampling order, (t, coef_x0, coef_xt, sigma) each, and the guidance scale of all. (S, 5)"""
    return torch.tensor([(*step, guidance) for step in steps], dtype=torch.float32, device=device)


def draw_noise(seed: int, steps: int, frames: int, features: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Start (T, F) and noise (S, T, F) of a clip, all drawn at once on the device from a generator of its own.

    A clip's numbers depend on seed, length, steps and the kind of device, never on what else runs.
    """
    generator = torch.Generator(device).manual_seed(seed)
    drawn = torch.randn(steps + 1, frames, features, generator=generator, device=device)
    return drawn[0], drawn[1:]


def _lengthened(value: Tensor, steps: int) -> Tensor:
    """Rows of zeros behind (S, ...), up to ``steps``."""
    if len(value) == steps:
        return value
    return torch.cat([value, value.new_zeros(steps - len(value), *value.shape[1:])])


@dataclass(frozen=True, slots=True)
class Rows:
    """See the module. Contents change in place; :func:`new_rows` makes one."""

    context: int
    """C: rows of a clip that are prefix and never change."""
    longest: int
    """Most rows of one clip."""
    even: bool
    """Whether slot b starts at row b * longest: what plain PyTorch needs."""
    places: Tensor
    """(longest, D) of :class:`FastWeights`"""
    state: Tensor  # (R, P) float32: x_t
    half: Tensor  # (R, P) the same as the network reads it
    placed: Tensor  # (R, D) row of places that belongs to each row
    position: Tensor  # (R,) int32 frame of its clip
    owner: Tensor  # (R,) int32 slot
    noise: Tensor  # (S, R, F) float32
    first: Tensor  # (B,) int32 first row
    length: Tensor  # (B,) int32 rows, prefix included; 0 = free
    plan: Tensor  # (B, S, 5)
    progress: Tensor  # (B,) int32 steps done
    text: TextState  # of B rows

    @property
    def slots(self) -> int:
        return len(self.first)

    @property
    def num_rows(self) -> int:
        return len(self.state)

    @property
    def steps(self) -> int:
        return len(self.noise)

    @property
    def features(self) -> int:
        return self.noise.shape[2]

    @property
    def nbytes(self) -> int:
        """Memory that the buffers take."""
        tensors = [getattr(self, name) for name in self.__slots__]
        parts = [*(part for part in tensors if isinstance(part, Tensor)), *self.text]
        return sum(part.nbytes for part in parts)

    def front(self, slots: int, rows: int) -> Rows:
        """The first slots and rows of the same buffers: what a graph for few clips works on."""
        by_row = {name: getattr(self, name)[:rows] for name in ("state", "half", "placed", "position", "owner")}
        by_slot = {name: getattr(self, name)[:slots] for name in ("first", "length", "plan", "progress")}
        text = TextState(*(part[:slots] for part in self.text))
        return replace(self, **by_row, **by_slot, noise=self.noise[:, :rows], text=text)

    @torch.inference_mode()
    def join(self, seats: Sequence[Seat]) -> None:
        """Put clips into free slots and free rows, a dozen launches however many; each is then at its first step.

        Raises ValueError when one does not fit; then none has joined.
        """
        for seat in seats:
            self._check_seat(seat)
        slots, first, length, rows, new_rows, position, owner = self._indices(seats)
        frames = [part for _, _, clip in seats for part in (clip.prefix, clip.start) if part is not None]
        features = torch.cat(frames)
        self.state[:, : self.features].index_copy_(0, rows, features)
        self.half[:, : self.features].index_copy_(0, rows, features.to(self.half.dtype))
        self.placed.index_copy_(0, rows, self.places[position])
        self.position.index_copy_(0, rows, position.int())
        self.owner.index_copy_(0, rows, owner.int())
        steps = max(len(clip.plan) for _, _, clip in seats)
        noise = [_lengthened(clip.noise[:steps], steps) for *_, clip in seats]
        self.noise[:steps].index_copy_(1, new_rows, torch.cat(noise, dim=1))
        plans = [_lengthened(clip.plan, steps) for *_, clip in seats]
        self.plan[:, :steps].index_copy_(0, slots, torch.stack(plans))
        for mine, parts in zip(self.text, zip(*(clip.text for *_, clip in seats), strict=True), strict=True):
            mine.index_copy_(0, slots, torch.cat(parts))
        self.first.index_copy_(0, slots, first.int())
        self.length.index_copy_(0, slots, length.int())
        self.progress.index_fill_(0, slots, 0)

    def _check_seat(self, seat: Seat) -> None:
        slot, first, clip = seat
        prefix = 0 if clip.prefix is None else len(clip.prefix)
        length = prefix + len(clip.start)
        if self.even and first != slot * self.longest:
            raise ValueError(f"slot {slot} of even rows starts at row {slot * self.longest}, got {first}")
        if prefix != self.context or length > self.longest or first + length > self.num_rows:
            raise ValueError(f"a clip of {prefix} + {len(clip.start)} frames does not fit at row {first}")
        if not 0 < len(clip.plan) <= min(self.steps, len(clip.noise)):
            raise ValueError(f"a clip must have 1 to {self.steps} steps and noise for them, got {len(clip.plan)}")

    def _indices(self, seats: Sequence[Seat]) -> tuple[Tensor, ...]:
        """Slots, first rows, lengths (n,); rows, rows that are no prefix, positions, owners; by one copy. int64"""
        slots, first = np.array([[slot, first] for slot, first, _ in seats]).T  # numpy: quicker for so few
        length = np.array([self.context + len(clip.start) for *_, clip in seats])
        position = np.arange(length.sum()) - (length.cumsum() - length).repeat(length)
        rows = first.repeat(length) + position
        parts = (slots, first, length, rows, rows[position >= self.context], position, slots.repeat(length))
        together = torch.from_numpy(np.concatenate(parts))
        if self.state.is_cuda:  # else the host would wait for all steps under way
            together = together.pin_memory().to(self.state.device, non_blocking=True)
        return tuple(torch.split(together, [len(part) for part in parts]))

    @torch.inference_mode()
    def leave(self, slot: int) -> None:
        """Free a slot; its rows may be given to another clip."""
        self.length[slot] = 0

    def clip(self, first_row: int, length: int) -> Tensor:
        """Frames (T, F) of a clip as they are now, without its prefix; a view that changes with the next step."""
        return self.state[first_row + self.context : first_row + length, : self.features]


def new_rows(
    weights: FastWeights, slots: int, rows: int, longest: int, steps: int, columns: int, *, even: bool = False
) -> Rows:
    """Buffers for clips of at most ``longest`` rows each (prefix included), ``rows`` in all, of at most ``steps``.

    ``columns``: tokens a text is padded to; 1 = every text is one token. ``even`` takes ``slots * longest`` rows.
    """
    spec, device, dtype = weights.spec, weights.device, weights.dtype
    rows = slots * longest if even else rows
    columns = 0 if columns == 1 else columns * spec.heads

    def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    first = torch.arange(slots, dtype=torch.int32, device=device) * longest if even else zeros(slots, dtype=torch.int32)
    text = (slots, spec.layers)
    return Rows(
        context=spec.context_frames,
        longest=longest,
        even=even,
        places=weights.places[:longest],
        state=zeros(rows, weights.padded),
        half=zeros(rows, weights.padded, dtype=dtype),
        placed=zeros(rows, spec.width, dtype=dtype),
        position=zeros(rows, dtype=torch.int32),
        owner=zeros(rows, dtype=torch.int32),
        noise=zeros(steps, rows, spec.features),
        first=first,
        length=zeros(slots, dtype=torch.int32),
        plan=zeros(slots, steps, len(PLAN)),
        progress=zeros(slots, dtype=torch.int32),
        text=TextState(
            zeros(*text, columns, spec.width, dtype=dtype),
            zeros(*text, columns),
            zeros(*text, columns, spec.width, dtype=dtype),
            zeros(*text, 2, spec.width),
        ),
    )
