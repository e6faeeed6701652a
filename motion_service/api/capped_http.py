"""The HTTP protocol of the server with bounds on what comes before the body, which the server itself has not."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD: Final = 64 * 1024
"""Bytes of request line and headers."""
HEAD_S: Final = 15.0
"""Longest time that they may take to arrive."""


class CappedHttp(HttpToolsProtocol):
    """Ends a connection whose head is too large or too slow; the rest is as it was."""

    _head = 0
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head = True, 0
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._give_up)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """What is still head after it was parsed was head as a whole."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._give_up()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._stop_timer()
        if not self._head:  # a browser's connection in stock
            self.transport.close()
        elif not self.transport.is_closing():
            self.send_400_response("Headers are too large, or did not come.")
