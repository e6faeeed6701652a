"""The client library: a prompt in, a motion out.

Needs the base install only, and of that loads nothing before the first client is made. :class:`MotionClient` blocks,
:class:`AsyncMotionClient` is awaited; both have the same methods, options and errors, those of
:mod:`motion_service.errors`. What they do is in :mod:`motion_service.client_methods`; here is only the socket.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from motion_service.client_async import AsyncMotionClient
from motion_service.client_exchange import NoReply, Outcome, Result, Step, Steps, Wait, run_steps
from motion_service.client_http import (
    client_options,
    read_in_time,
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
from motion_service.client_stream import MotionChunk, StreamState
from motion_service.client_stream_async import AsyncMotionStream
from motion_service.client_stream_sync import MotionStream
from motion_service.errors import MotionError

__all__ = [
    "DEFAULT_URL",
    "AsyncMotion",
    "AsyncMotionClient",
    "AsyncMotionStream",
    "Motion",
    "MotionChunk",
    "MotionClient",
    "MotionStream",
]


if TYPE_CHECKING:
    from motion_service.avatar_schemas import AvatarOut
    from motion_service.client_motion import AsyncMotion, Motion
    from motion_service.job_schemas import JobOut


class MotionClient:
    """Talks to one service over HTTP. A context manager that keeps its connections open; threads may share it.

    ``timeout_s`` bounds each call with all its retries. A call is sent again, up to ``retries`` times, when nothing
    was at the address, when the service said that it is too busy and when to come again, and when the connection broke
    (an ``Idempotency-Key`` sees to it that a motion is made once). A call that ends early, by its timeout or an
    interrupt, closes its connection, and the service stops working on it.

    ``fallback="local"``: ``generate`` raises no errors; instead it returns a calm sway of three seconds, made here,
    with ``fallback_used`` true, ``metadata.generator`` "fallback" and ``metadata.fallback_reason``.
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
        """``transport``: an ``httpx.BaseTransport`` in place of the network."""
        import httpx

        from motion_service.client_methods import Methods
        from motion_service.client_motion import Motion

        self._settings = Settings(base_url, api_key, timeout_s, retries, fallback)
        self._http = httpx.Client(**client_options(self._settings, transport))
        self._methods = Methods(self._settings, Motion)

    def generate(
        self,
        prompt: str,
        *,
        route: Route = "generate",
        timeout_s: float | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Motion:
        """Motion for a prompt; ``options`` as in :class:`~motion_service.schemas.MotionOptions`, None = not said."""
        own = CallOptions(timeout_s, request_id, idempotency_key)
        return self._with_me(self._run(self._methods.generate(prompt, options, route, own)))

    def edit(
        self,
        clip: Motion | Mapping[str, Any] | str,
        mode: str,
        prompt: str = "",
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Motion:
        """A clip (a motion, the id of a job, or a clip as answers hold it) with a part made anew.

        ``mode``: in_between or upper_body; ``options`` as in :class:`~motion_service.edit_schemas.EditRequest`. There
        is no fallback: standing still would spoil the clip.
        """
        own = CallOptions(timeout_s, request_id, idempotency_key)
        fields = {"mode": mode, "prompt": prompt, **options}
        return self._with_me(self._run(self._methods.edit(clip, fields, own)))

    def file(self, motion: Motion, format: str, *, timeout_s: float | None = None) -> bytes:
        """A motion as a file: vrm-json, vrma, bvh, npy, mp4.

        Waits for one that is still being made. One that ``artifacts`` did not ask for is made by asking for the same
        motion again, by its seed.
        """
        return self._run(self._methods.file(motion, format, CallOptions(timeout_s)))

    def stream(self, prompt: str = "", **options: Any) -> MotionStream:
        """Motion without an end, a chunk of frames at a time; steer it while you iterate.

        ``options`` are those of the message ``start``: provider, seed, guidance, steps, fps, target, avatar, lead_sec,
        root, foot_lock, expressions, fold. An empty prompt idles.
        """
        return MotionStream(StreamState(self._settings, prompt, options))

    def upload_avatar(self, file: Path | str | bytes | BinaryIO, *, timeout_s: float | None = None) -> AvatarOut:
        """Tell the service of an avatar, a .vrm file; ``id`` of what comes back goes into ``avatar`` of requests."""
        return self._run(self._methods.upload_avatar(read_upload(file), CallOptions(timeout_s)))

    def job(self, job_id: str, *, timeout_s: float | None = None) -> JobOut:
        """A job: its state and its files. Raises :class:`~motion_service.errors.NotFound` when it was forgotten."""
        return self._run(self._methods.job(job_id, CallOptions(timeout_s)))

    def health(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """``{"status": "ok", ...}``, and what is loaded where no keys are asked for."""
        return self._run(self._methods.facts("/health", CallOptions(timeout_s)))

    def diagnostics(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """How the service fares. Raises :class:`~motion_service.errors.NotFound` where it has no such page."""
        return self._run(self._methods.facts("/v1/diagnostics", CallOptions(timeout_s)))

    def is_alive(self, timeout_s: float = 0.5) -> bool:
        """Whether a motion service answers at the address."""
        try:
            return bool(self.health(timeout_s=timeout_s).get("status") == "ok")
        except MotionError:
            return False

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_me(self, motion: Motion) -> Motion:
        motion._client = self
        return motion

    def _run(self, steps: Steps[Result]) -> Result:
        return run_steps(steps, self._do)

    def _do(self, step: Step) -> Outcome:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        import httpx

        if self._http.is_closed:
            return NoReply("invalid", "the client is closed")
        try:
            with self._http.stream(**request_options(step)) as answer:
                return to_reply(answer.status_code, answer.headers, read_in_time(answer, step))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return to_no_reply(error)


def __getattr__(name: str) -> Any:
    """The classes of motions, which need pydantic, when they are first asked for."""
    if name in ("Motion", "AsyncMotion"):
        from motion_service import client_motion

        return getattr(client_motion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
