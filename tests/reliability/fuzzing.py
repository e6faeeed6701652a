"""Requests made up from openapi.json: nothing fails in the server, and nothing is said that is not documented."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from motion_service.api.http import create_app
from tests.fakes import FakeSource
from tests.live_server import make_jobs

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
ENDLESS = "GET /v1/motion/stream"
"""Has its own test: it answers for ever."""
SHORT_S = 0.3
"""Clips are made no longer than this: what is fuzzed is the door, not the figure."""


class ShortSource(FakeSource):
    """Answers every wish with a short clip."""

    max_seconds = SHORT_S


def run_cases(directory: Path, cases: int, *, seed: int = 0, say: Callable[[str], None] = print) -> dict[str, Any]:
    """About ``cases`` requests over all operations, valid and not."""
    jobs = make_jobs(directory, {"mini": ShortSource(), "mdm": ShortSource("mdm"), "dip": ShortSource("dip")})
    jobs.pipeline.placeholder = ShortSource("placeholder")
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(jobs))
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    operations = [operation for operation in found if operation.label != ENDLESS]
    statuses: Counter[str] = Counter()
    failures: list[str] = []
    sent = 0
    began = time.monotonic()
    for number, operation in enumerate(operations):
        left = cases - sent
        share = max(1, left // (len(operations) - number))

        @hypothesis_seed(seed + number)
        @settings(
            max_examples=share,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            nonlocal sent
            sent += 1
            response = case.call()
            statuses[f"{response.status_code}"] += 1
            try:
                case.validate_response(response, checks=CHECKS)
            except (Exception, FailureGroup) as failure:  # collected, so that one finding does not hide the others
                failures.append(f"{case.method} {case.formatted_path}: {response.status_code} {failure}"[:600])

        check()
        if number % 4 == 3:
            say(f"{sent} of {cases} requests, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    asyncio.run(jobs.pipeline.finisher.stop())
    jobs.close()
    return {
        "test": "schemathesis",
        "operations": len(operations),
        "requests": sent,
        "statuses": dict(sorted(statuses.items())),
        "failures": len(failures),
        "examples": failures[:5],
        "ok": not failures,
    }
