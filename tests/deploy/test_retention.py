"""Which artifacts go, which never do, and that a reader gets the whole of what it began to read."""

from __future__ import annotations

import asyncio
import os
import pickle
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motion_service.api.files import LeasedFile
from motion_service.config import Config
from motion_service.errors import NotFound
from motion_service.main import load_service
from motion_service.retention import YOUNGEST_S, Retention
from motion_service.store import ArtifactStore, Leases
from tests.fakes import StartApi

NOW = 2_000_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "data/animations", tmp_path / "data", "/data")


def make_job(store: ArtifactStore, age: float, size: int = 100) -> str:
    """A job of ``size`` bytes in two files, the last of which was written ``age`` seconds ago."""
    job_id = uuid.uuid4().hex
    for kind, share, since in (("vrm-json", size // 2, age + 5), ("mp4", size - size // 2, age)):
        path = Path(store.locate(job_id, kind))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * share)
        os.utime(path, (NOW - since, NOW - since))
    return job_id


def left(store: ArtifactStore) -> set[str]:
    """Job ids of which anything is left."""
    return {path.stem for path in store.output_dir.iterdir()}


def test_old_jobs_go_whole(store: ArtifactStore) -> None:
    old, new = make_job(store, 5000), make_job(store, 3000)
    assert Retention(store, ttl_s=4000).sweep(NOW) == [old]
    assert left(store) == {new}
    assert store.read(new, "mp4") and store.read(new, "vrm-json")


def test_the_oldest_go_until_the_rest_fits(store: ArtifactStore) -> None:
    jobs = [make_job(store, age, 100) for age in (900, 700, 500, 300)]
    assert Retention(store, max_bytes=250).sweep(NOW) == jobs[:2]
    assert Retention(store, max_bytes=250).sweep(NOW) == []


def test_without_limits_nothing_goes(store: ArtifactStore) -> None:
    make_job(store, 1e9)
    assert Retention(store).sweep(NOW) == []


def test_what_is_young_stays_whatever_the_limits(store: ArtifactStore) -> None:
    make_job(store, YOUNGEST_S - 1, 10_000)
    assert Retention(store, ttl_s=1, max_bytes=1).sweep(NOW) == []


def test_what_is_being_sent_stays_and_goes_later(store: ArtifactStore) -> None:
    first, second = make_job(store, 900), make_job(store, 800)
    retention = Retention(store, ttl_s=100)
    with store.leases.hold(first), store.leases.hold(first):
        assert retention.sweep(NOW) == [second]
        with store.leases.hold(first):
            pass
        assert retention.sweep(NOW) == []
    assert retention.sweep(NOW) == [first]


def test_only_jobs_are_touched(store: ArtifactStore, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"1")
    (store.output_dir / uuid.uuid4().hex).symlink_to(elsewhere)
    (store.output_dir / f"{uuid.uuid4().hex}.json").symlink_to(elsewhere / "precious")
    for name in ("notes.txt", "0" * 31, f"{'a' * 32}.vrma", "A" * 32):
        (store.output_dir / name).write_bytes(b"1")
    assert Retention(store, ttl_s=1, max_bytes=1).sweep(4e9) == []
    assert len([*store.output_dir.iterdir()]) == 6 and (elsewhere / "precious").exists()


def test_what_a_crash_left_is_deleted(store: ArtifactStore) -> None:
    half = store.output_dir / ".removed-x"
    half.mkdir()
    (half / "results.npy").write_bytes(b"1")
    Retention(store, ttl_s=1).sweep(NOW)
    assert not half.exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(st.tuples(st.integers(0, 1000), st.integers(2, 500), st.booleans()), max_size=8),
    ttl=st.integers(0, 1200),
    limit=st.integers(0, 2000),
)
def test_what_stays_is_within_the_limits_or_protected(
    jobs: list[tuple[int, int, bool]], ttl: int, limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Held jobs apart: nothing stays that is over the age, what stays fits or is young, and nothing younger than a job
    that stayed has gone."""
    root = tmp_path_factory.mktemp("data")
    store = ArtifactStore(root, root, "/data")
    made = {make_job(store, age, size): (age, size, held) for age, size, held in jobs}
    holds = [store.leases.hold(job_id) for job_id, (_, _, held) in made.items() if held]
    for hold in holds:
        hold.__enter__()
    removed = set(Retention(store, ttl, limit).sweep(NOW))
    for hold in holds:
        hold.__exit__(None, None, None)
    stayed = {job_id: facts for job_id, facts in made.items() if job_id not in removed}
    assert left(store) == set(stayed)
    assert all(made[job_id][0] >= YOUNGEST_S and not made[job_id][2] for job_id in removed)
    free = {job_id: facts for job_id, facts in stayed.items() if not facts[2] and facts[0] >= YOUNGEST_S}
    assert not ttl or all(age <= ttl for age, _, _ in free.values())
    if limit and free:
        assert sum(size for _, size, _ in stayed.values()) <= limit
    if removed and free:
        assert min(made[job_id][0] for job_id in removed) >= max(age for age, _, _ in free.values())
    if not ttl and not limit:
        assert not removed


def test_another_process_has_leases_of_its_own() -> None:
    leases = Leases()
    with leases.hold("x"):
        copy = pickle.loads(pickle.dumps(leases))  # noqa: S301
    with copy.unless_held("x") as is_free:
        assert is_free


async def test_a_file_being_sent_is_held_and_one_that_went_is_not_found(store: ArtifactStore) -> None:
    job_id = make_job(store, 900)
    seen: list[bool] = []

    async def send(message: object) -> None:
        with store.leases.unless_held(job_id) as is_free:
            seen.append(is_free)

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()  # the client stays
        return {}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    response = LeasedFile(store, job_id, "mp4")
    await response(scope, receive, send)
    assert seen and not any(seen)
    response = LeasedFile(store, job_id, "mp4")
    assert Retention(store, ttl_s=1).sweep(NOW) == [job_id]
    with pytest.raises(NotFound):
        await response(scope, receive, send)


async def test_a_swept_job_is_forgotten(start_api: StartApi) -> None:
    api = start_api()
    made = (await api.http.post("/v1/motion/generate", json={"prompt": "walks"})).json()
    assert (await api.http.get(made["url"])).status_code == 200
    retention = Retention(api.pipeline.store, ttl_s=1, on_removed=api.jobs.forget)
    api.jobs.forget(retention.sweep(4e9))
    for url in (made["url"], f"/v1/motion/jobs/{made['job_id']}"):
        assert (await api.http.get(url)).status_code == 404


async def test_the_service_sweeps_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("MOTION_OUTPUT_TTL", "100")
    config = Config()
    store = ArtifactStore(config.output_dir, config.data_root, config.mount_path)
    old = make_job(store, 1e9)
    gone = asyncio.Event()
    retention = load_service(config).retention
    monkeypatch.setattr(retention, "_on_removed", lambda job_ids: gone.set())
    retention.start()
    await asyncio.wait_for(gone.wait(), 10)
    await retention.stop()
    assert old not in left(store)
