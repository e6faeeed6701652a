"""A server that speaks the wire of live streams without any motion in it: what clients say is kept, and can be waited
for. Its frames come as fast as they are taken.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

FRAMES = 4
"""Frames of a chunk."""


@dataclass
class StreamServer:
    """Behaviour, and what was seen."""

    drop_at: list[int] = field(default_factory=list)
    """Break the connection before the chunk that reaches this frame, once each."""
    drain_at: list[int] = field(default_factory=list)
    """Tell of draining before the chunk that reaches this frame, once each, and go on."""
    refuse: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Answers to the next handshakes instead of a stream: status and problem."""
    said: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers = {name.lower(): value for name, value in request.headers.raw_items()}
        assert request.path == "/v1/motion/stream"
        if not self.refuse:
            return None
        status, problem = self.refuse.pop(0)
        return connection.respond(status, json.dumps(problem) if problem else "Forbidden")

    def talk(self, connection: ServerConnection) -> None:
        """One stream: frame after frame, and what the client says in between."""
        try:
            _Talk(self, connection).run()
        except ConnectionClosed:
            pass


class _Talk:
    def __init__(self, server: StreamServer, connection: ServerConnection) -> None:
        self.server, self.connection = server, connection
        self.revision, self.frame, self.paused = 0, 0, False

    def say(self, kind: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"v": 1, "type": kind, **fields}))

    def run(self) -> None:
        start = json.loads(self.connection.recv())
        self.server.said.append(start)
        assert (start["type"], start["encoding"]) == ("start", "json")
        if start.get("fps", 20) > 120:
            problem = {"type": "https://motion-service.invalid/problems/invalid-request", "status": 422}
            self.say("error", problem={**problem, "detail": "fps: too many", "field": "fps"})
            return self.connection.close(1008)
        if token := start.get("resume_token"):
            self.revision, self.frame = (int(part) for part in token.split("."))
            self.frame = start.get("frame", self.frame)
        first = {"fps": 20.0, "first_frame": self.frame, "revision": self.revision, "generator": "mini"}
        self.say("started", session_id="s", seed=1, bones=["hips"], warnings=[], **first)
        while True:
            while self._hear():
                pass
            if self.server.drop_at and self.frame >= self.server.drop_at[0]:
                del self.server.drop_at[0]
                self.connection.socket.shutdown(2)
                return
            if self.server.drain_at and self.frame >= self.server.drain_at[0]:
                del self.server.drain_at[0]
                self.say("draining", resume_token=f"{self.revision + 1}.{self.frame - FRAMES}")
            if not self.paused:
                self._send_chunk()

    def _hear(self) -> bool:
        """Take one message if there is one."""
        try:
            message = json.loads(self.connection.recv(timeout=0.05 if self.paused else 0.01))
        except TimeoutError:
            return False
        self.server.said.append(message)
        kind = message["type"]
        if kind == "prompt" and len(message["text"]) > 2000:
            problem = {"type": "https://motion-service.invalid/problems/invalid-request", "status": 422}
            self.say("error", problem={**problem, "detail": "text: too long", "field": "text"})
        elif kind in ("prompt", "seek_pose"):
            self.revision, self.frame = self.revision + 1, max(0, self.frame - 2)
            self.say(
                "prompt_applied", from_frame=self.frame, revision=self.revision, captions=[message.get("text", "")]
            )
        elif kind in ("pause", "resume"):
            self.paused = kind == "pause"
        elif kind == "stop":
            self.say("stopped", frames=self.frame)
            self.connection.close()
            self.connection.recv()
        return True

    def _send_chunk(self) -> None:
        times = [(self.frame + i) / 20 for i in range(FRAMES)]
        tracks = {"hips": [{"t": t, "x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0} for t in times]}
        root = [{"t": t, "x": 0.0, "y": 0.95, "z": t} for t in times]
        head = {"index": 0, "revision": self.revision, "first_frame": self.frame, "n": FRAMES, "frames": FRAMES}
        self.frame += FRAMES
        token = f"{self.revision + 1}.{self.frame}"
        more = {"contacts": [[1.0] * 4] * FRAMES, "fps": 20.0, "t0": times[0], "generator": "mini"}
        self.say("chunk", **head, **more, tracks=tracks, root=root, resume_token=token)


@contextmanager
def serve_stream(server: StreamServer, port: int = 0) -> Iterator[StreamServer]:
    """``server`` on a loopback port."""
    with serve(server.talk, "127.0.0.1", port, process_request=server.check) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        server.url = f"http://127.0.0.1:{listening.socket.getsockname()[1]}"
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
