"""Archives that try to write elsewhere, or everything; files that are not what their name says."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.download_archive import unpack_zip, unpacked_size
from motion_service.download_content import check_content
from motion_service.errors import DownloadFailed

LIMIT = 1_000_000


def zip_of(entries: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def unpack(tmp_path: Path, content: bytes, max_bytes: int = LIMIT, max_files: int = 100) -> Path:
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    unpack_zip(archive, tmp_path / "inside" / "out", max_bytes, max_files)
    return tmp_path / "inside" / "out"


def test_files_and_directories(tmp_path: Path) -> None:
    content = zip_of({"top/": b"", "top/args.json": b"{}", "top/deep/x.txt": b"x" * 5000})
    out = unpack(tmp_path, content)
    assert (out / "top/deep/x.txt").read_bytes() == b"x" * 5000
    assert unpacked_size(tmp_path / "a.zip") == 5002


@pytest.mark.parametrize(
    "name",
    ["../x", "top/../../x", "/etc/x", "//x", "top//x", "./x", "C:/x", "C:x", "top\\..\\x", "..", "top/..", "a/\\x"],
)
def test_paths_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadFailed, match="leads elsewhere"):
        unpack(tmp_path, zip_of({"fine": b"1", name: b"2"}))
    assert not (tmp_path / "inside").exists(), "nothing is written before all names are seen"


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "\\", "C:", "c.txt"]), min_size=1, max_size=5).map("/".join))
def test_whatever_the_name_nothing_lies_outside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    place = tmp_path_factory.mktemp("zip")
    try:
        unpack(place, zip_of({name: b"2"}))
    except DownloadFailed:
        pass
    outside = [path for path in place.rglob("*") if path.is_file() and "out" not in path.parts and path.name != "a.zip"]
    assert not outside


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices(tmp_path: Path, kind: int) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DownloadFailed, match="link or a device"):
        unpack(tmp_path, held.getvalue())


def test_bombs(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="would unpack to 2000000 bytes"):
        unpack(tmp_path, zip_of({"zeros": b"\0" * 2_000_000}))
    with pytest.raises(DownloadFailed, match="holds 101 files"):
        unpack(tmp_path, zip_of({f"{number}": b"" for number in range(101)}))


def test_an_archive_that_lies_about_its_size(tmp_path: Path) -> None:
    """What an entry says is what is read at most: the rest does not arrive, and its checksum is wrong."""
    content = bytearray(zip_of({"zeros": b"\0" * 500_000}))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(signature) + place, 1000)
    with pytest.raises(DownloadFailed):
        unpack(tmp_path, bytes(content))
    assert sum(path.stat().st_size for path in (tmp_path / "inside").rglob("*") if path.is_file()) <= 1000


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_names(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(DownloadFailed, match="twice"):
        unpack(tmp_path, held.getvalue())


def test_damage(tmp_path: Path) -> None:
    whole = zip_of({"a": bytes(range(256)) * 40})
    broken = bytearray(whole)
    broken[60] ^= 0xFF
    for content in (whole[:-30], b"no archive", bytes(broken)):
        with pytest.raises(DownloadFailed, match="damaged"):
            unpack(tmp_path, content)
        for path in (tmp_path / "inside").rglob("*"):
            path.unlink() if path.is_file() else None


def test_nothing_becomes_executable(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        entry = zipfile.ZipInfo("run.sh")
        entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o4777) << 16
        archive.writestr(entry, "#!/bin/sh\n")
    assert not (unpack(tmp_path, held.getvalue()) / "run.sh").stat().st_mode & 0o7111


# --- content ----------------------------------------------------------------------------------------------------------


def _npy(array: object) -> bytes:
    held = io.BytesIO()
    np.save(held, np.asarray(array), allow_pickle=True)
    return held.getvalue()


def _safetensors(numbers: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4 * numbers


SOUND = {
    "a.npy": _npy(np.zeros(263, np.float32)),
    "a.safetensors": _safetensors(10),
    "a.zip": zip_of({"x": b"1"}),
    "a.pt": zip_of({"archive/data.pkl": b"1"}),
    "a.json": b'{"layers": 8}',
    "a.txt": b"anything",
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_pass(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SOUND[name])
    check_content(tmp_path / name)


@pytest.mark.parametrize("name", [name for name in SOUND if name != "a.txt"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_cut_files_do_not(tmp_path: Path, name: str, share: float) -> None:
    (tmp_path / name).write_bytes(SOUND[name][: int(len(SOUND[name]) * share)])
    with pytest.raises(DownloadFailed):
        check_content(tmp_path / name)


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", b"\n <HTML><body>login", b"\xef\xbb\xbf<html>"])
def test_web_pages_and_nothing_do_not(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DownloadFailed):
        check_content(tmp_path / name)


def test_arrays_of_objects_do_not(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(_npy(np.array([{}], dtype=object)))
    with pytest.raises(DownloadFailed):
        check_content(tmp_path / "a.npy")
