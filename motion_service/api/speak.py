"""Talking: ``POST /v1/motion/speak`` makes the motion of somebody who says a text."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from motion_service.api.answering import Answering
from motion_service.api.idempotency import IdempotencyKey
from motion_service.api.problem import problem_responses
from motion_service.jobs import Jobs
from motion_service.speak_schemas import SpeakRequest, SpeakResponse


def speak_routes(jobs: Jobs, answering: Answering) -> APIRouter:
    """The route around one pipeline."""
    router = APIRouter(tags=["motion"])

    @router.post(
        "/v1/motion/speak",
        response_model=SpeakResponse,
        responses=problem_responses(400, 401, 413, 422, 429, 500, 503, 504),
    )
    async def speak(body: SpeakRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """Motion of somebody who says a text: gestures on its beats, nods, actions at their places, then rest."""
        request_id = request.state.request_id
        return await answering.respond(
            request, body, key, lambda wish, job: jobs.generate(wish, "generate", request_id, job)
        )

    return router
