"""scripts/motion/convert_smpl: official pickles of every age become arrays, and none of them runs anything."""

from __future__ import annotations

import hashlib
import pickle
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from motion_service.vrm.smpl_files import load_smpl
from tests.vrm.synthetic_smpl import (
    mean_arrays,
    model_arrays,
    official_model,
    prior_arrays,
    python2_pickle,
)

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/motion/convert_smpl"


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SCRIPT), run_name="convert_smpl"))


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("select", [False, True])
def test_files_of_python_2_are_read(
    script: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, select: bool
) -> None:
    arrays = model_arrays()
    source = tmp_path / "SMPL_NEUTRAL.pkl"
    source.write_bytes(python2_pickle(official_model(arrays, monkeypatch, select=select), protocol))
    script.convert(source, tmp_path)
    with np.load(tmp_path / "SMPL_NEUTRAL.npz", allow_pickle=False) as converted:
        for name, array in arrays.items():
            np.testing.assert_array_equal(converted[name], array)
    assert load_smpl(tmp_path).hashes == {"SMPL_NEUTRAL": hashlib.sha256(source.read_bytes()).hexdigest()}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_files_cleaned_with_python_3_are_read(script: SimpleNamespace, tmp_path: Path, protocol: int) -> None:
    prior = prior_arrays() | {"covars": np.asfortranarray(prior_arrays()["covars"])}
    (tmp_path / "gmm_08.pkl").write_bytes(pickle.dumps(prior, protocol))
    found = script.read_pickle(tmp_path / "gmm_08.pkl", script.PRIOR_ARRAYS)
    for name, array in prior.items():
        np.testing.assert_array_equal(found[name], array)


def test_command_converts_a_directory(tmp_path: Path) -> None:
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(model_arrays()))
    (tmp_path / "gmm_08.pkl").write_bytes(pickle.dumps(prior_arrays()))
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "neutral_smpl_mean_params" in done.stdout
    assert load_smpl(tmp_path / "out").prior is not None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["SMPL_NEUTRAL.npz", "gmm_08.npz"]


def test_mean_is_read_from_hdf5(script: SimpleNamespace, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="only the converter uses it")
    with h5py.File(tmp_path / "neutral_smpl_mean_params.h5", "w") as file:
        for name, array in mean_arrays().items():
            file[name] = array
    found = script.read_hdf5(tmp_path / "neutral_smpl_mean_params.h5", script.MEAN_ARRAYS)
    np.testing.assert_array_equal(found["pose"], mean_arrays()["pose"])
    (tmp_path / "neutral_smpl_mean_params.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(script.NotConvertible):
        script.read_hdf5(tmp_path / "neutral_smpl_mean_params.h5", script.MEAN_ARRAYS)


def test_source_is_the_named_file_or_lies_in_the_directory(script: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("gmm_08.pkl", "other.pkl", "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"):
        (tmp_path / name).touch()
    names = [path.name for path in script.find_sources([tmp_path, tmp_path / "gmm_08.pkl"])]
    assert sorted(names) == ["basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", "gmm_08.pkl"]


HOSTILE = {
    "os.system": b"cos\nsystem\n(S'touch ran'\ntR.",
    "posix.system": b"cposix\nsystem\n(S'touch ran'\ntR.",
    "builtins.eval": b"cbuiltins\neval\n(S'open(\"ran\", \"w\")'\ntR.",
    "getattr": b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93.",
    "numpy.load": b"cnumpy\nload\n(S'x'\ntR.",
    "instance": b"(S'touch ran'\nios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pid\n.",
    "patched stand-in": b"c_codecs\nencode\n}S'__code__'\nS'x'\nsb.",
    "class state": b"cnumpy\nndarray\n}S'a'\nI1\nsb.",
    "not a dictionary": b"]." ,
    "no arrays": b"}.",
    "numbers in place of arrays": b"}(S'means'\nI1\nS'covars'\nI2\nS'weights'\nI3\nu.",
    "stack underflow": b"R.",
    "missing memo": b"g7\n.",
    "deep": b"(" * 100_000,
    "huge string": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f",
    "empty": b"",
    "text": b"<html>sign in first</html>",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(
    script: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gmm_08.pkl").write_bytes(HOSTILE[name])
    with pytest.raises(script.NotConvertible):
        script.read_pickle(tmp_path / "gmm_08.pkl", script.PRIOR_ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["gmm_08.pkl"]


def test_array_that_does_not_match_its_bytes_is_refused(script: SimpleNamespace, tmp_path: Path) -> None:
    good = python2_pickle(prior_arrays())
    for wrong in (good.replace(b"K\x08KEKE", b"K\x09KEKE"), good.replace(b"f8", b"O8"), good[:-200]):
        assert wrong != good
        (tmp_path / "gmm_08.pkl").write_bytes(wrong)
        with pytest.raises(script.NotConvertible):
            script.read_pickle(tmp_path / "gmm_08.pkl", script.PRIOR_ARRAYS)


def test_text_mode_transfer_is_guessed(script: SimpleNamespace, tmp_path: Path) -> None:
    data = python2_pickle(prior_arrays(), 0).replace(b"\n", b"\r\n")
    (tmp_path / "gmm_08.pkl").write_bytes(data)
    with pytest.raises(script.NotConvertible, match="text-mode"):
        script.read_pickle(tmp_path / "gmm_08.pkl", script.PRIOR_ARRAYS)


def test_sparse_bombs_are_refused(script: SimpleNamespace) -> None:
    with pytest.raises(script.NotConvertible, match="too large"):
        script.sparse_to_dense({"_shape": (10**6, 10**6)})
