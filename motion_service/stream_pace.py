"""How far a stream may run ahead: the frame on the client's screen, what windows cost, and what waits to be sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from motion_service.live_frames import LiveFrames

OUTBOX_S: Final = 1.0
"""Motion that may wait for a slow client beyond the lead, s; then all but the newest chunk is dropped for a gap."""
JUDGED_S: Final = 5.0
"""For how long it counts that a window was late, s."""
LATE_SHARE: Final = 0.05
"""So many windows may be late while more streams are let in."""
_REMEMBERED: Final = 64
_FIRST_GUESS_S: Final = 0.15


class Playhead:
    """Which frame is on the client's screen, as far as the server can tell: by its clock, set right by the client.

    A client plays at ``fps`` from the moment the first frame is sent, holds the last one while it waits for more, and
    says now and then where it is.
    """

    def __init__(self, fps: float, frame: int = 0) -> None:
        self._fps = fps
        self._frame = float(frame)
        self._since: float | None = None
        self._oldest = frame

    def at(self, now: float) -> float:
        """The frame, with fraction."""
        return self._frame if self._since is None else self._frame + (now - self._since) * self._fps

    @property
    def runs(self) -> bool:
        """False before the first frame and while paused."""
        return self._since is not None

    def run(self, now: float) -> None:
        """The client plays from here on."""
        if self._since is None:
            self._since = now

    def hold(self, now: float) -> None:
        """It stops where it is."""
        self._frame, self._since = self.at(now), None

    def correct(self, frame: int, now: float, sent: int) -> None:
        """The client says where it is; between what it said before and the last frame that was sent."""
        if frame < self._oldest:
            return  # late news
        self._oldest = frame = min(frame, max(sent - 1, self._oldest))
        self._frame = float(frame)
        self._since = None if self._since is None else now

    def wait_at(self, frame: int, now: float) -> bool:
        """When the client must have run out of frames before ``frame`` came, it goes on from there. Whether it had."""
        if self.at(now) <= frame:
            return False
        self._frame = float(frame)
        self._since = None if self._since is None else now
        return True

    def skip_to(self, frame: int, now: float) -> None:
        """Frames before this one will never be shown; news of them is old."""
        self._oldest = max(self._oldest, frame)
        if self.at(now) < frame:
            self._frame = float(frame)
            self._since = None if self._since is None else now


class WindowCosts:
    """How long the latest windows of a source took from asking to having, waiting included, and whether they were in
    time; shared by its streams."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque([_FIRST_GUESS_S], maxlen=_REMEMBERED)
        self._judged: deque[tuple[float, bool]] = deque()
        self._num_late = 0

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def expected(self) -> float:
        """Seconds that few windows exceed: the 95th percentile of those remembered."""
        ordered = sorted(self._seconds)
        return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]

    def judge(self, now: float, *, late: bool) -> None:
        """A window that a playing stream goes on with is there; ``late``: half of its lead was gone."""
        self._judged.append((now, late))
        self._num_late += late
        self._forget(now)

    def falls_behind(self, now: float) -> bool:
        """Whether of the windows of the last :data:`JUDGED_S` more were late than :data:`LATE_SHARE`, and not one only:
        with another stream, clients would soon have to wait."""
        self._forget(now)
        return self._num_late > max(1, LATE_SHARE * len(self._judged))

    def _forget(self, now: float) -> None:
        while self._judged and self._judged[0][0] < now - JUDGED_S:
            self._num_late -= self._judged.popleft()[1]


@dataclass(frozen=True, slots=True)
class ChunkOut:
    """Some frames on their way to a client."""

    index: int
    revision: int
    first_frame: int
    frames: LiveFrames
    fps: float
    generator: str
    resume_token: str | None = None

    def before(self, frame: int) -> ChunkOut:
        """Without the frames from ``frame`` on."""
        if self.first_frame + len(self.frames) <= frame:
            return self
        return replace(self, frames=self.frames.part(0, frame - self.first_frame))


Outgoing = ChunkOut | Mapping[str, Any]
"""A chunk, or any other message as it goes out."""


class Outbox:
    """Messages of one stream on their way out, in order. Never waits: what is not taken in time is dropped."""

    def __init__(self, fps: float, lead_sec: float) -> None:
        self._limit = (lead_sec + OUTBOX_S) * fps
        self._queue: deque[Outgoing] = deque()
        self._filled = asyncio.Event()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Frames that wait."""
        return sum(len(message.frames) for message in self._queue if isinstance(message, ChunkOut))

    def put(self, message: Outgoing) -> int | None:
        """Append a message. When too much motion waits, old motion gives way to a ``gap``: the frame where it ends."""
        self._queue.append(message)
        self._filled.set()
        if self.waiting <= self._limit:
            return None
        return self._drop()

    def _drop(self) -> int:
        """Put gaps in the place of all motion that waits but the newest; the frame where the last gap ends."""
        kept: deque[Outgoing] = deque()
        to = 0
        for message in self._queue:
            if isinstance(message, ChunkOut) and message is not self._queue[-1]:
                first, to = message.first_frame, message.first_frame + len(message.frames)
                message = {"v": 1, "type": "gap", "from_frame": first, "to_frame": to}
            before = kept[-1] if kept else None
            if _is_gap(message) and _is_gap(before) and before["to_frame"] == message["from_frame"]:
                kept[-1] = {**before, "to_frame": message["to_frame"]}
            else:
                kept.append(message)
        self._queue = kept
        return to

    def discard_from(self, frame: int) -> None:
        """Forget what still waits of frames from ``frame`` on, and of changes there: they are replaced."""
        kept: deque[Outgoing] = deque()
        for message in self._queue:
            if isinstance(message, ChunkOut):
                if message.first_frame < frame:
                    kept.append(message.before(frame))
            elif message["type"] != "prompt_applied" or message["from_frame"] < frame:
                kept.append(message)
        self._queue = kept

    def close(self) -> None:
        """Nothing follows; :meth:`get` ends when all is taken."""
        self._closed = True
        self._filled.set()

    async def get(self) -> Outgoing | None:
        """The next message; None after the last one."""
        while not self._queue:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        return self._queue.popleft()


def _is_gap(message: Outgoing | None) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(message, Mapping) and message["type"] == "gap"
