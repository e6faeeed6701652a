"""The HTTP routes. They parse, hand on to :class:`~motion_service.jobs.Jobs`, and send bytes that are already made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.middleware.cors import CORSMiddleware

from motion_service import metrics
from motion_service.api.answering import MOTION_RESPONSES, Answering
from motion_service.api.avatars import avatar_routes
from motion_service.api.description import describe_completely
from motion_service.api.diagnostics import diagnostics_routes, job_progress
from motion_service.api.edit import edit_routes
from motion_service.api.files import LeasedFile
from motion_service.api.idempotency import IdempotencyKey
from motion_service.api.lifecycle import Lifecycle, LifecycleMiddleware
from motion_service.api.limits import RateLimit
from motion_service.api.observing import ObserveMiddleware
from motion_service.api.page import find_page, page_routes
from motion_service.api.problem import install_problem_handlers, problem_responses
from motion_service.api.security import BodyLimitMiddleware, KeyMiddleware
from motion_service.api.speak import speak_routes
from motion_service.api.status import status_routes
from motion_service.api.websocket import stream_routes
from motion_service.diagnostics import VERSION, Diagnostics, Engine
from motion_service.diagnostics_benchmark import Benchmark
from motion_service.errors import NotFound
from motion_service.job_schemas import JobList, JobOut
from motion_service.jobs import JobRecord, Jobs
from motion_service.pipeline import Route
from motion_service.schemas import GenerateRequest, MotionResponse
from motion_service.store import ARTIFACT_KINDS, ArtifactStore
from motion_service.streams import Streams

_CORS: Final[Mapping[str, Any]] = {
    "allow_methods": ("GET", "POST"),
    "allow_headers": ("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "X-Request-Id", "traceparent"),
    "expose_headers": ("X-Request-Id", "X-Job-Id", "X-Motion-Generator", "X-Motion-Fallback", "Retry-After", "Link"),
}
"""What pages of the allowed origins may do. Never with cookies: there are none."""


Hook = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    pass


def create_app(
    jobs: Jobs,
    keys: tuple[str, ...] = (),
    on_start: Hook = _nothing,
    on_stop: Hook = _nothing,
    worker: Engine | None = None,
    *,
    streams: Streams | None = None,
    origins: tuple[str, ...] = (),
    lifecycle: Lifecycle | None = None,
    rate_limit: float = 0.0,
    records: Path | None = None,
) -> FastAPI:
    """The application around a ready pipeline. ``on_start`` (warm-up) runs before the first request is taken, the port
    open already; ``worker``: the thread of the models, of which is told how they run.

    ``streams``: open streams, by default as many as there may be; ``origins``: pages of elsewhere that may use it;
    ``rate_limit``: requests of one key a minute, 0 = as many as it likes; ``records``: where the benchmark is kept, by
    default beside the files of jobs.
    """
    lifecycle, streams = lifecycle or Lifecycle(), streams or Streams(jobs.pipeline, keys=keys)
    benchmark = Benchmark(jobs, (records or _beside(jobs.pipeline.store)) / "benchmark.json")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await lifecycle.start(on_start)
        yield
        await lifecycle.stop()
        await benchmark.stop()
        await asyncio.to_thread(jobs.close)
        await on_stop()

    app = FastAPI(
        title="Motion service",
        version=VERSION,
        summary="Text to VRM motion",
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be built from the Host header, which anybody can send
    )
    install_problem_handlers(app)
    answering, page = Answering(jobs.pipeline.store, jobs.pipeline.defaults), find_page()
    for routes in (_motion_routes, edit_routes, speak_routes):
        app.include_router(routes(jobs, answering))
    app.include_router(stream_routes(streams, origins))
    app.include_router(diagnostics_routes(Diagnostics(jobs, streams, worker), benchmark, origins))
    app.include_router(status_routes(jobs, lifecycle, worker.facts if worker else dict, is_open=not keys))
    app.include_router(_artifact_routes(jobs.pipeline.store))
    app.include_router(avatar_routes(jobs.pipeline.avatars))
    app.include_router(page_routes(page))
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(LifecycleMiddleware, lifecycle=lifecycle)
    if keys:
        limit, is_signed = RateLimit(rate_limit), jobs.pipeline.store.is_signed
        app.add_middleware(KeyMiddleware, keys=keys, limit=limit, is_signed=is_signed, open_paths=page.paths)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, **_CORS)
    app.add_middleware(ObserveMiddleware)
    describe_completely(app)
    _look_at(jobs, streams, lifecycle)
    return app


def _beside(store: ArtifactStore) -> Path:
    """Where the files of jobs lie, or of a bucket the working directory."""
    return Path() if store.output_dir is None else store.output_dir.parent


def _look_at(jobs: Jobs, streams: Streams, lifecycle: Lifecycle) -> None:
    """What metrics ask when they are asked."""
    metrics.look_at(
        {
            "inflight": lambda: jobs.pipeline.admission.inside,
            "streams_active": lambda: streams.places.inside,
            "ready": lambda: float(lifecycle.problem() is None),
        }
    )


def _motion_routes(jobs: Jobs, answering: Answering) -> APIRouter:
    router = APIRouter(tags=["motion"])

    async def answer(body: GenerateRequest, request: Request, key: str | None, route: Route) -> Response:
        request_id = request.state.request_id
        return await answering.respond(
            request, body, key, lambda wish, job: jobs.generate(wish, route, request_id, job)
        )

    @router.post("/v1/motion/generate", response_model=MotionResponse, responses=MOTION_RESPONSES)
    async def generate(body: GenerateRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """Motion for a prompt from the best loaded model."""
        return await answer(body, request, key, "generate")

    @router.post("/v1/motion/generate/dip", response_model=MotionResponse, responses=MOTION_RESPONSES)
    async def generate_dip(body: GenerateRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """Motion for a prompt from the windowed model, which has no longest length of its own."""
        return await answer(body, request, key, "dip")

    @router.post("/motion/generate", response_model=MotionResponse, responses=MOTION_RESPONSES, deprecated=True)
    async def generate_alias(body: GenerateRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """The older name of /v1/motion/generate."""
        return await answer(body, request, key, "generate")

    @router.get("/v1/motion/jobs", response_model=JobList, responses=problem_responses(401, 422))
    async def list_jobs(limit: Annotated[int, Query(ge=1, le=256)] = 20) -> dict[str, Any]:
        """Recent jobs of this replica, newest first."""
        positions = jobs.positions()
        return {"jobs": [_job_to_wire(record, positions) for record in jobs.recent(limit)]}

    @router.get("/v1/motion/jobs/{job_id}", response_model=JobOut, responses=problem_responses(401, 404, 503))
    async def get_job(job_id: str) -> dict[str, Any]:
        """One job: its state and its files."""
        return _job_to_wire(await asyncio.to_thread(jobs.find, job_id), jobs.positions())

    return router


def _job_to_wire(record: JobRecord, positions: Mapping[str, int]) -> dict[str, Any]:
    return {
        "job_id": record.job_id,
        "state": record.state,
        "created": record.created,
        "request_id": record.request_id,
        "metadata": record.metadata,
        "artifacts": record.artifacts,
        "thumbnail": f"/v1/motion/jobs/{record.job_id}/thumbnail" if record.state == "done" else None,
        "progress": job_progress(record, positions[record.job_id]) if record.progress else None,
    }


def _artifact_routes(store: ArtifactStore) -> APIRouter:
    """The files of jobs, at the URLs that answers name. Only known names under ids made by us; nothing is listed."""
    router = APIRouter(tags=["artifacts"])

    def send_file(job_id: str, kind: str) -> FileResponse:
        return LeasedFile(store, job_id, kind)

    problems = problem_responses(401, 404, 503)

    @router.get(store.url_prefix + "/{job_id}.json", response_class=FileResponse, responses=problems)
    def get_answer(job_id: str) -> FileResponse:
        """The answer of a job, as it was sent."""
        return send_file(job_id, "vrm-json")

    @router.get(store.url_prefix + "/{job_id}/{file_name}", response_class=FileResponse, responses=problems)
    def get_artifact(job_id: str, file_name: str) -> FileResponse:
        """Another file of a job."""
        for kind, known in ARTIFACT_KINDS.items():
            if known.file_name == f"{{job_id}}/{file_name}":
                return send_file(job_id, kind)
        raise NotFound("there is no such artifact")

    return router
