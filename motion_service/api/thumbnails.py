"""Pictures of jobs for lists: drawn when somebody looks at them, one at a time, the latest kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from motion_service.errors import BadRequest, NotFound
from motion_service.export.read import json_to_clip
from motion_service.export.thumbnail import clip_to_thumbnail
from motion_service.store import ArtifactStore

KEPT: Final = 256
"""Pictures remembered, about 3 kB each."""


class Thumbnails:
    """Draws from the JSON file of a job."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._drawing = asyncio.Semaphore(1)

    async def get(self, job_id: str) -> bytes:
        """The picture of a job whose file is there. Raises :class:`NotFound`."""
        async with self._drawing:
            if job_id not in self._pictures:
                self._pictures[job_id] = await asyncio.to_thread(self._draw, job_id)
                while len(self._pictures) > KEPT:
                    self._pictures.popitem(last=False)
            return self._pictures[job_id]

    def _draw(self, job_id: str) -> bytes:
        try:
            clip = json_to_clip(self._store.read(job_id, "vrm-json"))
        except BadRequest as error:
            raise NotFound("there is no picture of this job") from error
        return clip_to_thumbnail(clip)
