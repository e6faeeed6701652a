"""Probes for whoever keeps the process running, and metrics for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from motion_service import metrics
from motion_service.api.lifecycle import Lifecycle
from motion_service.api.problem import problem_response, problem_responses
from motion_service.jobs import Jobs

Facts = Callable[[], Mapping[str, Any]]


def status_routes(jobs: Jobs, lifecycle: Lifecycle, engine_facts: Facts, *, is_open: bool) -> APIRouter:
    """The routes; ``is_open``: no keys are asked for, so they may tell more than a status."""
    router = APIRouter(tags=["status"])

    @router.get("/health", responses=problem_responses(503))
    async def health(request: Request) -> Response:
        """Whether the process answers; without keys also what is loaded."""
        if lifecycle.phase != "serving":
            return _refusal(request)
        facts = {
            "providers": sorted(jobs.pipeline.sources),
            "placeholder": jobs.pipeline.placeholder is not None,
            "requests": jobs.pipeline.admission.inside,
            "engine": lifecycle.condition(),
            "artifacts": jobs.storage,
        }
        return JSONResponse({"status": "ok", **(facts if is_open else {})})

    @router.get("/livez")
    async def alive() -> JSONResponse:
        """The process answers. Touches no model; a process that does not say this is to be killed."""
        return JSONResponse({"status": "ok"})

    @router.get("/startupz", responses=problem_responses(503))
    async def started(request: Request) -> Response:
        """200 once the models are loaded and warm."""
        return _refusal(request) if lifecycle.phase == "starting" else JSONResponse({"status": "ok"})

    @router.get("/readyz", responses=problem_responses(503))
    async def ready(request: Request) -> Response:
        """Whether to send work here; without keys also how each model runs, and why not faster where that is so."""
        if lifecycle.problem() is not None:
            return _refusal(request)
        facts = {"engine": {**engine_facts()}, "artifacts": jobs.storage}
        return JSONResponse({"status": "ok", **(facts if is_open else {})})

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problem_responses(401)},
    )
    async def tell_metrics() -> Response:
        """Counters and timings in Prometheus' text format."""
        return Response(metrics.exposition(), media_type=metrics.MEDIA_TYPE)

    def _refusal(request: Request) -> Response:
        problem = lifecycle.problem()
        assert problem is not None
        return problem_response(problem, request.scope)

    return router
