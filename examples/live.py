"""Steer an avatar live: walk, wave after two seconds, return to idle after five; prints what a player would show."""

from __future__ import annotations

import json
import sys
import time

import msgpack
import numpy as np
from websockets.sync.client import ClientConnection, connect

CUES = [(2.0, {"type": "prompt", "text": "元気に手を振る"}), (5.0, {"type": "stop", "to": "idle"})]


def main(service: str = "ws://127.0.0.1:7100", speed: str = "1") -> int:
    """Play one stream; ``speed`` shortens the waits before the cues. Exit code 1 when the service says no."""
    frames: dict[int, np.ndarray] = {}  # what is to be shown: (bones, 4) quaternions xyzw
    cues = [(seconds / float(speed), message) for seconds, message in CUES]
    started = clock = 0.0
    with connect(f"{service}/v1/motion/stream", max_size=None) as socket:
        say(socket, type="start", prompt="a person walks forward", encoding="msgpack", root="bounded")
        for content in socket:
            message = msgpack.unpackb(content)
            screen = int((time.monotonic() - clock) * started) if clock else 0  # the frame on the screen
            if message["type"] == "started":
                started = message["fps"]
            elif message["type"] == "chunk":
                clock = clock or time.monotonic()  # playing begins with the first chunk
                rotations = np.frombuffer(message["rot"], "<f4").reshape(message["n"], -1, 4)
                frames.update({message["first_frame"] + i: pose for i, pose in enumerate(rotations)})
                print(f"frame {screen}: {len(frames) - screen} ahead, revision {message['revision']}")
                say(socket, type="ack", frame=screen)
            elif message["type"] == "prompt_applied":
                frames = {i: pose for i, pose in frames.items() if i < message["from_frame"]}
                print(f"frame {screen}: {message['captions']} from frame {message['from_frame']}")
            elif message["type"] == "gap":
                print(f"read faster: frames {message['from_frame']} to {message['to_frame'] - 1} were left out")
            elif message["type"] == "error":
                print(message["problem"]["detail"], file=sys.stderr)
                return 1
            elif message["type"] == "stopped":
                print(f"{message['frames']} frames, the last {len(frames)} of them still here")
                break
            if clock and cues and time.monotonic() - clock > cues[0][0]:
                say(socket, frame=screen, **cues.pop(0)[1])
    return 0


def say(socket: ClientConnection, **message: object) -> None:
    """One message to the service, as JSON."""
    socket.send(json.dumps({"v": 1, **message}))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
