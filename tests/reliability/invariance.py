"""The same seed alone and among others: company in a batch changes nothing that can be seen."""

from __future__ import annotations

import asyncio
from typing import Any

import torch

from motion_service.engine.costs import CPU_MINI, CostTable
from motion_service.engine.guard import GuardedWorker
from motion_service.engine.run import Mode
from motion_service.engine.worker import Worker
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.decode import decode
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import SourceRequest
from motion_service.text_encoder import UseEncoder
from tests.fakes import MINI

PROMPTS = ("a person waves", "歩く", "bows", "jumps twice", "turns left", "踊る", "walks in a circle", "claps")


def request_of(number: int, seconds: float = 2.0, steps: int | None = None) -> SourceRequest:
    return SourceRequest(prompt_to_plan(PROMPTS[number % len(PROMPTS)]), seconds, seed=number, steps=steps)


def angle_between(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest angle between two tracks of quaternions (T, 4), rad: by the chord, which small angles do not drown."""
    signs = torch.where((first * second).sum(-1, keepdim=True) < 0, -1.0, 1.0).double()
    chord = (first.double() - signs * second.double()).norm(dim=-1)
    return float((4 * torch.asin((chord / 2).clamp(max=1.0))).max())


class WideCosts(CostTable):
    """Believes that a batch of four costs what one clip does, whatever is measured: so there will be batches."""

    def step_ms(self, model: str, bucket: int, width: int, mode: Mode = "step") -> float:
        return 10.0 + width / 100

    def observe(self, *_: Any) -> None:
        pass


async def measure(others: int, checked: int, seconds: float) -> dict[str, Any]:
    worker = GuardedWorker(lambda: Worker(costs=WideCosts(CPU_MINI)))
    worker.start()
    source = LiveDiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)
    worker.ready()
    alone = [decode(await source.generate(request_of(i, seconds)))[0] for i in range(checked)]
    together = await asyncio.gather(*(source.generate(request_of(i, seconds)) for i in range(others + 1)))
    widest = max(worker.stats.clip_steps / worker.stats.batch_steps, 1.0)
    await worker.stop()
    angle = place = 0.0
    for one, made in zip(alone, together, strict=False):
        clip, _ = decode(made)
        angle = max([angle, *(angle_between(track, clip.rotations[bone]) for bone, track in one.rotations.items())])
        place = max(place, float((one.hips - clip.hips).abs().max()))
    return {
        "test": "batch invariance",
        "others": others,
        "checked": checked,
        "clips_a_step": round(widest, 2),
        "largest_angle_rad": float(f"{angle:.2g}"),
        "largest_offset_m": float(f"{place:.2g}"),
        "ok": angle <= 1e-4 and place <= 1e-4 and widest > 1.0,
    }


def run_invariance(others: int, *, checked: int = 4, seconds: float = 2.0) -> dict[str, Any]:
    """``mini`` on this machine's CPU."""
    return asyncio.run(measure(others, checked, seconds))
