"""Both clients against the real application over a real socket."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from motion_service.api.http import create_app
from motion_service.client import AsyncMotionClient, MotionClient
from motion_service.errors import (
    BadRequest,
    ClientError,
    GenerationFailed,
    KeyReused,
    MotionError,
    NotFound,
    QueueFull,
    TimedOut,
    Unauthorized,
    UnsupportedFormat,
)
from motion_service.export.read import json_to_clip
from motion_service.export.read_vrma import vrma_to_clip
from motion_service.jobs import Jobs
from tests.fakes import FakeSource
from tests.live_server import free_port, make_jobs, process_that_hangs, serve
from tests.vrm.avatar_files import MANNEQUINS

KEY = "a key"


class Blocking:
    """The asynchronous client with the face of the other, so that every test runs on both."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncMotionClient(*arguments, **options)

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *given, **options: self._runner.run(method(*given, **options))

    def save(self, motion: Any, path: Path) -> Path:
        saved: Path = self._runner.run(motion.save(path))
        return saved


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The class of a client."""
    return MotionClient if request.param == "sync" else Blocking


def save(client: Any, motion: Any, path: Path) -> Path:
    saved: Path = client.save(motion, path) if isinstance(client, Blocking) else motion.save(path)
    return saved


@pytest.fixture
def source() -> FakeSource:
    """Clips are only made while its gate is set."""
    gate = threading.Event()
    gate.set()
    return FakeSource(gate=gate)


@pytest.fixture
def jobs(tmp_path: Path, source: FakeSource) -> Jobs:
    return make_jobs(tmp_path, {"mini": source}, queue_size=2)


@pytest.fixture
def url(jobs: Jobs, source: FakeSource) -> Iterator[str]:
    with serve(create_app(jobs)) as address:
        yield address
        assert source.gate is not None
        source.gate.set()


def test_a_motion_is_typed_and_saved_in_every_format(connect: Any, url: str, tmp_path: Path) -> None:
    with connect(url) as client:
        motion = client.generate("walks", duration_sec=1.0, seed=5, fps=None, artifacts=["bvh", "mp4"])
        assert (motion.fps, motion.duration_sec, motion.fallback_used) == (20, 1.0, False)
        assert (motion.metadata.generator, motion.metadata.seed) == ("mini", 5)
        assert len(motion.tracks["rightUpperArm"]) == 20 == len(motion.root_position)
        for suffix, beginning in {".json": b"{", ".bvh": b"HIERARCHY", ".npy": b"\x93NUMPY", ".vrma": b"glTF"}.items():
            assert save(client, motion, tmp_path / f"motion{suffix}").read_bytes().startswith(beginning)
        assert save(client, motion, tmp_path / "motion.MP4").read_bytes()[4:8] == b"ftyp"  # was pending
        assert json.loads((tmp_path / "motion.json").read_bytes())["job_id"] == motion.job_id
        with pytest.raises(UnsupportedFormat, match=r"\.vrma"):
            save(client, motion, tmp_path / "motion.gif")


def test_a_file_nobody_asked_for_is_the_same_motion(url: str, source: FakeSource) -> None:
    with MotionClient(url) as client:
        motion = client.generate("walks", duration_sec=1.0)
        made = vrma_to_clip(motion.as_vrma())
        assert [wish.seed for wish in source.asked] == [motion.metadata.seed] * 2
        sent = json_to_clip(json.loads(motion.body))
        arm = (made.rotations["rightUpperArm"] * sent.rotations["rightUpperArm"]).sum(-1).abs()
        assert float(arm.min()) > 0.9999


@pytest.mark.parametrize("prompt", ["元気に右手を振る", "👋🏽 saluda ñandú", "مرحبا", "a\tb\nc", "e\u0301" * 30])
def test_unicode_prompts_arrive_as_they_are(connect: Any, url: str, prompt: str) -> None:
    with connect(url) as client:
        assert client.generate(prompt, duration_sec=0.5).metadata.prompt == prompt


@pytest.mark.parametrize(
    ("prompt", "options", "kind", "field"),
    [
        ("walks", {"fps": 0}, BadRequest, "fps"),
        ("\ud800", {}, BadRequest, "prompt"),
        ("walks", {"format": "gif"}, BadRequest, "format"),
        ("walks", {"seed": {1, 2}}, BadRequest, None),
        ("walks", {"guidance": float("nan")}, BadRequest, None),
        ("walks", {"avatar": "0" * 32}, BadRequest, "avatar"),
    ],
)
def test_problems_are_typed(connect: Any, url: str, prompt: str, options: Any, kind: Any, field: str | None) -> None:
    with connect(url) as client, pytest.raises(kind) as raised:
        client.generate(prompt, request_id="mine", **options)
    assert raised.value.field == field
    assert field is None or raised.value.request_id == "mine"


def test_errors_of_the_model_are_typed(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"mini": FakeSource(failure=GenerationFailed("the model broke"))})
    jobs.pipeline.placeholder = None
    with serve(create_app(jobs)) as url, MotionClient(url) as client, pytest.raises(GenerationFailed, match="broke"):
        client.generate("walks")


def test_a_key_is_sent_and_its_absence_named(connect: Any, tmp_path: Path) -> None:
    with serve(create_app(make_jobs(tmp_path, {"mini": FakeSource()}), (KEY,))) as url:
        with connect(url, KEY) as client:
            assert client.generate("walks", duration_sec=0.5).metadata.generator == "mini"
        with connect(url, "another") as stranger, pytest.raises(Unauthorized):
            stranger.generate("walks")


def test_edit_avatar_job_health_and_diagnostics(connect: Any, url: str, tmp_path: Path) -> None:
    with connect(url) as client:
        assert client.is_alive() and client.health()["status"] == "ok"
        avatar = client.upload_avatar(MANNEQUINS["1.0"])
        assert client.upload_avatar(MANNEQUINS["1.0"].read_bytes()).id == avatar.id
        assert avatar.vrm_version == "1.0" and "hips" in avatar.bones
        motion = client.generate("walks", duration_sec=0.5, avatar=avatar.id)
        job = client.job(motion.job_id)
        assert (job.state, job.job_id, job.request_id) == ("done", motion.job_id, motion.request_id)
        for unknown in ("0" * 32, "../health"):
            with pytest.raises(NotFound):
                client.job(unknown)
        with pytest.raises(MotionError):  # the fake model edits nothing
            client.edit(motion, "in_between", "waves")
        assert client.diagnostics()["jobs"]["done"] >= 1


def test_connections_are_reused(url: str) -> None:
    with MotionClient(url) as client:
        for _ in range(3):
            client.health()
        (connection,) = client._http._transport._pool.connections  # type: ignore[attr-defined]
        assert "Request Count: 3" in repr(connection)


def test_both_clients_have_the_same_methods() -> None:
    for name, method in inspect.getmembers(MotionClient, inspect.isfunction):
        if not name.startswith("_"):
            twin = inspect.signature(getattr(AsyncMotionClient, name))
            assert [*inspect.signature(method).parameters.values()][1:] == [*twin.parameters.values()][1:] or (
                name in ("edit", "file") and [*inspect.signature(method).parameters] == [*twin.parameters]
            )


# --- time, overload, broken connections -------------------------------------------------------------------------------


def test_a_slow_answer_ends_with_the_deadline_and_ends_the_work(
    connect: Any, url: str, jobs: Jobs, source: FakeSource
) -> None:
    assert source.gate is not None
    source.gate.clear()
    with connect(url, timeout_s=0.4) as client, pytest.raises(TimedOut):
        client.generate("walks")
    wait_until(lambda: jobs.pipeline.admission.inside == 0)
    assert [record.state for record in jobs.recent(9)] == ["failed"]


@pytest.mark.parametrize("pause", [0.05, 3600.0])
def test_the_deadline_is_total(connect: Any, pause: float) -> None:
    """Against a server that sends a byte now and then for ever, and one that stalls in the middle of its answer."""

    async def stall(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await receive()
        leaving = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.wait({leaving}, timeout=pause)

    with serve(stall) as url, connect(url, timeout_s=0.5) as client, pytest.raises(TimedOut):
        client.generate("walks")


async def test_a_cancelled_call_ends_the_work(url: str, jobs: Jobs, source: FakeSource) -> None:
    assert source.gate is not None
    source.gate.clear()
    async with AsyncMotionClient(url) as client:
        calls = [asyncio.create_task(client.generate("walks")) for _ in range(2)]
        while jobs.pipeline.admission.inside < 2:
            await asyncio.sleep(0.01)
        calls[0].cancel()
        while jobs.pipeline.admission.inside > 1:
            await asyncio.sleep(0.01)
        source.gate.set()
        assert (await calls[1]).metadata.generator == "mini"
        assert calls[0].cancelled()


def test_429_is_tried_again_when_the_server_says_so(connect: Any, url: str, jobs: Jobs, source: FakeSource) -> None:
    assert source.gate is not None
    source.gate.clear()
    ask = partial(httpx.post, f"{url}/v1/motion/generate", json={"prompt": "walks", "duration_sec": 0.5}, timeout=30)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: jobs.pipeline.admission.inside == 2)
    with connect(url, timeout_s=0.8) as hasty, pytest.raises(QueueFull) as raised:
        hasty.generate("walks")  # told to come again in a second, which is too late
    assert raised.value.retry_after_s >= 1
    threading.Timer(0.3, source.gate.set).start()
    with connect(url, timeout_s=20) as patient:
        assert patient.generate("walks", duration_sec=0.5).metadata.generator == "mini"
    for thread in threads:
        thread.join()


def test_nobody_there_is_tried_again_within_reason(connect: Any, jobs: Jobs) -> None:
    port = free_port()
    with connect(f"http://127.0.0.1:{port}", retries=0) as client:
        assert not client.is_alive()
        with pytest.raises(ClientError, match="no answer"):
            client.generate("walks")
    answers: list[Any] = []

    def ask() -> None:
        with connect(f"http://127.0.0.1:{port}", retries=9) as client:
            answers.append(client.generate("walks", duration_sec=0.5))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    with serve(create_app(jobs), port):
        thread.join()
    assert answers[0].metadata.generator == "mini"


def test_a_restart_in_the_middle_of_a_call(connect: Any, tmp_path: Path, jobs: Jobs) -> None:
    """The process is killed while it works on the call; the next one on the same port answers it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    answers: list[Any] = []

    def ask() -> None:
        with connect(url, retries=20, timeout_s=60) as client:
            answers.append(client.generate("手を振る", duration_sec=0.5, seed=4))

    with process_that_hangs(tmp_path / "first", port) as process:
        thread = threading.Thread(target=ask)
        with MotionClient(url, retries=0) as observer:
            wait_until(observer.is_alive, 60)
            thread.start()
            wait_until(lambda: observer.health()["requests"] == 1)
        process.kill()
        process.wait()
        with serve(create_app(jobs), port):
            thread.join()
    assert (answers[0].metadata.generator, answers[0].metadata.seed) == ("mini", 4)


# --- Idempotency-Key --------------------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_job(connect: Any, url: str, source: FakeSource) -> None:
    with connect(url) as client:
        first, again = (client.generate("walks", duration_sec=0.5, idempotency_key="k 1") for _ in range(2))
        assert (again.body, len(source.asked)) == (first.body, 1)
        with pytest.raises(KeyReused):
            client.generate("runs", duration_sec=0.5, idempotency_key="k 1")
        assert client.generate("runs", duration_sec=0.5).job_id != first.job_id


def test_two_at_once_with_one_key_are_one_job(url: str, jobs: Jobs, source: FakeSource) -> None:
    assert source.gate is not None
    source.gate.clear()

    async def ask() -> list[Any]:
        async with AsyncMotionClient(url) as client:
            calls = [asyncio.create_task(client.generate("walks", idempotency_key="k")) for _ in range(3)]
            while not source.asked:
                await asyncio.sleep(0.01)
            calls[0].cancel()  # one that leaves takes nothing from the others
            assert source.gate is not None
            source.gate.set()
            return await asyncio.gather(*calls, return_exceptions=True)

    left, *answered = asyncio.run(ask())
    assert isinstance(left, asyncio.CancelledError)
    assert len({motion.job_id for motion in answered}) == 1 == len(source.asked)


def test_an_avatar_that_freezes_is_worse(connect: Any, tmp_path: Path) -> None:
    """``fallback="local"``: whatever happens there is a motion, and it says what it is."""
    nobody = f"http://127.0.0.1:{free_port()}"
    hopeless = [("walks", {}), ("", {}), ("\ud800", {"duration_sec": "long"}), ("walks", {"fps": 10**400, "seed": {1}})]
    for prompt, options in hopeless:
        with connect(nobody, fallback="local", retries=0) as client:
            motion = client.generate(prompt, **options)
            assert motion.fallback_used and motion.is_local and motion.metadata.generator == "fallback"
            assert save(client, motion, tmp_path / "sway.json").stat().st_size > 1000
            with pytest.raises(NotFound):
                save(client, motion, tmp_path / "sway.vrma")
    with serve(create_app(make_jobs(tmp_path, {"mini": FakeSource()}))) as url:
        with connect(url, fallback="local") as client:
            assert not client.generate("walks", duration_sec=0.5).is_local
            assert client.generate("walks", fps=0).metadata.fallback_reason == "invalid-request"
        client = connect(url, fallback="local")
        client.__exit__(None, None, None) if isinstance(client, Blocking) else client.close()
        if not isinstance(client, Blocking):
            assert client.generate("walks").is_local


def wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
