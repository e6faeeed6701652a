"""The HTTP routes. They parse, hand on to :class:`~motion_service.jobs.Jobs`, and send bytes that are already made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from motion_service.api.answering import Answering
from motion_service.api.avatars import avatar_routes
from motion_service.api.edit import edit_routes
from motion_service.api.files import LeasedFile
from motion_service.api.idempotency import IdempotencyKey
from motion_service.api.problem import install_problem_handlers, problem_responses
from motion_service.api.security import BodyLimitMiddleware, KeyMiddleware, RequestIdMiddleware
from motion_service.api.speak import speak_routes
from motion_service.api.websocket import stream_routes
from motion_service.errors import NotFound
from motion_service.jobs import JobRecord, Jobs
from motion_service.pipeline import Route
from motion_service.schemas import GenerateRequest, JobList, JobOut, MotionResponse, Problem
from motion_service.store import ARTIFACT_KINDS, ArtifactStore
from motion_service.streams import Streams

API_VERSION = "1.0.0"
_GENERATE_PROBLEMS = problem_responses(400, 401, 413, 422, 429, 500, 503, 504)


Hook = Callable[[], Awaitable[None]]
Facts = Callable[[], Mapping[str, Any]]


async def _nothing() -> None:
    pass


def create_app(
    jobs: Jobs,
    keys: tuple[str, ...] = (),
    on_start: Hook = _nothing,
    on_stop: Hook = _nothing,
    engine_facts: Facts = dict,
    *,
    streams: Streams | None = None,
    origins: tuple[str, ...] = (),
) -> FastAPI:
    """The application around a ready pipeline. ``on_start`` (warm-up) runs before the first request is taken;
    ``engine_facts``: how models run, told where no keys are asked for.

    ``streams``: open streams, by default as many as there may be; ``origins``: pages that may open one.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await on_start()
        yield
        await asyncio.to_thread(jobs.close)
        await on_stop()

    app = FastAPI(
        title="Motion service",
        version=API_VERSION,
        summary="Text to VRM motion",
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be built from the Host header, which anybody can send
    )
    install_problem_handlers(app)
    answering = Answering()
    app.include_router(_motion_routes(jobs, answering))
    app.include_router(edit_routes(jobs, answering))
    app.include_router(speak_routes(jobs, answering))
    app.include_router(stream_routes(streams or Streams(jobs.pipeline, keys=keys), origins))
    app.include_router(_status_routes(jobs, keys, engine_facts))
    app.include_router(_artifact_routes(jobs.pipeline.store))
    app.include_router(avatar_routes(jobs.pipeline.avatars))
    app.add_middleware(BodyLimitMiddleware)
    if keys:
        app.add_middleware(KeyMiddleware, keys=keys)
    app.add_middleware(RequestIdMiddleware)
    _declare_problem_schema(app)
    return app


def _motion_routes(jobs: Jobs, answering: Answering) -> APIRouter:
    router = APIRouter(tags=["motion"])

    async def answer(body: GenerateRequest, request: Request, key: str | None, route: Route) -> Response:
        request_id = request.state.request_id
        return await answering.respond(request, body, key, lambda wish: jobs.generate(wish, route, request_id))

    @router.post("/v1/motion/generate", response_model=MotionResponse, responses=_GENERATE_PROBLEMS)
    async def generate(body: GenerateRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """Motion for a prompt from the best loaded model."""
        return await answer(body, request, key, "generate")

    @router.post("/v1/motion/generate/dip", response_model=MotionResponse, responses=_GENERATE_PROBLEMS)
    async def generate_dip(body: GenerateRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """Motion for a prompt from the windowed model, which has no longest length of its own."""
        return await answer(body, request, key, "dip")

    @router.post("/motion/generate", response_model=MotionResponse, responses=_GENERATE_PROBLEMS, deprecated=True)
    async def generate_alias(body: GenerateRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """The older name of /v1/motion/generate."""
        return await answer(body, request, key, "generate")

    @router.get("/v1/motion/jobs", response_model=JobList, responses=problem_responses(401, 422))
    async def list_jobs(limit: Annotated[int, Query(ge=1, le=256)] = 20) -> dict[str, Any]:
        """Recent jobs, newest first."""
        return {"jobs": [_job_to_wire(record) for record in jobs.recent(limit)]}

    @router.get("/v1/motion/jobs/{job_id}", response_model=JobOut, responses=problem_responses(401, 404))
    async def get_job(job_id: str) -> dict[str, Any]:
        """One job: its state and its files."""
        return _job_to_wire(jobs.find(job_id))

    return router


def _job_to_wire(record: JobRecord) -> dict[str, Any]:
    return {
        "job_id": record.job_id,
        "state": record.state,
        "created": record.created,
        "request_id": record.request_id,
        "metadata": record.metadata,
        "artifacts": record.artifacts,
    }


def _status_routes(jobs: Jobs, keys: tuple[str, ...], engine_facts: Facts) -> APIRouter:
    router = APIRouter(tags=["status"])

    @router.get("/health")
    async def health() -> JSONResponse:
        """Whether the process answers; without keys also what is loaded."""
        facts = {
            "providers": sorted(jobs.pipeline.sources),
            "placeholder": jobs.pipeline.placeholder is not None,
            "requests": jobs.pipeline.admission.inside,
        }
        return JSONResponse({"status": "ok", **({} if keys else facts)})

    @router.get("/livez")
    @router.get("/startupz")
    async def alive() -> JSONResponse:
        """Answers from the moment the models are loaded and warm."""
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        """The same; without keys also how each model runs, and why not faster where that is so."""
        return JSONResponse({"status": "ok", **({} if keys else {"engine": {**engine_facts()}})})

    return router


def _artifact_routes(store: ArtifactStore) -> APIRouter:
    """The files of jobs, at the URLs that answers name. Only known names under ids made by us; nothing is listed."""
    router = APIRouter(tags=["artifacts"])

    def send_file(job_id: str, kind: str) -> FileResponse:
        return LeasedFile(store, job_id, kind)

    @router.get(store.url_prefix + "/{job_id}.json", response_class=FileResponse, responses=problem_responses(401, 404))
    def get_answer(job_id: str) -> FileResponse:
        """The answer of a job, as it was sent."""
        return send_file(job_id, "vrm-json")

    @router.get(
        store.url_prefix + "/{job_id}/{file_name}", response_class=FileResponse, responses=problem_responses(401, 404)
    )
    def get_artifact(job_id: str, file_name: str) -> FileResponse:
        """Another file of a job."""
        for kind, known in ARTIFACT_KINDS.items():
            if known.file_name == f"{{job_id}}/{file_name}":
                return send_file(job_id, kind)
        raise NotFound("there is no such artifact")

    return router


def _declare_problem_schema(app: FastAPI) -> None:
    """Make the OpenAPI document tell what errors really look like, instead of FastAPI's own validation errors."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        schemas = document["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schemas["Problem"].pop("$defs", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operation in [operation for path in document["paths"].values() for operation in path.values()]:
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]  # a text in a path is never invalid, only not found
        return document

    app.openapi = openapi  # type: ignore[method-assign]
