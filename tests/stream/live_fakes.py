"""A live source without a model, and an event loop whose time is simulated."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from motion_service.clips import PromptPlan, TextEmbedding, VrmClip
from motion_service.diffusion.rollout import continue_smoothly
from motion_service.engine.costs import H100_FULL
from motion_service.errors import MotionError
from motion_service.geometry.rotation import quat_identity, rotvec_to_quat
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT
from motion_service.live_frames import clip_to_frames
from motion_service.source import LiveOrder, LiveState, LiveText, LiveWindow, SourceClip, open_state

FPS = 20.0
CONTEXT = 20
BONES = ("hips", "chest", "leftUpperArm", "rightUpperArm")
Result = TypeVar("Result")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything runs and leaps to the next timer when nothing does. Threads are done inline."""

    def __init__(self) -> None:
        self._clock = 0.0
        super().__init__(_Leaping(self))

    def time(self) -> float:
        return self._clock

    def leap(self, seconds: float) -> None:
        self._clock += seconds

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        done: Future[Any] = Future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return asyncio.wrap_future(done, loop=self)


class _Leaping(selectors.DefaultSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: the simulation hangs")
        self._loop.leap(max(0.0, timeout))
        return super().select(0)


def simulate(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in simulated time."""
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@dataclass
class FakeLive:
    """Arms that swing, hips that travel: how, the text says. ``cost`` gives the seconds a window takes."""

    name: str = "mini"
    fps: float = FPS
    window_frames: int = 40
    context_frames: int = CONTEXT
    cost: Callable[[], float] = lambda: 0.1
    failures: list[Exception] = field(default_factory=list)
    """Raised by the next windows, one each."""
    windows: list[tuple[int, str]] = field(default_factory=list)
    """(first frame, caption) of every window that was finished."""
    gate: Callable[[], Awaitable[None]] | None = None
    """Waits for a window in place of ``cost``."""
    device: asyncio.Semaphore | None = None
    """How many windows are made at a time; None = any number."""

    async def read(self, plan: PromptPlan, seed: int) -> tuple[LiveText, ...]:
        segments = plan.segments or ()
        return tuple(
            LiveText(
                TextEmbedding(_wish(part.caption or part.text)[None], torch.ones(1).bool(), "fake"),
                part.text,
                part.seconds,
            )
            for part in segments
        ) or (LiveText(TextEmbedding(_wish(plan.prompt)[None], torch.ones(1).bool(), "fake"), plan.prompt),)

    def open(self, pose: VrmClip | None, frame: int = 0) -> LiveState:
        rows = torch.zeros(CONTEXT, 4)
        if pose is not None:
            given = _clip_to_rows(pose)[-CONTEXT:]
            rows[:] = given[0]
            rows[-len(given) :] = given
        return open_state(frame, rows, torch.zeros(CONTEXT, 3, dtype=torch.float64), _rows_to_clip(rows))

    def label(self, clip: VrmClip, texts: Sequence[LiveText], order: LiveOrder) -> SourceClip:
        return SourceClip(clip, self.name, "fake", "CC0-1.0", 10, 2.5, order.seed)

    async def sample(self, state: LiveState, text: LiveText, order: LiveOrder) -> Tensor:
        if self.gate is not None:
            await self.gate()
        elif self.device is None:
            await asyncio.sleep(self.cost())
        else:
            async with self.device:
                await asyncio.sleep(self.cost())
        if self.failures:
            raise self.failures.pop(0)
        self.windows.append((state.frame, text.caption))
        height, speed, phase, stride = text.embedding.tokens[0].tolist()
        time = (state.frame + torch.arange(self.window_frames)) / self.fps
        swing = torch.sin(speed * time + phase)
        travel = state.rows[-1, 2] + stride * torch.arange(1, self.window_frames + 1) / self.fps
        goal = torch.stack([height + 0.2 * swing, -height + 0.2 * swing, travel, torch.zeros_like(travel)], dim=-1)
        return goal

    def extend_all(self, windows: Sequence[LiveWindow]) -> list[LiveState | MotionError]:
        return [_extend(window) for window in windows]


class BatchingDevice:
    """Makes the windows that wait together, in the time that was measured for so many rows of the full-size network."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()

    async def wait(self) -> None:
        """Until one's window is made."""
        self._waiting.append(asyncio.get_running_loop().create_future())
        self._wake.set()
        await self._waiting[-1]

    async def serve(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._waiting = self._waiting[:64], self._waiting[64:]
            if not batch:
                self._wake.clear()
                continue
            rows = 60 * len(batch)
            step_ms = next(ms for most, ms in H100_FULL if most >= rows)
            await asyncio.sleep(10 * step_ms / 1000)
            for future in batch:
                if not future.done():
                    future.set_result(None)


def _wish(text: str) -> Tensor:
    """Height and speed of the swing, its phase, metres a second: any text has its own."""
    generator = torch.Generator().manual_seed(sum(ord(letter) * 31**i for i, letter in enumerate(text)) % 2**31)
    return torch.rand(4, generator=generator) * torch.tensor([0.4, 3.0, 6.0, 0.5]) + torch.tensor([0.0, 1.0, 0.0, 0.0])


def _extend(window: LiveWindow) -> LiveState:
    rows = continue_smoothly(window.state.rows[None, -CONTEXT:], window.rows[None])[0, : window.num_frames]
    return window.then(rows, torch.zeros(len(rows), 3, dtype=torch.float64), clip_to_frames(_rows_to_clip(rows)))


def _clip_to_rows(clip: VrmClip) -> Tensor:
    arms = [clip.rotations.get(bone, quat_identity(clip.num_frames)) for bone in BONES[2:]]
    angles = [2 * torch.atan2(arm[:, 2], arm[:, 3]) for arm in arms]
    return torch.stack([*angles, clip.hips[:, 0], clip.hips[:, 2]], dim=-1)


def _rows_to_clip(rows: Tensor) -> VrmClip:
    still = torch.zeros(len(rows), 3)
    rotations = {bone: rotvec_to_quat(still) for bone in BONES}
    for column, bone in enumerate(BONES[2:]):
        turn = still.clone()
        turn[:, 2] = rows[:, column]
        rotations[bone] = rotvec_to_quat(turn)
    hips = torch.stack([rows[:, 2], torch.full_like(rows[:, 2], CANONICAL_HIPS_HEIGHT), rows[:, 3]], dim=-1)
    return VrmClip(rotations, hips, torch.zeros(len(rows), 4), FPS, CANONICAL_HIPS_HEIGHT)
