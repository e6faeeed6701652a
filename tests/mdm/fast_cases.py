"""Small networks, clips and the plain answer for tests of the fast path."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_service.diffusion.samplers import sample_ddpm
from motion_service.diffusion.schedule import named_schedule
from motion_service.mdm.fast import Engine, FastDenoiser
from motion_service.mdm.fast_rows import Clip, Seat, new_plan
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.network import Denoiser, NetworkSpec

SPEC = NetworkSpec(
    features=19, width=64, layers=3, heads=4, feedforward=128, text_width=10, context_frames=3, mask_frames=True
)
PLAIN = dataclasses.replace(SPEC, context_frames=0, mask_frames=False)
HIDDEN_TEXT = dataclasses.replace(SPEC, text_hidden=12)
TARGETED = dataclasses.replace(SPEC, target_encoder="split", target_layers=1)
STEPS = 4
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
    """A request, in the tensors that both paths take."""

    tokens: Tensor  # (1, L, E)
    mask: Tensor  # (1, L)
    start: Tensor  # (T, F)
    noise: Tensor  # (S, T, F)
    prefix: Tensor | None  # (C, F)
    target: Tensor | None  # (1, D)
    scale: float
    steps: int = STEPS

    @property
    def plan(self) -> list[tuple[int, float, float, float]]:
        rows = SCHEDULE.without_noisiest(STEPS - self.steps).descending()
        return [(step.t, step.coef_x0, step.coef_xt, step.sigma) for step in rows]


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
        tokens=torch.randn(1, tokens, spec.text_width, generator=draw),
        mask=mask,
        start=torch.randn(frames, spec.features, generator=draw),
        noise=torch.randn(steps, frames, spec.features, generator=draw),
        prefix=torch.randn(spec.context_frames, spec.features, generator=draw) if spec.context_frames else None,
        target=target,
        scale=scale,
        steps=steps,
    )


def answer_of(network: Denoiser, asked: Asked) -> Tensor:
    """(T, F) by the Denoiser and the plain sampler, alone and without padding."""
    prefix = None if asked.prefix is None else asked.prefix[None]
    scale = torch.tensor(asked.scale)
    denoise = conditioned(network, asked.tokens, asked.mask, scale, prefix=prefix, target=asked.target)
    noise = iter(asked.noise[:, None])
    schedule = SCHEDULE.without_noisiest(STEPS - asked.steps)
    return sample_ddpm(denoise, asked.start[None], schedule, lambda x: next(noise))[0]


def clip_of(fast: FastDenoiser, asked: Asked, columns: int) -> Clip:
    text = fast.prepare_text(asked.tokens, asked.mask, asked.target, columns=columns)
    plan = new_plan(asked.plan, asked.scale, fast.device)
    where = fast.device
    prefix = None if asked.prefix is None else asked.prefix.to(where)
    return Clip(text, plan, asked.start.to(where), asked.noise.to(where), prefix)


def together(
    fast: FastDenoiser, clips: list[Clip], first_rows: list[int], columns: int, engine: Engine, longest: int = 20
) -> list[Tensor]:
    """Frames of clips that are stepped in one batch."""
    size = max(first_rows) + longest
    rows = fast.new_rows(len(clips), size, longest, STEPS, columns, even=engine == "plain")
    rows.join([Seat(slot, first, clip) for slot, (first, clip) in enumerate(zip(first_rows, clips, strict=True))])
    made: list[Tensor] = []
    for _ in range(STEPS):
        fast.step(rows, engine=engine)
        ended = [int(done) for done in rows.progress]
        assert ended == [min(ended[0], STEPS - 1)] * len(clips)
    for first, clip in zip(first_rows, clips, strict=True):
        made.append(rows.clip(first, rows.context + len(clip.start)).clone())
    return made
