"""A motion as clients hand it on: its fields, typed; its files; what it remembers of how it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import PrivateAttr, ValidationError

from motion_service.errors import ClientError, UnsupportedFormat
from motion_service.schemas import MotionResponse

if TYPE_CHECKING:
    from motion_service.client import MotionClient
    from motion_service.client_async import AsyncMotionClient

FORMATS: Final[Mapping[str, str]] = {
    ".json": "vrm-json",
    ".vrma": "vrma",
    ".bvh": "bvh",
    ".npy": "npy",
    ".mp4": "mp4",
}
"""Format of a file by the suffix of its name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a motion answers."""

    path: str
    fields: Mapping[str, Any]
    request_id: str


class ReceivedMotion(MotionResponse):
    """A motion: the fields of :class:`~motion_service.schemas.MotionResponse`, and the answer as it was sent."""

    _body: bytes = PrivateAttr(default=b"")
    _asked: Asked = PrivateAttr(default=Asked("", {}, ""))

    @property
    def body(self) -> bytes:
        """The answer as it was sent: JSON, what ``save`` writes to a ``.json`` file."""
        return self._body

    @property
    def asked(self) -> Asked:
        """The request that this motion answers."""
        return self._asked

    @property
    def request_id(self) -> str:
        """Id of the request that made it; the service's log lines have it too."""
        return self._asked.request_id

    @property
    def is_local(self) -> bool:
        """Whether the client made it itself, because the service did not (``fallback="local"``)."""
        return not self.job_id


class Motion(ReceivedMotion):
    """A motion: ``tracks``, ``root_position``, ``fps``, ``duration_sec``, ``metadata`` and the other fields of
    :class:`~motion_service.schemas.MotionResponse`, typed. Quaternions xyzw, metres, seconds.
    """

    _client: MotionClient = PrivateAttr()

    def save(self, path: Path | str, *, timeout_s: float | None = None) -> Path:
        """Write it to a file, in the format that the name ends in: .json .vrma .bvh .npy .mp4.

        All but JSON come from the service, once they are made; see ``MotionClient.file``. Raises OSError too.
        """
        path = Path(path)
        path.write_bytes(self._client.file(self, path_to_format(path), timeout_s=timeout_s))
        return path

    def as_vrma(self, *, timeout_s: float | None = None) -> bytes:
        """It as a VRM animation file."""
        return self._client.file(self, "vrma", timeout_s=timeout_s)


class AsyncMotion(ReceivedMotion):
    """:class:`Motion` whose files are awaited."""

    _client: AsyncMotionClient = PrivateAttr()

    async def save(self, path: Path | str, *, timeout_s: float | None = None) -> Path:
        """Write it to a file, in the format that the name ends in: .json .vrma .bvh .npy .mp4.

        All but JSON come from the service, once they are made; see ``AsyncMotionClient.file``. Raises OSError too.
        """
        path = Path(path)
        content = await self._client.file(self, path_to_format(path), timeout_s=timeout_s)
        await asyncio.to_thread(path.write_bytes, content)
        return path

    async def as_vrma(self, *, timeout_s: float | None = None) -> bytes:
        """It as a VRM animation file."""
        return await self._client.file(self, "vrma", timeout_s=timeout_s)


SomeMotion = TypeVar("SomeMotion", bound=ReceivedMotion)


def read_motion(kind: type[SomeMotion], body: bytes, asked: Asked) -> SomeMotion:
    """The answer as typed objects. Raises :class:`ClientError` when it is not a motion."""
    try:
        motion = kind.model_validate_json(body)
    except ValidationError as error:
        raise ClientError(f"the answer is not a motion: {error.error_count()} fields are wrong") from error
    motion._body, motion._asked = body, asked
    return motion


def path_to_format(path: Path) -> str:
    """The format that a file name asks for. Raises :class:`UnsupportedFormat`."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(FORMATS)
        raise UnsupportedFormat(f"{path.name}: the name must end in one of {known}", field="path") from None
