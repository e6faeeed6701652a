"""Two replicas over one directory or one bucket, each behind a socket: either serves what the other made."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from motion_service import answer as answer_module
from motion_service import jobs_claims, jobs_stored
from motion_service.admission import Admission
from motion_service.answer import MEDIA_TYPES
from motion_service.api.http import create_app
from motion_service.jobs import Jobs
from motion_service.pipeline import Pipeline
from motion_service.retention import Retention
from motion_service.schemas import MotionOptions
from motion_service.store import ArtifactStore
from motion_service.vrm.shelf import AvatarShelf
from tests.fakes import FakeSource
from tests.live_server import free_port, make_jobs, process_that_hangs, serve
from tests.vrm.avatar_files import make_avatar

KEYS = ("one", "two")


@dataclass
class Replica:
    """One of several services on the same files."""

    http: httpx.AsyncClient
    jobs: Jobs
    source: FakeSource = field(default_factory=FakeSource)

    async def ask(self, idempotency_key: str | None = "k", api_key: str = "one", **fields: Any) -> httpx.Response:
        headers = {"X-API-Key": api_key} | ({"Idempotency-Key": idempotency_key} if idempotency_key else {})
        request = {"prompt": "a person waves", "duration_sec": 0.5, **fields}
        return await self.http.post("/v1/motion/generate", json=request, headers=headers)

    async def get(self, path: str, api_key: str | None = "one") -> httpx.Response:
        return await self.http.get(path, headers={"X-API-Key": api_key} if api_key else {})


@pytest.fixture
async def replicas(output_dir: Path | str, tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two services with the same settings."""
    async with AsyncExitStack() as stack:
        yield (await start(stack, output_dir, tmp_path), await start(stack, output_dir, tmp_path))


async def start(stack: AsyncExitStack, output_dir: Path | str, data_root: Path) -> Replica:
    store = ArtifactStore(output_dir, data_root, "/data", secret=b"shared by all replicas")
    source = FakeSource()
    in_bucket = store.output_dir is None
    avatars = AvatarShelf(None, bucket=store.place) if in_bucket else AvatarShelf(data_root / "avatars")
    defaults = MotionOptions(artifacts=["npy"])
    jobs = Jobs(Pipeline({"mini": source}, FakeSource("placeholder"), store, Admission(8), defaults, avatars))
    url = stack.enter_context(serve(create_app(jobs, KEYS, records=data_root)))
    return Replica(await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)), jobs, source)


# --- what one made, the other serves ----------------------------------------------------------------------------------


async def test_jobs_files_and_signed_urls_of_the_other(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    made = (await here.ask(None)).json()
    job = f"/v1/motion/jobs/{made['job_id']}"
    own, others = (await here.get(job)).json(), (await there.get(job)).json()
    assert others["state"] == "done" and others["metadata"] == own["metadata"]
    assert {kind: status["state"] for kind, status in others["artifacts"].items()} == {
        "vrm-json": "ready",
        "npy": "ready",
    }
    for url in (made["url"], others["artifacts"]["vrm-json"]["url"]):
        assert (await there.get(url, api_key=None)).json() == made
    assert (await there.get(made["url"].replace("signature=", "signature=0"), api_key=None)).status_code == 401
    npy = made["metadata"]["artifacts"]["npy"]["url"]
    assert (await there.get(npy)).content == (await here.get(npy)).content
    part = await there.http.get(npy, headers={"Range": "bytes=0-5"})
    assert (part.status_code, part.content) == (206, b"\x93NUMPY")
    assert part.headers["etag"] == (await here.get(npy)).headers["etag"]
    assert made["output_path"] == here.jobs.pipeline.store.locate(made["job_id"], "vrm-json")
    assert (await there.get("/v1/motion/jobs/" + "0" * 32)).status_code == 404
    assert (await there.get("/v1/motion/jobs/..%2F" + "0" * 32)).status_code == 404
    assert (await there.get(job + "/thumbnail")).content == (await here.get(job + "/thumbnail")).content
    edited = {"job_id": made["job_id"], "mode": "in_between", "prompt": "x"}
    answer = await there.http.post("/v1/motion/edit", json=edited, headers={"X-API-Key": "one"})
    assert "no such job" not in answer.text


async def test_files_that_follow_are_seen_when_they_are_there(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def write(clip: object, path: Path, title: str) -> None:
        gate.wait(20)
        path.write_bytes(b"video")

    monkeypatch.setattr(answer_module, "write_mp4", write)
    here, there = replicas
    job = f"/v1/motion/jobs/{(await here.ask(None, artifacts=['mp4'])).json()['job_id']}"
    assert (await there.get(job)).json()["artifacts"]["mp4"]["state"] == "pending"
    monkeypatch.setattr(jobs_stored, "LATE_S", -1.0)
    late = (await there.get(job)).json()["artifacts"]["mp4"]
    assert late["state"] == "failed" and late["error"]
    gate.set()
    while (await here.get(job)).json()["artifacts"]["mp4"]["state"] != "ready":
        await asyncio.sleep(0.02)
    video = (await there.get(job)).json()["artifacts"]["mp4"]
    assert video["state"] == "ready" and (await there.get(video["url"], api_key=None)).content == b"video"


async def test_avatars_of_the_other(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    upload = {"content": make_avatar(), "headers": {"X-API-Key": "one"}}
    first = await here.http.post("/v1/avatars", **upload)  # type: ignore[arg-type]
    avatar = first.json()["id"]
    assert (await there.get(f"/v1/avatars/{avatar}")).json() == first.json()
    assert (await there.ask(None, avatar=avatar)).json()["metadata"]["avatar"] == avatar
    assert (await there.get("/v1/avatars/" + "0" * 32)).status_code == 404
    again = await there.http.post("/v1/avatars", **upload)  # type: ignore[arg-type]
    assert (first.status_code, again.status_code) == (201, 200)


# --- a job that a client named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vrm-json", "bvh", "msgpack"])
async def test_a_retry_at_the_other_gets_the_same_answer(replicas: tuple[Replica, Replica], kind: str) -> None:
    here, there = replicas
    first = await here.ask(format=kind)
    other = await there.ask(format=kind, fps=30)
    assert (other.status_code, other.json()["type"].rpartition("/")[2]) == (422, "idempotency-key-reused")
    again = await there.ask(format=kind)
    assert first.status_code == 200 and again.content == first.content
    for name in ("content-type", "x-job-id", "x-motion-generator", "x-motion-fallback", "link"):
        assert again.headers[name] == first.headers[name]
    assert first.headers["content-type"] == MEDIA_TYPES[kind]
    assert len(here.source.asked) == 1 and not there.source.asked
    somebody = await there.ask(format=kind, api_key="two")
    assert somebody.headers["x-job-id"] != first.headers["x-job-id"], "keys belong to who sends them"


async def test_what_is_being_made_is_waited_for_and_made_once(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    here.source.gate = threading.Event()
    first = asyncio.create_task(here.ask())
    await until_claimed(here)
    refused = await there.ask(mood="happy")
    assert refused.status_code == 422, "not only once it is done"
    second = asyncio.create_task(there.ask())
    job = f"/v1/motion/jobs/{job_of(here)}"
    running = (await there.get(job)).json()
    assert (running["state"], running["artifacts"]) == ("running", {})
    assert running["request_id"] == (await here.get(job)).json()["request_id"]
    await asyncio.sleep(0.3)
    assert not second.done()
    here.source.gate.set()
    assert (await first).content == (await second).content
    assert len(here.source.asked) == 1 and not there.source.asked


async def test_of_many_at_once_all_get_one_answer(replicas: tuple[Replica, Replica]) -> None:
    answers = await asyncio.gather(*(replicas[number % 2].ask() for number in range(8)))
    assert len({answer.content for answer in answers}) == 1
    assert sum(len(replica.source.asked) for replica in replicas) == 1


async def test_a_claim_whose_word_was_lost_is_ours(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = replicas[0].jobs.pipeline.store.place
    create = place.create
    monkeypatch.setattr(place, "create", lambda name, content: create(name, content) and False)
    assert (await replicas[0].ask()).content == (await replicas[1].ask()).content
    assert [len(replica.source.asked) for replica in replicas] == [1, 0]


async def test_a_claim_that_cannot_be_read_holds_nobody_up(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        here = await start(stack, tmp_path / "animations", tmp_path)
        folder = tmp_path / "animations" / here.jobs.pipeline.store.job_id("one\0k")
        folder.mkdir()
        (folder / "claim-1").symlink_to(tmp_path)
        assert (await here.ask()).status_code == 200


@pytest.mark.parametrize("damaged", [b"", b"\x00\xff", b"{}"])
async def test_a_claim_that_says_nothing_gives_nobody_another_ones_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes
) -> None:
    monkeypatch.setattr(jobs_claims, "LOST_S", 0.2)
    async with AsyncExitStack() as stack:
        first = await start(stack, tmp_path / "animations", tmp_path)
        jumps = await first.ask(prompt="jumps")
        claim = tmp_path / "animations" / first.jobs.pipeline.store.job_id("one\0k") / "claim-1"
        assert claim.is_file()
        claim.write_bytes(damaged)
        second = await start(stack, tmp_path / "animations", tmp_path)
        assert (await second.ask(prompt="walks")).content != jumps.content


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        {"artifacts": None},
        {"artifacts": [1]},
        {"artifacts": {}},
        {"artifacts": {"vrm-json": {}}, "generator": "x"},
    ],
)
async def test_a_job_whose_file_has_another_shape_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: Any
) -> None:
    monkeypatch.setattr(jobs_claims, "LOST_S", 0.2)
    async with AsyncExitStack() as stack:
        first = await start(stack, tmp_path / "animations", tmp_path)
        job = (await first.ask()).json()["job_id"]
        (tmp_path / "animations" / f"{job}.json").write_bytes(orjson.dumps({"metadata": metadata}))
        second = await start(stack, tmp_path / "animations", tmp_path)
        assert (await second.get(f"/v1/motion/jobs/{job}")).json()["state"] != "done"
        assert (await second.ask()).json()["metadata"]["generator"] == "mini"


async def test_what_failed_here_is_told_as_done_when_another_has_made_it(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    here.jobs.pipeline.placeholder, here.source.failure = None, RuntimeError()
    assert (await here.ask()).status_code == 500
    path = f"/v1/motion/jobs/{job_of(here)}"
    assert (await here.get(path)).json()["state"] == "failed"
    assert (await there.ask()).status_code == 200
    assert (await here.get(path)).json()["state"] == "done"


async def test_failures_are_not_kept(replicas: tuple[Replica, Replica]) -> None:
    here, there = replicas
    here.jobs.pipeline.placeholder, here.source.failure = None, RuntimeError()
    assert (await here.ask()).status_code == 500
    assert (await there.get(f"/v1/motion/jobs/{job_of(here)}")).status_code == 404
    assert (await there.ask()).status_code == 200
    assert (await here.ask()).content == (await there.ask()).content, "a later try gets the answer"


async def test_a_replica_that_hung_and_one_that_took_over_make_the_same_motion(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_claims, "BEAT_S", 60.0)
    monkeypatch.setattr(jobs_claims, "LOST_S", 0.2)
    here, there = replicas
    here.source.gate = threading.Event()
    first = asyncio.create_task(here.ask())
    await until_claimed(here)
    second = (await there.ask()).json()
    here.source.gate.set()
    late = (await first).json()
    assert late["job_id"] == second["job_id"] and late["tracks"] == second["tracks"]
    assert (await there.get(second["url"])).json()["tracks"] == second["tracks"]


async def test_beats_keep_a_claim(replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_claims, "BEAT_S", 0.1)
    monkeypatch.setattr(jobs_claims, "LOST_S", 0.6)
    here, there = replicas
    here.source.gate = threading.Event()
    asked = [asyncio.create_task(here.ask())]
    await until_claimed(here)
    asked.append(asyncio.create_task(there.ask()))
    await asyncio.sleep(1.2)
    assert not there.source.asked
    here.source.gate.set()
    assert len({(await answer).content for answer in asked}) == 1


async def test_a_swept_job_is_made_anew(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        here, there = [await start(stack, tmp_path / "animations", tmp_path) for _ in range(2)]
        first = (await here.ask()).json()
        assert Retention(there.jobs.pipeline.store, ttl_s=1).sweep(4e9) == [first["job_id"]]
        assert not [*(tmp_path / "animations").iterdir()], "the claim is gone too"
        assert (await there.get(f"/v1/motion/jobs/{first['job_id']}")).status_code == 404
        again = (await there.ask(fps=30)).json()
        assert (again["job_id"], again["fps"]) == (first["job_id"], 30)


async def test_without_the_store_a_named_job_is_made_all_the_same(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "no space left on device")

    here, _ = replicas
    for name in ("create", "write"):
        monkeypatch.setattr(here.jobs.pipeline.store.place, name, refuse)
    answer = await here.ask()
    assert answer.status_code == 200
    assert {status["state"] for status in answer.json()["metadata"]["artifacts"].values()} == {"failed"}
    assert (await here.ask(format="mp4", idempotency_key="v")).status_code == 507


async def test_a_job_of_a_killed_replica_is_made_by_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_claims, "LOST_S", 0.5)
    request = {"json": {"prompt": "walks", "duration_sec": 0.3}, "headers": {"Idempotency-Key": "k"}, "timeout": 30}
    port = free_port()
    with (
        process_that_hangs(tmp_path, port) as process,
        serve(create_app(make_jobs(tmp_path, {"mini": FakeSource()}))) as url,
    ):
        async with httpx.AsyncClient() as http:
            path = "/v1/motion/generate"
            while True:
                asking = asyncio.create_task(http.post(f"http://127.0.0.1:{port}{path}", **request))  # type: ignore[arg-type]
                await asyncio.sleep(0.2)
                if not asking.done():
                    break
                assert isinstance(asking.exception(), httpx.ConnectError)
            while not [*tmp_path.rglob("claim-1")]:
                await asyncio.sleep(0.02)
            process.kill()
            with pytest.raises(httpx.TransportError):
                await asking
            answer = await http.post(url + path, **request)  # type: ignore[arg-type]
            assert answer.status_code == 200 and not answer.json()["fallback_used"]


def job_of(replica: Replica) -> str:
    return replica.jobs.recent(1)[0].job_id


async def until_claimed(replica: Replica) -> None:
    """Until the model of a replica has begun."""
    until = time.monotonic() + 10
    while not replica.source.asked and time.monotonic() < until:
        await asyncio.sleep(0.01)
