"""Who gets in: every route asks for a key, signed URLs open one file, keys have their rates, pages their origins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import WebSocketRoute

from motion_service import tracing
from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.api.lifecycle import OPEN_PATHS
from motion_service.api.limits import RateLimit
from motion_service.api.page import find_page
from motion_service.errors import RateLimited
from motion_service.jobs import Jobs
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.store import URL_SECONDS, ArtifactStore
from tests.fakes import FakeSource
from tests.reliability.wire_corpus import PATHS, SECRET

KEY = "correct horse battery staple"
ORIGIN = "https://app.example"


def load(directory: Path, **options: Any) -> Any:
    store = ArtifactStore(directory / "data" / "animations", directory / "data", "/data", secret=b"a secret")
    defaults = MotionOptions(artifacts=["npy"])
    jobs = Jobs(Pipeline({"mini": FakeSource()}, FakeSource("placeholder"), store, Admission(8), defaults))
    return create_app(jobs, (KEY, "another"), **options)


def client_of(app: Any, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)


async def ask_socket(app: Any, path: str) -> list[dict[str, Any]]:
    """What an application says to a WebSocket that has no key."""
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "headers": [], "query_string": b""}
    await app({**scope, "state": {}, "extensions": {"websocket.http.response": {}}}, receive, send)
    return said


async def test_every_route_asks_for_a_key(tmp_path: Path) -> None:
    """All that the application has, sockets and documents included, however it was added."""
    app = load(tmp_path, origins=(ORIGIN,))
    paths = [(route, route.path.replace("{", "").replace("}", "")) for route in _routes(app.routes)]
    open_paths = OPEN_PATHS | find_page().paths  # the page itself holds nothing; what it asks for needs a key
    assert {"/openapi.json", "/docs", "/metrics", "/v1/motion/stream"} <= {path for _, path in paths}
    async with client_of(app) as http:
        for route, path in paths:
            if isinstance(route, WebSocketRoute) or "websocket" in type(route).__name__.lower():
                said = await ask_socket(app, path)
                assert said[0]["type"] == "websocket.http.response.start" and said[0]["status"] == 401
                continue
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", *(getattr(route, "methods", None) or ())}:
                answer = await http.request(method, path)
                assert (answer.status_code == 401) == (path not in open_paths), (method, path)
        for path in ("/v1/motion/generate/", "//v1/motion/jobs", "/livez/../v1/motion/jobs", "/%6civez/x", "/livez%00"):
            assert (await http.get(path)).status_code == 401, path


def _routes(routes: Any) -> list[Any]:
    """Those of included routers and mounts too."""
    found = []
    for route in routes:
        inner = getattr(route, "original_router", route)
        found += _routes(inner.routes) if getattr(inner, "routes", None) else [route]
    return found


async def test_signed_urls_open_one_file_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = load(tmp_path)
    async with client_of(app) as stranger, client_of(app, Authorization=f"Bearer {KEY}") as known:
        motion = (await known.post("/v1/motion/generate", json={"prompt": "waves", "duration_sec": 0.3})).json()
        url = motion["metadata"]["url"]
        assert url == motion["url"] and "signature=" in url
        assert (await stranger.get(url)).status_code == 200
        assert (await stranger.get(motion["metadata"]["artifacts"]["npy"]["url"])).status_code == 200
        path, query = url.split("?")
        fields = dict(field.split("=", 1) for field in query.split("&"))
        expires, signature = fields["expires"], fields["signature"]
        for changed in (
            path,
            f"{path}?expires={expires}",
            f"{path}?expires={int(expires) + 1}&signature={signature}",
            f"{path}?expires={expires}&signature={signature[:-1]}",
            f"{path}?expires={expires}&signature=",
            f"{path}?expires=never&signature={signature}",
            f"{path[:-5]}/results.npy?{query}",
            f"/v1/motion/jobs?{query}",
        ):
            assert (await stranger.get(changed)).status_code == 401, changed
        assert (await stranger.post(url)).status_code == 401
        assert (await known.get(path)).status_code == 200, "a key opens without a signature"
        monkeypatch.setattr("motion_service.store.time.time", lambda: float(expires) + 1)
        assert (await stranger.get(url)).status_code == 401
    assert URL_SECONDS >= 3600


@pytest.mark.parametrize("name", PATHS)
async def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    app = load(tmp_path)
    for place in (tmp_path, tmp_path / "data", tmp_path / "data" / "animations"):
        place.mkdir(exist_ok=True)
        for file in ("secret", "secret.json", ".partial-1"):
            (place / file).write_text(SECRET)
    async with client_of(app, **{"X-API-Key": KEY}) as http:
        answer = await http.get(f"/data/animations/{name}")
    assert answer.status_code == 404 and SECRET not in answer.text and "evil" not in str(answer.headers).lower()


def test_a_key_may_ask_evenly_and_in_short_bursts() -> None:
    now = 0.0
    limit = RateLimit(60, clock=lambda: now)
    for _ in range(10):
        limit.take(0)
    with pytest.raises(RateLimited) as refusal:
        limit.take(0)
    assert 0 < refusal.value.retry_after_s <= 1
    limit.take(1)  # another key has tokens of its own
    for _ in range(100):
        now += 1.0
        limit.take(0)


async def test_what_is_too_often_is_refused_with_a_time(tmp_path: Path) -> None:
    app = load(tmp_path, rate_limit=6)
    async with client_of(app, **{"X-API-Key": KEY}) as http:
        statuses = [(await http.post("/v1/motion/generate", json={})).status_code for _ in range(3)]
        assert statuses == [422, 429, 429]
        refused = await http.post("/v1/motion/generate", json={})
        assert refused.json()["type"].endswith("rate-limited") and int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/v1/motion/jobs")).status_code == 200, "reading is free"


async def test_pages_of_named_origins_may_ask(tmp_path: Path) -> None:
    app = load(tmp_path, origins=(ORIGIN,))
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with client_of(app) as http:
        for origin, allowed in ((ORIGIN, True), ("https://evil.example", False), ("null", False)):
            answer = await http.options("/v1/motion/generate", headers={"Origin": origin, **preflight})
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
            assert "access-control-allow-credentials" not in answer.headers


async def test_answers_keep_browsers_careful(tmp_path: Path) -> None:
    async with client_of(load(tmp_path), **{"X-API-Key": KEY}) as http:
        for path in ("/livez", "/nope", "/v1/motion/jobs", "/openapi.json"):
            headers = (await http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in headers["content-security-policy"]


async def test_traces_go_on(tmp_path: Path) -> None:
    """https://www.w3.org/TR/trace-context/#traceparent-header"""
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with client_of(load(tmp_path)) as http:
        answer = await http.get("/livez", headers={"traceparent": f"00-{trace_id}-{parent}-01"})
        version, own_trace, own_span, flags = answer.headers["traceresponse"].split("-")
        assert (version, own_trace, flags) == ("00", trace_id, "01") and own_span != parent
        for wrong in (
            "",
            "x",
            f"ff-{trace_id}-{parent}-01",
            f"00-{'0' * 32}-{parent}-01",
            f"00-{trace_id.upper()}-{parent}-01",
        ):
            answer = await http.get("/livez", headers={"traceparent": wrong})
            assert answer.headers["traceresponse"].split("-")[1] != trace_id


def test_spans_follow_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    otel = pytest.importorskip("opentelemetry.trace")
    spans: list[Any] = []

    class Tracer:
        """Notes what it is asked for."""

        @contextmanager
        def start_as_current_span(self, name: str, context: Any, kind: Any) -> Iterator[Any]:
            spans.append((name, otel.get_current_span(context).get_span_context(), kind))
            yield otel.INVALID_SPAN

    monkeypatch.setattr(tracing._Exporter, "tracer", Tracer())
    parent = tracing.Trace.following(f"00-{'a' * 32}-{'b' * 16}-01")
    with tracing.span("GET /livez", parent, kind="server") as mark:
        mark("http.response.status_code", 200)
    with tracing.span("inside"):
        pass
    (_, context, kind), (_, none, _) = spans
    assert (context.trace_id, context.span_id, kind) == (int("a" * 32, 16), int("b" * 16, 16), otel.SpanKind.SERVER)
    assert not none.is_valid


async def test_metrics_have_the_names_that_dashboards_know(tmp_path: Path) -> None:
    app = load(tmp_path)
    async with client_of(app, **{"X-API-Key": KEY}) as http:
        await http.post("/v1/motion/generate", json={"prompt": "waves", "duration_sec": 0.3})
        await http.get("/made/up/path")
        text = (await http.get("/metrics")).text
    for name in (
        "requests_total", "request_duration_seconds", "queue_wait_seconds", "gpu_batch_seconds", "step_seconds",
        "batch_size", "batch_fill_ratio", "queue_depth", "inflight", "rejected_total", "cancelled_total", "oom_total",
        "worker_restarts_total", "nan_outputs_total", "placeholder_total", "streams_active", "stream_frame_lag_seconds",
        "artifact_bytes", "artifact_write_failures_total", "model_info",
    ):  # fmt: skip
        assert f"# TYPE motion_{name} " in text, name
    assert 'motion_requests_total{code="200",route="/v1/motion/generate",source="mini"}' in text
    assert "/made/up/path" not in text and 'route="unknown"' in text
