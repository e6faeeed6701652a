"""Where a request is in a trace (W3C Trace Context), and spans for OpenTelemetry where that is installed and asked for.

https://www.w3.org/TR/trace-context/: ``traceparent: 00-<trace id>-<parent id>-<flags>``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Mark = Callable[[str, Any], None]
"""Adds an attribute to a span."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One span of a trace: ours, and the one that it follows."""

    trace_id: str
    span_id: str
    flags: str = "00"
    parent_id: str | None = None

    @classmethod
    def following(cls, header: str) -> Self:
        """A span of our own after that of the client, or at the head of a new trace when it sent none that is valid."""
        found = _PARENT.fullmatch(header.strip())
        span_id = secrets.token_hex(8)
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return cls(secrets.token_hex(16), span_id)
        return cls(found[1], span_id, found[3], found[2])

    @property
    def header(self) -> str:
        """What whoever is called from here is told."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


class _Exporter:
    """The tracer of OpenTelemetry, once there is one."""

    tracer: Any = None


def export_spans(endpoint: str, service: str = "motion_service") -> None:
    """Send spans to an OTLP collector (HTTP). Raises ModuleNotFoundError without the extra ``otel``."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    _Exporter.tracer = provider.get_tracer(service)


@contextmanager
def span(name: str, trace: Trace | None = None, kind: Literal["server", "internal"] = "internal") -> Iterator[Mark]:
    """A span around the block, below the one around it, or below that of the client. Nothing when none are exported."""
    if _Exporter.tracer is None:
        yield lambda key, value: None
        return
    from opentelemetry import trace as otel

    context = None
    if trace is not None and trace.parent_id is not None:
        flags = otel.TraceFlags(int(trace.flags, 16))
        parent = otel.SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=flags)
        context = otel.set_span_in_context(otel.NonRecordingSpan(parent))
    own_kind = otel.SpanKind.SERVER if kind == "server" else otel.SpanKind.INTERNAL
    with _Exporter.tracer.start_as_current_span(name, context, own_kind) as current:
        yield current.set_attribute
