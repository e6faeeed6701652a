"""Which resident runs a network on this device: batches in CUDA graphs where it can, else one clip at a time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.engine.graphs import Graphs
from motion_service.engine.guard import Engine
from motion_service.mdm.fast import FastDenoiser, supports
from motion_service.mdm.network import Denoiser
from motion_service.mdm_adapter.clip_work import exact_name
from motion_service.mdm_adapter.pooled import EncodeTarget, PooledResident, Sizes
from motion_service.mdm_adapter.stepwise import StepwiseResident, exact_condition, fast_condition, plain_condition

LONG_TEXTS: Final = "(long texts)"
"""Behind the name of a network: its model for texts that batches have no room for."""
TEXT_COLUMNS: Final = 16
"""Tokens of an entry of the text table: most captions have 8 to 14, longer ones take more entries."""
LENGTH_STEP: Final = 20
"""Frames between the length buckets of one-shot models: a clip alone waits for at most so many that are not its own."""
MOST_CLIPS: Final = 64
MOST_WINDOWS: Final = 256
"""Widest batches where memory is not short; wider ones win little (docs/engine-notes.md)."""
CPU_WIDEST: Final = 4
"""Windows of ``mini`` on two cores: 130 ms each in fours, 150 alone; more win nothing."""
USUAL_MB: Final = 2048
"""Memory for which the widest batches are meant."""
FLOAT32_COST: Final = 4
"""How much more float32 is taken to need: weights and texts double, and encoders and networks stay whole."""

DtypeName = Literal["auto", "float16", "float32"]


class EngineSettings:
    """How networks are run on one device. All networks of a process share one."""

    def __init__(
        self, device: str = "cpu", *, dtype: DtypeName = "auto", graphs: bool = True, memory_mb: int = USUAL_MB
    ) -> None:
        """``dtype``: of weights and activations, states and samplers are float32 always; auto = float16 on a GPU, and a
        CPU always takes float32. ``graphs``: record CUDA graphs. ``memory_mb``: of the GPU, for all that is held there.
        """
        self.device = device
        self.on_gpu = torch.device(device).type == "cuda"
        self.half = self.on_gpu and dtype != "float32"
        self.memory_mb = memory_mb
        self.graphs = Graphs(device, enabled=graphs)
        """Of all networks: only one runs at a time."""

    def batches(self, most: int) -> tuple[int, ...]:
        """Batch buckets up to ``most`` clips, or fewer where memory is short; on a CPU wide ones win nothing."""
        needed = USUAL_MB if self.half else FLOAT32_COST * USUAL_MB
        widest = max(1, min(most, most * self.memory_mb // needed)) if self.on_gpu else CPU_WIDEST
        return tuple(2**i for i in range(widest.bit_length()))


@dataclass(frozen=True, slots=True)
class Models:
    """The names under which the worker knows one network."""

    name: str
    batches: PooledResident | None
    """None: everything goes one clip at a time."""

    def for_text(self, text: TextEmbedding) -> str:
        """The model that can read ``text``: very long ones go one clip at a time."""
        fits = self.batches is None or len(text.tokens) <= self.batches.most_tokens
        return self.name if fits else f"{self.name} {LONG_TEXTS}"


def add_network(
    worker: Engine,
    name: str,
    network: Denoiser,
    num_times: int,
    longest: int,
    settings: EngineSettings,
    columns: int = TEXT_COLUMNS,
) -> Models:
    """Let ``worker`` run ``network`` in batches, or one clip at a time where that is no slower: other lengths on a CPU.

    ``num_times``: steps of its training; ``longest``: most frames of one clip, prefix included; ``columns``: tokens of
    an entry of the text table, 1 where texts are one token.
    """
    is_windowed = network.spec.context_frames > 0
    exact = StepwiseResident(exact_condition(network, settings.device), network.spec.features, longest, settings.device)
    worker.add_model(exact_name(name), exact)
    if not supports(network.spec) or not (settings.on_gpu or is_windowed):
        worker.add_model(name, stepwise(network, num_times, longest, settings))
        return Models(name, None)
    lengths = (longest,) if is_windowed else tuple(range(LENGTH_STEP, longest + LENGTH_STEP, LENGTH_STEP))
    most = MOST_WINDOWS if is_windowed else MOST_CLIPS
    sizes = Sizes(lengths, settings.batches(most), num_times, columns)

    def new_fast(kernels: bool) -> FastDenoiser:
        dtype = torch.float16 if settings.half else torch.float32
        return FastDenoiser(
            *(network, num_times),
            device=settings.device,
            dtype=dtype,
            positions=lengths[-1],
            kernels=None if kernels else False,
        )

    resident = PooledResident(new_fast, target_on_cpu(network), sizes, settings.graphs, name)
    worker.add_model(name, resident)
    if columns > 1:
        long = f"{name} {LONG_TEXTS}"
        worker.add_model(long, stepwise(network, num_times, longest, settings))
        worker.add_model(exact_name(long), exact)
    return Models(name, resident)


def stepwise(network: Denoiser, num_times: int, longest: int, settings: EngineSettings) -> StepwiseResident:
    """One clip at a time; on packed weights where the network has them."""
    features, device = network.spec.features, settings.device
    if settings.on_gpu or not supports(network.spec):
        autocast = torch.float16 if settings.half else None
        return StepwiseResident(plain_condition(network, device, autocast), features, longest, device)
    fast = FastDenoiser(network, num_times, device=device, dtype=torch.float32, positions=longest)
    return StepwiseResident(fast_condition(fast, network), features, longest, device)


def target_on_cpu(network: Denoiser) -> EncodeTarget | None:
    """Encodes one target without the GPU, where the network takes targets: it is too small to be worth a wait."""
    if network.spec.target_encoder is None:
        return None
    encoder = copy.deepcopy(network.embed_target_cond).cpu()

    @torch.inference_mode()
    def encode(places: Tensor, asked: Tensor) -> Tensor:
        out: Tensor = encoder(places[None], asked[None])[0]
        return out

    return encode
