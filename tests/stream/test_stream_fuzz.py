"""Sockets that say anything: text, bytes, too much, in floods, and leave in the middle. The service stays as it was."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import socket as sockets
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motion_service.stream_schemas import MAX_MESSAGE
from motion_service.streams import Streams
from tests.stream.live_fakes import FakeLive
from tests.stream.server import load_streams, running_server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Streams, str]]:
    streams = load_streams(tmp_path_factory.mktemp("streams"), FakeLive(cost=lambda: 0.005))
    with running_server(streams) as address:
        yield streams, address


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KINDS = st.sampled_from(["start", "prompt", "ack", "pause", "resume", "seek_pose", "stop", "chunk", "", 5, None])
FIELDS = st.sampled_from(
    ["text", "at", "frame", "pose", "to", "fps", "lead_sec", "seed", "prompt", "avatar", "encoding"]
)
MESSAGES = st.builds(lambda kind, fields: {"type": kind, **fields}, KINDS, st.dictionaries(FIELDS, VALUES, max_size=3))
SAID = st.one_of(
    MESSAGES.map(lambda message: json.dumps(message, default=repr)),
    MESSAGES.map(lambda message: msgpack.packb(json.loads(json.dumps(message, default=repr)), default=repr)),
    st.binary(max_size=200),
    st.text(max_size=200),
    st.just("x" * (MAX_MESSAGE + 1)),
    st.just(b"\x00" * (MAX_MESSAGE + 1)),
    st.just(json.dumps({"type": "start", "lead_sec": 0.3})),
    st.just(json.dumps({"type": "stop"})),
    st.just("[" * 30_000),
)
ENDS = st.sampled_from(["close", "vanish", "listen"])


async def converse(address: str, said: list[Any], end: str, starts: bool) -> None:
    """One client. Whatever the server does is right, as long as it does something."""
    try:
        async with asyncio.timeout(10), websockets.connect(f"ws://{address}/v1/motion/stream", max_size=None) as socket:
            if starts:
                await socket.send(json.dumps({"type": "start", "lead_sec": 0.3, "fps": 20}))
            for message in said:
                await socket.send(message)
            if end == "vanish":
                socket.transport.abort()
            elif end == "listen":
                async with asyncio.timeout(0.1):
                    async for _ in socket:
                        pass
    except (websockets.WebSocketException, OSError, TimeoutError):
        pass


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(SAID, max_size=8), end=ENDS, starts=st.booleans())
def test_anything_may_be_said(service: tuple[Streams, str], said: list[Any], end: str, starts: bool) -> None:
    streams, address = service
    asyncio.run(converse(address, said, end, starts))
    assert httpx.get(f"http://{address}/livez").status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # our own sockets that were aborted
def test_floods_and_clients_that_vanish_leave_nothing(service: tuple[Streams, str]) -> None:
    """Places, tasks, threads and descriptors are back to what they were."""
    streams, address = service

    async def flood(count: int) -> None:
        prompts = [json.dumps({"type": "prompt", "text": f"waves {i}"}) for i in range(100)]
        ends = ["close", "vanish", "listen"]
        await asyncio.gather(*(converse(address, prompts, ends[i % 3], i % 4 > 0) for i in range(count)))
        while streams.places.inside:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(flood(6), 60))
    gc.collect()
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(2):
        asyncio.run(asyncio.wait_for(flood(12), 60))
    gc.collect()
    after = (len(os.listdir("/proc/self/fd")), threading.active_count())
    assert after[0] <= before[0] + 3 and after[1] <= before[1] + 8, "pools of threads grow to their bound"
    assert not streams._sessions and not streams.places.inside


def test_raw_bytes_instead_of_frames(service: tuple[Streams, str]) -> None:
    """A handshake that is right and frames that are not: reserved bits, no mask, lengths that lie, half a close."""
    _, address = service
    host, port = address.split(":")
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /v1/motion/stream HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    for frame in (
        b"\xf1\x80\x00\x00\x00\x00",
        b"\x81\x05hello",
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x88\x81\x00\x00\x00\x00\x03",
        b"\x89\xfe\x01\x00" + b"\x00" * 260,
        b"\x01\x80\x00\x00\x00\x00" * 50,
        os.urandom(2000),
    ):
        with sockets.create_connection((host, int(port)), timeout=5) as link:
            link.sendall(head + frame)
            link.settimeout(0.2)
            try:
                link.recv(4096)
                link.shutdown(sockets.SHUT_WR)
                while link.recv(4096):
                    pass
            except (TimeoutError, OSError):
                pass
    assert httpx.get(f"http://{address}/livez").status_code == 200
