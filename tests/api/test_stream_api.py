"""Live streams over real sockets: the protocol as clients meet it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from motion_service import stream_schemas
from motion_service.api import websocket
from motion_service.api.http import create_app
from motion_service.client_pose import Tail
from motion_service.errors import BadRequest, QueueFull
from motion_service.jobs import Jobs
from motion_service.stream_pace import JUDGED_S, WindowCosts
from motion_service.stream_schemas import MAX_MESSAGE
from motion_service.stream_token import write_token
from motion_service.streams import BEGIN_S, FEW, Streams, _bookmark
from tests.stream.live_fakes import FakeLive
from tests.stream.server import load_streams, running_server

MODELS = {
    "started": stream_schemas.Started,
    "prompt_applied": stream_schemas.PromptApplied,
    "gap": stream_schemas.Gap,
    "draining": stream_schemas.DrainingNotice,
    "error": stream_schemas.StreamError,
    "stopped": stream_schemas.Stopped,
    "chunk": stream_schemas.Chunk,
}


@pytest.fixture
def streams(tmp_path: Path) -> Streams:
    return load_streams(tmp_path, limit=3)


@pytest.fixture
def address(streams: Streams) -> Iterator[str]:
    with running_server(streams) as address:
        yield address


def open_socket(address: str, **options: Any) -> connect:
    return connect(f"ws://{address}/v1/motion/stream", max_size=None, **options)


async def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"v": 1, "type": kind, **fields}))


async def hear(socket: ClientConnection, kind: str | None = None) -> dict[str, Any]:
    """The next message, or the next of a kind; every one is held against its schema."""
    while True:
        content = await asyncio.wait_for(socket.recv(), 10)
        message = json.loads(content) if isinstance(content, str) else msgpack.unpackb(content)
        if not (message["type"] == "chunk" and isinstance(content, bytes)):
            MODELS[message["type"]].model_validate(message)
        if kind is None or message["type"] == kind:
            return dict(message)


async def start(socket: ClientConnection, **fields: Any) -> dict[str, Any]:
    await say(socket, "start", **fields)
    return await hear(socket)


async def test_a_stream_from_start_to_stop(address: str) -> None:
    async with open_socket(address) as socket:
        started = await start(socket, prompt="walks", seed=3, lead_sec=0.5)
        assert (started["type"], started["seed"], started["fps"], started["generator"]) == ("started", 3, 20.0, "mini")
        assert started["prompt_plan"]["action"] == "walk" and "hips" in started["bones"]
        chunk = await hear(socket)
        assert (chunk["index"], chunk["first_frame"], chunk["t0"], chunk["n"]) == (0, 0, 0.0, chunk["frames"])
        assert [key["t"] for key in chunk["root"]] == [round(i / 20, 5) for i in range(chunk["n"])]
        assert set(chunk["tracks"]) == set(started["bones"])
        await say(socket, "prompt", text="waves", frame=2)
        applied = await hear(socket, "prompt_applied")
        assert applied["captions"] == ["waves"] and applied["revision"] == 1
        following = await hear(socket, "chunk")
        assert (following["first_frame"], following["revision"]) == (applied["from_frame"], 1)
        await say(socket, "ack", frame=following["first_frame"])
        await say(socket, "pause")
        await say(socket, "resume")
        await say(socket, "stop", to="idle")
        assert (await hear(socket, "prompt_applied"))["reason"] == "stop"
        stopped = await hear(socket, "stopped")
        assert stopped["frames"] >= 40
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000


async def test_msgpack_both_ways_holds_the_same_numbers(address: str) -> None:
    async with open_socket(address) as first, open_socket(address) as second:
        asked = {"prompt": "walks", "seed": 3, "fps": 30.0, "expressions": True}
        await start(first, **asked)
        await second.send(msgpack.packb({"v": 1, "type": "start", "encoding": "msgpack", **asked}))
        assert (await hear(second))["type"] == "started"
        plain, packed = await hear(first, "chunk"), await hear(second, "chunk")
        rot = np.frombuffer(packed["rot"], "<f4").reshape(packed["n"], len(packed["bones"]), 4)
        for i, bone in enumerate(packed["bones"]):
            keys = [[key[axis] for axis in "xyzw"] for key in plain["tracks"][bone]]
            assert np.allclose(rot[:, i], keys, atol=2e-5)
        root = np.frombuffer(packed["root"], "<f4").reshape(-1, 3)
        assert np.allclose(root, [[key[axis] for axis in "xyz"] for key in plain["root"]], atol=2e-5)
        assert len(packed["contacts"]) == 16 * packed["n"] and "blink" in packed["expressions"]
        await second.send(msgpack.packb({"v": 1, "type": "stop"}))
        assert (await hear(second, "stopped"))["frames"] > 0


async def test_vrm0_and_seek(address: str) -> None:
    async with open_socket(address) as socket:
        started = await start(socket, target="vrm0", lead_sec=0.5)
        assert started["target"] == "vrm0"
        chunk = await hear(socket, "chunk")
        await say(
            socket, "seek_pose", pose={"tracks": chunk["tracks"], "root_position": chunk["root"], "target": "vrm0"}
        )
        applied = await hear(socket, "prompt_applied")
        assert applied["reason"] == "seek"
        assert (await hear(socket, "chunk"))["first_frame"] == applied["from_frame"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("{", "type"),
        ("[]", "type"),
        ('{"v": 2, "type": "ack", "frame": 1}', "v"),
        ('{"type": "dance"}', "type"),
        ('{"type": "ack"}', "frame"),
        ('{"type": "ack", "frame": -1}', "frame"),
        ('{"type": "ack", "frame": true}', "frame"),
        ('{"type": "ack", "frame": 1e999}', "type"),
        ('{"type": "prompt", "text": "a\\u0000b"}', "text"),
        ('{"type": "prompt", "text": "walks", "at": "soon"}', "at"),
        ('{"type": "prompt", "text": "walks", "at": -1}', "at"),
        ('{"type": "seek_pose", "pose": {"tracks": {"tail": []}}}', "pose"),
        ('{"type": "seek_pose", "pose": {"tracks": {"hips": [{"t": 0}]}}}', "pose"),
        ('{"type": "start"}', "type"),
        ("[" * 5000, "type"),
        (b"\xc1", "type"),
        (b"\x81\xa4type\xa3ack", "frame"),
    ],
)
async def test_bad_messages_are_told_and_the_stream_goes_on(address: str, content: str | bytes, field: str) -> None:
    async with open_socket(address) as socket:
        await start(socket, lead_sec=0.3)
        await socket.send(content)
        problem = (await hear(socket, "error"))["problem"]
        assert (problem["status"], problem["field"]) == (422, field)
        assert await hear(socket, "chunk")


@pytest.mark.parametrize(
    "fields", [{"fps": 0}, {"provider": "mdm"}, {"resume_token": "abc"}, {"avatar": "0" * 32}, {"lead_sec": 60}]
)
async def test_a_start_that_cannot_be_ends_the_socket(address: str, fields: dict[str, Any]) -> None:
    async with open_socket(address) as socket:
        assert (await start(socket, **fields))["type"] == "error"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


async def test_too_large_and_too_many_messages_close(address: str) -> None:
    async with open_socket(address) as socket:
        await start(socket)
        await say(socket, "prompt", text="a" * (MAX_MESSAGE + 1))
        assert (await hear(socket, "error"))["problem"]["status"] == 413
        with pytest.raises(ConnectionClosed):
            await hear(socket, "stopped")
        assert socket.close_code == 1009
    async with open_socket(address) as socket:
        await start(socket)
        for _ in range(websocket.MAX_FAULTS + 1):
            await socket.send("{")
        with pytest.raises(ConnectionClosed):
            await hear(socket, "stopped")
        assert socket.close_code == 1008


async def test_streams_are_counted(address: str, streams: Streams) -> None:
    async with open_socket(address), open_socket(address), open_socket(address) as third:
        with pytest.raises(InvalidStatus) as refused:
            await open_socket(address)
        assert refused.value.response.status_code == 429 and refused.value.response.headers["retry-after"]
        await third.close()
        while streams.places.inside > 2:
            await asyncio.sleep(0.01)
        async with open_socket(address) as fourth:
            assert (await start(fourth))["type"] == "started"
    while streams.places.inside:
        await asyncio.sleep(0.01)


async def test_keys_and_origins(tmp_path: Path) -> None:
    with running_server(load_streams(tmp_path), ("a key",), ("https://app.example",)) as address:
        for headers in ({}, {"X-API-Key": "wrong"}):
            with pytest.raises(InvalidStatus) as refused:
                await open_socket(address, additional_headers=headers)
            assert refused.value.response.status_code == 401
        assert httpx.get(f"http://{address}/v1/motion/stream").status_code == 401
        key = {"X-API-Key": "a key"}
        async with open_socket(address, additional_headers=key) as socket:
            assert (await start(socket))["type"] == "started"
        offered = ["motion.v1", "key." + base64.urlsafe_b64encode(b"a key").decode().rstrip("=")]
        async with open_socket(address, subprotocols=offered, origin=f"http://{address}") as socket:
            assert socket.subprotocol == "motion.v1"
        async with open_socket(address, additional_headers=key, origin="https://app.example") as socket:
            assert (await start(socket))["type"] == "started"
        with pytest.raises(InvalidStatus) as refused:
            await open_socket(address, additional_headers=key, origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403


async def test_a_lost_stream_is_taken_up_elsewhere(tmp_path: Path) -> None:
    """The token of a chunk opens the same stream on another process, in the pose and at the frame it was at."""
    one, two = (load_streams(tmp_path / name, secret="shared") for name in "ab")
    with running_server(one) as address:
        async with open_socket(address) as socket:
            await start(socket, prompt="walks", seed=3, lead_sec=0.5, root="bounded", fps=30.0)
            for _ in range(4):
                chunk = await hear(socket, "chunk")
            one.drain()
            token = (await hear(socket, "draining"))["resume_token"]
            with pytest.raises(InvalidStatus) as refused:
                await open_socket(address)
            assert refused.value.response.status_code == 503
    assert len(token) < 8000
    with running_server(two) as address:
        async with open_socket(address) as socket:
            started = await start(socket, resume_token=token)
            assert (started["seed"], started["fps"], started["revision"]) == (3, 30.0, 1)
            assert 0 < started["first_frame"] <= chunk["first_frame"] + chunk["n"]
            assert started["prompt_plan"]["prompt"] == "walks"
            again = await hear(socket, "chunk")
            assert again["first_frame"] == started["first_frame"] and again["revision"] == 1
    with running_server(load_streams(tmp_path / "c", secret="another")) as address:
        async with open_socket(address) as socket:
            assert (await start(socket, resume_token=token))["problem"]["field"] == "resume_token"


@pytest.mark.parametrize(("fps", "target"), [(20.0, "vrm1"), (30.0, "vrm0")])
async def test_a_stream_goes_on_where_its_client_has_no_more(tmp_path: Path, fps: float, target: str) -> None:
    """With the end of what came, the next frame follows the last one, however old the token is."""
    one, two = (load_streams(tmp_path / name, secret="shared") for name in "ab")
    tail = Tail()
    with running_server(one) as address:
        async with open_socket(address) as socket:
            started = await start(socket, prompt="walks", seed=3, lead_sec=2.0, fps=fps, target=target)
            token, steps = None, []
            for _ in range(3):
                chunk = await hear(socket, "chunk")
                token = token or chunk["resume_token"]
                tail.add(chunk["first_frame"], chunk["tracks"], chunk["root"], fps)
                steps.append(largest_steps(chunk["tracks"]))
    pose = tail.pose(target, started["rest_hips_height"])
    with running_server(two) as address:
        async with open_socket(address) as socket:
            again = await start(socket, resume_token=token, frame=tail.end, pose=pose)
            assert (again["first_frame"], again["revision"]) == (tail.end, 1)
            following = await hear(socket, "chunk")
    assert following["first_frame"] == tail.end
    joint = {bone: [chunk["tracks"][bone][-1], keys[0]] for bone, keys in following["tracks"].items()}
    assert largest_steps(joint).max() <= 1.5 * max(step.max() for step in steps)


def largest_steps(tracks: dict[str, list[dict[str, float]]]) -> np.ndarray:
    """(n - 1,) rad: of all bones from frame to frame."""
    poses = np.array([[[key[axis] for axis in "xyzw"] for key in keys] for keys in tracks.values()])
    dots = np.abs((poses[:, 1:] * poses[:, :-1]).sum(-1)).clip(0, 1)
    return (2 * np.arccos(dots)).max(axis=0)


async def test_server_sent_events(address: str) -> None:
    kinds, frames = [], 0
    async with (
        httpx.AsyncClient(timeout=10) as http,
        http.stream("GET", f"http://{address}/v1/motion/stream", params={"prompt": "walks", "seconds": 1}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                message = json.loads(line.removeprefix("data: "))
                MODELS[kinds[-1]].model_validate(message)
                frames += message.get("n", 0)
    assert (kinds[0], kinds[-1]) == ("started", "stopped") and 20 <= frames <= 40
    assert httpx.get(f"http://{address}/v1/motion/stream", params={"fps": 0}).status_code == 422


async def test_a_client_that_does_not_read_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the socket: a send that never comes back ends in a close that asks to try later."""
    monkeypatch.setattr(websocket, "SEND_S", 0.2)
    streams = load_streams(tmp_path, FakeLive(cost=lambda: 0.0))
    app = create_app(Jobs(streams.pipeline), streams=streams)
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    said.put_nowait({"type": "websocket.receive", "text": '{"type": "start", "lead_sec": 0.3}'})
    heard: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        heard.append(message)
        if message["type"] == "websocket.send" and len(heard) > 3:
            await asyncio.sleep(60)

    path = "/v1/motion/stream"
    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
        "state": {},
    }
    await asyncio.wait_for(app(scope, said.get, send), 10)  # type: ignore[arg-type]
    assert (heard[-1]["type"], heard[-1]["code"]) == ("websocket.close", 1013)
    assert not streams.places.inside


async def test_no_stream_is_let_in_while_windows_come_late(tmp_path: Path) -> None:
    streams = load_streams(tmp_path)
    costs, now = streams._costs.setdefault("mini", WindowCosts()), asyncio.get_running_loop().time()

    def lets_in() -> bool:
        try:
            with streams.enter():
                return True
        except QueueFull:
            return False

    with streams.enter():
        for _ in range(40):
            costs.add(1.9)  # slow they may be, as when many streams begin at once
            costs.judge(now, late=False)
        assert lets_in()
        costs.judge(now, late=True)
        costs.judge(now, late=True)
        assert lets_in()  # 2 of 42
        costs.judge(now, late=True)
        assert not lets_in()
        costs.judge(now + JUDGED_S + 0.1, late=True)  # the others are forgotten, and one alone is nothing
        assert lets_in()
    for _ in range(40):
        costs.judge(now + JUDGED_S + 0.1, late=True)
    assert lets_in()  # the first one may always try


# --- what the body does by itself -------------------------------------------------------------------------------------


async def test_an_avatar_talks_and_is_interrupted(address: str) -> None:
    async with open_socket(address) as socket:
        await say(socket, "start", state="idle", expressions=True, still=["fingers"])
        started = await hear(socket, "started")
        assert not any("Index" in bone for bone in started["bones"])
        await hear(socket, "chunk")
        await say(socket, "speak", text="こんにちは、今日はいい天気ですね。", seconds=4.0, emotion="happy")
        told = await hear(socket, "prompt_applied")
        assert told["reason"] == "speak" and told["speech"]["seconds"] == 4.0 and told["state"] == "idle"
        assert told["prompt_plan"]["action"] == "none" and told["speech"]["beats"]
        chunk = await hear(socket, "chunk")
        assert chunk["revision"] == told["revision"] and chunk["first_frame"] == told["from_frame"]
        await say(socket, "interrupt", to="listen")
        assert (await hear(socket, "prompt_applied"))["state"] == "listen"
        await say(socket, "state", to="think")
        assert (await hear(socket, "prompt_applied"))["reason"] == "state"
        await say(socket, "speak", text="")
        assert (await hear(socket, "error"))["problem"]["field"].endswith("text")


async def test_of_a_crowd_as_many_begin_as_play_and_none_while_one_waits(tmp_path: Path) -> None:
    streams = load_streams(tmp_path, limit=100)
    with contextlib.ExitStack() as holding:
        for _ in range(FEW):
            holding.enter_context(streams.enter())
        with pytest.raises(QueueFull):
            holding.enter_context(streams.enter())
    with contextlib.ExitStack() as holding:
        holding.enter_context(streams.enter())
        stream = await streams.open(stream_schemas.Start(type="start"))
        holding.enter_context(streams.running(stream))
        holding.enter_context(streams.enter())
        streams._since[stream.session.options.session_id] -= 2 * BEGIN_S
        with pytest.raises(QueueFull):
            holding.enter_context(streams.enter())
        stream.session.counts.chunks = 1
        holding.enter_context(streams.enter())


@pytest.mark.parametrize(
    "change", [{"frame": -5}, {"made": 2**63}, {"options": []}, {"options": {"fps": 1e9}}, {"prompt": 5}]
)
async def test_a_token_that_was_made_up_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    streams = load_streams(tmp_path)
    stream = await streams.open(stream_schemas.Start(type="start"))
    mark = replace(_bookmark(stream.session, {}), **change)
    with pytest.raises(BadRequest) as caught:
        await streams.open(stream_schemas.Start(type="start", resume_token=write_token(mark, streams._secret)))
    assert caught.value.field == "resume_token"
