"""One exchange with the service, without input and output: what is sent, when it is sent again, what came back.

Clients that block and clients that do not run the same generators (:data:`Steps`). A generator yields what is to be
done next, :class:`Send` or :class:`Wait`, is given what came of it, and returns its result.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from motion_service.client_errors import reply_to_error
from motion_service.errors import ClientError, MotionError, TimedOut, Unreachable

FIRST_PAUSE_S: Final = 0.2
"""Before the first retry; the next pauses are twice as long each. All vary by a half."""
MOST_PAUSE_S: Final = 5.0
CONNECT_S: Final = 5.0
"""Longest wait for a connection."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it goes out."""

    method: Literal["GET", "POST"]
    path: str
    request_id: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True
    """Whether sending it a second time does no more than sending it once."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the call and read the whole answer."""

    call: Call
    end: float
    """When to give up, on time.monotonic()'s clock."""

    @property
    def seconds(self) -> float:
        """What is left until then."""
        return max(0.001, self.end - time.monotonic())


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service said."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """It said nothing. ``unsent``: the request never reached it; ``lost``: who knows; ``invalid``: no such request."""

    kind: Literal["unsent", "lost", "late", "invalid"]
    reason: str


Step = Send | Wait
Outcome = Reply | NoReply | None
Result = TypeVar("Result")
AnyStep = TypeVar("AnyStep")
AnyOutcome = TypeVar("AnyOutcome")
Steps = Generator[Step, Outcome, Result]


def run_steps(
    steps: Generator[AnyStep, AnyOutcome | None, Result], do: Callable[[AnyStep], AnyOutcome | None]
) -> Result:
    """Run a generator to its end, doing each step with ``do``."""
    outcome: AnyOutcome | None = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: Result = end.value
            return result
        outcome = do(step)


async def run_steps_async(
    steps: Generator[AnyStep, AnyOutcome | None, Result], do: Callable[[AnyStep], Awaitable[AnyOutcome | None]]
) -> Result:
    """The same where ``do`` is awaited."""
    outcome: AnyOutcome | None = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: Result = end.value
            return result
        outcome = await do(step)


def exchange(call: Call, end: float, retries: int) -> Steps[Reply]:
    """A successful reply. Sends again, at most ``retries`` times and never past ``end``, what may be sent again; once
    when whoever was to answer is gone.

    Raises the error that the service answered with, :class:`Unreachable`, :class:`TimedOut` or :class:`ClientError`,
    each with the id of the request.
    """
    losses = 0
    for attempt in range(retries + 1):
        outcome = yield Send(call, end)
        if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
            return outcome
        losses += _is_loss(outcome)
        pause = _pause_before_retry(call, outcome, attempt) if losses < 2 else None
        if pause is None or attempt == retries or time.monotonic() + pause >= end:
            break
        yield Wait(pause)
    error = _outcome_to_error(outcome)
    error.request_id = call.request_id
    raise error


def _pause_before_retry(call: Call, outcome: Outcome, attempt: int) -> float | None:
    """Seconds until it may be sent again; None: not at all."""
    pause = pause_before(attempt + 1)
    if isinstance(outcome, NoReply):
        may_retry = outcome.kind == "unsent" or (outcome.kind == "lost" and call.is_repeatable)
        return pause if may_retry else None
    if isinstance(outcome, Reply) and outcome.status in (429, 503):
        after = outcome.headers.get("retry-after", "")
        if after.isdecimal():
            return int(after[:9]) + pause
    return pause if _is_loss(outcome) and call.is_repeatable else None


def _is_loss(outcome: Outcome) -> bool:
    """Whether something in front of the service says that it lost the service. The service itself answers with a
    problem document, and who is busy says when to come again.
    """
    if not isinstance(outcome, Reply) or outcome.status not in (500, 502, 503, 504):
        return False
    is_problem = outcome.headers.get("content-type", "").startswith("application/problem+json")
    return not is_problem and "retry-after" not in outcome.headers


def pause_before(retry: int) -> float:
    """Seconds before the first, second, ... retry: longer each time, and never the same for two clients."""
    return float(min(FIRST_PAUSE_S * 2 ** (retry - 1), MOST_PAUSE_S) * random.uniform(0.5, 1.5))


def _outcome_to_error(outcome: Outcome) -> MotionError:
    if isinstance(outcome, Reply):
        return reply_to_error(outcome.status, outcome.headers, outcome.body)
    assert isinstance(outcome, NoReply)
    kinds = {"late": TimedOut, "invalid": ClientError}
    return kinds.get(outcome.kind, Unreachable)(f"no answer from the motion service: {outcome.reason}")
