"""The routes of the Diagnostics page: how the service is, what happens in it, pictures of jobs and a benchmark."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import orjson
from fastapi import APIRouter, WebSocket
from fastapi.responses import Response
from starlette.websockets import WebSocketDisconnect

from motion_service.api.problem import problem_response, problem_responses
from motion_service.api.security import check_origin
from motion_service.api.thumbnails import Thumbnails
from motion_service.api.websocket import PROTOCOL
from motion_service.diagnostics import Diagnostics
from motion_service.diagnostics_benchmark import Benchmark
from motion_service.diagnostics_schemas import BenchmarkOut, DiagnosticsOut
from motion_service.errors import MotionError
from motion_service.events import Event
from motion_service.export.thumbnail import MEDIA_TYPE
from motion_service.jobs import JobRecord, Jobs

TICK_S: Final = 0.1
"""How often progress is told."""
SEND_S: Final = 10.0
"""A client that takes nothing for so long is given up."""
_TRY_LATER: Final = 1013  # the IANA registry of close codes


def diagnostics_routes(diagnostics: Diagnostics, benchmark: Benchmark, origins: tuple[str, ...]) -> APIRouter:
    """``/v1/diagnostics`` and what belongs to it."""
    router = APIRouter(tags=["diagnostics"])
    jobs = diagnostics.jobs
    thumbnails = Thumbnails(jobs.pipeline.store)

    @router.get("/v1/diagnostics", response_model=DiagnosticsOut, responses=problem_responses(401))
    async def get_diagnostics() -> dict[str, Any]:
        """How the service is: engines, queue, batches, times, memory, streams."""
        return diagnostics.to_wire()

    @router.get("/v1/diagnostics/benchmark", response_model=BenchmarkOut, responses=problem_responses(401))
    async def get_benchmark() -> dict[str, Any]:
        """The latest benchmark, and whether one is under way."""
        return await asyncio.to_thread(benchmark.to_wire)

    @router.post(
        "/v1/diagnostics/benchmark", status_code=202, response_model=BenchmarkOut, responses=problem_responses(401)
    )
    async def run_benchmark() -> dict[str, Any]:
        """Begin a benchmark of every loaded engine, unless one is under way. GET tells how far it is."""
        benchmark.start()
        return benchmark.to_wire()

    @router.get(
        "/v1/motion/jobs/{job_id}/thumbnail",
        response_class=Response,
        responses={200: {"content": {MEDIA_TYPE: {}}}, **problem_responses(401, 404, 503)},
    )
    async def get_thumbnail(job_id: str) -> Response:
        """A small picture of the poses of a job."""
        picture = await thumbnails.get(job_id)
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(picture, media_type=MEDIA_TYPE, headers=headers)

    @router.websocket("/v1/diagnostics/events")
    async def events(socket: WebSocket) -> None:
        """Jobs as they wait, are made, and end."""
        with contextlib.ExitStack() as holding:
            try:
                check_origin(socket.headers, origins)
                reader = holding.enter_context(jobs.events.reading())
            except MotionError as error:
                return await socket.send_denial_response(problem_response(error, socket.scope))
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
            watch = Watch(jobs)
            leaving = asyncio.create_task(_until_left(socket))
            try:
                while not leaving.done():
                    told = [*watch.note(await reader.take(TICK_S)), *watch.changes()]
                    await _send(socket, told)
            except WebSocketDisconnect:
                pass
            finally:
                leaving.cancel()

    return router


class Watch:
    """What one client knows of running jobs, and what has changed since."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._known: dict[str, tuple[int, int, int]] = {}
        """{job id: position, steps done, steps in all}"""

    def note(self, events: list[Event]) -> list[Event]:
        """Take note of what is told anyway."""
        for event in events:
            if event["type"] == "job_queued":
                self._known[event["job_id"]] = (event["position"], 0, 0)
            elif "job_id" in event:
                self._known.pop(event["job_id"], None)
        return events

    def changes(self) -> Iterator[Event]:
        """Positions and steps that the client does not know yet."""
        running = self._jobs.running()
        gone = self._known.keys() - {record.job_id for record in running}
        for job_id in gone:
            del self._known[job_id]
        positions = self._jobs.positions()
        for record in running:
            now = job_progress(record, positions[record.job_id])
            state = (now["position"], now["done"], now["steps"])
            before = self._known.get(record.job_id)
            if state == before or (before is not None and now["done"] == 0 and state[0] == before[0]):
                continue
            self._known[record.job_id] = state
            name = {"v": 1, "job_id": record.job_id, "request_id": record.request_id}
            if now["done"]:
                yield {**name, "type": "job_step", **now}
            else:
                yield {**name, "type": "job_queued", "position": now["position"]}


def job_progress(record: JobRecord, position: int) -> dict[str, int]:
    """Fields of :class:`~motion_service.job_schemas.JobProgress` of a job that runs."""
    progress = record.progress
    done, steps = (progress.done, progress.steps) if progress is not None else (0, 0)
    return {"position": position, "done": done, "steps": steps}


async def _until_left(socket: WebSocket) -> None:
    """Clients have nothing to say here."""
    with contextlib.suppress(WebSocketDisconnect):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def _send(socket: WebSocket, events: list[Event]) -> None:
    try:
        async with asyncio.timeout(SEND_S):
            for event in events:
                await socket.send_text(orjson.dumps(event).decode())
    except TimeoutError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await socket.close(_TRY_LATER, "the client does not read")
        raise WebSocketDisconnect(_TRY_LATER) from None
