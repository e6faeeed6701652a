"""Live streams over WebSocket, and one way as server-sent events. The session does the work; here are only sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgpack
import orjson
from fastapi import APIRouter, Query, WebSocket
from fastapi.responses import StreamingResponse
from starlette.websockets import WebSocketDisconnect

from motion_service.api.problem import problem_response, problem_responses
from motion_service.api.security import check_origin
from motion_service.errors import BadRequest, MotionError, PayloadTooLarge
from motion_service.export.chunk import frames_to_json, frames_to_msgpack
from motion_service.schemas import MAX_PROMPT, MAX_SEED, Provider
from motion_service.stream_change import error_to_problem
from motion_service.stream_pace import ChunkOut, Outgoing
from motion_service.stream_schemas import (
    MAX_MESSAGE,
    Ack,
    Encoding,
    Pause,
    Resume,
    Start,
    read_message,
)
from motion_service.streams import OpenStream, Streams
from motion_service.telemetry import log_event

PROTOCOL: Final = "motion.v1"
"""Subprotocol of pages, which offer their key as another one."""
START_S: Final = 10.0
"""How long a client may take to say ``start``."""
SEND_S: Final = 10.0
"""A client that takes nothing for so long is given up."""
LINGER_S: Final = 1.0
"""How long after ``stopped`` the client may close by itself: what it still says is no error."""
MAX_FAULTS: Final = 20
"""Messages that a client may get wrong."""
NORMAL, TOO_LARGE, POLICY, TRY_LATER = 1000, 1009, 1008, 1013  # RFC 6455, section 7.4.1, and the IANA registry


def stream_routes(streams: Streams, origins: tuple[str, ...]) -> APIRouter:
    """``WS`` and ``GET /v1/motion/stream``."""
    router = APIRouter(tags=["stream"])

    @router.websocket("/v1/motion/stream")
    async def stream(socket: WebSocket) -> None:
        """Motion without an end: docs/stream.md."""
        with contextlib.ExitStack() as holding:
            try:
                check_origin(socket.headers, origins)
                holding.enter_context(streams.enter())
            except MotionError as error:
                return await socket.send_denial_response(problem_response(error, socket.scope))
            offered = socket.scope.get("subprotocols", ())
            await socket.accept(PROTOCOL if PROTOCOL in offered else None)
            with contextlib.suppress(WebSocketDisconnect):
                await _Connection(socket, streams).serve()

    @router.get(
        "/v1/motion/stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **problem_responses(401, 422, 429, 503)},
    )
    async def listen(
        prompt: Annotated[str, Query(max_length=MAX_PROMPT)] = "",
        provider: Provider = "auto",
        seed: Annotated[int | None, Query(ge=0, le=MAX_SEED)] = None,
        fps: Annotated[float, Query(ge=5, le=120)] = 20.0,
        target: Literal["vrm1", "vrm0"] = "vrm1",
        avatar: str | None = None,
        root: Literal["free", "bounded", "in_place"] = "free",
        lead_sec: Annotated[float, Query(ge=0.3, le=5)] = 1.0,
        seconds: Annotated[float | None, Query(gt=0, le=86_400)] = None,
    ) -> StreamingResponse:
        """The same messages one way, as server-sent events, in real time; ``seconds`` ends the stream."""
        asked = {"prompt": prompt, "provider": provider, "seed": seed, "fps": fps, "target": target, "avatar": avatar}
        message = read_message({"type": "start", **asked, "root": root, "lead_sec": lead_sec})
        assert isinstance(message, Start)
        holding = contextlib.ExitStack()
        holding.enter_context(streams.enter())
        try:
            stream = await streams.open(message)
        except BaseException:
            holding.close()
            raise
        return StreamingResponse(
            _events(stream, streams, holding, seconds),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


class _Connection:
    """One accepted socket."""

    def __init__(self, socket: WebSocket, streams: Streams) -> None:
        self._socket = socket
        self._streams = streams
        self._encoding: Encoding = "json"
        self._faults = 0

    async def serve(self) -> None:
        """From ``start`` to the end."""
        stream = await self._open()
        if stream is None:
            return
        await self._send(stream.started)
        session = stream.session
        making = asyncio.create_task(session.run())
        writing = asyncio.create_task(self._write(stream))
        reading = asyncio.create_task(self._read(stream))
        tasks = (making, writing, reading)
        try:
            with self._streams.running(stream):
                done, _ = await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
            if writing in done and writing.exception() is None and not reading.done():
                await making
                await asyncio.wait((reading,), timeout=LINGER_S)
                if not reading.done():
                    await self._socket.close(NORMAL)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            log_event("stream ended", provider=session.source.name, counts=_counts(stream))

    async def _open(self) -> OpenStream | None:
        """The stream that the first message asks for; None when it asks for none that there can be."""
        try:
            async with asyncio.timeout(START_S):
                message = self._parse(await self._receive())
            if not isinstance(message, Start):
                raise BadRequest("the first message is start", field="type")
            self._encoding = message.encoding
            return await self._streams.open(message)
        except TimeoutError:
            await self._socket.close(POLICY, "start did not come")
        except MotionError as error:
            await self._complain(error)
            await self._socket.close(TOO_LARGE if isinstance(error, PayloadTooLarge) else POLICY, error.problem)
        return None

    # --- in -----------------------------------------------------------------------------------------------------------

    async def _read(self, stream: OpenStream) -> None:
        """What the client says, until it leaves."""
        session = stream.session
        while True:
            try:
                message = self._parse(await self._receive())
                if isinstance(message, Ack):
                    session.acknowledge(message.frame)
                elif isinstance(message, Pause):
                    session.pause()
                elif isinstance(message, Resume):
                    session.resume()
                elif isinstance(message, Start):
                    raise BadRequest("this stream has begun: open another socket", field="type")
                else:
                    await self._streams.change(session, message)
            except MotionError as error:
                self._faults += 1
                if self._faults > MAX_FAULTS or isinstance(error, PayloadTooLarge):
                    await self._complain(error)
                    return await self._socket.close(TOO_LARGE if isinstance(error, PayloadTooLarge) else POLICY)
                session.complain(error)

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", NORMAL))
        text = message.get("text")
        content: str | bytes = message["bytes"] if text is None else text
        if len(content) > MAX_MESSAGE:
            raise PayloadTooLarge(f"a message has at most {MAX_MESSAGE} bytes")
        return content

    def _parse(self, content: str | bytes) -> Any:
        try:
            fields = orjson.loads(content) if isinstance(content, str) else msgpack.unpackb(content)
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            raise BadRequest("a message is JSON as text, or msgpack as bytes", field="type") from error
        return read_message(fields)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def _write(self, stream: OpenStream) -> None:
        """What the session has to say, until it ends or the client does not listen."""
        while (message := await stream.session.outbox.get()) is not None:
            await self._send(message)

    async def _send(self, message: Outgoing) -> None:
        content = encode_message(message, self._encoding)
        try:
            async with asyncio.timeout(SEND_S):
                if isinstance(content, str):
                    await self._socket.send_text(content)
                else:
                    await self._socket.send_bytes(content)
        except TimeoutError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._socket.close(TRY_LATER, "the client does not read")
            raise WebSocketDisconnect(TRY_LATER) from None

    async def _complain(self, error: MotionError) -> None:
        await self._send({"v": 1, "type": "error", "problem": error_to_problem(error, "")})


def encode_message(message: Outgoing, encoding: Encoding) -> str | bytes:
    """A message as it goes over the wire: JSON as text, msgpack as bytes."""
    if not isinstance(message, ChunkOut):
        return orjson.dumps(message).decode() if encoding == "json" else bytes(msgpack.packb(message))
    head = _chunk_head(message)
    if encoding == "msgpack":
        return frames_to_msgpack(message.frames, head)
    return frames_to_json(message.frames, head, message.first_frame, message.fps).decode()


def _chunk_head(chunk: ChunkOut) -> Mapping[str, Any]:
    count = len(chunk.frames)
    head = {
        "v": 1,
        "type": "chunk",
        "index": chunk.index,
        "revision": chunk.revision,
        "first_frame": chunk.first_frame,
        "n": count,
        "frames": count,
        "fps": chunk.fps,
        "t0": round(chunk.first_frame / chunk.fps, 5),
        "generator": chunk.generator,
    }
    return head if chunk.resume_token is None else {**head, "resume_token": chunk.resume_token}


async def _events(
    stream: OpenStream, streams: Streams, holding: contextlib.ExitStack, seconds: float | None
) -> AsyncIterator[str]:
    """The messages of a stream as server-sent events."""
    session = stream.session
    making = asyncio.create_task(session.run())
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, session.stop)
    with holding, streams.running(stream):
        try:
            yield _event(stream.started)
            while (message := await session.outbox.get()) is not None:
                yield _event(message)
            await making
        finally:
            making.cancel()


def _event(message: Outgoing) -> str:
    kind = "chunk" if isinstance(message, ChunkOut) else message["type"]
    return f"event: {kind}\ndata: {encode_message(message, 'json')!s}\n\n"


def _counts(stream: OpenStream) -> dict[str, int]:
    counts = stream.session.counts
    return {"chunks": counts.chunks, "late": counts.late_chunks, "gaps": counts.gaps, "changes": counts.changes}
