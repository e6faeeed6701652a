"""The server process: uvicorn with bounds on headers, and an end that loses no request that was accepted.

The first SIGTERM or SIGINT refuses new work, tells streams to go on elsewhere, lets requests under way end and exits
with 0; the second one ends the process at once. A process that does not get that far in its grace period is ended too.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from motion_service.api.capped_http import CappedHttp
from motion_service.api.lifecycle import Lifecycle
from motion_service.stream_schemas import MAX_MESSAGE
from motion_service.streams import Streams
from motion_service.telemetry import log_event

DRAIN_S: Final = 1.0
"""How long streams may take to leave by themselves when the service ends, s."""
LATE_S: Final = 5.0
"""How long after the grace period the process is ended whatever it does, s."""
FATAL_GRACE_S: Final = 5.0
"""How long requests have to end when the models are lost: placeholders take no longer, s."""
EXIT_LATE: Final = 124
"""As of timeout(1): something did not end in time."""


def check_port(host: str, port: int) -> None:
    """Raise ValueError when the port cannot be listened on: sooner said than when all models are loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"MOTION_HOST: there is no host {host!r}") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reason = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise ValueError(f"port {port} of {host}: {reason}; set MOTION_PORT and MOTION_HOST") from error


def serve(app: FastAPI, host: str, port: int, grace_s: float) -> int:
    """Serve until a signal; the exit code. The app has ``streams`` and ``lifecycle`` in its state."""
    settings = server_settings(app, host, port, grace_s)
    server = DrainingServer(settings, app.state.streams, app.state.lifecycle, grace_s)
    server.run()
    return server.exit_code


def server_settings(app: FastAPI, host: str, port: int, grace_s: float) -> uvicorn.Config:
    """How the server is run."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=CappedHttp,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # float32 blocks hardly shrink, and it costs more than making them
        timeout_graceful_shutdown=max(1, int(grace_s)),
    )


class DrainingServer(uvicorn.Server):
    """See the module."""

    def __init__(self, config: uvicorn.Config, streams: Streams, lifecycle: Lifecycle, grace_s: float) -> None:
        super().__init__(config)
        self.exit_code = 0
        self._streams, self._lifecycle, self._grace_s = streams, lifecycle, grace_s
        self._draining = False
        lifecycle.end = self.end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs as signal handler. uvicorn's own would raise the signal once more in the end, for another exit code."""
        if self._draining:
            os._exit(128 + sig)
        self._draining = True
        threading.Thread(target=self._end_late, args=(self._grace_s + LATE_S,), daemon=True).start()
        asyncio.get_running_loop().call_soon_threadsafe(self._drain)

    def end(self, code: int) -> None:
        """End by itself, with an exit code. On the event loop."""
        self.exit_code = code
        if not self._draining:
            self._draining = True
            grace_s = min(FATAL_GRACE_S, self._grace_s)
            self.config.timeout_graceful_shutdown = max(1, int(grace_s))
            threading.Thread(target=self._end_late, args=(grace_s + LATE_S,), daemon=True).start()
            self._drain()

    def _drain(self) -> None:
        log_event("draining", streams=self._streams.places.inside, exit_code=self.exit_code)
        if self._lifecycle.phase == "serving":
            self._lifecycle.phase = "draining"
        self._streams.drain()
        asyncio.get_running_loop().call_later(DRAIN_S if self._streams.places.inside else 0.0, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    def _end_late(self, seconds: float) -> None:
        threading.Event().wait(seconds)
        log_event("did not end in time", level=logging.ERROR)
        os._exit(self.exit_code or EXIT_LATE)
