"""A service with a live source behind a real socket, in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.jobs import Jobs
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.store import ArtifactStore
from motion_service.stream_schemas import MAX_MESSAGE
from motion_service.streams import Streams
from tests.stream.live_fakes import FakeLive


def load_streams(directory: Path, source: Any = None, **options: Any) -> Streams:
    """Streams on one live source called mini."""
    store = ArtifactStore(directory / "animations", directory, "/data")
    sources = {"mini": source or FakeLive(cost=lambda: 0.02)}
    return Streams(Pipeline(sources, None, store, Admission(8), MotionOptions(artifacts=[])), **options)


@contextmanager
def running_server(streams: Streams, keys: tuple[str, ...] = (), origins: tuple[str, ...] = ()) -> Iterator[str]:
    """The address, host and port, of a service with these streams."""
    app = create_app(Jobs(streams.pipeline), keys, streams=streams, origins=origins)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws_max_size=2 * MAX_MESSAGE)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
