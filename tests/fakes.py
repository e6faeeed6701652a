"""What tests put in place of a model, and a running application around it: real stages, real bytes, no weights."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import torch

from motion_service.clips import VrmClip
from motion_service.geometry.rotation import axis_angle_to_quat, quat_identity
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT
from motion_service.jobs import Jobs
from motion_service.mdm_adapter.decode import decode
from motion_service.pipeline import Pipeline
from motion_service.source import SourceClip, SourceRequest

MINI = Path(__file__).resolve().parents[1] / "models" / "motion" / "mini"


def make_wave(seconds: float, seed: int, fps: float = 20.0) -> VrmClip:
    """The right upper arm swings; speed and first angle come from the seed."""
    num_frames = max(1, round(seconds * fps))
    generator = torch.Generator().manual_seed(seed)
    phase, speed = torch.rand(2, generator=generator).tolist()
    angle = 0.8 * torch.sin(torch.arange(num_frames) / fps * (2 + 2 * speed) + 6 * phase)
    rotations = {bone: quat_identity(num_frames) for bone in CANONICAL_BONES}
    rotations["rightUpperArm"] = axis_angle_to_quat(torch.tensor([0.0, 0.0, 1.0]), angle)
    hips = torch.tensor([0.0, CANONICAL_HIPS_HEIGHT, 0.0]).repeat(num_frames, 1)
    return VrmClip(rotations, hips, torch.ones(num_frames, 4), fps, CANONICAL_HIPS_HEIGHT)


def with_bones(made: SourceClip) -> SourceClip:
    """The same with features decoded."""
    clip, joints = decode(made)
    return replace(made, clip=clip, joints=joints)


@dataclass
class FakeSource:
    """A MotionSource without a model. ``failure`` is raised; ``gate`` blocks a thread until it is set."""

    name: str = "mini"
    max_seconds: float = math.inf
    failure: BaseException | None = None
    gate: threading.Event | None = None
    asked: list[SourceRequest] = field(default_factory=list)

    async def generate(self, request: SourceRequest) -> SourceClip:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        if self.gate is not None:
            await asyncio.to_thread(self.gate.wait, 20)
        steps = min(request.steps or 10, 10)
        guidance = 2.5 if request.guidance is None else request.guidance
        clip = make_wave(request.seconds, request.seed)
        return SourceClip(clip, self.name, "fake", "CC0-1.0", steps, guidance, request.seed, {"sample": 1.0})


@dataclass
class Api:
    """A running application and what it is made of."""

    http: httpx.AsyncClient
    output_dir: Path
    pipeline: Pipeline
    jobs: Jobs

    async def generate(self, prompt: str = "a person waves", **options: Any) -> dict[str, Any]:
        """A motion that must succeed."""
        answer = await self.http.post("/v1/motion/generate", json={"prompt": prompt, **options})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def files(self) -> list[Path]:
        return [path for path in self.output_dir.rglob("*") if path.is_file()]


StartApi = Callable[..., Api]
