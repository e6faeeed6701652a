from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motion_service import answer as answer_module
from motion_service import jobs as jobs_module
from tests.fakes import Api, FakeSource, StartApi


async def wait_for(api: Api, job: str, kind: str) -> dict:
    """The status of an artifact once it is no longer pending."""
    for _ in range(500):
        status = (await api.http.get(f"/v1/motion/jobs/{job}")).json()["artifacts"][kind]
        if status["state"] != "pending":
            return dict(status)
        await asyncio.sleep(0.01)
    raise AssertionError(f"{kind} stayed pending")


async def test_the_video_follows_the_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "write_mp4", lambda clip, path, title: Path(path).write_bytes(title.encode()))
    motion = await api.generate("a person waves", artifacts=["npy", "mp4"])
    promised = motion["metadata"]["artifacts"]
    assert {kind: status["state"] for kind, status in promised.items()} == {
        "vrm-json": "ready",
        "npy": "ready",
        "mp4": "pending",
    }
    assert (await wait_for(api, motion["job_id"], "mp4"))["state"] == "ready"
    video = await api.http.get(promised["mp4"]["url"])
    assert (video.status_code, video.headers["content-type"], video.content) == (200, "video/mp4", b"a person waves")


async def test_a_failing_video_is_said_and_leaves_no_file(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(clip: object, path: Path, title: str) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("no encoder in /usr/lib")

    monkeypatch.setattr(answer_module, "write_mp4", broken)
    motion = await api.generate(artifacts=["mp4"])
    status = await wait_for(api, motion["job_id"], "mp4")
    assert status["state"] == "failed" and "/usr" not in status["error"]
    assert (await api.http.get(status["url"])).status_code == 404
    assert [path.suffix for path in api.files()] == [".json"]


async def test_jobs_are_listed_newest_first_and_forgotten_in_order(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "KEPT_JOBS", 3)
    made = [(await api.generate(duration_sec=0.2))["job_id"] for _ in range(4)]
    listed = (await api.http.get("/v1/motion/jobs", params={"limit": 2})).json()["jobs"]
    assert [job["job_id"] for job in listed] == [made[3], made[2]]
    forgotten = (await api.http.get(f"/v1/motion/jobs/{made[0]}")).json()
    assert forgotten["state"] == "done" and forgotten["metadata"]["fps"] == 20, "its files still tell of it"
    (api.output_dir / f"{made[0]}.json").unlink()
    assert (await api.http.get(f"/v1/motion/jobs/{made[0]}")).status_code == 404


async def test_a_record_says_what_happened(api: Api) -> None:
    answer = await api.http.post(
        "/v1/motion/generate", json={"prompt": "walks", "seed": 5}, headers={"X-Request-Id": "turn-17"}
    )
    job = (await api.http.get(f"/v1/motion/jobs/{answer.json()['job_id']}")).json()
    assert (job["state"], job["request_id"], job["metadata"]["seed"]) == ("done", "turn-17", 5)
    assert job["created"].endswith("+00:00")
    assert job["artifacts"]["npy"]["state"] == "ready"


async def test_failed_jobs_are_kept_and_refused_requests_are_not(start_api: StartApi) -> None:
    api = start_api({"mini": FakeSource(failure=RuntimeError())}, no_placeholder=True)
    await api.http.post("/v1/motion/generate", json={"prompt": "walks"})
    await api.http.post("/v1/motion/generate", json={"prompt": "walks", "provider": "placeholder"})
    assert [record.state for record in api.jobs.recent(10)] == ["failed"]


async def test_too_many_waiting_videos_are_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_PENDING", 0)
    motion = await api.generate(artifacts=["mp4"])
    assert (await wait_for(api, motion["job_id"], "mp4"))["state"] == "failed"
