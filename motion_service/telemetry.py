"""Logs: one JSON object a line on standard error, each carrying the request and job id it belongs to.

Prompts are never logged; line breaks and escape codes cannot forge a line, because JSON escapes them.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from motion_service.tracing import Trace

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that the current task works for."""
job_id: ContextVar[str | None] = ContextVar("job_id", default=None)
"""Id of the job that the current task works for."""

trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""Where the current task is in a trace."""

_LOGGER: Final = logging.getLogger("motion")
_ENCODER: Final = json.JSONEncoder(default=str)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            "request_id": request_id.get(),
            "job_id": job_id.get(),
            "trace_id": where.trace_id if (where := trace.get()) is not None else None,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode({key: value for key, value in line.items() if value is not None})


def configure_logging(level: str) -> None:
    """Send every log line of the process, uvicorn's too, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"  # we write our own line per request
    for name in ("httpx", "botocore", "aiobotocore", "s3fs"):  # at "debug" they tell what requests are signed with
        logging.getLogger(name).setLevel("WARNING")


def log_event(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **facts: Any) -> None:
    """Write one event with its facts (JSON values). ``error`` adds the stack text, which only logs ever show."""
    if _LOGGER.isEnabledFor(level):  # the record is made here, because looking for its line of code takes half the time
        told = None if error is None else (type(error), error, error.__traceback__)
        _LOGGER.handle(_LOGGER.makeRecord(_LOGGER.name, level, "", 0, event, (), told, extra={"facts": facts}))
