"""A client that plays what a session sends, and holds it to the protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from motion_service.stream import Session
from motion_service.stream_pace import ChunkOut


@dataclass
class Player:
    """Reads the outbox of a session, plays at its rate from the first chunk on, and acknowledges once a second."""

    session: Session
    reads_s: float = 0.0
    """How long it takes over each message."""
    acknowledges: bool = True
    shown: dict[int, Tensor] = field(default_factory=dict)
    """{frame: rotations (J, 4)} as last replaced."""
    seams: set[int] = field(default_factory=set)
    """Where a revision begins."""
    breaks: set[int] = field(default_factory=set)
    """Where the motion may jump: seeks and gaps."""
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    """Seconds of each chunk."""
    starved: int = 0
    late_changes: int = 0
    expected: int = 0
    revision: int = 0
    ended: bool = False
    asked_at: float | None = None
    """When another text was asked for, until it shows."""
    reactions: list[float] = field(default_factory=list)
    """Seconds from then to the first frame on the screen that shows it."""

    def __post_init__(self) -> None:
        self._origin: float | None = None
        self._paused = False
        self._at = 0.0
        self._index = -1

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def frame(self) -> float:
        """The frame on the screen, by the player's own clock; it holds the last one while it waits for more."""
        if self._origin is None:
            return self._at
        return min(self._at + (self.now - self._origin) * self.session.options.fps, float(max(self.shown, default=0)))

    def pause(self) -> None:
        self._at, self._origin, self._paused = self.frame(), None, True

    def resume(self) -> None:
        self._paused = False
        if self.shown:
            self._origin = self.now

    async def play(self) -> None:
        """Until the session ends."""
        acks = asyncio.create_task(self._acknowledge())
        try:
            while (message := await self.session.outbox.get()) is not None:
                if self.reads_s:
                    await asyncio.sleep(self.reads_s)
                self._take(message)
        finally:
            acks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await acks

    async def _acknowledge(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self.acknowledges and self.shown:
                self.session.acknowledge(int(self.frame()))

    def _take(self, message: ChunkOut | Mapping[str, Any]) -> None:
        assert not self.ended, "nothing follows stopped"
        if isinstance(message, ChunkOut):
            return self._take_chunk(message)
        self.messages.append(message)
        if message["type"] == "prompt_applied":
            assert message["revision"] > self.revision
            assert message["from_frame"] <= self.expected, "frames are missing before the new revision"
            if self._origin is not None:
                self.late_changes += message["from_frame"] < self.frame()
            if self.asked_at is not None:
                ahead = max(0.0, message["from_frame"] - self.frame()) / self.session.options.fps
                self.reactions.append(self.now + ahead - self.asked_at)
                self.asked_at = None
            self.revision, self.expected = message["revision"], message["from_frame"]
            (self.breaks if message["reason"] == "seek" else self.seams).add(self.expected)
            for frame in [frame for frame in self.shown if frame >= self.expected and frame > self.frame()]:
                if self._origin is None or frame > self.frame() + 1:
                    del self.shown[frame]
        elif message["type"] == "gap":
            assert message["from_frame"] == self.expected < message["to_frame"]
            self.expected = message["to_frame"]
            self.breaks.add(self.expected)
            if self.frame() < self.expected:
                self._at, self._origin = float(self.expected), None if self._paused else self.now
        elif message["type"] == "stopped":
            self.ended = True

    def _take_chunk(self, chunk: ChunkOut) -> None:
        assert chunk.index > self._index, "chunks are counted"
        self._index = chunk.index
        assert chunk.revision == self.revision, "a revision is announced before its frames"
        assert chunk.first_frame == self.expected, "no frame is lost or doubled within a revision"
        if self.shown and chunk.first_frame < self.frame() and chunk.first_frame > max(self.shown):
            self.starved += 1
        self.arrivals.append(self.now)
        if not self.reads_s:
            ahead = chunk.first_frame + len(chunk.frames) - self.frame()
            assert ahead <= self.session.options.lead_sec * self.session.options.fps + 2, "more than the lead was sent"
        for i, rotations in enumerate(chunk.frames.rotations):
            self.shown[chunk.first_frame + i] = rotations
        self.expected += len(chunk.frames)
        if self._origin is None and not self._paused:
            self._origin = self.now

    def accelerations(self) -> tuple[Tensor, Tensor]:
        """Second differences of the rotations (largest over the bones) at seams and elsewhere; around jumps none."""
        seams, inside = [], []
        for frame in self.shown:
            around = [self.shown.get(frame + i) for i in (-1, 0, 1)]
            if any(pose is None for pose in around) or self.breaks & {frame + i for i in range(-1, 3)}:
                continue
            before, here, after = around
            bend = (after - 2 * here + before).norm(dim=-1).max()  # type: ignore[operator]
            (seams if self.seams & {frame, frame + 1} else inside).append(bend)
        return torch.tensor(seams), torch.tensor(inside)
