"""A service on fakes, as a fixture."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import torch

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.finishing import Finisher, ThreadFinisher
from motion_service.jobs import Jobs
from motion_service.mdm import trust
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.source import MotionSource
from motion_service.store import ArtifactStore
from tests.fakes import Api, FakeSource, StartApi

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is first imported, whoever does it


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout."""
    root, target = Path(__file__).resolve().parents[1], tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (made,) = target.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server, which the environment names."""
    from tests.buckets import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3: str) -> str:
    """OUTPUT_DIR of a place in its bucket where nothing is."""
    return f"s3://motion/{uuid.uuid4().hex}/animations"


@pytest.fixture(params=["directory", "bucket"])
def output_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """OUTPUT_DIR of either kind; its DATA_ROOT is ``tmp_path``."""
    place: Path | str = tmp_path / "animations" if request.param == "directory" else request.getfixturevalue("bucket")
    return place


@pytest.fixture(scope="module", autouse=True)
def trust_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the tests of a module record hashes of checkpoints, instead of in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("config")
        patch.setattr(trust, "user_directory", lambda: directory)
        yield directory


@pytest.fixture
def own_trust(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for one test alone: equal files that other tests vouched for are unknown to it."""
    directory = tmp_path_factory.mktemp("config")
    monkeypatch.setattr(trust, "user_directory", lambda: directory)
    return directory


@pytest.fixture
async def start_api(tmp_path: Path) -> AsyncIterator[StartApi]:
    """``start_api(sources, placeholder=.., defaults=.., queue_size=.., keys=..)`` -> :class:`Api`."""
    opened: list[Api] = []

    def start(
        sources: dict[str, MotionSource] | None = None,
        *,
        placeholder: MotionSource | None = None,
        no_placeholder: bool = False,
        defaults: MotionOptions | None = None,
        queue_size: int = 8,
        keys: tuple[str, ...] = (),
        finisher: Callable[[ArtifactStore], Finisher] = ThreadFinisher,
    ) -> Api:
        store = ArtifactStore(tmp_path / "data" / "animations", tmp_path / "data", "/data")
        fallback = None if no_placeholder else placeholder or FakeSource("placeholder")
        loaded = {"mini": FakeSource()} if sources is None else sources
        pipeline = Pipeline(
            loaded,
            fallback,
            store,
            Admission(queue_size),
            defaults or MotionOptions(artifacts=["npy"]),
            finisher=finisher(store),
        )
        jobs = Jobs(pipeline)
        transport = httpx.ASGITransport(create_app(jobs, keys), raise_app_exceptions=False)
        api = Api(httpx.AsyncClient(transport=transport, base_url="http://service"), store.output_dir, pipeline, jobs)
        opened.append(api)
        return api

    yield start
    for api in opened:
        await api.http.aclose()
        await asyncio.to_thread(api.jobs.close)
        await api.pipeline.finisher.stop()


@pytest.fixture
def api(start_api: StartApi) -> Api:
    """A service on one fake source called mini and a fake placeholder."""
    return start_api()
