"""Upload of avatars: ``POST /v1/avatars`` takes a ``.vrm`` and answers an id that requests for motion can name.

A file goes by way of the disk in small pieces and is read as data by :mod:`motion_service.vrm.avatar`, one at a time.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import Any, BinaryIO, Final

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from motion_service.api.problem import problem_responses
from motion_service.avatar_schemas import AvatarOut, RestPoseOut
from motion_service.errors import BadRequest, QueueFull, StorageFailed
from motion_service.vrm.avatar import Avatar, read_avatar
from motion_service.vrm.shelf import AvatarShelf

AVATARS_PATH: Final = "/v1/avatars"
MAX_UPLOADS: Final = 4
"""Uploads under way at once; one more is asked to come again."""
UPLOAD_SECONDS: Final = 300.0
"""Longest time that an upload may take."""
_MEMORY: Final = 2**20  # bytes of a file before it goes to disk
_MAX_FIELDS: Final = 8
_MAX_FIELD: Final = 4096  # bytes

_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": _FILE,
            "model/gltf-binary": _FILE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


def avatar_routes(shelf: AvatarShelf) -> APIRouter:
    """The routes around one shelf."""
    router = APIRouter(tags=["avatars"])
    door = _Door()

    @router.post(
        AVATARS_PATH,
        status_code=201,
        response_model=AvatarOut,
        responses={
            200: {"model": AvatarOut, "description": "Known already"},
            **problem_responses(401, 413, 422, 429, 507),
        },
        openapi_extra=_REQUEST_BODY,
    )
    async def upload_avatar(request: Request, response: Response) -> AvatarOut:
        """Read a .vrm file (0.x or 1.0): send it as the body, or as the one file of a form."""
        with door.enter():
            async with _receive_file(request) as file, door.reading:
                avatar = await asyncio.to_thread(read_avatar, file)
        is_new = await asyncio.to_thread(shelf.put, avatar)
        response.status_code = 201 if is_new else 200
        return _to_wire(avatar)

    @router.get(AVATARS_PATH + "/{avatar_id}", response_model=AvatarOut, responses=problem_responses(401, 404, 503))
    async def get_avatar(avatar_id: str) -> AvatarOut:
        """What is known of an avatar that was uploaded."""
        return _to_wire(await asyncio.to_thread(shelf.get, avatar_id))

    return router


class _Door:
    """Bounds how many uploads are under way, and lets one at a time be read, which bounds memory."""

    def __init__(self) -> None:
        self._inside = 0
        self.reading = asyncio.Semaphore(1)

    @contextmanager
    def enter(self) -> Iterator[None]:
        if self._inside >= MAX_UPLOADS:
            raise QueueFull(f"{MAX_UPLOADS} avatars are being uploaded: try again soon", retry_after_s=5.0)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


@asynccontextmanager
async def _receive_file(request: Request) -> AsyncIterator[BinaryIO]:
    """The file that is sent, whole and at its beginning; gone from the disk afterwards."""
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY) as spool:
        try:
            yield await _receive(request, spool)
        finally:
            await request.close()  # a form has spools of its own


async def _receive(request: Request, spool: tempfile.SpooledTemporaryFile[bytes]) -> BinaryIO:
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            return await _receive_form(request) if is_form else await _receive_body(request, spool)
    except TimeoutError as error:
        raise BadRequest(f"the upload took longer than {UPLOAD_SECONDS:g} s", field="avatar") from error
    except ClientDisconnect as error:
        raise BadRequest("the upload was broken off", field="avatar") from error
    except OSError as error:
        raise StorageFailed("there is no room for the upload") from error


async def _receive_body(request: Request, spool: tempfile.SpooledTemporaryFile[bytes]) -> BinaryIO:
    async for piece in request.stream():
        await asyncio.to_thread(spool.write, piece)
    spool.seek(0)
    return spool  # type: ignore[return-value]  # it has what BinaryIO has


async def _receive_form(request: Request) -> BinaryIO:
    try:
        form = await request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD)
    except HTTPException as error:  # Starlette's answer to a form that it cannot read
        raise BadRequest("send a form with one file in it, or the file as the body", field="avatar") from error
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    if len(files) != 1:
        raise BadRequest("the form holds no file: send a .vrm in it, or as the body", field="avatar")
    return files[0].file


def _to_wire(avatar: Avatar) -> AvatarOut:
    return AvatarOut(
        id=avatar.id,
        name=avatar.name,
        vrm_version=avatar.vrm_version,
        bones=list(avatar.bones),
        missing_optional=list(avatar.missing_optional),
        hips_height=avatar.hips_height,
        rest_pose=RestPoseOut(**asdict(avatar.rest_pose)),
        expressions=list(avatar.expressions),
        look_at=avatar.has_look_at,
        warnings=list(avatar.warnings),
    )
