"""Which resident runs a network on this device: batches in CUDA graphs where it can, else one clip at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch

from motion_service.clips import TextEmbedding
from motion_service.engine.worker import Worker
from motion_service.mdm.fast import FastDenoiser, supports
from motion_service.mdm.network import Denoiser
from motion_service.mdm_adapter.stepwise import StepwiseResident, fast_condition, plain_condition

LONG_TEXTS: Final = "(long texts)"
"""Behind the name of a network: its model for texts that batches have no room for."""
MAX_TOKENS: Final = 512

DtypeName = Literal["auto", "float16", "float32"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How networks are run."""

    device: str = "cpu"
    dtype: DtypeName = "auto"
    """Of weights and activations; states and samplers are float32 always. auto = float16 on a GPU, float32 on a CPU."""
    graphs: bool = True
    """Record CUDA graphs; without them every kernel is launched by the host."""
    memory_mb: int = 2048
    """Of the GPU, for all that the engine holds there."""

    @property
    def torch_dtype(self) -> torch.dtype:
        if self.dtype == "auto":
            return torch.float16 if torch.device(self.device).type == "cuda" else torch.float32
        return torch.float16 if self.dtype == "float16" else torch.float32


@dataclass(frozen=True, slots=True)
class Models:
    """The names under which the worker knows one network."""

    name: str
    columns: int
    """Tokens of a text that batches take; longer ones go one clip at a time."""

    def for_text(self, text: TextEmbedding) -> str:
        """The model that can read ``text``."""
        return self.name if len(text.tokens) <= self.columns else f"{self.name} {LONG_TEXTS}"


def add_network(
    worker: Worker, name: str, network: Denoiser, num_times: int, longest: int, settings: EngineSettings
) -> Models:
    """Let ``worker`` run ``network``. ``num_times``: steps of its training; ``longest``: most frames of one clip,
    prefix included.
    """
    features, device = network.spec.features, settings.device
    if not supports(network.spec):
        worker.add_model(name, StepwiseResident(plain_condition(network, device), features, longest, device))
        return Models(name, MAX_TOKENS)
    fast = FastDenoiser(network, num_times, device=device, dtype=torch.float32, positions=longest)
    worker.add_model(name, StepwiseResident(fast_condition(fast, network), features, longest, device))
    return Models(name, MAX_TOKENS)
