from __future__ import annotations

import json
import logging

import pytest

from motion_service.api.lifecycle import OPEN_PATHS
from motion_service.api.security import check_exposure, is_loopback
from motion_service.telemetry import JsonFormatter, request_id
from tests.fakes import Api, FakeSource, StartApi

JOB = "0123456789abcdef" * 2
KEY = "correct horse battery staple"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, has_keys=False, allow_no_key=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "motion.example", ""])
def test_other_addresses_need_a_key_or_a_word(host: str) -> None:
    with pytest.raises(ValueError, match="MOTION_API_KEYS"):
        check_exposure(host, has_keys=False, allow_no_key=False)
    check_exposure(host, has_keys=True, allow_no_key=False)
    check_exposure(host, has_keys=False, allow_no_key=True)


async def test_with_keys_every_path_needs_one_but_the_status(start_api: StartApi) -> None:
    api = start_api(keys=("another key", KEY))
    document = (await api.http.get("/openapi.json", headers={"X-API-Key": KEY})).json()
    paths = {path.replace("{job_id}", JOB) for path in document["paths"]} | {"/docs", "/openapi.json", "/nope"}
    for path in paths:
        for method in ("GET", "POST", "OPTIONS"):
            answer = await api.http.request(method, path)
            assert (answer.status_code == 401) == (path not in OPEN_PATHS), (method, path)
    assert (await api.http.get("/health")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer {KEY}"}, 200),
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
    ],
)
async def test_keys(start_api: StartApi, headers: dict[str, str], status: int) -> None:
    api = start_api(keys=(KEY,))
    answer = await api.http.get("/v1/motion/jobs", headers=headers)
    assert answer.status_code == status
    assert KEY not in answer.text


async def test_request_ids_are_taken_when_plain(api: Api) -> None:
    for sent, taken in [
        ("turn-17.a_B", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ("<script>", False),
    ]:
        answer = await api.http.get("/livez", headers={"X-Request-Id": sent})
        assert (answer.headers["x-request-id"] == sent) is taken


async def test_a_mistake_of_ours_tells_nothing(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = start_api({"mini": FakeSource()})
    monkeypatch.setattr(api.jobs, "generate", None)
    answer = await api.http.post("/v1/motion/generate", json={"prompt": "walks"}, headers={"X-Request-Id": "turn-18"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "turn-18"
    assert not any(word in answer.text for word in ("Traceback", "NoneType", "0x", ".py"))


async def test_artifacts_are_served_with_fixed_types(api: Api) -> None:
    motion = await api.generate(duration_sec=0.5)
    for kind, media_type in [("vrm-json", "application/json"), ("npy", "application/octet-stream")]:
        answer = await api.http.get(motion["metadata"]["artifacts"][kind]["url"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../secret", "..%2fsecret", "..%252fsecret", "%2e%2e/secret", "..\\secret", "secret",
     "secret%00.json", "/etc/passwd", "%2fetc%2fpasswd", f"{JOB}/../../secret", f"{JOB}/secret",
     f"{JOB}/results.npy/..", "x" * 4000, ".partial-1", f"{JOB}/%2e%2e%2fsecret", "．．／secret"],
)  # fmt: skip
async def test_no_other_file_can_be_fetched(api: Api, name: str) -> None:
    for place in (api.output_dir, api.output_dir.parent, api.output_dir / JOB):
        place.mkdir(exist_ok=True)
        for file in ("secret", "secret.json", ".partial-1"):
            (place / file).write_text("top secret")
    answer = await api.http.get(f"/data/animations/{name}")
    assert answer.status_code == 404
    assert "top secret" not in answer.text


def test_log_lines_cannot_be_forged() -> None:
    token = request_id.set("turn-17")
    record = logging.LogRecord("motion", logging.INFO, "x.py", 1, 'walks\n{"level": "error"}\x1b[31m', None, None)
    record.facts = {"path": "/a\nb"}
    line = JsonFormatter().format(record)
    request_id.reset(token)
    assert "\n" not in line and "\x1b" not in line
    assert (json.loads(line)["request_id"], json.loads(line)["path"]) == ("turn-17", "/a\nb")
