"""A :class:`~motion_service.engine.resident.Resident` in plain PyTorch, one clip at a time: for CPUs and any network.

Runs still take turns step by step, so a short one does not wait for a long one, and each draws its own noise from its
own seed.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from motion_service.diffusion.samplers import Denoise
from motion_service.diffusion.schedule import Step
from motion_service.engine.costs import CostTable
from motion_service.engine.resident import DoneTicket, Ticket
from motion_service.engine.run import Batch, ModelLimits, SamplingRun
from motion_service.mdm.fast import FastDenoiser
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.network import Denoiser
from motion_service.mdm_adapter.clip_work import ClipWork

MAX_IN_FLIGHT: Final = 64
"""Clips that may be under way at once; each keeps a few hundred kilobytes."""

Condition = Callable[[ClipWork], Denoise]
"""What the network predicts for the conditions of one clip, guidance included; in inference mode."""


@dataclass(slots=True)
class _UnderWay:
    """A clip between two of its steps."""

    denoise: Denoise
    x: Tensor
    """(1, T, F)"""
    generator: torch.Generator


class StepwiseResident:
    """See the module."""

    def __init__(self, condition: Condition, features: int, longest: int, device: torch.device | str) -> None:
        """``features``: F; ``longest``: most frames of a clip, prefix included."""
        self._condition = condition
        self._features, self._longest = features, longest
        self._device = torch.device(device)
        self._clips: dict[str, _UnderWay] = {}
        self.limits = ModelLimits((longest,), (1,), slots=MAX_IN_FLIGHT)

    def prepare(self, costs: CostTable) -> None:
        """Nothing is made beforehand; costs are learned from what runs take."""

    @torch.inference_mode()
    def run(self, batch: Batch) -> Ticket:
        """The steps of one clip, at once."""
        started = time.perf_counter()
        (run,) = batch.runs
        if run.id not in self._clips:
            self._clips[run.id] = self._begin(run.work)
        clip = self._clips[run.id]
        steps: Sequence[Step] = run.work.steps[run.done : run.done + batch.num_steps]
        for step in steps:
            x0 = clip.denoise(clip.x, torch.full((1,), step.t, device=self._device))  # (1, T, F)
            noise = torch.randn(clip.x.shape, generator=clip.generator).to(self._device)
            clip.x = step.coef_x0 * x0 + step.coef_xt * clip.x + step.sigma * noise
        ended = run.done + batch.num_steps == run.steps
        results = {run.id: clip.x[0].float().cpu()} if ended else {}
        return DoneTicket(1000 * (time.perf_counter() - started), results)

    def leave(self, run: SamplingRun) -> None:
        self._clips.pop(run.id, None)

    def renewed(self) -> StepwiseResident:
        return StepwiseResident(self._condition, self._features, self._longest, self._device)

    def facts(self) -> Mapping[str, Any]:
        return {"engine": "stepwise", "device": self._device.type, "in_flight": len(self._clips)}

    def _begin(self, work: ClipWork) -> _UnderWay:
        generator = torch.Generator().manual_seed(work.seed)
        start = torch.randn(1, work.frames, self._features, generator=generator)
        return _UnderWay(self._condition(work), start.to(self._device), generator)


def fast_condition(fast: FastDenoiser, network: Denoiser) -> Condition:
    """On packed weights: half of the texts' work is done once a clip and not once a step."""

    def condition(work: ClipWork) -> Denoise:
        tokens, mask = work.text.tokens[None], work.text.mask[None]
        text = fast.prepare_text(tokens, mask, _target(network, work), columns=tokens.shape[1])
        prefix = None if work.prefix is None else work.prefix[None].to(fast.device)
        return lambda x_t, t: fast.predict(x_t, t, text, work.guidance, prefix=prefix)

    return condition


def plain_condition(network: Denoiser, device: torch.device | str, autocast: torch.dtype | None = None) -> Condition:
    """Any network as it is; ``autocast``: its dtype on CUDA, None = float32. Noise and sampler are float32."""
    kind = torch.device(device).type
    enabled = autocast is not None and kind == "cuda"

    def condition(work: ClipWork) -> Denoise:
        tokens, mask = work.text.tokens[None].to(device), work.text.mask[None].to(device)
        prefix = None if work.prefix is None else work.prefix[None].to(device)
        frame_mask = torch.ones(1, work.frames, dtype=torch.bool, device=device)
        with torch.autocast(kind, autocast, enabled=enabled):
            predict = conditioned(
                *(network, tokens, mask, work.guidance),
                prefix=prefix,
                frame_mask=frame_mask,
                target=_target(network, work),
            )

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(kind, autocast, enabled=enabled):
                return predict(x_t, t).float()

        return denoise

    return condition


def exact_condition(network: Denoiser, device: torch.device | str) -> Condition:
    """The network in float32, whatever it is kept in; a copy is made when it is first needed."""

    @cache
    def load() -> Condition:
        is_exact = all(weights.dtype == torch.float32 for weights in network.parameters())
        return plain_condition(network if is_exact else copy.deepcopy(network).float(), device)

    return lambda work: load()(work)


def _target(network: Denoiser, work: ClipWork) -> Tensor | None:
    """(1, D)"""
    if work.target is None:
        return None
    device = next(network.parameters()).device
    return network.encode_target(*(part[None].to(device) for part in work.target))
