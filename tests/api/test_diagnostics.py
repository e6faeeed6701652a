"""Diagnostics over HTTP and WebSocket, on fakes and on the real engine with a model that only counts."""

from __future__ import annotations

import asyncio
import io
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from motion_service.api.diagnostics import Watch
from motion_service.api.http import create_app
from motion_service.diagnostics import stage_times
from motion_service.diagnostics_schemas import EVENTS, BenchmarkOut, DiagnosticsOut
from motion_service.engine.resident import DoneTicket
from motion_service.engine.run import Batch, ModelLimits, SamplingRun
from motion_service.engine.worker import Worker
from motion_service.jobs import Jobs
from motion_service.source import SourceClip, SourceRequest
from tests.fakes import Api, FakeSource, StartApi
from tests.live_server import make_jobs, serve

KEY = "correct horse"
SCHEMAS = {kind.model_fields["type"].annotation.__args__[0]: kind for kind in EVENTS}  # type: ignore[union-attr]


class CountingResident:
    """A model that makes nothing: each step waits until it is let through, or for nobody."""

    def __init__(self) -> None:
        self.limits = ModelLimits((200,), (1, 2))
        self.step = threading.Semaphore(0)

    def prepare(self, costs: Any) -> None: ...

    def run(self, batch: Batch) -> DoneTicket:
        for _ in range(batch.num_steps):
            assert self.step.acquire(timeout=20)
        ended = [run for run in batch.runs if run.done + batch.num_steps == run.steps]
        return DoneTicket(1.0, {run.id: None for run in ended})

    def leave(self, run: SamplingRun) -> None: ...

    def facts(self) -> dict[str, Any]:
        return {"engine": "counting", "graph_hits": 3}


class EngineSource(FakeSource):
    """A fake whose steps are runs of the engine."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    async def generate(self, request: SourceRequest) -> SourceClip:
        run = SamplingRun(f"run-{request.seed}", "mini", 100, request.steps or 10)
        await self._worker.sample(run)
        return await super().generate(request)


@asynccontextmanager
async def engine_behind(resident: CountingResident, directory: Path) -> AsyncIterator[tuple[str, Jobs]]:
    """A service whose only engine is ``resident``: its address and jobs."""
    worker = Worker()
    worker.start()
    worker.add_model("mini", resident)
    jobs = make_jobs(directory, {"mini": EngineSource(worker)})
    try:
        with serve(create_app(jobs, worker=worker), ws="websockets-sansio") as url:
            yield url.removeprefix("http://"), jobs
    finally:
        await worker.stop(drain=False)


async def hear(socket: Any, kind: str) -> dict[str, Any]:
    """The next event of a kind; every event on the way fits its schema."""
    while True:
        event = json.loads(await asyncio.wait_for(socket.recv(), 20))
        SCHEMAS[event["type"]].model_validate(event)
        if event["type"] == kind:
            return dict(event)


async def test_diagnostics_tell_what_the_service_is_and_did(start_api: StartApi) -> None:
    api = start_api(queue_size=3)
    fresh = DiagnosticsOut.model_validate((await api.http.get("/v1/diagnostics")).json())
    assert (fresh.jobs.done, fresh.stages_ms, fresh.queue.limit, fresh.batches.count) == (0, {}, 3, 0)
    for _ in range(3):
        await api.generate(duration_sec=0.3)
    await api.generate(provider="dip", duration_sec=0.3)  # not loaded: a placeholder answers
    await api.http.post("/v1/motion/edit", json={"mode": "in_between"})
    told = DiagnosticsOut.model_validate((await api.http.get("/v1/diagnostics")).json())
    assert (told.jobs.done, told.jobs.placeholder, told.jobs.failed) == (4, 1, 0)
    assert told.refusals == {"invalid-request": 1}
    assert told.stages_ms["total"].count == 4 and 0 < told.stages_ms["total"].p50 <= told.stages_ms["total"].p95
    assert (told.providers, told.placeholder, told.files) == (["mini"], True, "/data/animations")
    assert told.device.kind == "cpu" and told.memory.gpu_total_mb is None


async def test_a_full_house_is_counted(start_api: StartApi) -> None:
    gate = threading.Event()
    api = start_api({"mini": FakeSource(gate=gate)}, queue_size=1)
    first = asyncio.create_task(api.generate(duration_sec=0.3))
    while not api.pipeline.admission.inside:
        await asyncio.sleep(0.005)
    assert (await api.http.post("/v1/motion/generate", json={"prompt": "walks"})).status_code == 429
    gate.set()
    await first
    told = (await api.http.get("/v1/diagnostics")).json()
    assert (told["refusals"], api.pipeline.admission.refused) == ({"queue-full": 1}, 1)


def test_stage_times_are_percentiles() -> None:
    answers = [{"timings_ms": {"total": float(ms), "plan": 1.0}} for ms in range(1, 102)] + [{}]
    assert stage_times(answers) == {
        "plan": {"p50": 1.0, "p95": 1.0, "count": 101},
        "total": {"p50": 51.0, "p95": 96.0, "count": 101},
    }


async def test_events_follow_a_job_from_the_queue_through_its_steps_to_its_url(tmp_path: Path) -> None:
    resident = CountingResident()
    async with engine_behind(resident, tmp_path) as (address, jobs):
        import httpx

        async with (
            connect(f"ws://{address}/v1/diagnostics/events") as socket,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http,
        ):
            wish = {"prompt": "walks", "steps": 6, "duration_sec": 0.5, "seed": 1}
            asked = asyncio.create_task(http.post("/v1/motion/generate", json=wish, headers={"X-Request-Id": "turn-1"}))
            queued = await hear(socket, "job_queued")
            assert (queued["request_id"], queued["position"]) == ("turn-1", 0)
            listed = (await http.get("/v1/motion/jobs")).json()["jobs"][0]
            assert (listed["state"], listed["thumbnail"]) == ("running", None)
            assert listed["progress"].keys() == {"position", "done", "steps"}
            seen = []
            for _ in range(6):
                resident.step.release()
            while not asked.done():
                event = json.loads(await asyncio.wait_for(socket.recv(), 20))
                seen.append(event)
                if event["type"] == "job_done":
                    break
            answer = (await asked).json()
            done = seen[-1]
            assert (done["job_id"], done["url"], done["fps"]) == (answer["job_id"], answer["url"], answer["fps"])
            steps = [event["done"] for event in seen if event["type"] == "job_step"]
            assert steps == sorted(steps) and all(event["steps"] == 6 for event in seen if event["type"] == "job_step")
            facts = (await http.get("/v1/diagnostics")).json()
            assert facts["engines"]["mini"]["graph_hits"] == 3
            assert facts["batches"]["widths"] == {"1": facts["batches"]["count"]}
            assert facts["queue"]["runs_done"] == 1


async def test_those_behind_are_told_their_place(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"mini": FakeSource(gate=(gate := threading.Event()))})
    from motion_service.schemas import GenerateRequest

    watch = Watch(jobs)
    tasks = [
        asyncio.create_task(jobs.generate(GenerateRequest(prompt="walks", duration_sec=0.3), "generate"))
        for _ in range(3)
    ]
    while len(jobs.running()) < 3:
        await asyncio.sleep(0.002)
    assert [event["position"] for event in watch.changes()] == [0, 1, 2]
    assert [*watch.changes()] == [], "nothing is told twice"
    first = jobs.running()[0]
    assert first.progress is not None
    run = SamplingRun("a", "mini", 60, 10)
    first.progress.add(run)
    run.began, run.done = 1.0, 4
    assert [(event["type"], event["position"]) for event in watch.changes()] == [
        ("job_step", 0), ("job_queued", 0), ("job_queued", 1)
    ]  # fmt: skip
    gate.set()
    await asyncio.gather(*tasks)
    assert jobs.running() == [] and [*watch.changes()] == []
    jobs.close()


async def test_failures_and_placeholders_are_events_with_a_reason(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"mini": FakeSource(failure=RuntimeError("boom"))})
    from motion_service.errors import BadRequest
    from motion_service.schemas import GenerateRequest

    with jobs.events.reading() as reader:
        await jobs.generate(GenerateRequest(prompt="walks", duration_sec=0.3), "generate")
        queued, done = await reader.take(1.0)
        assert (queued["type"], done["type"]) == ("job_queued", "job_done")
        assert (done["fallback_used"], done["fallback_reason"]) == (True, "generation-failed")
        jobs.pipeline.placeholder = None
        with pytest.raises(BadRequest):
            await jobs.generate(GenerateRequest(prompt="walks", provider="placeholder"), "generate")
        with pytest.raises(Exception, match="generated"):
            await jobs.generate(GenerateRequest(prompt="walks", duration_sec=0.3), "generate")
        failed = [event["problem"] for event in await reader.take(1.0) if event["type"] == "job_failed"]
    assert failed == ["invalid-request", "generation-failed"]
    assert jobs.ended == {"done": 1, "placeholder": 1, "invalid-request": 1, "failed": 1}
    jobs.close()


async def test_strangers_hear_no_events(tmp_path: Path) -> None:
    app = create_app(make_jobs(tmp_path, {"mini": FakeSource()}), (KEY,))
    with serve(app, ws="websockets-sansio") as url:
        place = f"{url.replace('http', 'ws')}/v1/diagnostics/events"
        for headers, status in [({}, 401), ({"X-API-Key": KEY, "Origin": "https://elsewhere.example"}, 403)]:
            with pytest.raises(InvalidStatus) as refused:
                await connect(place, additional_headers=headers)
            assert refused.value.response.status_code == status
        async with connect(place, additional_headers={"X-API-Key": KEY}):
            pass


async def test_thumbnails_are_small_pictures_of_jobs_that_are_done(api: Api) -> None:
    motion = await api.generate(duration_sec=1.0)
    (job,) = (await api.http.get("/v1/motion/jobs")).json()["jobs"]
    answer = await api.http.get(job["thumbnail"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    picture = Image.open(io.BytesIO(answer.content)).convert("L")
    assert len(answer.content) < 8000 and picture.size == (288, 108)
    darkest, lightest = picture.getextrema()
    assert float(lightest) - float(darkest) > 60, "somebody is in the picture"  # type: ignore[arg-type]
    assert (await api.http.get(f"/v1/motion/jobs/{'0' * 32}/thumbnail")).status_code == 404
    (api.output_dir / f"{motion['job_id']}.json").write_bytes(b"{}")
    assert (await api.http.get(job["thumbnail"])).content == answer.content, "drawn once"


@pytest.fixture
def engines() -> Iterator[dict[str, Any]]:
    class Fifty(FakeSource):
        async def generate(self, request: SourceRequest) -> SourceClip:
            made = await super().generate(request)
            from dataclasses import replace

            return replace(made, steps=min(request.steps or 50, 50))

    yield {
        "mini": FakeSource("mini"),
        "mdm": Fifty("mdm", 9.8),
        "mdm-encoder": Fifty("mdm-encoder", 9.8),
        "dip": FakeSource("dip", math.inf, RuntimeError("no memory")),
    }


async def test_the_benchmark_measures_every_engine_and_is_kept(
    start_api: StartApi, engines: dict[str, Any], tmp_path: Path
) -> None:
    api = start_api(engines)
    assert (await api.http.get("/v1/diagnostics/benchmark")).json()["state"] == "never-run"
    begun = await api.http.post("/v1/diagnostics/benchmark")
    assert (begun.status_code, begun.json()["state"], begun.json()["of"]) == (202, "running", 4)
    assert (await api.http.post("/v1/diagnostics/benchmark")).status_code == 202, "asking twice runs once"
    while (now := (await api.http.get("/v1/diagnostics/benchmark")).json())["state"] == "running":
        await asyncio.sleep(0.02)
    record = BenchmarkOut.model_validate(now).record
    assert now["state"] == "done" and record is not None
    measured = [(row.provider, row.steps, row.failed) for row in record.rows]
    assert measured == [
        ("mdm", 50, None), ("mdm", 10, None), ("mdm-encoder", 50, None), ("mdm-encoder", 10, None),
        ("dip", 0, "generation-failed"), ("mini", 10, None),
    ]  # fmt: skip
    good = [row for row in record.rows if row.failed is None]
    assert all(0 < row.best_ms <= row.median_ms and row.runs == 3 and row.quality for row in good)
    assert len(engines["mini"].asked) == 4 and {wish.seconds for wish in engines["mini"].asked} == {5.0}
    other = start_api(engines)  # another process on the same data
    assert (await other.http.get("/v1/diagnostics/benchmark")).json()["record"] == now["record"]
