"""The page as the service sends it: the built files, with their types, and no way to any other file or origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from motion_service.api.page import AVATARS, BUILT, MEDIA_TYPES, find_page
from tests.fakes import Api, StartApi

PAGE = find_page()


async def test_the_page_is_sent_with_a_policy_that_allows_no_other_origin(api: Api) -> None:
    answer = await api.http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.content == (BUILT / "index.html").read_bytes()
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    sources = {source for value in policy.values() for source in value.split()}
    assert sources <= {"'none'", "'self'", "data:", "blob:"}, "nothing from elsewhere, nothing inline, no eval"
    assert policy["script-src"] == policy["style-src"] == "'self'"


@pytest.mark.parametrize("path", sorted(PAGE.paths))
async def test_every_file_has_its_type(api: Api, path: str) -> None:
    answer = await api.http.get(path)
    file = PAGE.files[path]
    assert (answer.status_code, answer.content) == (200, file.read_bytes())
    assert answer.headers["content-type"] == MEDIA_TYPES[file.suffix]
    again = await api.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_nothing_else_is_sent(api: Api) -> None:
    assert all(file.is_relative_to(BUILT) or file.is_relative_to(AVATARS) for file in PAGE.files.values())
    assert {"/avatars/mannequin.vrm", "/avatars/mannequin_vrm0.vrm"} <= PAGE.paths
    for path in (
        "/src/main.ts",
        "/package.json",
        "/assets/../../api/page.py",
        "/assets/%2e%2e/%2e%2e/main.py",
        "/assets/",
    ):
        assert (await api.http.get(path)).status_code == 404, path


async def test_the_page_needs_no_key_but_what_it_asks_for_does(start_api: StartApi) -> None:
    api = start_api(keys=("correct horse",))
    assert {(await api.http.get(path)).status_code for path in PAGE.paths} == {200}
    assert (await api.http.get("/v1/diagnostics")).status_code == 401


async def test_without_a_built_page_the_service_says_so(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("motion_service.api.http.find_page", lambda: find_page(tmp_path, tmp_path))
    answer = await start_api().http.get("/")
    assert (answer.status_code, "make web" in answer.json()["detail"]) == (404, True)
