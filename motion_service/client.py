"""A small client: a prompt in, a parsed motion out. Needs the base install only; knows nothing of models or servers."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic import ValidationError

from motion_service.errors import ClientError
from motion_service.schemas import MotionResponse

DEFAULT_URL: Final = "http://127.0.0.1:7100"
GENERATE_PATH: Final = "/v1/motion/generate"


class MotionClient:
    """Talks to one service over HTTP; a context manager that keeps its connection open."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s, transport=transport)

    def generate(self, prompt: str, **options: Any) -> MotionResponse:
        """Motion for a prompt; ``options`` as in the request table, None = the server's default.

        Raises :class:`ClientError` with what the service said was wrong.
        """
        return parse_response(self.generate_bytes(prompt, **options))

    def generate_bytes(self, prompt: str, **options: Any) -> bytes:
        """The answer as it was sent, to be stored or passed on unparsed."""
        body = {"prompt": prompt, **{name: value for name, value in options.items() if value is not None}}
        try:
            answer = self._http.post(GENERATE_PATH, json=body)
        except httpx.TransportError as error:
            raise ClientError(f"no answer from the motion service: {type(error).__name__}") from error
        if answer.is_success:
            return answer.content
        raise ClientError(_problem_text(answer))

    def is_alive(self, timeout_s: float = 0.5) -> bool:
        """Whether a motion service answers at the address."""
        try:
            answer = self._http.get("/health", timeout=timeout_s)
            return answer.is_success and answer.json().get("status") == "ok"
        except (httpx.HTTPError, ValueError, AttributeError):
            return False

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse_response(body: bytes) -> MotionResponse:
    """The answer as typed objects. Raises :class:`ClientError` when it is not a motion."""
    try:
        return MotionResponse.model_validate_json(body)
    except ValidationError as error:
        raise ClientError(f"the answer is not a motion: {error.error_count()} fields are wrong") from error


def _problem_text(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code}: {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: {answer.reason_phrase}"
