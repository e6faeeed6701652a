"""One live stream: motion that is made a little ahead of the client's screen, and made anew when it asks for something
else.

Pure asyncio on the clock of the event loop. The session knows neither sockets nor models: commands come in as method
calls, messages go out through an :class:`~motion_service.stream_pace.Outbox`, windows come from a
:class:`~motion_service.source.LiveSource`. One task, :meth:`Session.run`, does everything in turns; a window in the
making is the only other one, and it never stops the sending of what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from motion_service import metrics
from motion_service.errors import MotionError
from motion_service.source import LiveOrder, LiveSource
from motion_service.stream_branch import Branch, Later, Standing, branch_off, to_message
from motion_service.stream_change import Change, SessionCounts, StreamOptions, Understood, error_to_problem
from motion_service.stream_pace import ChunkOut, Outbox, Playhead, WindowCosts
from motion_service.stream_reel import Extender, Reel, new_extender
from motion_service.telemetry import log_event
from motion_service.timeline import Script, new_script

PREPARE_S: Final = 0.5
"""The next window is asked for so long before its first frame has to be sent, s; or earlier, on a beat."""
BEAT_S: Final = 0.1
"""All streams ask for their next windows on the same beats, s: many at a time cost a fraction of one by one."""
BODY_S: Final = 0.02
"""What a change of the body's own doing takes at most, for which no window is made, s."""
HEADROOM_S: Final = 0.06
"""What a change takes besides its window, s: the way to the client."""
MOST_REACTION_S: Final = 0.4
"""A change shows no later than this after what is on the screen, even if its window may then come late, s."""
CHUNK_SHARE: Final = 0.5
"""Length of a chunk as a share of the lead."""
STOP_S: Final = 2.0
"""How long a stream takes to end in a neutral stance, s."""
TOKEN_S: Final = 5.0
"""How often a chunk carries a token to resume with, s."""
ATTEMPTS: Final = 3
"""Windows in a row that may fail before the stream ends."""
_RETRY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Border:
    """Where a revision begins, and the message that says so."""

    from_frame: int
    message: Mapping[str, Any]


class Session:
    """Everything of one stream but its socket."""

    def __init__(
        self,
        source: LiveSource,
        reel: Reel,
        understood: Understood,
        idle: Understood,
        options: StreamOptions,
        outbox: Outbox,
        *,
        extender: Extender | None = None,
        costs: WindowCosts | None = None,
        make_token: Callable[[Session], str] | None = None,
    ) -> None:
        self.source = source
        self.options = options
        self.outbox = outbox
        self.counts = SessionCounts()
        self.reel = reel
        self.understood = understood
        self.revision = options.revision
        self._idle = idle
        self._script = new_script(understood.texts, idle.texts[0], source.fps, reel.made)
        self._extender = extender or new_extender()
        self._costs = costs or WindowCosts()
        self._make_token = make_token
        self._playhead = Playhead(options.fps, options.first_frame)
        self._sent = self._furthest = options.first_frame
        self._borders: deque[_Border] = deque()
        self._changes: deque[tuple[Change, float]] = deque()
        self._branch: Branch | None = None
        self._asked_at = 0.0
        self._making: asyncio.Task[Reel] | None = None
        self._begun_at = self._deadline = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._paused = self._ending = self._ended = False
        self._token_at = -math.inf
        self._wake = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        lead = options.lead_sec + PREPARE_S + BEAT_S + MOST_REACTION_S
        self._history = math.ceil(lead * source.fps) + 2 * source.window_frames + source.context_frames
        self._chunk = max(1, round(CHUNK_SHARE * options.lead_sec * options.fps))

    # --- what the client says -----------------------------------------------------------------------------------------

    @property
    def played(self) -> int:
        """The frame on the client's screen, as far as is known; never one that was not sent."""
        return max(0, min(int(self._playhead.at(self._now())), self._frontier - 1))

    def ask(self, change: Change, frame: int | None = None) -> None:
        """Prompt, seek or stop. Changes for now that are still waiting give way to later ones."""
        if frame is not None:
            self.acknowledge(frame)
        if self._ending:
            return
        if change.reason != "seek" and change.at == "now":
            self._changes = deque(entry for entry in self._changes if entry[0].reason == "seek")
        self._changes.append((change, self._now()))
        self._wake.set()

    def acknowledge(self, frame: int) -> None:
        """The frame on the screen."""
        self._playhead.correct(frame, self._now(), self._frontier)
        self._wake.set()

    def pause(self) -> None:
        """The client stops playing."""
        self._playhead.hold(self._now())
        self._paused = True
        self._wake.set()

    def resume(self) -> None:
        """It plays on."""
        self._paused = False
        if self._sent > self.options.first_frame:
            self._playhead.run(self._now())
        self._wake.set()

    def stop(self) -> None:
        """End at once."""
        if not self._ended:
            self._ended = True
            self.outbox.put({"v": 1, "type": "stopped", "frames": self._sent})
        self._wake.set()

    # --- the one task -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make and send until the end; then close the outbox."""
        try:
            while not self._ended:
                self._take_made()
                self._begin_making()
                self._send_due()
                if self._ending and self._making is None and self._sent >= self.reel.frames(self.options.fps):
                    self.stop()
                    break
                await self._rest()
        finally:
            self._give_up_making()
            self.outbox.close()

    async def _rest(self) -> None:
        """Sleep until something was said or made, or the next thing is due."""
        delay = self._next_due()
        timer = None if delay is None else asyncio.get_running_loop().call_later(delay, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if timer is not None:
            timer.cancel()

    def _next_due(self) -> float | None:
        """Seconds until something has to be done unasked; None = nothing has."""
        fps, now = self.options.fps, self._now()
        frame = self._playhead.at(now)
        due = []
        if self._playhead.runs:
            if self._sent < (sendable := self._sendable()):
                due.append((self._sent + self._ripe(sendable) - frame) / fps - self.options.lead_sec)
            if self._making is None and not self._ending:
                due.append(self._wants_at(now) - now)
        if self._making is None and self._not_before > now:
            due.append(self._not_before - now)
        return max(0.001, min(due)) if due else None

    # --- making -------------------------------------------------------------------------------------------------------

    def _begin_making(self) -> None:
        """Start what is most wanted: a change, else the next window."""
        if self._changes and self._branch is None and not self._is_starving():
            self._give_up_making()  # it was for what will be replaced
            while self._changes and self._branch is None:
                self._begin_change(*self._changes.popleft())
        now = self._now()
        if self._making is not None or now < self._not_before:
            return
        if self._branch is not None and self._branch.anew is not None:
            frame, performance = self._branch.anew
            self._await(self._branch.reel.perform_anew(frame, performance, self.source, self._history, self._extender))
        elif self._branch is not None:
            self._make(self._branch.reel, self._branch.script, settle=self._branch.change.reason == "stop")
        elif not self._ending and self._wants_at(now) <= now:
            self._make(self.reel, self._script)

    def _is_starving(self) -> bool:
        """Whether a window is in the making that a change would have to wait for, as nothing is there beyond it."""
        return self._making is not None and self._soonest(self._costs.expected()) >= self.reel.frames(self.options.fps)

    def _wants_at(self, now: float) -> float:
        """When the next window is to be asked for, unless the client pauses: on the last beat that is early enough."""
        at = now + self._ahead(self.reel, now) - self.options.lead_sec - PREPARE_S
        return math.floor(at / BEAT_S + 1e-6) * BEAT_S

    def _ahead(self, reel: Reel, now: float) -> float:
        """Seconds of ``reel`` that the client has not shown yet."""
        return (reel.frames(self.options.fps) - self._playhead.at(now)) / self.options.fps

    def _begin_change(self, change: Change, asked_at: float) -> None:
        """Where a change takes effect; what is made beyond that is left behind."""
        self._asked_at = asked_at
        reaction = self._costs.expected()
        now = Standing(
            self.source,
            self.reel,
            self._script,
            self._idle.texts[0],
            self.options.fps,
            self.options.seed,
            self._soonest(reaction),
            self._soonest(min(reaction, BODY_S)),
            self._sent,
        )
        begun = branch_off(change, now)
        if isinstance(begun, Later):
            self.reel, self._script = begun.reel, begun.script
            self._put_border(begun.change, begun.from_frame)
        else:
            self._branch = begun

    def _soonest(self, making_s: float) -> int:
        """The first frame that a change can show: those before it are played until it is made and there."""
        reaction = min(making_s + HEADROOM_S, MOST_REACTION_S)
        frame = min(self._playhead.at(self._now()), float(self._frontier))
        return math.ceil(frame + reaction * self.options.fps)

    @property
    def _frontier(self) -> int:
        """The frame after the last one that the client has to show, replaced or not."""
        return max(self._sent, self._furthest)

    def _make(self, reel: Reel, script: Script, *, settle: bool = False) -> None:
        """Begin one window."""
        rate = self.source.fps
        text, next_start = script.at(reel.made)
        frames = self.source.window_frames
        if settle:
            frames = min(frames, round(STOP_S * rate))
        elif next_start is not None:
            frames = max(1, min(frames, next_start - reel.made))
        now = self._now()
        ahead = self._ahead(reel, now)
        order = LiveOrder(
            self.options.seed,
            self.options.guidance,
            self.options.steps,
            now + max(0.0, ahead if self._branch else ahead - self.options.lead_sec / 2),  # changes go before
            self.options.session_id,
        )
        self._deadline = order.deadline
        still = reel.performance is not None and text.caption == self._idle.texts[0].caption
        going = {"settle": settle, "still": still}
        self._await(reel.advance(self.source, text, frames, order, self._history, self._extender, **going))

    def _await(self, reel: Coroutine[Any, Any, Reel]) -> None:
        """Begin what comes back as a longer, or another, reel."""
        self._begun_at = self._now()
        self._making = asyncio.ensure_future(reel)
        self._making.add_done_callback(lambda _: self._wake.set())

    def _give_up_making(self) -> None:
        if self._making is not None:
            making, self._making = self._making, None
            making.add_done_callback(_forget)
            making.cancel()

    def _take_made(self) -> None:
        """Take over a window that is finished."""
        if self._making is None or not self._making.done():
            return
        making, self._making = self._making, None
        try:
            reel = making.result()
        except MotionError as error:
            return self._take_failure(error)
        self._failures = 0
        if self._branch is None or self._branch.anew is None:
            self.counts.windows += 1
            self._costs.add(self._now() - self._begun_at)
            if self._branch is None and self._playhead.runs:
                self._costs.judge(self._now(), late=self._now() > self._deadline)
        self._script = self._script.forget(reel.made - self._history)
        if self._branch is None:
            self.reel = reel
        else:
            branch, self._branch = self._branch, None
            self._take_branch(branch, reel)

    def _take_branch(self, branch: Branch, reel: Reel) -> None:
        """The change is made: from its frame on it replaces what there was."""
        self.reel, self._script = reel, branch.script
        self._ending = branch.change.reason == "stop"
        self.outbox.discard_from(branch.from_frame)
        self._furthest, self._sent = self._frontier, min(self._sent, branch.from_frame)
        due = (branch.from_frame - self._playhead.at(self._now())) / self.options.fps
        self.counts.late_changes += due < 0 and self._playhead.runs
        self._put_border(branch.change, branch.from_frame)

    def _put_border(self, change: Change, from_frame: int) -> None:
        """A new revision begins at ``from_frame``; those that were to begin later do not."""
        borders = [border for border in self._borders if border.from_frame < from_frame]
        revision = self.revision + len(borders) + 1
        message = {**to_message(change, from_frame, self.options.fps), "revision": revision}
        self._borders = deque([*borders, _Border(from_frame, message)])
        self.understood = change.understood
        self.counts.changes += 1
        now = self._now()
        self.counts.reactions_s.append(
            now - self._asked_at + max(0.0, from_frame - self._playhead.at(now)) / self.options.fps
        )

    def _take_failure(self, error: MotionError) -> None:
        """Say so; try again a few times, because what plays must not freeze."""
        self._failures += 1
        log_event("window of a stream failed", error=error, reason=error.problem, provider=self.source.name)
        if self._failures == 1 or self._failures >= ATTEMPTS:
            self.complain(error)
        self._not_before = self._now() + _RETRY_S * self._failures
        if self._failures >= ATTEMPTS:
            self.stop()

    def complain(self, error: MotionError) -> None:
        """Tell the client what was wrong."""
        self.outbox.put({"v": 1, "type": "error", "problem": error_to_problem(error, self.options.session_id)})

    # --- sending ------------------------------------------------------------------------------------------------------

    def _sendable(self) -> int:
        """The frame that must not be sent yet: none is made, or it is about to be replaced."""
        made = self.reel.frames(self.options.fps)
        return made if self._branch is None else min(made, self._branch.from_frame)

    def _ripe(self, sendable: int) -> int:
        """Frames that the next chunk has when nothing hurries: a whole chunk, or up to a border."""
        until = min(self._borders[0].from_frame, sendable) if self._borders else sendable
        return max(1, min(self._chunk, until - self._sent))

    def _send_due(self) -> None:
        """Send frames up to the lead, in chunks; never more."""
        fps = self.options.fps
        while True:
            now = self._now()
            while self._borders and self._borders[0].from_frame <= self._sent:
                border = self._borders.popleft()
                self.revision = border.message["revision"]
                self.outbox.put(border.message)
            room = math.floor(self._playhead.at(now) + self.options.lead_sec * fps + 1e-6) - self._sent
            sendable = self._sendable()
            count = self._ripe(sendable)
            if self._sent >= sendable or room < count:
                return
            self._send(count, now)

    def _send(self, count: int, now: float) -> None:
        metrics.FRAME_LAG.observe(max(0.0, (self._playhead.at(now) - self._sent) / self.options.fps))
        if self._playhead.runs:
            self.counts.late_chunks += self._playhead.wait_at(self._frontier, now)
        elif not self._paused:
            self._playhead.run(now)
        token = None
        if self._make_token is not None and now - self._token_at >= TOKEN_S:
            token, self._token_at = self._make_token(self), now
        frames = self.reel.take(self._sent, count, self.options.fps)
        chunk = ChunkOut(
            self.counts.chunks, self.revision, self._sent, frames, self.options.fps, self.source.name, token
        )
        self._sent += count
        self.counts.chunks += 1
        if (to := self.outbox.put(chunk)) is not None:
            self.counts.gaps += 1
            self._playhead.skip_to(to, now)


def _forget(task: asyncio.Task[Reel]) -> None:
    """Nobody waits for it any more."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
