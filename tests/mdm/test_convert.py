"""Pickles become safetensors only when somebody vouched for them; every bad file is one clear line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm import convert, trust
from motion_service.mdm.conversion import find_conversion, read_part
from motion_service.mdm.convert import convert_checkpoint, converted, pickle_to_safetensors
from motion_service.mdm.trust import TRUST_FILE, Trust, file_sha256, find_trust, parse_sha256, record_trust

USER_DIRECTORY = trust.user_directory
pytestmark = pytest.mark.usefixtures("own_trust")

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(4, dtype=torch.float16)}
EXTRAS = {"sequence_pos_encoder.pe": torch.zeros(9, 1, 2), "clip_model.w": torch.zeros(2)}

Save = Callable[[object], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save(content)`` -> the path of a model000000012.pt with it."""

    def write(content: object) -> Path:
        torch.save(content, tmp_path / "model000000012.pt")
        return tmp_path / "model000000012.pt"

    return write


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert without a child process, which takes seconds to import torch."""
    monkeypatch.setattr(convert, "_run_child", pickle_to_safetensors)


class Evil:
    """A pickle that runs code where it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def assert_one_line(caught: pytest.ExceptionInfo[CheckpointMismatch], directory: Path) -> None:
    assert "\n" not in caught.value.detail
    assert str(directory) not in caught.value.detail


# --- the child process ------------------------------------------------------------------------------------------------


def test_a_file_is_converted_in_a_child_and_recorded(save: Save, own_trust: Path) -> None:
    file = save({**TENSORS, **EXTRAS})
    report = convert_checkpoint(file, trust=True)
    assert (report.source, report.sha256) == ("model000000012.pt", file_sha256(file))
    assert (report.parts, report.num_tensors, report.num_parameters) == (("flat",), 2, 10)
    assert report.target == file.with_suffix(".safetensors")
    assert report.target.stat().st_mode & 0o777 == 0o644
    for name, tensor in load_file(report.target).items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    recorded = {report.sha256: {"name": "model000000012.pt", "hash_repeated": False}}
    assert json.loads((own_trust / TRUST_FILE).read_text()) == recorded
    assert [path.name for path in own_trust.iterdir()] == [TRUST_FILE]
    assert sorted(p.suffix for p in file.parent.iterdir()) == [".pt", ".safetensors"]
    assert convert_checkpoint(file).seconds == 0
    assert converted(file) == report.target


def test_code_in_a_trusted_file_is_not_run(save: Save, tmp_path: Path) -> None:
    file = save({"a.weight": TENSORS["a.weight"], "x": Evil(tmp_path / "pwned")})
    with pytest.raises(CheckpointMismatch, match=r"more than tensors .*mkdir.* refused") as caught:
        convert_checkpoint(file, trust=True)
    assert_one_line(caught, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model000000012.pt"]  # no record, no rest, nothing run


def test_the_child_has_limits(monkeypatch: pytest.MonkeyPatch, save: Save, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="not on this system")
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.update({kind: pair}))
    file = save(TENSORS)
    assert convert.main([str(file), str(tmp_path / "x.safetensors"), file_sha256(file)]) == 0
    assert limits[resource.RLIMIT_DATA][0] == 4 * file.stat().st_size + (4 << 30)
    assert resource.RLIMIT_CPU in limits


def test_the_child_says_what_went_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, save: Save, tmp_path: Path
) -> None:
    monkeypatch.setattr(convert, "_limit_resources", lambda _: None)
    file = save(TENSORS)
    assert convert.main([str(file), str(tmp_path / "x"), "0" * 64]) == 1
    assert "changed while" in json.loads(capsys.readouterr().out)["error"]

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(convert, "write_conversion", no_room)
    assert convert.main([str(file), str(tmp_path / "x"), file_sha256(file)]) == 1
    assert "No space left" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("unable to mmap 9 bytes from file <x>")])
def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, save: Save, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    file = save(TENSORS)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointMismatch, match="does not fit into the memory"):
        pickle_to_safetensors(file, file.with_suffix(".safetensors"), file_sha256(file))


@pytest.mark.parametrize(("code", "message"), [(-9, "signal 9"), (1, "exit code 1")])
def test_a_child_that_dies_is_one_line(
    monkeypatch: pytest.MonkeyPatch, save: Save, tmp_path: Path, code: int, message: str
) -> None:
    answer = subprocess.CompletedProcess([], code, b"", b"Traceback ...\n  MemoryError\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(CheckpointMismatch, match=message) as caught:
        convert_checkpoint(save(TENSORS), trust=True)
    assert_one_line(caught, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model000000012.pt"]


def test_a_child_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, save: Save) -> None:
    def never(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("convert", timeout)

    monkeypatch.setattr(subprocess, "run", never)
    with pytest.raises(CheckpointMismatch, match="longer than 300 s"):
        convert_checkpoint(save(TENSORS), trust=True)


# --- trust ------------------------------------------------------------------------------------------------------------


def test_an_unknown_file_is_not_read(monkeypatch: pytest.MonkeyPatch, save: Save, tmp_path: Path) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the pickle was read")

    monkeypatch.setattr(convert, "_run_child", never)
    file = save(TENSORS)
    for attempt in (converted, convert_checkpoint):
        with pytest.raises(CheckpointMismatch, match="--trust") as caught:
            attempt(file)
        assert file_sha256(file) in caught.value.detail
        assert_one_line(caught, tmp_path)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("conversion_dir", [None, ".", ".."])
def test_an_archive_cannot_vouch_for_itself(save: Save, conversion_dir: str | None) -> None:
    """Neither beside the pickle nor above it, even where conversions are written there."""
    file = save(TENSORS)
    digest = file_sha256(file)
    file.with_name(file.name + ".sha256").write_text(f"{digest}  {file.name}\n")
    entry = json.dumps({digest: {"name": file.name, "hash_repeated": True}})
    where = None if conversion_dir is None else file.parent / conversion_dir
    for directory in (file.parent, where or file.parent):
        (directory / TRUST_FILE).write_text(entry)
    try:
        for attempt in (converted, convert_checkpoint):
            with pytest.raises(CheckpointMismatch, match="not recorded"):
                attempt(file, cache_dir=where)
        record_trust(file, digest, where)
        assert read_part(converted(file, where), prefer_average=True)[:2] == ("flat", digest)
    finally:
        ((where or file.parent) / TRUST_FILE).unlink()


@pytest.mark.usefixtures("in_process")
def test_records_of_several_files_live_together(save: Save, own_trust: Path) -> None:
    digests = [convert_checkpoint(save({"a": torch.full((2,), x)}), trust=True).sha256 for x in (1.0, 2.0)]
    assert list(json.loads((own_trust / TRUST_FILE).read_text())) == digests
    file = save({"a": torch.full((2,), 1.0)})
    assert find_trust(file, digests[0]) == find_trust(file, digests[1]) == Trust(hash_repeated=False)
    assert (own_trust / TRUST_FILE).stat().st_mode & 0o022 == 0, "only its owner writes it"


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("damage", ["", "[1]", '{"', '{"DIGEST": true}', "\ud800"])
def test_a_damaged_record_vouches_for_nothing(save: Save, own_trust: Path, tmp_path: Path, damage: str) -> None:
    file = save(TENSORS)
    digest = file_sha256(file)
    (own_trust / TRUST_FILE).write_bytes(damage.replace("DIGEST", digest).encode(errors="surrogatepass"))
    assert find_trust(file, digest) is None
    if "DIGEST" in damage:
        record_trust(file, digest)
        assert find_trust(file, digest) == Trust(hash_repeated=False)
        return
    with pytest.raises(CheckpointMismatch, match="damaged: delete it") as caught:
        convert_checkpoint(file, trust=True)
    assert_one_line(caught, tmp_path)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("version", ["2.9.0", "2.9.1+cu130", "1.13"])
def test_an_old_torch_wants_the_hash_repeated(save: Save, version: str) -> None:
    file = save(TENSORS)
    with pytest.raises(CheckpointMismatch, match="--sha256"):
        convert_checkpoint(file, trust=True, torch_version=version)
    digest = file_sha256(file)
    assert convert_checkpoint(file, trust=True, sha256=" sha256:" + digest.upper(), torch_version=version).parts
    assert convert_checkpoint(file, trust=True, torch_version=version).parts  # which takes nothing back
    file.with_suffix(".safetensors").unlink()
    assert convert_checkpoint(file, torch_version=version).sha256 == digest  # recorded now
    file.with_suffix(".safetensors").unlink()
    assert converted(file, torch_version=version).is_file()


@pytest.mark.usefixtures("in_process")
def test_an_old_torch_does_not_read_what_a_newer_one_recorded(save: Save, tmp_path: Path) -> None:
    file = save(TENSORS)
    target = convert_checkpoint(file, trust=True, torch_version="2.13.0").target
    assert converted(file, torch_version="2.9.0") == target, "it holds tensors only"
    target.unlink()
    with pytest.raises(CheckpointMismatch, match=r"torch 2\.9\.0 has a known hole.* --sha256") as caught:
        converted(file, torch_version="2.9.0")
    assert_one_line(caught, tmp_path)
    with pytest.raises(CheckpointMismatch, match="--sha256"):
        convert_checkpoint(file, torch_version="2.9.0")
    convert_checkpoint(file, sha256=file_sha256(file), torch_version="2.9.0")
    assert find_trust(file, file_sha256(file)) == Trust(hash_repeated=True)


@pytest.mark.parametrize("wrong", ["0" * 64, "12ab", ""])
def test_another_hash_is_refused(save: Save, wrong: str) -> None:
    file = save(TENSORS)
    with pytest.raises(CheckpointMismatch):
        convert_checkpoint(file, trust=True, sha256=wrong)
    assert find_trust(file, file_sha256(file)) is None


def test_hashes_are_read_as_people_type_them() -> None:
    assert parse_sha256(" SHA256:" + "AB" * 32 + "\n") == "ab" * 32


@pytest.mark.usefixtures("in_process")
def test_a_swapped_file_is_noticed(save: Save) -> None:
    first = convert_checkpoint(save(TENSORS), trust=True)
    swapped = save({"other": torch.zeros(1)})
    with pytest.raises(CheckpointMismatch, match="changed since it was converted"):
        converted(swapped)
    second = convert_checkpoint(swapped, trust=True)
    assert second.sha256 != first.sha256
    assert list(load_file(second.target)) == ["other"]


@pytest.mark.usefixtures("in_process")
def test_a_damaged_conversion_is_made_again(save: Save) -> None:
    file = save(TENSORS)
    target = convert_checkpoint(file, trust=True).target
    target.write_bytes(target.read_bytes()[:-3])
    assert find_conversion(file, file_sha256(file), None) is None
    assert len(load_file(converted(file))) == 2


# --- where it goes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file can be made in ``tmp_path`` itself (permissions do not stop the user root, who may run this)."""
    mkstemp = tempfile.mkstemp

    def make(*args: Any, **options: Any) -> Any:
        if Path(options["dir"]) == tmp_path:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return mkstemp(*args, **options)

    monkeypatch.setattr(tempfile, "mkstemp", make)


@pytest.mark.usefixtures("in_process", "read_only")
def test_a_read_only_directory_uses_the_cache(save: Save, tmp_path: Path) -> None:
    file, cache = save(TENSORS), tmp_path / "cache"
    with pytest.raises(CheckpointMismatch, match=r"cannot be written \(Read-only file system\).* cache directory"):
        convert_checkpoint(file, trust=True)
    report = convert_checkpoint(file, trust=True, cache_dir=cache)
    assert report.target == cache / f"{report.sha256}.safetensors"
    assert converted(file, cache) == report.target
    assert find_trust(file, report.sha256, cache) and not find_trust(file, report.sha256)
    assert sorted(path.name for path in cache.iterdir()) == sorted([report.target.name, TRUST_FILE])


@pytest.mark.usefixtures("in_process", "read_only")
@pytest.mark.parametrize("reason", ["Read-only file system", "no home directory", "Not a directory"])
def test_a_hash_that_cannot_be_recorded_is_said(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    file = save(TENSORS)
    monkeypatch.setattr(convert, "_convert", lambda *_: file)
    monkeypatch.setattr(convert, "_report", lambda *_: None)
    monkeypatch.setattr(trust, "user_directory", USER_DIRECTORY if "home" in reason else lambda: tmp_path)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(CheckpointMismatch, match=rf"hash .* recorded \({reason}\).*CONVERSION_DIR") as caught:
        convert_checkpoint(file, trust=True, cache_dir=file / "x" if "Not" in reason else None)
    assert_one_line(caught, tmp_path)
    if "Not" not in reason:
        convert_checkpoint(file, trust=True, cache_dir=tmp_path / "cache")
        assert find_trust(file, file_sha256(file), tmp_path / "cache")


@pytest.mark.usefixtures("in_process")
def test_weights_of_a_text_encoder_get_the_name_that_transformers_reads(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    assert convert_checkpoint(tmp_path / "pytorch_model.bin", trust=True).target.name == "model.safetensors"


# --- contents ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("prefer_average", "part", "value"), [(True, "model_avg", 2.0), (False, "model", 1.0)])
def test_both_sets_of_weights_are_kept(save: Save, prefer_average: bool, part: str, value: float) -> None:
    shared = torch.full((3,), value)  # one tensor under two names is stored twice
    content = {"model": {"a": torch.ones(3)}, "model_avg": {"a": torch.full((3,), 2.0)}, "step": 7}
    content[part] = {"a": shared, "b": shared, **EXTRAS}
    target = convert_checkpoint(save(content), trust=True).target
    found, _, tensors = read_part(target, prefer_average)
    assert found == part
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [value] * 3, "b": [value] * 3}


@pytest.mark.usefixtures("in_process")
def test_missing_averages_fall_back_to_the_others(save: Save) -> None:
    target = convert_checkpoint(save({"model": TENSORS}), trust=True).target
    assert read_part(target, prefer_average=True)[0] == "model"


def optimiser() -> dict[str, Any]:
    weight = torch.nn.Parameter(torch.zeros(2))
    adam = torch.optim.AdamW([weight])
    weight.sum().backward()
    adam.step()
    return adam.state_dict()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (optimiser(), "optimiser"),
        ([1, 2], "no weights but a list"),
        (torch.zeros(3), "no weights but a Tensor"),
        ({}, "no weights"),
        ({"epoch": 3, "state_dict": TENSORS}, "'epoch' is no tensor"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "'a' is no tensor"),
    ],
)
def test_other_contents_are_one_line(save: Save, tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(CheckpointMismatch, match=message) as caught:
        convert_checkpoint(save(content), trust=True)
    assert_one_line(caught, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def zipped(**members: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name.replace("__", "/"), data)

    return write


def truncated(path: Path) -> None:
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\0" * 4096), "is empty"),
        (lambda path: path.write_text("\n<!DOCTYPE html><title>Google Drive - Quota exceeded"), "web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "Git LFS"),
        (lambda path: path.write_bytes(b"\x80\x02cposix\nsystem\nq\0."), "bare pickle"),
        (lambda path: torch.save(TENSORS, path, _use_new_zipfile_serialization=False), "bare pickle"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08"), "not a PyTorch file"),
        (truncated, "truncated or damaged"),
        (zipped(readme=b"hello"), r"zip archive without PyTorch weights \(\['readme'\]\)"),
        (zipped(), "not a PyTorch file"),
        (zipped(archive__data_pkl=b""), "zip archive without"),
        (zipped(**{"archive/data.pkl": b"\x80\x02}q\0.", "archive/version": b"3\n"}), "holds no weights"),
        (zipped(**{"archive/data.pkl": b"nonsense", "archive/version": b"3\n"}), "refused|damaged"),
        (zipped(**{"archive/data.pkl": b"\x80\x02cposix\nsystem\nq\0."}), "refused|damaged"),
    ],
)
def test_files_of_another_kind_are_one_line(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    file = tmp_path / "model000000012.pt"
    write(file)
    with pytest.raises(CheckpointMismatch, match=message) as caught:
        convert_checkpoint(file, trust=True)
    assert_one_line(caught, tmp_path)
    assert not file.with_suffix(".safetensors").exists()


@pytest.mark.usefixtures("in_process")
def test_flipped_bytes_in_the_pickle_are_one_line(save: Save, tmp_path: Path) -> None:
    """Wherever a byte is broken: one line, or numbers that are still a conversion of just that file."""
    whole = save(TENSORS).read_bytes()
    for place in range(0, len(whole), 37):
        data = bytearray(whole)
        data[place] ^= 0xFF
        file = tmp_path / "model000000012.pt"
        file.write_bytes(data)
        try:
            report = convert_checkpoint(file, trust=True)
        except CheckpointMismatch as error:
            assert "\n" not in error.detail and str(tmp_path) not in error.detail
        else:
            assert report.sha256 == file_sha256(file)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"no file model1\.pt"):
        convert_checkpoint(tmp_path / "model1.pt", trust=True)


def test_a_file_that_cannot_be_opened_is_one_line(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    file = save(TENSORS)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointMismatch, match="Permission denied") as caught:
        convert_checkpoint(file)
    assert_one_line(caught, tmp_path)


# --- reading a conversion ---------------------------------------------------------------------------------------------


def change(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stored:
        about = stored.metadata()
    save_file(tensors, file, metadata if metadata is not None else about)


@pytest.mark.usefixtures("in_process")
def test_changed_tensors_are_noticed(save: Save) -> None:
    target = convert_checkpoint(save(TENSORS), trust=True).target
    for tensors in ({**TENSORS, "b.bias": torch.zeros(4).half()}, {"a.weight": TENSORS["a.weight"]}):
        change(target, tensors)
        with pytest.raises(CheckpointMismatch, match="changed since it was written"):
            read_part(target, prefer_average=False)


@pytest.mark.usefixtures("in_process")
def test_other_safetensors_are_one_line(save: Save, tmp_path: Path) -> None:
    target = convert_checkpoint(save(TENSORS), trust=True).target
    change(target, TENSORS, {})
    with pytest.raises(CheckpointMismatch, match="not made by `motion convert`"):
        read_part(target, prefer_average=False)
    change(target, TENSORS, {"tensors_sha256:strange": "x"})
    with pytest.raises(CheckpointMismatch, match="damaged"):
        read_part(target, prefer_average=False)
    target.write_bytes(b"\x10")
    with pytest.raises(CheckpointMismatch, match="truncated or damaged") as caught:
        read_part(target, prefer_average=False)
    assert_one_line(caught, tmp_path)
