"""Live streams of both clients, against the wire and, where it has the route, the real application."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motion_service.api.http import create_app
from motion_service.client import AsyncMotionClient, MotionChunk, MotionClient
from motion_service.client_fallback import breathing_sway
from motion_service.errors import BadRequest, Busy, Draining, NotFound, Unauthorized, Unreachable
from tests.client.stream_server import FRAMES, StreamServer, serve_stream
from tests.fakes import MINI
from tests.live_server import free_port, make_jobs, serve

PROBLEM = "https://motion-service.invalid/problems/"


class BlockingStream:
    """The asynchronous stream with the face of the other."""

    def __init__(self, url: str, prompt: str, client: dict[str, Any], options: dict[str, Any]) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncMotionClient(url, **client)
        self._stream = self._client.stream(prompt, **options)

    def __iter__(self) -> Iterator[MotionChunk]:
        return self

    def __next__(self) -> MotionChunk:
        try:
            return self._runner.run(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._stream, name)
        if not asyncio.iscoroutinefunction(value):
            return value
        return lambda *given, **options: self._runner.run(value(*given, **options))

    def close(self) -> None:
        self._runner.run(self._stream.close())

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=["sync", "async"])
def open_stream(request: pytest.FixtureRequest) -> Any:
    """``open_stream(url, prompt, client={...}, **options)``."""

    def open_it(url: str, prompt: str = "walks", client: dict[str, Any] | None = None, **options: Any) -> Any:
        if request.param == "sync":
            return MotionClient(url, **(client or {})).stream(prompt, **options)
        return BlockingStream(url, prompt, client or {}, options)

    return open_it


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with serve_stream(StreamServer()) as running:
        yield running


def test_chunks_come_and_a_prompt_replaces_what_follows(open_stream: Any, server: StreamServer) -> None:
    with open_stream(server.url, "歩く", {"api_key": "k"}, fps=20, root="bounded", seed=None) as stream:
        first = next(stream)
        assert (first.first_frame, first.n, first.fps, first.generator) == (0, FRAMES, 20.0, "mini")
        assert len(first.tracks["hips"]) == len(first.root) == len(first.contacts) == FRAMES
        assert stream.started["bones"] == ["hips"]
        assert server.said[0] == {"v": 1, "type": "start", "prompt": "歩く", "fps": 20, "root": "bounded",
                                  "encoding": "json"}  # fmt: skip
        assert server.headers["authorization"] == "Bearer k" and server.headers["x-request-id"]
        stream.set_prompt("waves", at="next", frame=2)
        chunk = next(chunk for chunk in stream if chunk.revision == 1)
        assert stream.applied["captions"] == ["waves"]
        assert chunk.first_frame == stream.applied["from_frame"]
        assert server.said[1] == {"v": 1, "type": "prompt", "text": "waves", "at": "next", "frame": 2}
        stream.stop()
        assert len([*stream]) < 100
        assert [*stream] == []


def test_pause_seek_and_acknowledge_are_said(open_stream: Any, server: StreamServer) -> None:
    import json

    sway = json.loads(breathing_sway("stand", {"duration_sec": 3, "fps": 30}, "none"))
    with open_stream(server.url) as stream:
        next(stream)
        stream.pause()
        stream.acknowledge(3)
        stream.resume()
        stream.speak("はい。", seconds=1.5)
        stream.set_state("think", emotion="happy")
        stream.interrupt()
        stream.seek(sway, frame=4)
        next(chunk for chunk in stream if chunk.revision == 1)
    kinds = [message["type"] for message in server.said]
    assert kinds == ["start", "pause", "ack", "resume", "speak", "state", "interrupt", "seek_pose"]
    assert server.said[4] == {"v": 1, "type": "speak", "text": "はい。", "seconds": 1.5}
    assert server.said[5]["to"] == "think" and server.said[6]["to"] == "listen"
    pose = server.said[-1]["pose"]
    assert len(pose["tracks"]["spine"]) == 17 == len(pose["root_position"]), "every other frame of the last second"
    assert (pose["fps"], pose["target"], pose["rest_hips_height"]) == (15.0, "vrm1", 0.95)


def test_a_broken_stream_is_taken_up_again(open_stream: Any, server: StreamServer) -> None:
    server.drop_at = [8, 20]
    with open_stream(server.url, seed=7) as stream:
        chunks = [next(stream) for _ in range(3)]
        stream.set_prompt("waves")
        chunks += [next(stream) for _ in range(8)]
    starts = [message for message in server.said if message["type"] == "start"]
    tokens = [start.get("resume_token") for start in starts]
    assert tokens[:2] == [None, "1.8"] and int(tokens[2].split(".")[1]) in range(20, 24)
    assert [start.get("prompt") for start in starts] == ["walks", None, "waves"], "not the prompt of the beginning"
    assert starts[1]["frame"] == 8 and starts[1]["pose"]["root_position"][-1]["z"] == 7 / 20, "where it broke off"
    assert_whole(chunks)


def test_a_stream_whose_server_drains_goes_on_elsewhere(open_stream: Any, server: StreamServer) -> None:
    """At once and after the last frame that it has, not at the frame that the draining server took to be shown."""
    server.drain_at = [8]
    with open_stream(server.url) as stream:
        chunks = [next(stream) for _ in range(6)]
    starts = [message for message in server.said if message["type"] == "start"]
    assert [start.get("resume_token") for start in starts] == [None, "1.4"] and starts[1]["frame"] == 8
    assert [chunk.first_frame for chunk in chunks] == [*range(0, 6 * FRAMES, FRAMES)]
    assert len(starts[1]["pose"]["tracks"]["hips"]) == 8


def assert_whole(chunks: list[MotionChunk]) -> None:
    """No frame is missing."""
    covered: dict[int, int] = {}
    for chunk in chunks:
        covered = {frame: revision for frame, revision in covered.items() if frame < chunk.first_frame}
        covered |= dict.fromkeys(range(chunk.first_frame, chunk.first_frame + chunk.n), chunk.revision)
    assert [*covered] == [*range(len(covered))]


def test_a_wrong_start_is_typed_and_the_end(open_stream: Any, server: StreamServer) -> None:
    with open_stream(server.url, fps=500) as stream:
        with pytest.raises(BadRequest, match="too many") as raised:
            next(stream)
        assert raised.value.field == "fps"
        assert [*stream] == []


def test_a_wrong_prompt_is_typed_and_the_stream_goes_on(open_stream: Any, server: StreamServer) -> None:
    with open_stream(server.url) as stream:
        next(stream)
        stream.set_prompt("a" * 3000)
        with pytest.raises(BadRequest, match="too long"):
            while True:
                next(stream)
        assert next(stream).n == FRAMES


def test_a_refused_handshake_is_typed(open_stream: Any, server: StreamServer) -> None:
    server.refuse = [(401, {"type": PROBLEM + "unauthorized", "detail": "send a key"})]
    with open_stream(server.url) as stream, pytest.raises(Unauthorized, match="send a key"):
        next(stream)
    server.refuse = [(403, {})]
    with open_stream(server.url) as stream, pytest.raises(NotFound, match="no live streams"):
        next(stream)


def test_a_busy_server_is_asked_again(open_stream: Any, server: StreamServer) -> None:
    busy = (503, {"type": PROBLEM + "draining", "detail": "going away"})
    server.refuse = [busy, busy]
    with open_stream(server.url) as stream:
        assert next(stream).first_frame == 0
    server.refuse = [busy] * 9
    with open_stream(server.url, client={"retries": 1}) as stream, pytest.raises(Draining):
        next(stream)


def test_nobody_there_is_typed(open_stream: Any) -> None:
    with open_stream(f"http://127.0.0.1:{free_port()}", client={"retries": 1}) as stream:
        with pytest.raises(Unreachable):
            next(stream)
        assert [*stream] == []


def test_closing_ends_the_iteration(open_stream: Any, server: StreamServer) -> None:
    with open_stream(server.url) as stream:
        next(stream)
        stream.close()
        assert [*stream] == []


@pytest.mark.skipif(not (MINI / "model.safetensors").is_file(), reason="needs the shipped weights (models/motion/mini)")
def test_the_real_application_streams(open_stream: Any, tmp_path: Path) -> None:
    from motion_service.engine.worker import Worker
    from motion_service.mdm.checkpoint import load_checkpoint
    from motion_service.mdm_adapter.mini import DiffusionSource
    from motion_service.text_encoder import UseEncoder

    worker = Worker()
    worker.start()
    try:
        jobs = make_jobs(tmp_path, {"mini": DiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)})
        app = create_app(jobs)
        if not any(getattr(route, "path", "") == "/v1/motion/stream" for route in app.routes):
            pytest.skip("this version has no WS /v1/motion/stream")
        with serve(app, ws="auto") as url, open_stream(url, "a person walks", lead_sec=0.5) as stream:
            assert next(stream).first_frame == 0
            stream.set_prompt("手を振る")
            replaced = next(chunk for chunk in stream if chunk.revision > 0)
            assert replaced.first_frame == stream.applied["from_frame"]
            stream.stop()
            assert all(chunk.n for chunk in stream)
    finally:
        asyncio.run(worker.stop())


def test_busy_is_the_class_of_what_is_asked_again() -> None:
    assert issubclass(Draining, Busy)
