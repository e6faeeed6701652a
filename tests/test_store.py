from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from motion_service.errors import NotFound, StorageFailed
from motion_service.store import ArtifactStore

JOB = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "animations", tmp_path, "/data")


def visible(store: ArtifactStore) -> list[str]:
    return sorted(path.name for path in store.output_dir.rglob("*") if path.is_file())


def test_a_disk_that_refuses_even_to_delete_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path / "out", tmp_path, "/data")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageFailed):
        store.save("0" * 32, "npy", refuse)


def test_url_is_mount_path_plus_place_under_the_data_root(store: ArtifactStore, tmp_path: Path) -> None:
    artifact = store.save(JOB, "npy", lambda path: path.write_bytes(b"x"))
    assert artifact.url == f"/data/animations/{JOB}/results.npy"
    assert artifact.path == f"{JOB}/results.npy"
    assert ArtifactStore(tmp_path, tmp_path, "").url(JOB, "vrm-json") == f"/{JOB}.json"
    assert ArtifactStore(tmp_path / "a" / "b", tmp_path, "/m").url_prefix == "/m/a/b"


def test_a_failing_write_leaves_the_old_file_and_nothing_else(store: ArtifactStore) -> None:
    store.save(JOB, "vrm-json", lambda path: path.write_bytes(b"old"))

    def torn(path: Path) -> None:
        path.write_bytes(b"ne")
        raise OSError(28, "no space left on device")

    with pytest.raises(StorageFailed) as failure:
        store.save(JOB, "vrm-json", torn)
    assert str(store.output_dir) not in failure.value.detail
    assert store.find(JOB, "vrm-json").read_bytes() == b"old"
    assert visible(store) == [f"{JOB}.json"]


def test_nothing_is_visible_while_it_is_written(store: ArtifactStore) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        with pytest.raises(NotFound):
            store.find(JOB, "mp4")
        assert path.suffix == ".mp4", "writers choose the container by the ending"

    store.save(JOB, "mp4", write)
    assert store.find(JOB, "mp4").read_bytes() == b"half"


def test_leftovers_of_a_crash_are_swept(store: ArtifactStore, tmp_path: Path) -> None:
    (store.output_dir / JOB).mkdir()
    for place in (store.output_dir, store.output_dir / JOB):
        (place / ".partial-1-x.json").write_bytes(b"half")
    (store.output_dir / "keep.txt").write_bytes(b"not ours")
    ArtifactStore(store.output_dir, tmp_path, "/data")
    assert visible(store) == ["keep.txt"]


def test_files_are_brought_to_the_disk_a_moment_later(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    done = threading.Event()

    def flush(path: Path) -> None:
        flushed.append(path)
        if path == store.output_dir:
            done.set()
        if path == store.path(JOB, "vrm-json"):
            raise OSError(5, "gone")  # what a deleted file does; the others come to the disk all the same

    monkeypatch.setattr("motion_service.store._flush", flush)
    jobs = [JOB, JOB[::-1]]
    for job in jobs:
        store.save(job, "vrm-json", lambda path: path.write_bytes(b"x"))
    assert done.wait(10)
    assert [*map(flushed.count, (store.path(job, "vrm-json") for job in jobs))] == [1, 1]
    done.clear()
    store.save(JOB, "vrm-json", lambda path: path.write_bytes(b"y"))
    assert done.wait(10), "the thread goes on after an error"


@pytest.mark.parametrize("job", ["", "..", "../" + JOB, JOB.upper(), JOB + "0", JOB[:-1] + "\n", "%2e%2e", JOB + "/x"])
def test_only_ids_of_ours_are_looked_for(store: ArtifactStore, job: str) -> None:
    with pytest.raises(NotFound):
        store.find(job, "vrm-json")


def test_links_are_not_followed(store: ArtifactStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    os.symlink(secret, store.path(JOB, "vrm-json"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "results.npy").write_text("secret")
    os.symlink(outside, store.output_dir / JOB)
    for kind in ("vrm-json", "npy"):
        with pytest.raises(NotFound):
            store.find(JOB, kind)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="OUTPUT_DIR"):
        ArtifactStore(tmp_path / "file" / "animations", tmp_path, "/data")
