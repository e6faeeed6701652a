"""A live stream that is awaited: an asynchronous iterator of chunks that can be steered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from motion_service.client_exchange import CONNECT_S, run_steps_async
from motion_service.client_stream import (
    MAX_MESSAGE,
    PING_S,
    At,
    Connect,
    Lost,
    MotionChunk,
    Pause,
    StreamFacts,
    StreamOutcome,
    StreamState,
    StreamStep,
    message,
    refusal_to_error,
    seek_message,
)

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from motion_service.client_motion import ReceivedMotion
    from motion_service.speak_schemas import Emotion, State


class AsyncMotionStream(StreamFacts):
    """:class:`~motion_service.client_stream_sync.MotionStream` for asyncio: one task iterates, another may steer."""

    def __init__(self, state: StreamState) -> None:
        self._state = state
        self._open = AsyncExitStack()
        self._socket: ClientConnection | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MotionChunk:
        chunk = await run_steps_async(self._state.next_chunk(), self._do)
        if chunk is None:
            await self.close()
            raise StopAsyncIteration
        return chunk

    async def set_prompt(self, text: str, at: At = "now", frame: int | None = None) -> None:
        """Another text: now, "next" (after what is made already), or at a time of the stream in seconds.

        Empty: back to idle. ``frame``: the one on the screen, which lets the service react sooner.
        """
        await self._say(self._state.say_prompt(text, at, frame))

    async def speak(self, text: str, **fields: Any) -> None:
        """Say a text; ``fields`` as in :class:`~motion_service.stream_schemas.Speak`."""
        await self._say(message("speak", text=text, **fields))

    async def set_state(self, to: State, emotion: Emotion | None = None, frame: int | None = None) -> None:
        """What the body does by itself until something else is asked for."""
        await self._say(message("state", to=to, emotion=emotion, frame=frame))

    async def interrupt(self, to: State = "listen", frame: int | None = None) -> None:
        """Stop talking at once."""
        await self._say(message("interrupt", to=to, frame=frame))

    async def seek(self, motion: ReceivedMotion | Mapping[str, Any], frame: int | None = None) -> None:
        """The avatar is elsewhere than the stream: go on from the end of this motion."""
        await self._say(seek_message(motion, frame))

    async def acknowledge(self, frame: int) -> None:
        """The frame on the screen; a player says so once a second."""
        await self._say(message("ack", frame=frame))

    async def pause(self) -> None:
        """Playing stops; no more chunks come until :meth:`resume`."""
        await self._say(message("pause"))

    async def resume(self) -> None:
        """Playing goes on."""
        await self._say(message("resume"))

    async def stop(self, to: Literal["idle"] | None = None, frame: int | None = None) -> None:
        """The end: at once, or ("idle") in a neutral stance. Iterating goes on until then."""
        await self._say(message("stop", to=to, frame=frame))

    async def close(self) -> None:
        """Leave; whoever iterates comes to the end."""
        self._state.has_ended = True
        await self._disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _say(self, text: str) -> None:
        """Send now; what is said to a broken stream is lost, but for its prompt."""
        from websockets.exceptions import ConnectionClosed

        if self._socket is not None:
            try:
                await self._socket.send(text)
            except ConnectionClosed:
                pass  # whoever iterates takes it up again

    async def _do(self, step: StreamStep) -> StreamOutcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        return await (self._connect(step.start) if isinstance(step, Connect) else self._receive())

    async def _connect(self, start: str) -> StreamOutcome:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        await self._disconnect()
        try:
            socket = connect(
                self._state.url,
                additional_headers=self._state.headers(),
                compression=None,
                open_timeout=CONNECT_S,
                max_size=MAX_MESSAGE,
                ping_interval=PING_S,
                ping_timeout=PING_S,
            )
            self._socket = await self._open.enter_async_context(socket)
            await self._socket.send(start)
        except InvalidStatus as refused:
            return Lost(str(refused), refusal_to_error(refused))
        except (OSError, WebSocketException) as error:
            return Lost(type(error).__name__)
        return None

    async def _disconnect(self) -> None:
        self._socket = None
        await self._open.aclose()

    async def _receive(self) -> StreamOutcome:
        from websockets.exceptions import ConnectionClosed

        if self._socket is None:
            return Lost("it was closed")
        try:
            text = await self._socket.recv()
        except ConnectionClosed as closed:
            return Lost(type(closed).__name__)
        return text if isinstance(text, str) else text.decode()
