"""A live stream that blocks: an iterator of chunks that can be steered meanwhile."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from motion_service.client_exchange import CONNECT_S, run_steps
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
    from websockets.sync.client import ClientConnection

    from motion_service.client_motion import ReceivedMotion
    from motion_service.speak_schemas import Emotion, State


class MotionStream(StreamFacts):
    """Motion without an end: iterate over it for chunks of frames, a little ahead of when they are to be seen.

    It connects at the first chunk and is a context manager. While one thread iterates, another may steer. A stream that
    breaks is taken up again where it was. An error of the service is raised where the next chunk was awaited; unless
    the stream has ended with it, iterating may go on.
    """

    def __init__(self, state: StreamState) -> None:
        self._state = state
        self._open = ExitStack()
        self._socket: ClientConnection | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MotionChunk:
        chunk = run_steps(self._state.next_chunk(), self._do)
        if chunk is None:
            self.close()
            raise StopIteration
        return chunk

    def set_prompt(self, text: str, at: At = "now", frame: int | None = None) -> None:
        """Another text: now, "next" (after what is made already), or at a time of the stream in seconds.

        Empty: back to idle. ``frame``: the one on the screen, which lets the service react sooner.
        """
        self._say(self._state.say_prompt(text, at, frame))

    def speak(self, text: str, **fields: Any) -> None:
        """Say a text; ``fields`` as in :class:`~motion_service.stream_schemas.Speak`."""
        self._say(message("speak", text=text, **fields))

    def set_state(self, to: State, emotion: Emotion | None = None, frame: int | None = None) -> None:
        """What the body does by itself until something else is asked for."""
        self._say(message("state", to=to, emotion=emotion, frame=frame))

    def interrupt(self, to: State = "listen", frame: int | None = None) -> None:
        """Stop talking at once."""
        self._say(message("interrupt", to=to, frame=frame))

    def seek(self, motion: ReceivedMotion | Mapping[str, Any], frame: int | None = None) -> None:
        """The avatar is elsewhere than the stream: go on from the end of this motion."""
        self._say(seek_message(motion, frame))

    def acknowledge(self, frame: int) -> None:
        """The frame on the screen; a player says so once a second."""
        self._say(message("ack", frame=frame))

    def pause(self) -> None:
        """Playing stops; no more chunks come until :meth:`resume`."""
        self._say(message("pause"))

    def resume(self) -> None:
        """Playing goes on."""
        self._say(message("resume"))

    def stop(self, to: Literal["idle"] | None = None, frame: int | None = None) -> None:
        """The end: at once, or ("idle") in a neutral stance. Iterating goes on until then."""
        self._say(message("stop", to=to, frame=frame))

    def close(self) -> None:
        """Leave; whoever iterates comes to the end."""
        self._state.has_ended = True
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, text: str) -> None:
        """Send now; what is said to a broken stream is lost, but for its prompt."""
        from websockets.exceptions import ConnectionClosed

        if self._socket is not None:
            try:
                self._socket.send(text)
            except ConnectionClosed:
                pass  # whoever iterates takes it up again

    def _do(self, step: StreamStep) -> StreamOutcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return self._connect(step.start) if isinstance(step, Connect) else self._receive()

    def _connect(self, start: str) -> StreamOutcome:
        from websockets.exceptions import InvalidStatus, WebSocketException
        from websockets.sync.client import connect

        self._disconnect()
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
            self._socket = self._open.enter_context(socket)
            self._socket.send(start)
        except InvalidStatus as refused:
            return Lost(str(refused), refusal_to_error(refused))
        except (OSError, WebSocketException) as error:
            return Lost(type(error).__name__)
        return None

    def _disconnect(self) -> None:
        self._socket = None
        self._open.close()

    def _receive(self) -> StreamOutcome:
        from websockets.exceptions import ConnectionClosed

        if self._socket is None:
            return Lost("it was closed")
        try:
            text = self._socket.recv()
        except ConnectionClosed as closed:
            return Lost(type(closed).__name__)
        return text if isinstance(text, str) else text.decode()
