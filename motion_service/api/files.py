"""Files of jobs, kept from being deleted while they are sent."""

from __future__ import annotations

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from motion_service.errors import NotFound
from motion_service.store import ARTIFACT_KINDS, ArtifactStore


class LeasedFile(FileResponse):
    """A file of a job. Raises :class:`NotFound` where there is none, also when it went a moment ago, and OSError when
    the place where files lie cannot be read."""

    def __init__(self, store: ArtifactStore, job_id: str, kind: str) -> None:
        self._fetched = store.fetch(job_id, kind)
        super().__init__(self._fetched.path, media_type=ARTIFACT_KINDS[kind].media_type)
        self._leases, self._job_id = store.leases, job_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._leases.hold(self._job_id):
            try:
                if not self._fetched.path.is_file():
                    raise NotFound("there is no such artifact")
                await super().__call__(scope, receive, send)
            finally:
                self._fetched.close()
