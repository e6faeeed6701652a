"""From the start of the process to its end: what is answered when, and the four probes that tell it.

A process that is getting ready or going away refuses work with 503 and Retry-After; probes are answered always.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from motion_service.api.problem import problem_response
from motion_service.errors import Busy, Draining, EngineLost, MotionError, Starting
from motion_service.telemetry import log_event

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/startupz", "/health"})
"""Paths that never need a key and are always answered. They tell a status and nothing else."""
SOON_S: Final = 0.05
"""A start that takes no longer than this is over before the port is open."""
EXIT_START: Final = 70
"""EX_SOFTWARE of sysexits.h: the service could not get ready."""
EXIT_DEVICE: Final = 75
"""EX_TEMPFAIL: the models cannot be run in this process any more; start another one."""

Phase = Literal["starting", "serving", "draining"]


class Lifecycle:
    """Where a process is. Belongs to one event loop."""

    def __init__(self, condition: Callable[[], str] = lambda: "ready") -> None:
        """``condition`` of the engine: ready, or anything else."""
        self.phase: Phase = "serving"
        self.condition = condition
        self.end: Callable[[int], object] = lambda code: None
        """Ends the process with an exit code, after what is under way. Whoever runs the server sets it."""
        self._getting_ready: asyncio.Task[None] | None = None

    async def start(self, get_ready: Callable[[], Awaitable[None]]) -> None:
        """Begin to get ready; returns at once, or when that was quick."""
        self.phase = "starting"
        self._getting_ready = asyncio.create_task(self._start(get_ready))
        await asyncio.wait((self._getting_ready,), timeout=SOON_S)

    async def stop(self) -> bool:
        """Whether it had become ready. What was on the way to that is given up."""
        started, self.phase = self._getting_ready, "draining"
        if started is None or started.done():
            return True
        started.cancel()
        await asyncio.wait((started,))
        return False

    async def settled(self) -> MotionError | None:
        """The same as :meth:`problem`, but for a process that is still starting: waits until it has."""
        if self._getting_ready is not None:
            await asyncio.wait((self._getting_ready,))
        return self.problem()

    def problem(self) -> MotionError | None:
        """Why no work should be sent here; None = send it."""
        if self.phase == "starting":
            return Starting("models are being prepared; come again soon", retry_after_s=2.0)
        if self.phase == "draining":
            return Draining()
        condition = self.condition()
        if condition == "ready":
            return None
        return EngineLost() if condition in ("rebuilding", "lost") else Busy("the model has not answered for a while")

    async def _start(self, get_ready: Callable[[], Awaitable[None]]) -> None:
        try:
            await get_ready()
        except Exception as error:  # the edge of the process: it is not going to serve
            log_event("the service cannot get ready", level=logging.CRITICAL, error=error)
            self.end(EXIT_START)
            return
        if self.phase == "starting":
            self.phase = "serving"
            log_event("ready")


class LifecycleMiddleware:
    """Refuses work before the service is ready and when it goes away."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self.app, self._lifecycle = app, lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = self._lifecycle.phase == "serving"
        if serving or scope["type"] not in ("http", "websocket") or scope["path"] in OPEN_PATHS:
            return await self.app(scope, receive, send)
        problem = self._lifecycle.problem() or Draining()
        await problem_response(problem, scope)(scope, receive, send)
