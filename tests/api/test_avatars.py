"""Upload of avatars: raw or as a form, in pieces, bounded in size, number and time, and kept by id."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from motion_service.api import avatars, security
from motion_service.api.avatars import AVATARS_PATH, MAX_UPLOADS, avatar_routes
from motion_service.api.observing import ObserveMiddleware
from motion_service.api.problem import install_problem_handlers
from motion_service.api.security import MAX_BODY, STREAMED, BodyLimitMiddleware, KeyMiddleware
from motion_service.humanoid import VRM_PARENT
from motion_service.vrm.avatar import read_avatar
from motion_service.vrm.glb import MAX_FILE
from motion_service.vrm.shelf import AvatarShelf
from tests.vrm.avatar_files import FULL, MANNEQUINS, make_avatar, make_document, pack
from tests.vrm.test_hostile_avatars import HOSTILE, LEAKS

GOOD = make_avatar(places=FULL)
FORM = "multipart/form-data; boundary=x"


def make_app(shelf: AvatarShelf, keys: tuple[str, ...] = ()) -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(avatar_routes(shelf))

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimitMiddleware)
    if keys:
        app.add_middleware(KeyMiddleware, keys=keys)
    app.add_middleware(ObserveMiddleware)
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://service")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return make_app(AvatarShelf(tmp_path / "avatars"))


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def in_pieces(data: bytes, size: int = 4096) -> AsyncIterator[bytes]:
    """A body without a declared length."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def assert_problem(answer: httpx.Response, status: int | None = None, field: str = "avatar") -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert 400 <= answer.status_code < 500 and answer.status_code == (status or answer.status_code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["field"]) == (answer.status_code, field)
    assert len(problem["detail"]) > 20 and not LEAKS.search(problem["detail"])
    return problem


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "model/gltf-binary", "model/vrm", "application/x-www-form-urlencoded", "", None],
)
async def test_a_file_as_the_body(http: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await http.post(AVATARS_PATH, content=GOOD, headers=headers)
    assert answer.status_code == 201, answer.text
    facts = answer.json()
    avatar = read_avatar(GOOD)
    assert facts == {
        "id": avatar.id,
        "name": "Test",
        "vrm_version": "1.0",
        "bones": list(VRM_PARENT),
        "missing_optional": [],
        "hips_height": 0.95,
        "rest_pose": {"largest_rotation_deg": 0.0, "arms_off_deg": 0.0, "t_pose": True},
        "expressions": [],
        "look_at": True,
        "warnings": [],
    }
    again = await http.post(AVATARS_PATH, content=in_pieces(GOOD))
    assert (again.status_code, again.json()) == (200, facts)
    kept = await http.get(f"{AVATARS_PATH}/{avatar.id}")
    assert (kept.status_code, kept.json()) == (200, facts)


@pytest.mark.parametrize("version", MANNEQUINS)
async def test_a_file_in_a_form(http: httpx.AsyncClient, version: str) -> None:
    data = MANNEQUINS[version].read_bytes()
    answer = await http.post(AVATARS_PATH, files={"file": ("a.vrm", data, "model/vrm")}, data={"note": "mine"})
    assert (answer.status_code, answer.json()["vrm_version"]) == (201, version)
    raw = await http.post(AVATARS_PATH, content=data)
    assert (raw.status_code, raw.json()) == (200, answer.json())


async def test_a_file_name_says_nothing(http: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await http.post(AVATARS_PATH, files={"../../x": ("../../etc/passwd\x00", GOOD)})
    assert answer.status_code == 201
    assert [path.name for path in tmp_path.rglob("*.json")] == [f"{answer.json()['id']}.json"]


@pytest.mark.parametrize("as_form", [False, True])
@pytest.mark.parametrize("name", [*list(HOSTILE)[::6], "empty", "a bomb of lists", "length 4 GiB"])
async def test_hostile_files_are_refused(http: httpx.AsyncClient, tmp_path: Path, name: str, as_form: bool) -> None:
    data = HOSTILE[name]()
    answer = await http.post(AVATARS_PATH, **({"files": {"file": ("a.vrm", data)}} if as_form else {"content": data}))
    assert_problem(answer)
    assert not list(tmp_path.rglob("*.json"))


def part(disposition: str, content: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


END = b"--x--\r\n"
FORMS: dict[str, bytes] = {
    "empty": b"",
    "no part": END,
    "no form": b"no form at all",
    "no file name": part('form-data; name="file"', GOOD) + END,
    "two files": part('form-data; name="a"; filename="a"', GOOD)
    + part('form-data; name="b"; filename="b"', GOOD)
    + END,
    "50 fields": b"".join(part(f'form-data; name="f{i}"', b"x") for i in range(50)) + END,
    "no name": part("form-data", GOOD) + END,
    "endless header": b"--x\r\n" + b"A" * 100_000,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_strange_forms_are_refused(http: httpx.AsyncClient, form: bytes) -> None:
    assert_problem(await http.post(AVATARS_PATH, content=form, headers={"content-type": FORM}))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_form_without_an_end_is_refused(http: httpx.AsyncClient) -> None:
    """Starlette forgets the file of a part that does not end, and leaves it to the garbage collector to close it."""
    form = part('form-data; name="file"; filename="a.vrm"', GOOD[:999])
    assert_problem(await http.post(AVATARS_PATH, content=form, headers={"content-type": FORM}))
    gc.collect()


@pytest.mark.parametrize("content_type", ["multipart/form-data", "Multipart/Form-Data; boundary="])
async def test_forms_without_a_boundary_are_refused(http: httpx.AsyncClient, content_type: str) -> None:
    assert_problem(await http.post(AVATARS_PATH, content=GOOD, headers={"content-type": content_type}))


@pytest.mark.parametrize("avatar_id", ["0" * 32, "x", "A" * 32, "..%2f..%2fetc%2fpasswd", "%00", "0" * 4000])
async def test_unknown_avatars_are_not_found(http: httpx.AsyncClient, avatar_id: str) -> None:
    answer = await http.get(f"{AVATARS_PATH}/{avatar_id}")
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


# --- bounds ---------------------------------------------------------------------------------------------------------


async def test_only_uploads_may_be_long(http: httpx.AsyncClient) -> None:
    assert STREAMED == {("POST", AVATARS_PATH): MAX_FILE + MAX_BODY}
    for body in (b"x" * (MAX_BODY + 1), in_pieces(b"x" * (MAX_BODY + 1))):
        assert_problem(await http.post("/echo", content=body), 413, "body")
    assert (await http.post("/echo", content=b"x" * MAX_BODY)).json() == MAX_BODY
    assert (await http.post("/echo", content=in_pieces(b"x" * MAX_BODY))).json() == MAX_BODY
    for method, path in [("PUT", AVATARS_PATH), ("GET", AVATARS_PATH), ("POST", AVATARS_PATH + "/")]:
        assert_problem(await http.request(method, path, content=b"x" * (MAX_BODY + 1)), 413, "body")
    longer = pack(make_document(), b"\0" * 3 * MAX_BODY)
    assert (await http.post(AVATARS_PATH, content=longer)).status_code == 201


async def test_a_declared_length_over_the_limit_is_refused_unread(http: httpx.AsyncClient) -> None:
    headers = {"content-length": str(MAX_FILE + MAX_BODY + 1)}
    assert_problem(await http.post(AVATARS_PATH, content=in_pieces(GOOD), headers=headers), 413, "body")


@pytest.mark.parametrize("content_type", ["application/octet-stream", FORM])
async def test_a_body_over_the_limit_is_cut(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    monkeypatch.setattr(security, "STREAMED", {("POST", AVATARS_PATH): 100_000})
    form = part('form-data; name="file"; filename="a.vrm"', b"\0" * 10**6) + b"--x--\r\n"
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in in_pieces(form):
            taken += len(piece)
            yield piece

    assert_problem(
        await http.post(AVATARS_PATH, content=counted(), headers={"content-type": content_type}), 413, "body"
    )
    assert taken < 200_000


async def test_with_keys_nothing_is_read_without_one() -> None:
    async with client_of(make_app(AvatarShelf(None), keys=("secret",))) as http:
        assert (await http.post(AVATARS_PATH, content=GOOD)).status_code == 401
        assert (await http.get(f"{AVATARS_PATH}/{'0' * 32}")).status_code == 401
        assert (await http.post(AVATARS_PATH, content=GOOD, headers={"X-API-Key": "secret"})).status_code == 201


async def test_too_many_uploads_at_once_are_asked_to_wait(http: httpx.AsyncClient) -> None:
    everyone_inside, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield GOOD[:100]
        everyone_inside.release()
        await go_on.wait()
        yield GOOD[100:]

    uploads = [asyncio.create_task(http.post(AVATARS_PATH, content=slow())) for _ in range(MAX_UPLOADS)]
    for _ in uploads:
        await everyone_inside.acquire()
    refused = await http.post(AVATARS_PATH, content=GOOD)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert (await http.post("/echo", content=b"abc")).json() == 3, "others are not kept waiting"
    go_on.set()
    answers = await asyncio.gather(*uploads)
    assert sorted(answer.status_code for answer in answers) == [200] * (MAX_UPLOADS - 1) + [201]
    assert (await http.post(AVATARS_PATH, content=GOOD)).status_code == 200


async def test_an_upload_that_stalls_ends(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatars, "UPLOAD_SECONDS", 0.05)

    async def stalled(start: bytes) -> AsyncIterator[bytes]:
        yield start
        await asyncio.Event().wait()

    for start, headers in ((GOOD[:100], {}), (b"--x\r\n", {"content-type": FORM})):
        problem = assert_problem(await http.post(AVATARS_PATH, content=stalled(start), headers=headers), 422)
        assert "longer than" in problem["detail"]


def scope_of(headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": AVATARS_PATH,
        "raw_path": AVATARS_PATH.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "app": None,
    }


async def send_to(app: FastAPI, headers: Mapping[str, str], messages: Iterable[Mapping[str, Any]]) -> list[int]:
    """What the application answers to these messages: its statuses."""
    left, statuses = iter(messages), []

    async def receive() -> Mapping[str, Any]:
        return next(left)

    async def send(message: Mapping[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await app(scope_of(headers), receive, send)  # type: ignore[arg-type]
    return statuses


@pytest.mark.parametrize("headers", [{}, {"content-type": FORM}], ids=["body", "form"])
async def test_a_client_that_goes_away_leaves_nothing_behind(app: FastAPI, headers: dict[str, str]) -> None:
    """No stack text, no file that stays open, and the place at the door is free again."""
    start = part('form-data; name="file"; filename="a.vrm"', b"\0" * 2 * 2**20) if headers else GOOD
    messages = [{"type": "http.request", "body": start, "more_body": True}, {"type": "http.disconnect"}]
    await send_to(app, headers, messages)
    opened = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(2 * MAX_UPLOADS):
        assert await send_to(app, headers, messages) == [422]
    assert not opened or len(os.listdir("/proc/self/fd")) == opened


async def test_a_disk_that_is_full_is_told(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device", "/var/tmp/secret")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", refuse)
    bodies: list[dict[str, Any]] = [{"content": GOOD}, {"files": {"file": ("a.vrm", GOOD)}}]
    for body in bodies:
        answer = await http.post(AVATARS_PATH, **body)
        assert answer.status_code == 507 and "secret" not in answer.text


async def test_the_document_describes_the_upload(app: FastAPI) -> None:
    operation = app.openapi()["paths"][AVATARS_PATH]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/octet-stream",
        "model/gltf-binary",
        "multipart/form-data",
    }
    assert {"200", "201", "401", "413", "422", "429"} <= set(operation["responses"])
