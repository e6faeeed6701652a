"""When a call is sent again, without a socket; what importing the client loads; which exception an answer means."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service import errors
from motion_service.client_errors import reply_to_error
from motion_service.client_exchange import Call, NoReply, Outcome, Reply, Send, Wait, exchange, pause_before
from motion_service.errors import PROBLEM_BASE, ClientError, MotionError, TimedOut, Unreachable

ROOT = Path(__file__).resolve().parents[2]
OK = Reply(200, {}, b"{}")
UNSENT, LOST, LATE, INVALID = (NoReply(kind, "x") for kind in ("unsent", "lost", "late", "invalid"))  # type: ignore[arg-type]


def busy(status: int, after: str | None) -> Reply:
    return Reply(status, {} if after is None else {"retry-after": after}, b"")


def play(outcomes: list[Outcome], *, retries: int = 3, patience: float = 60.0, repeatable: bool = True) -> Any:
    """The reply or the error, and the pauses between the attempts."""
    call = Call("POST", "/", "the id", is_repeatable=repeatable)
    steps = exchange(call, time.monotonic() + patience, retries)
    pauses, given_so_far, outcome = [], iter(outcomes), None
    try:
        while True:
            step = steps.send(outcome)
            outcome = None
            if isinstance(step, Wait):
                pauses.append(step.seconds)
            else:
                assert isinstance(step, Send)
                outcome = next(given_so_far)
    except StopIteration as end:
        return end.value, pauses
    except MotionError as error:
        assert error.request_id == "the id"
        return error, pauses


@pytest.mark.parametrize("first", [UNSENT, LOST, busy(429, "1"), busy(503, "0")])
def test_what_is_sent_again(first: Outcome) -> None:
    reply, pauses = play([first, first, OK])
    assert (reply, len(pauses)) == (OK, 2)


@pytest.mark.parametrize(
    "first",
    [LATE, INVALID, busy(429, None), busy(503, "Wed, 21 Oct 2026 07:28:00 GMT"), busy(500, "1"), busy(422, "1")],
)
def test_what_is_not_sent_again(first: Outcome) -> None:
    error, pauses = play([first])
    assert isinstance(error, MotionError) and not pauses


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_lost_replica_is_asked_for_once_more(status: int) -> None:
    """What stands in front of the service says so in its own words; the service would send a problem document."""
    lost = Reply(status, {"content-type": "text/plain"}, b"Internal Server Error")
    own = Reply(status, {"content-type": "application/problem+json"}, b"{}")
    reply, pauses = play([lost, OK])
    assert reply is OK and len(pauses) == 1
    error, pauses = play([lost, lost])
    assert isinstance(error, MotionError) and len(pauses) == 1
    assert not play([own])[1] and not play([lost], repeatable=False)[1]


def test_what_may_have_arrived_is_only_repeated_where_that_does_no_harm() -> None:
    error, pauses = play([LOST], repeatable=False)
    assert isinstance(error, Unreachable) and not pauses
    assert play([UNSENT, OK], repeatable=False)[0] is OK


def test_it_ends_after_the_retries_and_before_the_deadline() -> None:
    error, pauses = play([UNSENT] * 4)
    assert isinstance(error, Unreachable) and len(pauses) == 3
    error, pauses = play([busy(429, "30")], patience=20)
    assert isinstance(error, errors.QueueFull) and error.retry_after_s == 30 and not pauses
    assert isinstance(play([LATE])[0], TimedOut)
    assert play([UNSENT], retries=0)[1] == []


@given(st.integers(1, 30))
def test_pauses_grow_vary_and_are_bounded(retry: int) -> None:
    pauses = {pause_before(retry) for _ in range(5)}
    assert len(pauses) > 1 and 0 < min(pauses) and max(pauses) <= 7.5


@given(st.integers(0, 999_999_999))
def test_a_server_is_not_asked_before_it_wants(after: int) -> None:
    _, pauses = play([busy(503, str(after)), OK], patience=1e10)
    assert pauses[0] > after


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MotionError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not issubclass(kind, ClientError)])
def test_every_problem_of_the_service_comes_back_as_its_class(kind: type[MotionError]) -> None:
    problem = {"type": PROBLEM_BASE + kind.problem, "detail": "what was wrong", "field": "fps"}
    error = reply_to_error(kind.status, {"retry-after": "7"}, json.dumps(problem).encode())
    assert type(error) is kind and (error.detail, error.field) == ("what was wrong", "fps")
    assert not isinstance(error, errors.Busy) or error.retry_after_s == 7


@given(st.integers(100, 999), st.binary(max_size=200) | st.just(b"[" * 100_000))
def test_any_answer_is_some_error(status: int, body: bytes) -> None:
    error = reply_to_error(status, {}, body)
    assert isinstance(error, MotionError) and error.detail


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthorized),
        (404, errors.NotFound),
        (429, errors.QueueFull),
        (502, ClientError),
        (400, errors.BadRequest),
    ],
)
def test_answers_of_something_in_front_are_read_by_their_status(status: int, kind: type[MotionError]) -> None:
    for body in (b"<html>", b'{"detail": ["no"]}', b'{"type": 7, "detail": null}', b"[]"):
        error = reply_to_error(status, {}, body)
        assert type(error) is kind and str(status) in error.detail


def test_importing_the_client_loads_next_to_nothing() -> None:
    heavy = "torch numpy fastapi starlette uvicorn httpx websockets pydantic rich typer"
    code = f"import sys, motion_service.client\nprint([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_the_client_works_without_the_server_packages() -> None:
    code = """
import sys
for name in ("torch", "numpy", "fastapi", "orjson", "msgpack"):
    sys.modules[name] = None
from motion_service.client import MotionClient, Motion
with MotionClient("http://127.0.0.1:9", retries=0, fallback="local") as client:
    assert isinstance(client.generate("walks"), Motion)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
