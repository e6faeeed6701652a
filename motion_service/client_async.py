"""The client library for asyncio; :mod:`motion_service.client` has its twin that blocks, and the explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from motion_service.client_exchange import NoReply, Outcome, Result, Step, Steps, Wait, run_steps_async
from motion_service.client_http import (
    client_options,
    read_upload,
    request_options,
    to_no_reply,
    to_reply,
)
from motion_service.client_settings import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    CallOptions,
    Fallback,
    Route,
    Settings,
)
from motion_service.client_stream import StreamState
from motion_service.client_stream_async import AsyncMotionStream
from motion_service.errors import MotionError

if TYPE_CHECKING:
    from motion_service.avatar_schemas import AvatarOut
    from motion_service.client_motion import AsyncMotion
    from motion_service.job_schemas import JobOut


class AsyncMotionClient:
    """:class:`~motion_service.client.MotionClient` for asyncio. A task that is cancelled closes its connection, and the
    service stops working on it.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        retries: int = 3,
        fallback: Fallback = None,
        transport: Any = None,
    ) -> None:
        """``transport``: an ``httpx.AsyncBaseTransport`` in place of the network."""
        import httpx

        from motion_service.client_methods import Methods
        from motion_service.client_motion import AsyncMotion

        self._settings = Settings(base_url, api_key, timeout_s, retries, fallback)
        self._http = httpx.AsyncClient(**client_options(self._settings, transport))
        self._methods = Methods(self._settings, AsyncMotion)

    async def generate(
        self,
        prompt: str,
        *,
        route: Route = "generate",
        timeout_s: float | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncMotion:
        """Motion for a prompt; ``options`` as in :class:`~motion_service.schemas.MotionOptions`, None = not said."""
        own = CallOptions(timeout_s, request_id, idempotency_key)
        return self._with_me(await self._run(self._methods.generate(prompt, options, route, own)))

    async def edit(
        self,
        clip: AsyncMotion | Mapping[str, Any] | str,
        mode: str,
        prompt: str = "",
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncMotion:
        """A clip (a motion, the id of a job, or a clip as answers hold it) with a part made anew.

        ``mode``: in_between or upper_body; ``options`` as in :class:`~motion_service.edit_schemas.EditRequest`. There
        is no fallback: standing still would spoil the clip.
        """
        own = CallOptions(timeout_s, request_id, idempotency_key)
        fields = {"mode": mode, "prompt": prompt, **options}
        return self._with_me(await self._run(self._methods.edit(clip, fields, own)))

    async def file(self, motion: AsyncMotion, format: str, *, timeout_s: float | None = None) -> bytes:
        """A motion as a file: vrm-json, vrma, bvh, npy, mp4.

        Waits for one that is still being made. One that ``artifacts`` did not ask for is made by asking for the same
        motion again, by its seed.
        """
        return await self._run(self._methods.file(motion, format, CallOptions(timeout_s)))

    def stream(self, prompt: str = "", **options: Any) -> AsyncMotionStream:
        """Motion without an end, a chunk of frames at a time; steer it while you iterate.

        ``options`` are those of the message ``start``: provider, seed, guidance, steps, fps, target, avatar, lead_sec,
        root, foot_lock, expressions, fold. An empty prompt idles.
        """
        return AsyncMotionStream(StreamState(self._settings, prompt, options))

    async def upload_avatar(self, file: Path | str | bytes | BinaryIO, *, timeout_s: float | None = None) -> AvatarOut:
        """Tell the service of an avatar, a .vrm file; ``id`` of what comes back goes into ``avatar`` of requests."""
        content = await asyncio.to_thread(read_upload, file)
        return await self._run(self._methods.upload_avatar(content, CallOptions(timeout_s)))

    async def job(self, job_id: str, *, timeout_s: float | None = None) -> JobOut:
        """A job: its state and its files. Raises :class:`~motion_service.errors.NotFound` when it was forgotten."""
        return await self._run(self._methods.job(job_id, CallOptions(timeout_s)))

    async def health(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """``{"status": "ok", ...}``, and what is loaded where no keys are asked for."""
        return await self._run(self._methods.facts("/health", CallOptions(timeout_s)))

    async def diagnostics(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """How the service fares. Raises :class:`~motion_service.errors.NotFound` where it has no such page."""
        return await self._run(self._methods.facts("/v1/diagnostics", CallOptions(timeout_s)))

    async def is_alive(self, timeout_s: float = 0.5) -> bool:
        """Whether a motion service answers at the address."""
        try:
            return bool((await self.health(timeout_s=timeout_s)).get("status") == "ok")
        except MotionError:
            return False

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _with_me(self, motion: AsyncMotion) -> AsyncMotion:
        motion._client = self
        return motion

    async def _run(self, steps: Steps[Result]) -> Result:
        return await run_steps_async(steps, self._do)

    async def _do(self, step: Step) -> Outcome:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        import httpx

        if self._http.is_closed:
            return NoReply("invalid", "the client is closed")
        try:
            async with asyncio.timeout(step.seconds):
                answer = await self._http.request(**request_options(step))
            return to_reply(answer.status_code, answer.headers, answer.content)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError) as error:
            return to_no_reply(error)
