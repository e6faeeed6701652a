"""Proof on the user's own machine: our engine against the official code, on the same weights, texts and noise.

:func:`compare` measures two samplers of one checkpoint; nothing here knows where they come from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.diffusion.rollout import rollout_frames
from motion_service.features.humanml3d import HUMANML3D_FPS, HUMANML3D_WIDTH
from motion_service.features.statistics import Statistics
from motion_service.mdm.checkpoint import CheckpointConfig
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.official import GUIDANCE, TEXT_ENCODERS, WINDOW_GUIDANCE, OfficialCheckpoint
from motion_service.mdm.published import Kind, new_spec, random_network
from motion_service.mdm_adapter.official import Conditions, OfficialSampler, seeded_draw, stack_texts
from motion_service.mdm_adapter.upstream import UpstreamSampler

FORWARD_ATOL: Final = 1e-5
GUIDED_ATOL: Final = 5e-5
LOOP_ATOL: Final = 1e-4
WINDOWS_ATOL: Final = 2e-4
"""Largest differences allowed in normalised features (deviation about 1), float32 on both sides. Guidance of 7.5
multiplies the rounding of a prediction by up to 14; loops add up that of their steps."""

_FORWARD_RUNS: Final = 3
_WINDOWS: Final = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. Differences are the worst over all seeds, times the best."""

    case: str
    max_abs: float
    mean_abs: float
    relative: float
    """Largest difference as a share of the largest number."""
    own_ms: float
    upstream_ms: float
    tolerance: float
    """For :attr:`max_abs`."""

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.upstream_ms / self.own_ms

    @property
    def passed(self) -> bool:
        """False for a difference that is not a number, too."""
        return self.max_abs <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "passed": self.passed}


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    tolerance: float
    own: Callable[[int], Tensor]
    """Seed -> result."""
    upstream: Callable[[int], Tensor]
    runs: int = 1
    """How often each is run for one seed, after a first time that does not count where it is more than once."""


def compare(
    own: OfficialSampler,
    upstream: UpstreamSampler,
    texts: Sequence[TextEmbedding],
    num_frames: int,
    seeds: Sequence[int],
) -> list[Row]:
    """Single predictions, a whole sample and, for a window model, two windows in a row; the noise is drawn from seeds.

    ``num_frames`` is for models that make a clip at once; both samplers are on one device and of one checkpoint.
    """
    if own.is_windowed:
        num_frames = own.spec.predict_frames
    cases = [
        *_forward_cases(own, upstream, texts, num_frames),
        *_sampling_cases(own, upstream, texts, num_frames),
    ]
    return [_measure(case, seeds, own.device) for case in cases]


def _forward_cases(
    own: OfficialSampler, upstream: UpstreamSampler, texts: Sequence[TextEmbedding], num_frames: int
) -> list[_Case]:
    """One prediction from noise at the cleanest, the middle and the noisiest step."""
    steps = own.schedule.num_steps
    guidance = own.checkpoint.config.guidance

    def case(name: str, t: int, scale: float, with_target: bool = False) -> _Case:
        def inputs(seed: int) -> tuple[Tensor, Tensor, Conditions]:
            x_t = _normal((len(texts), num_frames, own.spec.features), seed).to(own.device)
            told = _conditions(own, len(texts), seed, with_target)
            return x_t, torch.full((len(texts),), t, device=own.device), told

        def run_own(seed: int) -> Tensor:
            x_t, at, told = inputs(seed)
            return predict(own, x_t, at, texts, scale, told)

        def run_upstream(seed: int) -> Tensor:
            x_t, at, told = inputs(seed)
            return upstream.predict(x_t, at, texts, scale, told)

        return _Case(name, FORWARD_ATOL if scale == 1 else GUIDED_ATOL, run_own, run_upstream, _FORWARD_RUNS)

    scales = {"conditional": 1.0} | ({} if guidance == 1 else {f"guided {guidance:g}": guidance})
    times = sorted({0, steps // 2, steps - 1})
    cases = [case(f"t={t}, {name}", t, scale) for t in times for name, scale in scales.items()]
    if own.takes_targets:
        cases += [case(f"t={times[-1]}, {name}, target", times[-1], scale, True) for name, scale in scales.items()]
    return cases


def _sampling_cases(
    own: OfficialSampler, upstream: UpstreamSampler, texts: Sequence[TextEmbedding], num_frames: int
) -> list[_Case]:
    """Whole samples with all steps and the noise that the official CPU program would draw."""

    def sampled(sampler: OfficialSampler) -> Callable[[int], Tensor]:
        def run(seed: int) -> Tensor:
            plan, _ = sampler.new_run(None, None, seeded_draw(seed, official=True))
            return sampler.sample(texts, num_frames, plan, _conditions(sampler, len(texts), seed))

        return run

    def own_windows(seed: int) -> Tensor:
        plan, _ = own.new_run(None, None, seeded_draw(seed, official=True))
        return rollout_frames(
            lambda index, prefix: own.sample(texts, num_frames, plan, Conditions(prefix=prefix)),
            _prefix(own, len(texts), seed),
            _WINDOWS * num_frames,
            num_frames,
        )

    def upstream_windows(seed: int) -> Tensor:
        plan, _ = upstream.new_run(None, None, seeded_draw(seed, official=True))
        return upstream.sample_windows(texts, _WINDOWS * num_frames, plan, _prefix(own, len(texts), seed))

    whole = f"{own.schedule.num_steps} steps, {num_frames} frames"
    cases = [_Case(whole, LOOP_ATOL, sampled(own), sampled(upstream))]
    if own.is_windowed:
        cases.append(_Case(f"{_WINDOWS} windows of {num_frames} frames", WINDOWS_ATOL, own_windows, upstream_windows))
    return cases


@torch.inference_mode()
def predict(
    sampler: OfficialSampler,
    x_t: Tensor,
    t: Tensor,
    texts: Sequence[TextEmbedding],
    guidance: float,
    conditions: Conditions,
) -> Tensor:
    """One prediction of x0 (B, T, F) by our network, in float32; the counterpart of :meth:`UpstreamSampler.predict`."""
    network = sampler.checkpoint.network
    tokens, mask = stack_texts(texts)
    target = None if conditions.target is None else network.encode_target(*conditions.target)
    denoise = conditioned(
        network,
        tokens.to(sampler.device),
        mask.to(sampler.device),
        guidance,
        prefix=conditions.prefix,
        frame_mask=torch.ones(x_t.shape[:2], dtype=torch.bool, device=sampler.device),
        target=target,
    )
    return denoise(x_t, t)


def _measure(case: _Case, seeds: Sequence[int], device: torch.device) -> Row:
    """Run both sides on every seed."""
    if case.runs > 1:
        for run in (case.own, case.upstream):
            run(seeds[0])
    own_ms, upstream_ms, differences = [], [], []
    for seed in seeds:
        for _ in range(case.runs):
            a, spent = _timed(case.own, seed, device)
            own_ms.append(spent)
            b, spent = _timed(case.upstream, seed, device)
            upstream_ms.append(spent)
        differences.append(difference(a, b))
    largest, mean, share = torch.tensor(differences).amax(dim=0).tolist()  # keeps what is not a number
    return Row(case.name, largest, mean, share, min(own_ms), min(upstream_ms), case.tolerance)


def difference(own: Tensor, upstream: Tensor) -> tuple[float, float, float]:
    """(largest, mean, largest as a share of the largest number) of the differences of two results of one shape."""
    if own.shape != upstream.shape:
        raise ValueError(f"results of shapes {tuple(own.shape)} and {tuple(upstream.shape)} cannot be compared")
    apart = (own.double() - upstream.double()).abs()
    largest = float(apart.max())
    return largest, float(apart.mean()), largest / max(float(upstream.abs().max()), 1e-12)


def _timed(run: Callable[[int], Tensor], seed: int, device: torch.device) -> tuple[Tensor, float]:
    """Result and milliseconds."""
    begun = time.perf_counter()
    result = run(seed)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, 1000 * (time.perf_counter() - begun)


def _conditions(sampler: OfficialSampler, batch: int, seed: int, with_target: bool = False) -> Conditions:
    """A prefix for models that continue one, and a place to go and to look at when asked for."""
    prefix = _prefix(sampler, batch, seed) if sampler.is_windowed else None
    if not with_target:
        return Conditions(prefix=prefix)
    asked = torch.tensor([[True, False, False, False, False, True, False, True]]).repeat(batch, 1)
    places = _normal((batch, 8, 3), seed + 2) * asked[..., None]
    places[:, 7, 1:] = 0.0  # a heading is one number
    return Conditions(prefix=prefix, target=(places.to(sampler.device), asked.to(sampler.device)))


def _prefix(sampler: OfficialSampler, batch: int, seed: int) -> Tensor:
    """(B, C, F)"""
    return _normal((batch, sampler.spec.context_frames, sampler.spec.features), seed + 1).to(sampler.device)


def _normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- what can be compared without any download ------------------------------------------------------------------------


class RandomTexts:
    """A text encoder without weights: random tokens of a real one's shape, the same for the same text."""

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.width = width

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """One token a text where the encoder of this name gives one, else one a word and two around."""
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> TextEmbedding:
        num_tokens = 1 if self.name == TEXT_ENCODERS["clip"][0] else len(text.split()) + 2
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        tokens = _normal((num_tokens, self.width), seed)
        return TextEmbedding(tokens, torch.ones(num_tokens, dtype=torch.bool), self.name)


def random_checkpoint(kind: Kind, seed: int = 0) -> OfficialCheckpoint:
    """Random weights in the shapes of a published checkpoint: same arithmetic and speed, no motion."""
    spec = new_spec(kind)
    encoder = next(name for name, width in TEXT_ENCODERS.values() if width == spec.text_width)
    has_windows = spec.context_frames > 0
    guidance = WINDOW_GUIDANCE if has_windows else GUIDANCE
    steps = 10 if has_windows else 50
    config = CheckpointConfig(spec, steps, "cosine", encoder, "humanml3d", HUMANML3D_FPS, guidance, "none")
    return OfficialCheckpoint(
        f"random {kind}", Path(), config, random_network(spec, seed), True, 0.1, None, "flat", "", ()
    )


def no_statistics() -> Statistics:
    """Mean 0 and deviation 1: what is compared stays normalised."""
    return Statistics(torch.zeros(HUMANML3D_WIDTH), torch.ones(HUMANML3D_WIDTH), "none")


# --- what is shown ----------------------------------------------------------------------------------------------------


def rows_to_table(rows: Sequence[Row], title: str) -> Table:
    """For a terminal of 80 columns."""
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("case", no_wrap=True)
    for column in ("max", "mean", "ours ms", "theirs", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        apart = (f"{number:.1e}" for number in (row.max_abs, row.mean_abs))
        speeds = (f"{row.own_ms:.1f}", f"{row.upstream_ms:.1f}", f"{row.ratio:.2f}")
        table.add_row(row.case, *apart, *speeds, "ok" if row.passed else "no")
    return table
