"""Whatever is sent, the answer is a problem document that names the field, and nothing is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motion_service.api.security import MAX_BODY
from tests.fakes import Api


def body(**values: object) -> bytes:
    return json.dumps({"prompt": "walks", **values}).encode()


CORPUS: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "body"),
    ("no JSON", b"prompt=walks", "body"),
    ("a list", b"[]", "body"),
    ("a string", b'"walks"', "body"),
    ("null", b"null", "body"),
    ("no prompt", b"{}", "prompt"),
    ("prompt null", b'{"prompt": null}', "prompt"),
    ("prompt empty", body(prompt=""), "prompt"),
    ("prompt blank", body(prompt=" \t\r\n"), "prompt"),
    ("prompt too long", body(prompt="a" * 2001), "prompt"),
    ("prompt number", body(prompt=5), "prompt"),
    ("prompt list", body(prompt=["walks"]), "prompt"),
    ("prompt NUL", body(prompt="wa\x00ve"), "prompt"),
    ("prompt escape", body(prompt="\x1b[31mred"), "prompt"),
    ("prompt half surrogate", b'{"prompt": "walks \\ud800"}', "prompt"),
    ("seed negative", body(seed=-1), "seed"),
    ("seed too large", body(seed=2**63), "seed"),
    ("seed enormous", b'{"prompt": "walks", "seed": 1' + b"0" * 400 + b"}", "seed"),
    ("seed bool", body(seed=True), "seed"),
    ("seed float", body(seed=1.5), "seed"),
    ("seed text", body(seed="1"), "seed"),
    ("steps zero", body(steps=0), "steps"),
    ("steps 201", body(steps=201), "steps"),
    ("guidance negative", body(guidance=-0.5), "guidance"),
    ("guidance NaN", body(guidance=float("nan")), "guidance"),
    ("guidance Infinity", body(guidance=float("inf")), "guidance"),
    ("guidance 1e999", b'{"prompt": "walks", "guidance": 1e999}', "guidance"),
    ("duration short", body(duration_sec=0.05), "duration_sec"),
    ("duration long", body(duration_sec=121), "duration_sec"),
    ("duration -Infinity", body(duration_sec=float("-inf")), "duration_sec"),
    ("duration enormous integer", b'{"prompt": "walks", "duration_sec": 1' + b"0" * 400 + b"}", "duration_sec"),
    ("fps zero", body(fps=0), "fps"),
    ("fps 121", body(fps=121), "fps"),
    ("fps NaN", body(fps=float("nan")), "fps"),
    ("format unknown", body(format="fbx"), "format"),
    ("provider unknown", body(provider="gpt"), "provider"),
    ("interpolate number", body(interpolate=1), "interpolate"),
    ("artifacts text", body(artifacts="npy"), "artifacts"),
    ("artifacts unknown", body(artifacts=["exe"]), "artifacts.0"),
    ("artifacts of another kind", body(artifacts="vrma"), "artifacts"),
    ("repetitions 9", body(repetitions=9), "repetitions"),
    ("target unknown", body(target="vrm2"), "target"),
    ("avatar no id", body(avatar="../../etc/passwd"), "avatar"),
    ("avatar nobody knows", body(avatar="0" * 32), "avatar"),
    ("root unknown", body(root="flying"), "root"),
    ("target_joints unknown", body(target_joints={"tail": [0, 1, 0]}), "target_joints.tail.[key]"),
    ("target_joints short", body(target_joints={"head": [0, 1]}), "target_joints"),
    ("timeline without lengths", body(timeline=[{"prompt": "walks"}]), "timeline.0.sec"),
    ("bad UTF-8", b'{"prompt": "\xff\xfe walks"}', "body"),
    ("deep nesting", b'{"prompt": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "body"),
    ("5,000 digits", b'{"prompt": "walks", "seed": ' + b"1" * 5000 + b"}", "body"),
    ("too large", body(prompt="walks", padding="x" * MAX_BODY), "body"),
]


@pytest.mark.parametrize(("content", "field"), [case[1:] for case in CORPUS], ids=[case[0] for case in CORPUS])
async def test_bad_input_is_refused_by_name(api: Api, content: bytes, field: str) -> None:
    answer = await api.http.post("/v1/motion/generate", content=content, headers={"content-type": "application/json"})
    problem = answer.json()
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["field"]) == (answer.status_code, field)
    assert problem["detail"] and problem["request_id"] == answer.headers["x-request-id"]
    assert api.files() == [] and api.jobs.recent(10) == []


async def test_unknown_fields_with_unprintable_names_do_no_harm(api: Api) -> None:
    for content in (b'{"prompt": "walks", "\\ud800": 1}', b'{"prompt": "walks", "a\\u0000b": {"c": [1]}}'):
        answer = await api.http.post(
            "/v1/motion/generate", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (200, 422) and answer.json()


async def test_a_form_is_no_json(api: Api) -> None:
    """Browsers may send forms across origins without asking; JSON they may not."""
    for media_type in ("application/x-www-form-urlencoded", "text/plain"):
        answer = await api.http.post("/v1/motion/generate", content=body(), headers={"content-type": media_type})
        assert answer.status_code == 422
        assert "application/json" in answer.json()["detail"]
    assert api.files() == []


async def test_a_body_without_declared_length_is_counted(api: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 8192

    answer = await api.http.post("/v1/motion/generate", content=endless())
    assert answer.status_code == 413


async def test_wrong_paths_and_methods_are_problems_too(api: Api) -> None:
    for method, path, status in [("GET", "/nope", 404), ("GET", "/v1/motion/generate", 405), ("PUT", "/health", 405)]:
        answer = await api.http.request(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.http.get("/v1/motion/jobs", params={"limit": "0"})).json()["field"] == "query.limit"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["prompt", "seed", "steps", "guidance", "format", "fps", "provider", "artifacts", "target", "loop", "unheard"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=4))
def test_any_json_is_answered_without_a_server_error(api: Api, values: dict[str, object]) -> None:
    content = json.dumps({"prompt": "walks", "duration_sec": 0.1, **values}).encode()

    async def ask() -> int:
        answer = await api.http.post(
            "/v1/motion/generate", content=content, headers={"content-type": "application/json"}
        )
        return answer.status_code

    assert asyncio.run(ask()) in (200, 400, 422)
