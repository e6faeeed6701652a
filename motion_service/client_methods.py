"""What can be asked of the service, as :data:`~motion_service.client_exchange.Steps`: the client but its sockets."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from motion_service.avatar_schemas import AvatarOut
from motion_service.client_exchange import Call, Reply, Steps, Wait, exchange
from motion_service.client_fallback import breathing_sway
from motion_service.client_motion import Asked, SomeMotion, read_motion
from motion_service.client_settings import CallOptions, Route, Settings
from motion_service.errors import BadRequest, ClientError, MotionError, NotFound, TimedOut
from motion_service.job_schemas import JobOut
from motion_service.schemas import ArtifactStatus

ROUTES: Final[Mapping[str, str]] = {
    "generate": "/v1/motion/generate",
    "dip": "/v1/motion/generate/dip",
    "speak": "/v1/motion/speak",
}
EDIT_PATH: Final = "/v1/motion/edit"
_FIRST_LOOK_S, _MOST_LOOK_S = 0.1, 1.0
"""Pauses between looks at a file that is being made."""

Model = TypeVar("Model", bound=BaseModel)


class Methods(Generic[SomeMotion]):
    """Every method of a client. All raise the exceptions of :mod:`motion_service.errors`."""

    def __init__(self, settings: Settings, motion: type[SomeMotion]) -> None:
        self._settings = settings
        self._motion = motion

    def generate(self, prompt: str, options: Mapping[str, Any], route: Route, own: CallOptions) -> Steps[SomeMotion]:
        """A motion for a prompt; with ``fallback="local"`` always."""
        fields = {"prompt": prompt, **_said(options)}
        asked = Asked(ROUTES[route], fields, own.request_id or uuid.uuid4().hex)
        try:
            reply = yield from self._post(asked, own)
            return read_motion(self._motion, reply.body, asked)
        except MotionError as error:
            if self._settings.fallback != "local":
                raise
            return read_motion(self._motion, breathing_sway(prompt, options, error.problem), asked)

    def edit(
        self, clip: Mapping[str, Any] | str | SomeMotion, fields: Mapping[str, Any], own: CallOptions
    ) -> Steps[SomeMotion]:
        """A clip with a part made anew. ``clip``: a motion, the id of a job, or a clip as answers hold it."""
        asked = Asked(EDIT_PATH, {**_name_clip(clip), **_said(fields)}, own.request_id or uuid.uuid4().hex)
        reply = yield from self._post(asked, own)
        return read_motion(self._motion, reply.body, asked)

    def upload_avatar(self, content: bytes, own: CallOptions) -> Steps[AvatarOut]:
        """Read a .vrm file; the same file twice is the same avatar."""
        headers = {"content-type": "application/octet-stream"}
        call = Call("POST", "/v1/avatars", own.request_id or uuid.uuid4().hex, content, headers)
        reply = yield from exchange(call, self._end(own), self._settings.retries)
        return _read(AvatarOut, reply)

    def job(self, job_id: str, own: CallOptions) -> Steps[JobOut]:
        """A job as it stands now."""
        if not job_id.isalnum():
            raise NotFound("there is no such job: its id has letters and digits only")
        return _read(JobOut, (yield from self._get(f"/v1/motion/jobs/{job_id}", own)))

    def facts(self, path: str, own: CallOptions) -> Steps[dict[str, Any]]:
        """A JSON object of the service, such as its health."""
        reply = yield from self._get(path, own)
        try:
            facts = json.loads(reply.body)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            raise ClientError(f"{path} did not answer with a JSON object: is this a motion service?")
        return facts

    # --- files of a motion --------------------------------------------------------------------------------------------

    def file(self, motion: SomeMotion, kind: str, own: CallOptions) -> Steps[bytes]:
        """The motion in another format. Waits while the file is being made; asks for the same motion, by its seed, in
        that format when the file was not asked for.
        """
        if kind == "vrm-json":
            return motion.body
        if motion.is_local:
            raise NotFound("the client made this motion itself, so it has no files but .json")
        end = self._end(own)
        status = motion.metadata.artifacts.get(kind)
        if status is None:
            return (yield from self._make_again(motion, kind, own))
        if status.state == "pending":
            status = yield from self._finished(motion.job_id, kind, end)
        if status.state == "failed":
            raise ClientError(f"the service could not make the {kind}: {status.error}")
        if not status.url.startswith("/") or status.url.startswith("//"):
            raise ClientError("the service names a file that lies elsewhere")  # the key is for the service only
        return (yield from self._get(status.url, own)).body

    def _finished(self, job_id: str, kind: str, end: float) -> Steps[ArtifactStatus]:
        """The state of a file once it is no longer pending. Raises :class:`TimedOut`."""
        pause = _FIRST_LOOK_S
        while True:
            yield Wait(pause)
            pause = min(1.5 * pause, _MOST_LOOK_S)
            job = yield from self.job(job_id, CallOptions(timeout_s=end - time.monotonic()))
            status = job.artifacts[kind]
            if status.state != "pending":
                return status
            if time.monotonic() + pause >= end:
                raise TimedOut(f"the {kind} is still being made")

    def _make_again(self, motion: SomeMotion, kind: str, own: CallOptions) -> Steps[bytes]:
        made = motion.metadata
        again = {"format": kind, "seed": made.seed, "provider": made.generator, "artifacts": []}
        asked = Asked(motion.asked.path, {**motion.asked.fields, **again}, uuid.uuid4().hex)
        reply = yield from self._post(asked, own)
        if reply.headers.get("x-motion-generator") != made.generator:
            raise ClientError(f"the motion could not be made again as {kind}: ask for it with artifacts=[{kind!r}]")
        return reply.body

    # --- requests -----------------------------------------------------------------------------------------------------

    def _post(self, asked: Asked, own: CallOptions) -> Steps[Reply]:
        try:
            body = json.dumps(asked.fields, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRequest(f"an option is no JSON: {error}") from error
        key = own.idempotency_key or uuid.uuid4().hex
        headers = {"content-type": "application/json", "idempotency-key": key}
        call = Call("POST", asked.path, asked.request_id, body, headers)
        return (yield from exchange(call, self._end(own), self._settings.retries))

    def _get(self, path: str, own: CallOptions) -> Steps[Reply]:
        call = Call("GET", path, own.request_id or uuid.uuid4().hex)
        return (yield from exchange(call, self._end(own), self._settings.retries))

    def _end(self, own: CallOptions) -> float:
        timeout_s = self._settings.timeout_s if own.timeout_s is None else own.timeout_s
        return time.monotonic() + timeout_s


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _name_clip(clip: Any) -> dict[str, Any]:
    if isinstance(clip, str):
        return {"job_id": clip}
    if isinstance(clip, Mapping):
        return {"clip": dict(clip)}
    return {"clip": json.loads(clip.body)} if clip.is_local else {"job_id": clip.job_id}


def _read(kind: type[Model], reply: Reply) -> Model:
    try:
        return kind.model_validate_json(reply.body)
    except ValidationError as error:
        raise ClientError(f"the service did not answer with what was asked for ({kind.__name__})") from error
