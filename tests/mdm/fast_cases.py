"""Small networks, clips and the plain answer for tests of the fast path."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_service.diffusion.samplers import sample_ddpm
from motion_service.diffusion.schedule import named_schedule
from motion_service.mdm.fast import Engine, FastDenoiser
from motion_service.mdm.fast_pool import Pool, Start, new_plan
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.network import Denoiser, NetworkSpec

SPEC = NetworkSpec(
    features=19, width=64, layers=3, heads=4, feedforward=128, text_width=10, context_frames=3, mask_frames=True
)
PLAIN = dataclasses.replace(SPEC, context_frames=0, mask_frames=False)
HIDDEN_TEXT = dataclasses.replace(SPEC, text_hidden=12)
TARGETED = dataclasses.replace(SPEC, target_encoder="split", target_layers=1)
STEPS = 4
LONGEST = 20
SCHEDULE = named_schedule("cosine", STEPS)


def network_of(spec: NetworkSpec, seed: int = 3) -> Denoiser:
    """No parameter at its neutral start: norms scale and shift, biases are not zero."""
    torch.manual_seed(seed)
    network = Denoiser(spec).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@dataclass(frozen=True)
class Asked:
    """A clip that somebody wants, in the tensors that both paths take."""

    seed: int
    frames: int
    tokens: Tensor  # (1, L, E)
    mask: Tensor  # (1, L)
    prefix: Tensor | None  # (C, F)
    target: Tensor | None  # (1, D)
    scale: float
    steps: int = STEPS

    def start(self, slot: int, entries: tuple[int, ...]) -> Start:
        rows = SCHEDULE.without_noisiest(STEPS - self.steps).descending()
        plan = new_plan([(step.t, step.coef_x0, step.coef_xt, step.sigma) for step in rows], self.scale)
        return Start(slot, entries, self.frames, self.seed, plan, self.prefix)


def ask(
    network: Denoiser,
    seed: int,
    frames: int,
    *,
    tokens: int = 4,
    hidden: int = 0,
    scale: float = 2.5,
    steps: int = STEPS,
) -> Asked:
    spec, draw = network.spec, torch.Generator().manual_seed(seed)
    mask = torch.ones(1, tokens, dtype=torch.bool)
    mask[:, tokens - hidden :] = False
    target = None
    if spec.target_encoder:
        asked = torch.rand(1, 8, generator=draw) < 0.5
        target = network.encode_target(torch.randn(1, 8, 3, generator=draw) * asked[..., None], asked)
    return Asked(
        seed=seed,
        frames=frames,
        tokens=torch.randn(1, tokens, spec.text_width, generator=draw),
        mask=mask,
        prefix=torch.randn(spec.context_frames, spec.features, generator=draw) if spec.context_frames else None,
        target=target,
        scale=scale,
        steps=steps,
    )


def answer_of(network: Denoiser, pool: Pool, asked: Asked) -> Tensor:
    """(T, F) by the Denoiser and the plain sampler, alone and without padding, on the pool's noise."""
    noise = pool.noise(asked.seed, asked.frames, asked.steps).cpu()
    prefix = None if asked.prefix is None else asked.prefix[None]
    scale = torch.tensor(asked.scale)
    denoise = conditioned(network, asked.tokens, asked.mask, scale, prefix=prefix, target=asked.target)
    steps = iter(noise[1:, None])
    return sample_ddpm(denoise, noise[:1], SCHEDULE.without_noisiest(STEPS - asked.steps), lambda x: next(steps))[0]


def pool_of(fast: FastDenoiser, slots: int, columns: int) -> Pool:
    """Room for clips of 20 rows, two entries a text on average, at most three."""
    return fast.new_pool(slots, LONGEST, STEPS, 2 * slots, columns, most_entries=3)


def begin(pool: Pool, asked: Sequence[Asked], slots: Sequence[int]) -> None:
    """Texts into free entries, those of the last clips first, and the clips into the slots."""
    free = list(range(pool.texts))
    starts = []
    for slot, one in zip(slots, asked, strict=True):
        tokens, masks = (part[0].split(pool.columns) for part in (one.tokens, one.mask))
        entries = tuple(free.pop() for _ in tokens)
        targets = None
        if one.target is not None:
            targets = torch.cat([one.target, torch.zeros(len(entries) - 1, one.target.shape[1])])
        stage = pool.text_stage(len(entries))
        stage.fill(entries, tokens, masks, targets)
        stage.fold()
        starts.append(one.start(slot, entries))
    pool.begin(starts)


def step(fast: FastDenoiser, pool: Pool, asked: dict[int, Asked], engine: Engine, count: int = 1) -> None:
    """Step these clips by slot, in this order, on a front that has room for more."""
    rows = [(slot, pool.context + one.frames) for slot, one in asked.items()]
    front = pool.front(min(len(rows) + 1, pool.slots), sum(length for _, length in rows) + 5, LONGEST)
    front.seat(rows)
    front.draw()
    fast.step(front, engine=engine, count=count)


def together(fast: FastDenoiser, pool: Pool, asked: Sequence[Asked], engine: Engine) -> list[Tensor]:
    """Frames of clips that are stepped in one batch."""
    begin(pool, asked, range(len(asked)))
    for _ in range(max(one.steps for one in asked)):
        step(fast, pool, dict(enumerate(asked)), engine)
    return [pool.read([slot], one.frames)[0] for slot, one in enumerate(asked)]
