"""Two processes of the real service: the first is told to end, the second takes the stream up."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_process(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service of its own process and its address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOTION_", "OUTPUT_", "DATA_"))}
    settings = {"MOTION_PORT": "0", "DATA_ROOT": str(directory), "MOTION_WARM_UP": "off", "MOTION_STREAM_SECRET": "x"}
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    process = subprocess.Popen(
        [sys.executable, "-m", "motion_service"],
        env={**kept, **settings, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://(127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("the service did not start")
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


async def hear(socket: Any, kind: str) -> dict[str, Any]:
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), 60))
        assert message["type"] != "error", message
        if message["type"] == kind:
            return dict(message)


async def test_a_stream_survives_the_restart_of_its_server(tmp_path: Path) -> None:
    with running_process(tmp_path / "one") as (process, address):
        async with connect(f"ws://{address}/v1/motion/stream", max_size=None) as socket:
            await socket.send(json.dumps({"type": "start", "prompt": "a person walks forward", "seed": 3, "fps": 30}))
            assert (await hear(socket, "started"))["generator"] == "mini"
            for _ in range(3):
                before = await hear(socket, "chunk")
            await socket.send(json.dumps({"type": "ack", "frame": before["first_frame"]}))
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            token = (await hear(socket, "draining"))["resume_token"]
            with pytest.raises(ConnectionClosed):
                while True:
                    await socket.recv()
            assert socket.close_code == 1012
        assert process.wait(30) in (0, -signal.SIGTERM)
    with running_process(tmp_path / "two") as (_, address):
        async with connect(f"ws://{address}/v1/motion/stream", max_size=None) as socket:
            await socket.send(json.dumps({"type": "start", "resume_token": token}))
            started = await hear(socket, "started")
            assert (started["seed"], started["fps"]) == (3, 30.0)
            assert started["prompt_plan"]["action"] == "walk"
            after = await hear(socket, "chunk")
    assert after["first_frame"] == started["first_frame"]
    behind = after["first_frame"] - before["first_frame"]
    assert 0 < behind <= before["n"], "it goes on where the client was"
    old, new = before["root"][behind - 1], after["root"][0]
    assert sum((new[axis] - old[axis]) ** 2 for axis in "xyz") ** 0.5 < 0.08, "from the place where it was"
