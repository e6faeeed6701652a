"""The optional language model, against a real HTTP server: good answers are used, all others leave the rules' plan."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from motion_service.prompt.llm import MAX_ANSWER_BYTES, LlmSettings, read_with_llm
from motion_service.prompt.plan import prompt_to_plan

PROMPT = "walk to me for 4 seconds"
STEP = {
    "action": "walk",
    "detail": ["turn", "left"],
    "seconds": None,
    "text": "walk to me",
    "caption": "a person walks smoothly",
}


def chat(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def steps(*changes: dict[str, Any]) -> bytes:
    return chat(json.dumps({"steps": [STEP | change for change in changes]}))


@contextmanager
def server(
    body: bytes = b"", *, status: int = 200, wait_s: float = 0.0, drip: bool = False
) -> Iterator[tuple[str, list[Any]]]:
    """A server that answers every POST so; gives its base URL and the requests it got."""
    got: list[Any] = []
    leave = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), json.loads(request)))
            leave.wait(wait_s)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for part in (body[i : i + 1] for i in range(len(body))) if drip else (body,):
                    self.wfile.write(part)
                    leave.wait(0.05 if drip else 0)
            except OSError:
                pass  # the client has gone

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1", got
    finally:
        leave.set()
        listening.shutdown()
        thread.join()
        listening.server_close()


def ask(url: str, **changes: Any) -> Any:
    plan = prompt_to_plan(PROMPT)
    return plan, asyncio.run(read_with_llm(PROMPT, plan, LlmSettings(url, **changes)))


def test_a_good_answer_is_the_plan() -> None:
    with server(steps({})) as (url, got):
        plan, read = ask(url, model="small", api_key="secret", timeout_ms=5000)
    path, headers, request = got[0]
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", "Bearer secret")
    assert request["model"] == "small" and request["messages"][-1] == {"role": "user", "content": PROMPT}
    assert request["response_format"]["json_schema"]["strict"] is True
    assert (read.prompt, read.language, read.seconds) == (plan.prompt, "en", plan.seconds)
    assert [(part.action, part.detail, part.caption) for part in read.segments] == [
        ("walk", ("left", "turn"), "a person walks smoothly")
    ]
    assert (read.action, read.captions) == ("walk", ("a person walks smoothly",))


def test_lengths_are_those_of_the_rules_where_they_found_any() -> None:
    with server(steps({"seconds": 9})) as (url, _):
        assert [part.seconds for part in ask(url, timeout_ms=5000)[1].segments] == [4.0]
    with server(steps({"seconds": 9}, {"action": None})) as (url, _):
        read = ask(url, timeout_ms=5000)[1]
        assert [(part.action, part.seconds) for part in read.segments] == [("walk", None), (None, None)]
        assert read.seconds == 4.0
        again = asyncio.run(read_with_llm("bow", prompt_to_plan("bow"), LlmSettings(url, timeout_ms=5000)))
    assert ([part.seconds for part in again.segments], again.seconds) == ([9.0, None], None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 200),
        (b"{}", 200),
        (b'{"choices": []}', 200),
        (b'{"choices": [{"message": {"content": null}}]}', 200),
        (b"[1, 2]", 200),
        (chat("walk"), 200),
        (chat('{"steps": []}'), 200),
        (steps({"action": "fly"}), 200),
        (steps({"detail": ["up"]}), 200),
        (steps({"caption": ""}), 200),
        (steps({"seconds": -1}), 200),
        (steps({"caption": "x" * 1000}), 200),
        (steps({"more": 1}), 200),
        (steps(*[{}] * 100), 200),
        (b"x" * (MAX_ANSWER_BYTES + 1), 200),
        (steps({}), 500),
        (steps({}), 401),
        (b"", 204),
        (b"", 302),
    ],
)
def test_any_other_answer_leaves_the_plan_of_the_rules(body: bytes, status: int) -> None:
    with server(body, status=status) as (url, got):
        plan, read = ask(url, timeout_ms=5000)
    assert read is plan
    assert len(got) == 1


@pytest.mark.parametrize("slow", [{"wait_s": 30.0}, {"drip": True}])
def test_a_slow_answer_is_not_waited_for(slow: dict[str, Any]) -> None:
    with server(steps({}), **slow) as (url, _):
        started = time.monotonic()
        plan, read = ask(url, timeout_ms=200)
        took = time.monotonic() - started
    assert read is plan
    assert took < 5, "the budget is 0.2 s; a whole answer would take 30 s or 10 s"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://[broken", "nonsense"])
def test_nobody_there_leaves_the_plan_of_the_rules(url: str) -> None:
    plan, read = ask(url)
    assert read is plan
