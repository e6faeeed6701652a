"""The real application on sources without weights, as a replica and as a process of its own: everything that a cluster
and its client have to do with, and nothing that takes long to load.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any, cast

import torch
from fastapi import FastAPI

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.api.lifecycle import Lifecycle
from motion_service.config import Config
from motion_service.jobs import Jobs
from motion_service.main import load_store, read_settings
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.serving import serve
from motion_service.source import SourceClip, SourceRequest
from motion_service.streams import Streams
from tests.fakes import FakeSource, make_wave
from tests.stream.live_fakes import FakeLive

CLIP_S = 0.05
"""How long the device of a replica has for one clip, of which it makes one at a time."""


class SlowSource:
    """Clips of the seed, one after the other."""

    name, max_seconds = "mdm", 12.0

    def __init__(self) -> None:
        self._device = asyncio.Semaphore()

    async def generate(self, request: SourceRequest) -> SourceClip:
        async with self._device:
            await asyncio.sleep(CLIP_S)
        clip = make_wave(request.seconds, request.seed)
        return SourceClip(clip, self.name, "fake", "CC0-1.0", 10, 2.5, request.seed, {"sample": 1.0})


def make_app(config: Config) -> FastAPI:
    """As :func:`motion_service.main.load_app`."""
    torch.set_num_threads(1)
    sources: dict[str, Any] = {"mdm": SlowSource(), "mini": cast(Any, FakeLive(cost=lambda: 0.02))}
    admission = Admission(config.queue_size or 32)
    jobs = Jobs(
        Pipeline(sources, FakeSource("placeholder"), load_store(config), admission, MotionOptions(artifacts=[]))
    )
    secret = config.stream_secret.get_secret_value()
    streams = Streams(jobs.pipeline, limit=config.stream_max, secret=secret, keys=config.keys)
    lifecycle = Lifecycle()
    app = create_app(jobs, config.keys, streams=streams, lifecycle=lifecycle)
    app.state.streams, app.state.lifecycle = streams, lifecycle
    return app


def load_stand_in() -> FastAPI:
    """As :func:`motion_service.cluster.load_replica`."""
    return make_app(read_settings())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    config = read_settings()
    sys.exit(serve(make_app(config), "127.0.0.1", port, config.grace_sec))


if __name__ == "__main__":
    main()
