"""Processes of our own for work that would hold up the interpreter: one call and its reply at a time.

Started afresh (not forked: the parent may own a GPU), they are ready before the first call. One that dies or hangs is
replaced and its call tried once more elsewhere; none outlives its parent. What travels is pickled by
:mod:`multiprocessing`, between a process and its own child only. It knows nothing of what is computed.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, TypeVar

from motion_service.errors import Draining, GenerationFailed, MotionError
from motion_service.telemetry import log_event

START_S: Final = 120.0
"""Longest time that a process takes to say it is ready."""
LIMIT_S: Final = 300.0
"""Longest time a call may take, its waiting for a free process not counted; then the process is taken for dead."""
WAIT_S: Final = 60.0
"""Longest wait for a free process."""
END_S: Final = 10.0
"""Longest wait for a process to end by itself."""
RETRY_START_S: Final = 1.0
"""Pause before a process that did not start is tried again."""

Handler = Callable[[Any], Any]
Result = TypeVar("Result")

_Child = tuple[BaseProcess, socket.socket]
"""A process, and the near end of its socket pair."""
_LENGTH: Final = struct.Struct("!Q")
_BUFFER: Final = 4 * 2**20  # bytes: a whole reply, so that it is read in few pieces
_SPAWN: Final = multiprocessing.get_context("spawn")


class ProcessDied(GenerationFailed):
    """A process ended, or did not answer in time, during a call."""


@dataclass(eq=False, slots=True)
class _Process:
    """One child and the near end of its socket pair."""

    child: BaseProcess
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def call(self, data: bytes, limit_s: float) -> bytes:
        """The reply to ``data``. Raises :class:`ProcessDied`."""
        try:
            async with asyncio.timeout(limit_s):
                self.writer.write(_LENGTH.pack(len(data)) + data)
                return await self.receive()
        except (EOFError, OSError) as error:  # TimeoutError is an OSError
            raise ProcessDied() from error

    async def receive(self) -> bytes:
        """The next message of the child. Raises EOFError or OSError when it is gone."""
        (size,) = _LENGTH.unpack(await self.reader.readexactly(_LENGTH.size))
        return await self.reader.readexactly(size)

    def close(self, *, kill: bool) -> None:
        """Let the child end after what it does, or end it at once."""
        self.writer.close()
        if kill:
            self.child.kill()


class Processes:
    """A fixed number of processes that all do the same."""

    def __init__(self, count: int, setup: Callable[[], Handler], *, niceness: int = 0, name: str = "motion") -> None:
        """``setup`` runs in each process and returns what answers calls; it must be importable by name.

        ``niceness``: how much they give way to others, as of :func:`os.nice`.
        """
        self._count, self._setup, self._niceness, self._name = count, setup, niceness, name
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._all: set[_Process] = set()
        self._calls: set[asyncio.Task[bytes]] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._launched: list[_Child] = []

    def launch(self) -> None:
        """Let them begin to get ready, without an event loop; :meth:`start` waits for them."""
        atexit.register(self._kill)
        self._launched = [self._new_child() for _ in range(self._count)]

    async def start(self) -> None:
        """Start them all; returns when every one is ready. Raises :class:`ProcessDied` when one does not start."""
        if not self._launched:
            atexit.register(self._kill)
        await asyncio.gather(*(self._start_one() for _ in range(self._count)))

    async def call(self, message: Any) -> Any:
        """What the handler of a free process returns for ``message``.

        Raises what the handler raises if that is one of our errors, GenerationFailed for anything else, and
        :class:`ProcessDied` when two processes in a row were lost over this call.
        """
        data = bytes(ForkingPickler.dumps(message))
        try:
            reply = await self._exchange(data)
        except ProcessDied:
            reply = await self._exchange(data)
        result = ForkingPickler.loads(reply)
        if isinstance(result, MotionError):
            raise result
        return result

    async def stop(self) -> None:
        """End them all. Calls that somebody waits for should be over; those given up are not waited for long."""
        self._stopping = True
        await asyncio.gather(*self._replacing, return_exceptions=True)  # one that is just starting is to end, too
        ending = [*self._all]
        for process in ending:
            process.close(kill=False)
        for process in ending:
            await asyncio.to_thread(process.child.join, END_S)
            if process.child.is_alive():
                process.child.kill()
        await asyncio.gather(*self._calls, return_exceptions=True)
        atexit.unregister(self._kill)

    def _kill(self) -> None:
        """For an end without :meth:`stop`."""
        for child in [*(child for child, _ in self._launched), *(process.child for process in self._all)]:
            child.kill()

    async def _exchange(self, data: bytes) -> bytes:
        """One call to one process; when nobody waits for it any more, the process still is read out and kept."""
        if self._stopping:
            raise Draining()
        try:
            async with asyncio.timeout(WAIT_S):
                while (process := await self._idle.get()).reader.at_eof():
                    self._lose(process, None)  # it died with nothing to do
        except TimeoutError as error:
            raise ProcessDied() from error
        return await asyncio.shield(_keep(self._call(process, data), self._calls))

    async def _call(self, process: _Process, data: bytes) -> bytes:
        try:
            reply = await process.call(data, LIMIT_S)
        except ProcessDied as error:
            self._lose(process, error.__cause__)
            raise
        self._idle.put_nowait(process)
        return reply

    def _lose(self, process: _Process, reason: BaseException | None) -> None:
        """Forget a process, and start another."""
        process.close(kill=True)
        self._all.discard(process)
        if not self._stopping:
            log_event("process lost", level=logging.ERROR, name=self._name, error=reason)
            _keep(self._replace(), self._replacing)

    async def _replace(self) -> None:
        """Start one process, however often it takes."""
        while not self._stopping:
            with suppress(ProcessDied):
                return await self._start_one()
            await asyncio.sleep(RETRY_START_S)

    def _new_child(self) -> _Child:
        """Returns before it is ready."""
        near, far = socket.socketpair()
        for end in (near, far):
            with suppress(OSError):  # the system may set a lower limit
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        child = _SPAWN.Process(target=_serve, args=(far, self._setup, self._niceness), name=self._name, daemon=True)
        with far:
            child.start()
        return child, near

    async def _start_one(self) -> None:
        child, near = self._launched.pop() if self._launched else await asyncio.to_thread(self._new_child)
        process = _Process(child, *await asyncio.open_unix_connection(sock=near, limit=_BUFFER))
        self._all.add(process)
        try:
            async with asyncio.timeout(START_S):
                await process.receive()
        except (EOFError, OSError) as error:
            process.close(kill=True)
            self._all.discard(process)
            raise ProcessDied("a process did not start") from error
        self._idle.put_nowait(process)


def _keep(work: Coroutine[Any, Any, Result], tasks: set[asyncio.Task[Result]]) -> asyncio.Task[Result]:
    """A task that is in ``tasks`` while it runs, so that it is not forgotten."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


# --- in the child -----------------------------------------------------------------------------------------------------


def _serve(link: socket.socket, setup: Callable[[], Handler], niceness: int) -> None:
    """Answer calls until the parent closes its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group; the parent decides when this one ends
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(niceness)
    handle = setup()
    with link, link.makefile("rb") as calls:
        _send(link, b"ready")
        with suppress(ConnectionResetError):  # the parent left without reading all of it
            while head := calls.read(_LENGTH.size):
                data = calls.read(_LENGTH.unpack(head)[0])
                _send(link, _answer(handle, data))


def _answer(handle: Handler, data: bytes) -> bytes:
    """The reply to one call: the handler's result, or the error that the caller is to raise."""
    try:
        return bytes(ForkingPickler.dumps(handle(ForkingPickler.loads(data))))
    except MotionError as error:
        return bytes(ForkingPickler.dumps(error))
    except Exception as error:  # the edge of the process: whatever a call does, the next one is answered
        log_event("call failed", level=logging.ERROR, error=error)
        return bytes(ForkingPickler.dumps(GenerationFailed()))


def _send(link: socket.socket, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone; the next read says so
        link.sendall(_LENGTH.pack(len(data)) + data)


def _end_with_parent() -> None:
    """End this process in the middle of whatever it does once the parent is gone: nobody waits for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)
