"""A live stream without its socket: what is said to the service, what its messages mean, when to take it up again.

The wire is that of ``WS /v1/motion/stream``, as JSON. As in :mod:`motion_service.client_exchange`, generators yield
what is to be done, and both streams, the one that blocks and the one that is awaited, run them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from motion_service.client_errors import reply_to_error
from motion_service.client_exchange import pause_before
from motion_service.client_pose import Tail, new_pose
from motion_service.client_settings import Settings
from motion_service.errors import Busy, ClientError, MotionError, NotFound, Unreachable

if TYPE_CHECKING:
    from websockets.exceptions import InvalidStatus

STREAM_PATH: Final = "/v1/motion/stream"
MAX_MESSAGE: Final = 16 * 2**20
"""Longest message taken, bytes."""
PING_S: Final = 5.0
"""How often a host is asked whether it is still there, and how long it may take to say so: one that falls silent is
given up within twice that."""

At = Literal["now", "next"] | float
Keys = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class MotionChunk:
    """Frames ``first_frame`` to ``first_frame + n - 1`` of a stream; frame i is at i / fps seconds.

    When ``revision`` differs from that of the chunk before, whatever is there from ``first_frame`` on is replaced.
    """

    revision: int
    first_frame: int
    n: int
    fps: float
    generator: str
    tracks: dict[str, Keys]
    """{VRM bone: [{t, x, y, z, w}]}, local rotations of normalised bones, xyzw."""
    root: Keys
    """[{t, x, y, z}] of the hips, m."""
    contacts: list[list[float]]
    """(n, 4) in 0..1: left ankle, left toe, right ankle, right toe."""
    expressions: dict[str, Any] | None
    look_at: list[Any] | None
    fields: Mapping[str, Any]
    """The message as it came."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a socket, in place of the one there was, and say ``start``."""

    start: str


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next message."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no connection, or none any more. ``error``: the service refused it, so that asking again is no use."""

    reason: str
    error: MotionError | None = None


StreamStep = Connect | Receive | Pause
StreamOutcome = str | Lost | None
"""A message; that there is none; nothing, after connecting or pausing."""
StreamSteps = Generator[StreamStep, StreamOutcome, MotionChunk | None]


class StreamState:
    """What is known of one stream."""

    def __init__(self, settings: Settings, prompt: str, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._start = {**options, "prompt": prompt}
        self._prompt: str | None = None
        self._token: str | None = None
        self._tail = Tail()
        self._failures = 0
        self._broken_since = 0.0
        self.is_open = False
        self.has_ended = False
        self.started: Mapping[str, Any] | None = None
        self.applied: Mapping[str, Any] | None = None
        self.missed: list[tuple[int, int]] = []

    @property
    def url(self) -> str:
        """Where to connect."""
        return "ws" + self._settings.base_url.rstrip("/").removeprefix("http") + STREAM_PATH

    def headers(self) -> dict[str, str]:
        """What the handshake carries."""
        return {**self._settings.headers(), "X-Request-Id": uuid.uuid4().hex}

    def next_chunk(self) -> StreamSteps:
        """The next frames; None at the end. Raises the error that the service names; the stream may go on after it."""
        while not self.has_ended:
            if not self.is_open:
                outcome = yield Connect(self._start_message())
                self.is_open = outcome is None
            else:
                outcome = yield Receive()
            if isinstance(outcome, Lost) and not self.has_ended:
                self.is_open = False
                yield Pause(self._pause_after(outcome))
            elif isinstance(outcome, str) and (chunk := self._take(_read(outcome))) is not None:
                self._failures = 0
                self._tail.add(chunk.first_frame, chunk.tracks, chunk.root, chunk.fps)
                return chunk
        return None

    def say_prompt(self, text: str, at: At, frame: int | None) -> str:
        """The message that asks for another text. A stream that is taken up again asks for it too."""
        self._prompt = self._start["prompt"] = text
        return message("prompt", text=text, at=at, frame=frame)

    def _start_message(self) -> str:
        if self._token is None:
            return message("start", **{**self._start, "encoding": "json"})
        body = self.started or {}
        pose = self._tail.pose(body.get("target", "vrm1"), body.get("rest_hips_height"))
        where = {"frame": self._tail.end, "pose": pose} if pose else {}
        return message("start", encoding="json", prompt=self._prompt, resume_token=self._token, **where)

    def _pause_after(self, lost: Lost) -> float:
        """Seconds until the stream is taken up again where it was. Raises when that would be no use."""
        now = time.monotonic()
        self._broken_since = self._broken_since if self._failures else now
        self._failures += 1
        pause = pause_before(self._failures)
        is_refused = lost.error is not None and not isinstance(lost.error, Busy)
        is_over = now + pause - self._broken_since > self._settings.timeout_s
        is_enough = self._failures > self._settings.retries and (self.started is None or not self._settings.retries)
        if is_refused or is_over or is_enough:
            self.has_ended = True
            raise lost.error or Unreachable(f"no stream from the motion service: {lost.reason}")
        return pause

    def _take(self, fields: Mapping[str, Any]) -> MotionChunk | None:
        kind = fields.get("type")
        if kind == "chunk":
            self._token = fields.get("resume_token") or self._token
            return _to_chunk(fields)
        if kind == "started":
            self.started = fields
        elif kind == "prompt_applied":
            self.applied = fields
            self._tail.cut(int(fields.get("from_frame", 0)))
        elif kind == "gap":
            self.missed.append((int(fields.get("from_frame", 0)), int(fields.get("to_frame", 0))))
        elif kind == "draining":
            self._token = fields.get("resume_token") or self._token
            self.is_open = False  # the next thing to do is to connect elsewhere
        elif kind == "stopped":
            self.has_ended = True
        elif kind == "error":
            self._raise(fields.get("problem"))
        return None

    def _raise(self, problem: object) -> None:
        """The error of a message. Before ``started`` it is the end."""
        known = problem if isinstance(problem, dict) else {}
        self.has_ended = self.has_ended or self.started is None
        raise reply_to_error(int(known.get("status", 0)), {}, json.dumps(known).encode())


class StreamFacts:
    """What both streams tell of themselves."""

    _state: StreamState

    @property
    def started(self) -> Mapping[str, Any] | None:
        """What the service said at the start: seed, generator, bones, prompt_plan, warnings; None before it did."""
        return self._state.started

    @property
    def applied(self) -> Mapping[str, Any] | None:
        """What it said of the latest change: from_frame, revision, captions, prompt_plan, warnings."""
        return self._state.applied

    @property
    def missed(self) -> list[tuple[int, int]]:
        """Frames that were left out because nobody took them in time: the first, and one past the last."""
        return self._state.missed


def message(kind: str, **fields: Any) -> str:
    """One message to the service; None = not said."""
    said = {name: value for name, value in fields.items() if value is not None}
    return json.dumps({"v": 1, "type": kind, **said}, separators=(",", ":"))


def refusal_to_error(refused: InvalidStatus) -> MotionError:
    """What the service answered instead of opening a stream."""
    answer = refused.response
    if answer.status_code in (403, 404) and not (answer.body or b"").startswith(b"{"):
        return NotFound("this service has no live streams")  # a server answers so where it has no such route
    headers = {name.lower(): value for name, value in answer.headers.raw_items()}
    return reply_to_error(answer.status_code, headers, bytes(answer.body or b""))


def seek_message(motion: Any, frame: int | None) -> str:
    """The avatar is in another pose than the stream: the last second of a motion, or of a clip as answers hold it."""
    clip = motion if isinstance(motion, Mapping) else json.loads(motion.body)
    facts = clip.get("metadata") or {}
    root = clip.get("root_position") or clip.get("rootPosition") or []
    fps, target = float(clip.get("fps") or 20.0), facts.get("target", "vrm1")
    pose = new_pose(clip["tracks"], root, fps, target, facts.get("rest_hips_height"))
    return message("seek_pose", pose=pose, frame=frame)


def _read(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ClientError("the service said something that is no message of a stream")
    return fields


def _to_chunk(fields: Mapping[str, Any]) -> MotionChunk:
    try:
        return MotionChunk(
            revision=fields["revision"],
            first_frame=fields["first_frame"],
            n=fields["n"],
            fps=fields["fps"],
            generator=fields["generator"],
            tracks=fields["tracks"],
            root=fields["root"],
            contacts=fields["contacts"],
            expressions=fields.get("expressions"),
            look_at=fields.get("look_at"),
            fields=fields,
        )
    except KeyError as error:
        raise ClientError(f"a chunk has no {error}") from error
