"""Editing: ``POST /v1/motion/edit`` makes a part of a clip anew, a gap in time or the upper body."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from motion_service.api.answering import MOTION_RESPONSES, Answering
from motion_service.api.idempotency import IdempotencyKey
from motion_service.edit_schemas import EditRequest
from motion_service.jobs import Jobs
from motion_service.schemas import MotionResponse

EDIT_PATH = "/v1/motion/edit"


def edit_routes(jobs: Jobs, answering: Answering) -> APIRouter:
    """The route around one pipeline."""
    router = APIRouter(tags=["motion"])

    @router.post(EDIT_PATH, response_model=MotionResponse, responses=MOTION_RESPONSES)
    async def edit(body: EditRequest, request: Request, key: IdempotencyKey = None) -> Response:
        """A clip of your own with a part made anew. A failure is an error, never a placeholder."""
        request_id = request.state.request_id
        return await answering.respond(request, body, key, lambda wish, job: jobs.edit(wish, request_id, job))

    return router
