"""A bucket that is not there, is silent, refuses us or does not do what it must; and what is never told of it."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fsspec.asyn import get_loop
from s3fs.errors import translate_boto_error

from motion_service import store_bucket
from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.config import Config
from motion_service.doctor import check_output
from motion_service.errors import StorageAway, StorageFailed
from motion_service.jobs import Jobs
from motion_service.main import load_avatars, load_store
from motion_service.pipeline import Pipeline
from motion_service.schemas import MotionOptions
from motion_service.store import ArtifactStore
from motion_service.store_bucket import Bucket
from motion_service.telemetry import configure_logging
from motion_service.vrm.shelf import AvatarShelf
from tests.buckets import SECRET_KEY
from tests.fakes import FakeSource

JOB = "0" * 32


class NobodyThere:
    """Files of a bucket that does not answer; it counts what it is asked."""

    def __init__(self) -> None:
        self.asked, self.loop = 0, get_loop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def ask(*_: Any, **__: Any) -> None:
            self.asked += 1
            raise EndpointConnectionError(endpoint_url="http://store.example")

        return ask


@pytest.fixture
def away(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ArtifactStore, NobodyThere]:
    store, nobody = ArtifactStore(bucket, tmp_path, "/data"), NobodyThere()
    monkeypatch.setattr(store.place, "_files", nobody)
    return store, nobody


async def test_motion_comes_without_the_bucket_and_it_is_asked_once(
    away: tuple[ArtifactStore, NobodyThere], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, nobody = away
    defaults, avatars = MotionOptions(artifacts=["npy", "bvh"]), AvatarShelf(None, bucket=store.place)
    pipeline = Pipeline({"mini": FakeSource()}, FakeSource("placeholder"), store, Admission(8), defaults, avatars)
    transport = httpx.ASGITransport(create_app(Jobs(pipeline), records=tmp_path), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        wish = {"prompt": "walks", "duration_sec": 0.3}
        for headers in ({}, {"Idempotency-Key": "k"}):
            made = await http.post("/v1/motion/generate", json=wish, headers=headers)
            states = {status["state"] for status in made.json()["metadata"]["artifacts"].values()}
            assert (made.status_code, states, made.json()["fallback_used"]) == (200, {"failed"}, False)
        assert (await http.post("/v1/motion/generate", json=wish | {"format": "bvh"})).status_code == 200
        assert (await http.post("/v1/motion/generate", json=wish | {"format": "mp4"})).status_code == 507
        for path in (f"/data/animations/{JOB}.json", f"/v1/motion/jobs/{JOB}", f"/v1/avatars/{JOB}"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "storage-away")
            assert int(answer.headers["retry-after"]) > 0 and "example" not in answer.text
        assert (await http.get("/readyz")).json()["artifacts"] == "degraded"
    assert nobody.asked == 1, "the others do not wait"
    monkeypatch.setattr(store.place, "_away_until", 0.0)
    with pytest.raises(StorageAway):
        store.read(JOB, "npy")
    assert nobody.asked == 2, "later it is tried again"


def test_a_silent_bucket_is_given_up(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_bucket, "_CONFIG", {"connect_timeout": 1})  # a connection of its own
    monkeypatch.setattr(store_bucket, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = ArtifactStore(bucket, tmp_path, "/data")
        with pytest.raises(StorageAway):
            store.check()
        with pytest.raises(StorageFailed):
            store.save(JOB, "npy", lambda path: path.write_bytes(b"x"))


def test_a_bucket_that_is_not_there_is_said_at_the_start(s3: str, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="OUTPUT_DIR"):
        ArtifactStore("s3://other-bucket/x", tmp_path, "/data").check()


def test_a_bucket_that_overwrites_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Bucket(bucket)
    place.check()
    monkeypatch.setattr(place, "create", lambda name, content: True)
    with pytest.raises(OSError, match="If-None-Match"):
        place.check()


@pytest.mark.parametrize(
    ("codes", "created"), [(["PreconditionFailed"], False), (["412"], False), (["ConditionalRequestConflict"], True)]
)
def test_what_stores_say_of_an_object_that_is_there(
    bucket: str, monkeypatch: pytest.MonkeyPatch, codes: list[str], created: bool
) -> None:
    """Some name no condition, as s3fs expects; two that create at once may both be asked to try again."""
    place = Bucket(bucket)
    ask = place._ask

    def refuse(*arguments: Any, **options: Any) -> Any:
        if not codes:
            return ask(*arguments, **options)
        raise translate_boto_error(ClientError({"Error": {"Code": codes.pop(), "Message": "no"}}, "PutObject"))

    monkeypatch.setattr(place, "_ask", refuse)
    assert place.create(f"{JOB}/claim-1", b"x") is created
    codes += ["ConditionalRequestConflict"] * 99
    with pytest.raises(OSError, match="at once"):
        place.create(f"{JOB}/claim-2", b"x")
    codes[:] = ["AccessDenied"]
    with pytest.raises(PermissionError):
        place.create(f"{JOB}/claim-2", b"x")


def test_a_bucket_that_hides_what_is_not_there_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(name: str) -> bytes:
        raise PermissionError("Access Denied")

    place = Bucket(bucket)
    monkeypatch.setattr(place, "read", forbid)
    with pytest.raises(OSError, match="ListBucket"):
        place.check()


@pytest.fixture
def config(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("OUTPUT_DIR", bucket)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    return Config()


def test_the_service_and_the_doctor_take_it_from_the_settings(config: Config, bucket: str) -> None:
    store = load_store(config)
    store.save(JOB, "npy", lambda path: path.write_bytes(b"x"))
    assert store.locate(JOB, "npy") == f"{bucket}/{JOB}/results.npy"
    assert store.url(JOB, "npy") == f"/data/animations/{JOB}/results.npy"
    assert load_avatars(config, store)._bucket is store.place
    assert check_output(config).state == "ok"
    assert check_output(config.model_copy(update={"output_dir": "s3://other-bucket"})).state == "problem"


def test_the_service_starts_while_nobody_answers(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_bucket.fsspec, "filesystem", lambda *_, **__: NobodyThere())
    with pytest.raises(StorageFailed):
        load_store(config).save(JOB, "npy", lambda path: path.write_bytes(b"x"))


def test_credentials_are_never_told(
    config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = logging.root.handlers[:], logging.root.level
    try:
        configure_logging("debug")
        store = load_store(config)
        store.save(JOB, "npy", lambda path: path.write_bytes(b"x"))
        with pytest.raises(StorageFailed) as refused:
            ArtifactStore("s3://other-bucket", Path(), "/data").save(JOB, "npy", lambda path: path.write_bytes(b"x"))
        told = capfd.readouterr().err + "".join(traceback.format_exception(refused.value)) + repr(vars(store.place))
    finally:
        logging.root.handlers[:], logging.root.level = kept
    assert SECRET_KEY not in told and "AWS4-HMAC" not in told
