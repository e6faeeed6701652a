"""One address -> one file, from a server that does what servers of large files do."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motion_service import download_transfer
from motion_service.download_transfer import NotThere, Retry, fetch_file
from motion_service.errors import DownloadFailed
from tests.deploy.asset_server import AssetServer, answer, break_after, page, promise, serve_assets, without_ranges

CONTENT = random.Random(1).randbytes(300_000)
DRIVE_QUESTION = """<!DOCTYPE html><html><body><p>Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="{url}/f" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="1z"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="a b"></form></body></html>"""
QUOTA = "<html><head><title>Google Drive - Quota exceeded</title></head><body>Too many users ...</body></html>"


class Told:
    """Remembers what was reported, and waits for nothing."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None, int]] = []
        self.advanced = 0
        self.waits: list[tuple[float, str]] = []

    def begin(self, name: str, total: int | None, done: int) -> None:
        self.begun.append((name, total, done))

    def advance(self, count: int) -> None:
        self.advanced += count

    def wait(self, seconds: float, reason: str) -> None:
        self.waits.append((seconds, reason))


AT_ONCE = Retry(tries=4, sleep=lambda seconds: None)


@pytest.fixture
def server() -> Iterator[AssetServer]:
    with serve_assets() as assets:
        assets.files["/f"] = CONTENT
        yield assets


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture
def told() -> Told:
    return Told()


def fetch(http: httpx.Client, server: AssetServer, target: Path, told: Told, size: int | None = None) -> str | None:
    return fetch_file(http, f"{server.url}/f", target, told, size=size, retry=AT_ONCE)


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_arrives_whole(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    fetch(http, server, tmp_path / "f.bin", told)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert left(tmp_path) == ["f.bin"] and told.advanced == len(CONTENT) and not told.waits


def test_it_goes_on_where_it_broke(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [break_after(100_000), break_after(50_000)]
    fetch(http, server, tmp_path / "f", told)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [span for _, span in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert told.advanced == len(CONTENT), "no byte is fetched twice"


def test_the_next_run_goes_on_too(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [break_after(100_000), *[break_after(0)] * 4]
    with pytest.raises(DownloadFailed, match="given up after 4 tries"):
        fetch(http, server, tmp_path / "f", told)
    assert left(tmp_path) == ["f.part", "f.part.json"], "nothing under the final name"
    fetch(http, server, tmp_path / "f", told)
    assert server.asked[-1][1] == "bytes=100000-" and (tmp_path / "f").read_bytes() == CONTENT


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breaks=st.lists(st.integers(1, 120_000), max_size=6), new_at=st.integers(0, 6))
def test_however_it_breaks_the_file_is_one_version_whole(
    breaks: list[int], new_at: int, http: httpx.Client, server: AssetServer, tmp_path: Path
) -> None:
    """Also where the file at the server is exchanged in between."""
    other = CONTENT[::-1]
    server.etag, server.files["/f"] = '"one"', CONTENT
    troubles = [break_after(count) for count in breaks]

    def exchange(handler: object, content: bytes) -> None:
        server.etag, server.files["/f"] = '"two"', other
        break_after(10)(handler, other)  # type: ignore[arg-type]

    troubles.insert(new_at, exchange)
    server.trouble["/f"] = troubles
    target = tmp_path / "f"
    fetch_file(http, f"{server.url}/f", target, Told(), retry=Retry(tries=12, sleep=lambda seconds: None))
    assert target.read_bytes() in (CONTENT, other)
    assert left(tmp_path) == ["f"]
    target.unlink()


def test_a_server_without_ranges_that_always_breaks_is_given_up(
    http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told
) -> None:
    """Each try brings bytes, and none brings more than the last."""
    server.trouble["/f"] = [without_ranges(200_000)] * 20
    with pytest.raises(DownloadFailed, match="given up"):
        fetch(http, server, tmp_path / "f", told)
    assert len(server.asked) <= 6


def test_too_long_a_length(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [promise(len(CONTENT) + 5)] * 20
    with pytest.raises(DownloadFailed, match="given up"):
        fetch(http, server, tmp_path / "f", told)
    assert "f" not in left(tmp_path)


def test_too_short_a_length(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    """With a known size it is noticed here; without one, by structure or hash (test_download.py)."""
    server.trouble["/f"] = [promise(1000)]
    with pytest.raises(DownloadFailed, match="1000 bytes, the manifest says 300000"):
        fetch(http, server, tmp_path / "f", told, size=len(CONTENT))
    assert "f" not in left(tmp_path)


def test_busy_servers_are_waited_for_as_they_ask(
    http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told
) -> None:
    server.trouble["/f"] = [
        answer(429, Retry_After="17"),
        answer(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        answer(500),
    ]
    fetch(http, server, tmp_path / "f", told)
    seconds = [wait for wait, _ in told.waits]
    assert seconds[:2] == [17, 0] and 0 < seconds[2] <= 60
    assert "429" in told.waits[0][1]


def test_nobody_waits_for_hours(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [answer(429, Retry_After="7200")]
    with pytest.raises(DownloadFailed, match="7200 s"):
        fetch(http, server, tmp_path / "f", told)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotThere), (410, NotThere), (401, DownloadFailed), (403, DownloadFailed)]
)
def test_what_another_try_would_not_change(
    status: int, kind: type[DownloadFailed], http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told
) -> None:
    server.trouble["/f"] = [answer(status)]
    with pytest.raises(kind):
        fetch(http, server, tmp_path / "f", told)
    assert len(server.asked) == 1


def test_a_quota_page_is_no_file(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [page(QUOTA)]
    with pytest.raises(DownloadFailed, match="quota"):
        fetch(http, server, tmp_path / "f", told)
    assert "f" not in left(tmp_path)


def test_drives_question_is_answered_once(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [page(DRIVE_QUESTION.format(url=server.url))]
    fetch(http, server, tmp_path / "f", told)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked[-1][0] == "/f?id=1z&confirm=t&uuid=a+b"
    server.trouble["/f"] = [page(DRIVE_QUESTION.format(url=server.url))] * 2
    with pytest.raises(DownloadFailed, match="web page"):
        fetch(http, server, tmp_path / "g", told)


def test_a_page_cannot_send_us_elsewhere(http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told) -> None:
    server.trouble["/f"] = [page(DRIVE_QUESTION.format(url="http://127.0.0.1:1"))]
    with pytest.raises(DownloadFailed, match="web page"):
        fetch(http, server, tmp_path / "f", told)


def test_a_full_disk_is_noticed_before_the_first_byte(
    http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = download_transfer.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(download_transfer.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DownloadFailed, match=r"needs 0 MB, and only 0 MB are free"):
        fetch(http, server, tmp_path / "f", told)
    assert not told.advanced


def test_a_hash_that_the_server_tells_is_handed_on(
    http: httpx.Client, server: AssetServer, tmp_path: Path, told: Told
) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    server.files["/first"] = b"-"
    server.trouble["/first"] = [answer(302, Location="/f", X_Linked_Etag=f'"{digest}"')]
    assert fetch_file(http, f"{server.url}/first", tmp_path / "f", told, retry=AT_ONCE) == digest


def test_nobody_at_the_address(http: httpx.Client, tmp_path: Path, told: Told) -> None:
    with pytest.raises(DownloadFailed, match="given up after 4 tries"):
        fetch_file(http, "http://127.0.0.1:1/f", tmp_path / "f", told, retry=AT_ONCE)
    with pytest.raises(DownloadFailed):
        fetch_file(http, "nowhere", tmp_path / "f", told, retry=AT_ONCE)
