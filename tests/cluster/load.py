"""Clients that ask for clips and play streams, and remember what they saw."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motion_service.client import AsyncMotionClient, MotionChunk, MotionClient
from motion_service.errors import MotionError


@dataclass
class StreamSeen:
    """What one stream brought."""

    frames: int = 0
    torn: int = 0
    """Chunks that did not begin where the one before ended: frames that are missing, or were there already."""
    longest_gap_s: float = 0.0
    """Longest time between two chunks."""
    resumed: int = 0
    """How often it began anew in the middle."""
    seams: list[float] = field(default_factory=list)
    """rad: largest step of a bone where it did."""
    steps: list[float] = field(default_factory=list)
    """rad: the same from frame to frame elsewhere."""
    error: str | None = None
    _at: float | None = None
    _last: Any = None
    _session: Any = None

    def take(self, chunk: MotionChunk, session: Any) -> None:
        now = time.monotonic()
        if self._at is not None:
            self.longest_gap_s = max(self.longest_gap_s, now - self._at)
        self._at = now
        self.torn += chunk.first_frame != self.frames
        self.frames = chunk.first_frame + chunk.n
        poses = np.array(
            [[[key[axis] for axis in "xyzw"] for key in chunk.tracks[bone]] for bone in sorted(chunk.tracks)]
        )
        poses = poses.swapaxes(0, 1)  # (n, J, 4)
        if self._last is not None:
            step = _step(self._last, poses[0])
            (self.seams if session != self._session else self.steps).append(step)
            self.resumed += session != self._session
        self.steps += [_step(one, two) for one, two in zip(poses, poses[1:], strict=False)]
        self._last, self._session = poses[-1], session


@dataclass
class Seen:
    """What all of them saw."""

    answered: dict[str, float] = field(default_factory=dict)
    """{job id: seconds it took}."""
    twice: int = 0
    """Answers of a job that had been answered before."""
    failed: list[str] = field(default_factory=list)
    streams: list[StreamSeen] = field(default_factory=list)


@contextmanager
def load(url: str, key: str, clients: int, streams: int) -> Iterator[Seen]:
    """So many clients that each ask for one clip after the other, and so many streams, half of each kind of client."""
    seen, stop = Seen(), threading.Event()
    threads = [
        threading.Thread(target=lambda: asyncio.run(_run(url, key, clients, streams - streams // 2, seen, stop)))
    ]
    threads += [threading.Thread(target=_play, args=(url, key, seen, stop)) for _ in range(streams // 2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


async def _run(url: str, key: str, clients: int, streams: int, seen: Seen, stop: threading.Event) -> None:
    async with AsyncMotionClient(url, key, timeout_s=15) as client, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(_ask(client, seen, stop))
        for _ in range(streams):
            tasks.create_task(_play_async(client, seen, stop))


async def _ask(client: AsyncMotionClient, seen: Seen, stop: threading.Event) -> None:
    while not stop.is_set():
        started = time.monotonic()
        try:
            motion = await client.generate("a person waves", duration_sec=1.0, provider="mdm")
        except MotionError as error:
            seen.failed.append(f"{error.problem}: {error.detail}")
            continue
        seen.twice += motion.job_id in seen.answered
        seen.answered[motion.job_id] = time.monotonic() - started
        if motion.fallback_used:
            seen.failed.append(f"placeholder: {motion.metadata.fallback_reason}")


async def _play_async(client: AsyncMotionClient, seen: Seen, stop: threading.Event) -> None:
    stream, own = client.stream("a person walks"), StreamSeen()
    seen.streams.append(own)
    try:
        async with stream:
            async for chunk in stream:
                own.take(chunk, (stream.started or {}).get("session_id"))
                if stop.is_set():
                    return
    except MotionError as error:
        own.error = error.detail


def _play(url: str, key: str, seen: Seen, stop: threading.Event) -> None:
    own = StreamSeen()
    seen.streams.append(own)
    try:
        with MotionClient(url, key, timeout_s=15) as client, client.stream("a person walks") as stream:
            for chunk in stream:
                own.take(chunk, (stream.started or {}).get("session_id"))
                if stop.is_set():
                    return
    except MotionError as error:
        own.error = error.detail


def _step(one: Any, two: Any) -> float:
    """Largest angle between the rotations (J, 4) of two frames, rad."""
    return float(2 * np.arccos(np.abs((one * two).sum(-1)).clip(0, 1)).max())
