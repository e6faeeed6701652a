"""What a client and its calls are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

DEFAULT_URL: Final = "http://127.0.0.1:7100"
DEFAULT_TIMEOUT_S: Final = 30.0

Route = Literal["generate", "dip", "speak"]
Fallback = Literal["local"] | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client is told when it is made. ``timeout_s`` bounds a call with all its retries."""

    base_url: str
    api_key: str | None
    timeout_s: float
    retries: int
    fallback: Fallback

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call may say for itself; None = as the client was told, or made anew."""

    timeout_s: float | None = None
    request_id: str | None = None
    idempotency_key: str | None = None
