"""What a store promises, of a directory and of a bucket alike, and what only a directory has."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motion_service.errors import NotFound, StorageFailed
from motion_service.store import ARTIFACT_KINDS, ArtifactStore
from motion_service.store_directory import Directory
from motion_service.store_place import Place

JOB = "0123456789abcdef" * 2
NAMES = ("a" * 32 + ".json", "b" * 32 + "/results.npy", "b" * 32 + "/claim-1")


@pytest.fixture
def store(output_dir: Path | str, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(output_dir, tmp_path, "/data")


@pytest.fixture
def directory(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "animations", tmp_path, "/data")


def visible(store: ArtifactStore) -> list[str]:
    assert store.output_dir is not None
    return sorted(path.name for path in store.output_dir.rglob("*") if path.is_file())


# --- both -------------------------------------------------------------------------------------------------------------


def test_url_is_mount_path_plus_place_under_the_data_root(store: ArtifactStore, tmp_path: Path) -> None:
    artifact = store.save(JOB, "npy", lambda path: path.write_bytes(b"x"))
    assert artifact.url == f"/data/animations/{JOB}/results.npy"
    assert artifact.path == f"{JOB}/results.npy"
    assert store.locate(JOB, "npy").endswith(f"/animations/{artifact.path}")
    assert ArtifactStore(tmp_path, tmp_path, "").url(JOB, "vrm-json") == f"/{JOB}.json"
    assert ArtifactStore(tmp_path / "a" / "b", tmp_path, "/m").url_prefix == "/m/a/b"


def test_what_is_saved_is_read_and_fetched_by_any_store(
    store: ArtifactStore, output_dir: Path | str, tmp_path: Path
) -> None:
    other = pickle.loads(pickle.dumps(ArtifactStore(output_dir, tmp_path, "/data")))  # noqa: S301
    for kind in ARTIFACT_KINDS:
        store.save(JOB, kind, lambda path, kind=kind: path.write_bytes(kind.encode()))
    for kind in ARTIFACT_KINDS:
        assert other.read(JOB, kind) == kind.encode()
        fetched = other.fetch(JOB, kind)
        assert fetched.path.read_bytes() == kind.encode()
        assert abs(fetched.path.stat().st_mtime - other.written(JOB, kind)) < 1
        fetched.close()
        assert other.read(JOB, kind) == kind.encode(), "only a copy is deleted"


def test_a_failing_write_leaves_the_old_file_and_nothing_else(store: ArtifactStore) -> None:
    store.save(JOB, "vrm-json", lambda path: path.write_bytes(b"old"))

    def torn(path: Path) -> None:
        path.write_bytes(b"ne")
        raise OSError(28, "no space left on device")

    with pytest.raises(StorageFailed) as failure:
        store.save(JOB, "vrm-json", torn)
    assert store.locate(JOB, "vrm-json") not in failure.value.detail
    assert store.read(JOB, "vrm-json") == b"old"
    if store.output_dir is not None:
        assert visible(store) == [f"{JOB}.json"]


def test_nothing_is_visible_while_it_is_written(store: ArtifactStore) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        with pytest.raises(NotFound):
            store.read(JOB, "mp4")
        assert path.suffix == ".mp4", "writers choose the container by the ending"

    store.save(JOB, "mp4", write)
    assert store.read(JOB, "mp4") == b"half"


def test_only_ids_of_ours_are_looked_for(store: ArtifactStore) -> None:
    for job in ("", "..", "../" + JOB, JOB.upper(), JOB + "0", JOB[:-1] + "\n", "%2e%2e", JOB + "/x"):
        for look in (store.read, store.fetch, store.written):
            with pytest.raises(NotFound):
                look(job, "vrm-json")


def test_of_many_that_create_a_file_one_does(store: ArtifactStore) -> None:
    ready = threading.Barrier(4)

    def create(number: int) -> bool:
        ready.wait()
        return store.place.create(f"{JOB}/claim-1", b"%d" % number)

    with ThreadPoolExecutor(4) as pool:
        won = [*pool.map(create, range(4))]
    assert won.count(True) == 1
    assert store.place.read(f"{JOB}/claim-1") == b"%d" % won.index(True)


def test_ids_of_named_jobs_tell_nothing_and_differ_by_client_and_secret(
    directory: ArtifactStore, tmp_path: Path
) -> None:
    ids = {directory.job_id(f"{client}\0{key}") for client in ("one", "other") for key in ("1", "2")}
    secret = ArtifactStore(tmp_path, tmp_path, "/data", secret=b"s")
    ids.add(secret.job_id("one\x001"))
    assert len(ids) == 5 and all(len(job_id) == 32 and int(job_id, 16) for job_id in ids)


steps = st.lists(
    st.tuples(st.sampled_from(["write", "create", "remove", "read"]), st.sampled_from(NAMES), st.binary(max_size=9)),
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_a_place_behaves_like_a_dictionary(store: ArtifactStore, taken: list[tuple[str, str, bytes]]) -> None:
    place: Place = store.place
    model: dict[str, bytes] = {}
    for name in NAMES:
        place.remove(name)
    for step, name, content in taken:
        if step == "write":
            place.write(name, lambda path, content=content: path.write_bytes(content))
            model[name] = content
        elif step == "create":
            assert place.create(name, content) is (name not in model)
            model.setdefault(name, content)
        elif step == "remove":
            place.remove(name)
            model.pop(name, None)
        elif name in model:
            assert place.read(name) == model[name]
        else:
            for look in (place.read, place.fetch, place.written):
                with pytest.raises(FileNotFoundError):
                    look(name)
    for name in NAMES:
        place.remove(name)


# --- a directory ------------------------------------------------------------------------------------------------------


def test_a_disk_that_refuses_even_to_delete_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path / "out", tmp_path, "/data")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageFailed):
        store.save("0" * 32, "npy", refuse)


def test_leftovers_of_a_crash_are_swept(directory: ArtifactStore, tmp_path: Path) -> None:
    output = tmp_path / "animations"
    (output / JOB).mkdir()
    for place in (output, output / JOB):
        (place / ".partial-1-x.json").write_bytes(b"half")
    (output / "keep.txt").write_bytes(b"not ours")
    ArtifactStore(output, tmp_path, "/data")
    assert visible(directory) == ["keep.txt"]


def test_what_another_service_is_writing_is_not_swept(directory: ArtifactStore, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        Directory(tmp_path / "animations")  # another service starts
        assert path.read_bytes() == b"half"

    directory.save(JOB, "mp4", write)
    assert directory.read(JOB, "mp4") == b"half"


def test_a_file_system_without_locks_is_swept_as_well(
    directory: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    directory.save(JOB, "npy", lambda path: path.write_bytes(b"x"))
    (tmp_path / "animations" / ".partial-1").write_bytes(b"half")
    Directory(tmp_path / "animations")
    assert visible(directory) == ["results.npy"]


def test_files_are_brought_to_the_disk_a_moment_later(
    directory: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    done = threading.Event()

    def flush(path: Path) -> None:
        flushed.append(path)
        if path == directory.output_dir:
            done.set()
        if path == Path(directory.locate(JOB, "vrm-json")):
            raise OSError(5, "gone")  # what a deleted file does; the others come to the disk all the same

    monkeypatch.setattr("motion_service.store_directory._flush", flush)
    jobs = [JOB, JOB[::-1]]
    for job in jobs:
        directory.save(job, "vrm-json", lambda path: path.write_bytes(b"x"))
    assert done.wait(10)
    assert [*map(flushed.count, (Path(directory.locate(job, "vrm-json")) for job in jobs))] == [1, 1]
    done.clear()
    directory.save(JOB, "vrm-json", lambda path: path.write_bytes(b"y"))
    assert done.wait(10), "the thread goes on after an error"


def test_links_are_not_followed(directory: ArtifactStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    os.symlink(secret, directory.locate(JOB, "vrm-json"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "results.npy").write_text("secret")
    os.symlink(outside, tmp_path / "animations" / JOB)
    for kind in ("vrm-json", "npy"):
        for look in (directory.read, directory.fetch, directory.written):
            with pytest.raises(NotFound):
                look(JOB, kind)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="OUTPUT_DIR"):
        ArtifactStore(tmp_path / "file" / "animations", tmp_path, "/data")


def test_a_full_disk_leaves_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Directory(tmp_path / "animations")

    def fill(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fill)
        with pytest.raises(OSError, match="full"):
            place.create("job/claim-1", b"mine")
    assert not [*(tmp_path / "animations").glob("*/*")]
    assert place.create("job/claim-1", b"mine") and place.read("job/claim-1") == b"mine"
