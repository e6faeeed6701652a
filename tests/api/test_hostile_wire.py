"""Bytes over a real socket that no client should send: bodies, heads that never end, half requests, pickles."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from motion_service.api import capped_http
from motion_service.api.http import create_app
from motion_service.api.lifecycle import Lifecycle
from motion_service.serving import DrainingServer, server_settings
from motion_service.streams import Streams
from tests.fakes import FakeSource
from tests.live_server import make_jobs
from tests.reliability.wire_corpus import BODIES

GENERATE = "/v1/motion/generate"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as it is run, in a thread, on a source that makes short clips."""
    directory = tmp_path_factory.mktemp("service")
    jobs = make_jobs(directory, {"mini": FakeSource(max_seconds=0.3)})
    streams = Streams(jobs.pipeline)
    app = create_app(jobs, streams=streams)
    server = DrainingServer(server_settings(app, "127.0.0.1", 0, 5.0), streams, Lifecycle(), 5.0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def exchange(url: str, data: bytes, wait_s: float = 5.0) -> bytes:
    """What comes back for raw bytes until the server closes, or says no more."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as link:
        received = bytearray()
        try:
            link.sendall(data)
            while piece := link.recv(65536):
                received += piece
        except (TimeoutError, ConnectionError):
            pass
        return bytes(received)


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_any_body_is_answered_and_none_is_our_fault(url: str, name: str, body: bytes) -> None:
    answer = httpx.post(url + GENERATE, content=body, headers={"content-type": "application/json"}, timeout=20)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    if answer.status_code != 200:
        problem = json.loads(answer.content)
        assert problem["status"] == answer.status_code and len(answer.content) < 10_000
        assert not any(word in answer.text for word in ("Traceback", 'File "', "0x7f", ".py"))


HEADS = [
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100),
    ("nothing", b"\r\n\r\n\r\n"),
    ("long URL", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("long header", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n"),
    ("many headers", b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20_000))),
    ("two lengths", b"POST /v1/motion/generate HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}"),
    ("length and chunks", b"POST /v1/motion/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n"),
    ("negative length", b"POST /v1/motion/generate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
    ("bad chunk", b"POST /v1/motion/generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ("header injection", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rb: c\r\n\r\n"),
    ("HTTP/9.9", b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "head"), HEADS, ids=[name for name, _ in HEADS])
def test_any_head_ends_in_a_refusal_or_an_answer(url: str, name: str, head: bytes) -> None:
    received = exchange(url, head, 2.0)
    assert b" 500 " not in received and b"Traceback" not in received
    assert received.startswith(b"HTTP/1.1 ") or not received
    assert httpx.get(f"{url}/livez").status_code == 200


def test_a_head_that_never_ends_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capped_http, "HEAD_S", 0.3)
    received = exchange(url, b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", 10.0)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert exchange(url, b"", 10.0) == b"", "a connection in stock is closed without a word"


def test_a_body_that_never_ends_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motion_service.api.security.BODY_S", 0.3)
    head = b"POST /v1/motion/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"
    assert exchange(url, head, 10.0).startswith(b"HTTP/1.1 408 ")


def test_pickles_are_never_run(url: str, tmp_path: Path) -> None:
    """As bodies, as avatars, as poses to continue from: nothing reads them as programs."""
    marker = tmp_path / "pwned"
    bomb = b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    for path in (GENERATE, "/v1/motion/edit", "/v1/avatars"):
        for media_type in ("application/json", "application/octet-stream", "application/x-python-pickle"):
            answer = httpx.post(url + path, content=bomb, headers={"content-type": media_type})
            assert 400 <= answer.status_code < 500
    fields = {"prompt": "x", "continue_from": bomb.decode(), "seed": 1}
    assert httpx.post(url + GENERATE, json=fields).status_code == 422
    time.sleep(0.05)
    assert not marker.exists()
