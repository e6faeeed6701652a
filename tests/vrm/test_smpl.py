"""The body model against a slow second implementation and against smplx; broken model files are refused."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.testing import assert_close

from motion_service.errors import BadRequest
from motion_service.vrm.smpl import smpl_joints, smpl_rest_joints, smpl_vertices
from motion_service.vrm.smpl_files import SmplAssets, arrays_to_model, load_smpl
from tests.vrm.synthetic_smpl import (
    PARENTS,
    Arrays,
    dancing,
    mean_arrays,
    model_arrays,
    prior_arrays,
    write_smpl,
)

BETAS = torch.linspace(-1.5, 1.5, 10)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> SmplAssets:
    return load_smpl(write_smpl(tmp_path_factory.mktemp("smpl")))


# --- forward ----------------------------------------------------------------------------------------------------------


def rodrigues(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Textbook formula."""
    angle = float(np.linalg.norm(v))
    if angle == 0:
        return np.eye(3)
    x, y, z = v / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def slow_body(arrays: Arrays, pose: npt.NDArray[np.float64], betas: npt.NDArray[np.float64]) -> Arrays:
    """One frame, with homogeneous matrices and a loop over vertices, straight from the paper."""
    shaped = arrays["v_template"] + np.tensordot(arrays["shapedirs"], betas, axes=1)
    joints = arrays["J_regressor"] @ shaped
    turns = [rodrigues(v) for v in pose]
    features = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    posed = shaped + np.tensordot(arrays["posedirs"], features, axes=1)
    moves: list[npt.NDArray[np.float64]] = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        moves.append(moves[parent] @ local if joint else local)
    places = np.array([move[:3, 3] for move in moves])
    for joint, move in enumerate(moves):
        move[:3, 3] -= move[:3, :3] @ joints[joint]
    vertices = []
    for vertex, weights in zip(posed, arrays["weights"], strict=True):
        blend = sum(weight * move for weight, move in zip(weights, moves, strict=True))
        vertices.append((blend @ [*vertex, 1.0])[:3])
    return {"joints": places, "vertices": np.array(vertices)}


def test_forward_is_the_paper(assets: SmplAssets) -> None:
    rotvecs, transl = dancing(4, seed=8)
    joints = smpl_joints(assets.model, rotvecs, BETAS, transl)
    vertices = smpl_vertices(assets.model, rotvecs, BETAS, transl)
    for frame in range(4):
        expected = slow_body(model_arrays(), rotvecs[frame].double().numpy(), BETAS.double().numpy())
        shift = transl[frame].numpy()
        assert_close(joints[frame].numpy(), expected["joints"] + shift, atol=2e-6, rtol=0, check_dtype=False)
        assert_close(vertices[frame].numpy(), expected["vertices"] + shift, atol=2e-6, rtol=0, check_dtype=False)


def test_at_rest_joints_are_regressed_from_the_vertices(assets: SmplAssets) -> None:
    rest, nowhere = torch.zeros(1, 24, 3), torch.zeros(1, 3)
    vertices = smpl_vertices(assets.model, rest, BETAS, nowhere)
    joints = smpl_joints(assets.model, rest, BETAS, nowhere)
    assert_close(assets.model.joint_regressor @ vertices[0], joints[0], atol=1e-6, rtol=0)


def test_turning_the_pelvis_turns_the_body_about_it(assets: SmplAssets) -> None:
    rotvecs = torch.zeros(2, 24, 3)
    rotvecs[1, 0, 1] = torch.pi / 2  # +Z goes to +X
    still, turned = smpl_joints(assets.model, rotvecs, torch.zeros(10), torch.zeros(2, 3))
    about = still[0]
    assert_close(turned[0], about)
    x, y, z = (still - about).unbind(-1)
    assert_close(turned - about, torch.stack([z, y, -x], dim=-1), atol=1e-6, rtol=0)


def test_forward_is_that_of_smplx(tmp_path: Path) -> None:
    smplx = pytest.importorskip("smplx", reason="non-commercial licence: not a dependency of the tests")
    arrays = model_arrays(num_vertices=6890)
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays))
    reference = smplx.SMPL(str(tmp_path), batch_size=3)
    rotvecs, transl = dancing(3, seed=9)
    with torch.no_grad():
        expected = reference(
            betas=BETAS.expand(3, -1), global_orient=rotvecs[:, 0], body_pose=rotvecs[:, 1:].flatten(1), transl=transl
        )
    model = arrays_to_model(arrays)
    assert_close(smpl_joints(model, rotvecs, BETAS, transl), expected.joints[:, :24], atol=5e-6, rtol=0)
    assert_close(smpl_vertices(model, rotvecs, BETAS, transl), expected.vertices, atol=5e-6, rtol=0)


# --- files ------------------------------------------------------------------------------------------------------------


def test_complete_directory_has_no_notes_and_its_hash(assets: SmplAssets) -> None:
    assert assets.notes == ()
    assert assets.hashes == {"SMPL_NEUTRAL": "ab" * 32}
    assert assets.prior is not None and assets.prior.means.shape == (8, 69)
    assert_close(assets.mean_pose.numpy(), mean_arrays()["pose"])


def test_missing_prior_and_mean_are_said(tmp_path: Path) -> None:
    assets = load_smpl(write_smpl(tmp_path, prior=False, mean=False))
    assert assets.prior is None
    assert len(assets.notes) == 2 and "gmm_08" in assets.notes[0] and "T-pose" in assets.notes[1]
    assert not bool(assets.mean_pose.any())


def test_directory_above_is_understood(tmp_path: Path) -> None:
    write_smpl(tmp_path / "smpl")
    assert load_smpl(tmp_path).notes == ()


def test_only_ten_of_three_hundred_shape_numbers_are_used(tmp_path: Path) -> None:
    arrays = model_arrays(num_betas=300)
    np.savez(tmp_path / "basicmodel_neutral_lbs_10_207_0_v1.1.0.npz", **arrays)
    model = load_smpl(tmp_path).model
    _, dirs = smpl_rest_joints(model)
    assert dirs.shape == (24, 3, 10)
    assert_close(model.shape_dirs.numpy(), arrays["shapedirs"][..., :10].astype(np.float32))


def test_prior_costs_more_away_from_its_means(assets: SmplAssets) -> None:
    """Offsets are the constants of the reference: -log(w / ((2 pi)^(69/2) sqrt(det / min det)))."""
    arrays = prior_arrays()
    dets = np.sqrt(np.linalg.det(arrays["covars"]))
    expected = -np.log(arrays["weights"] / ((2 * np.pi) ** 34.5 * dets / dets.min()))
    assert assets.prior is not None
    assert_close(assets.prior.offsets.numpy(), expected, rtol=1e-9, atol=0)
    assert_close(assets.prior.precisions.numpy(), np.linalg.inv(arrays["covars"]), rtol=1e-6, atol=1e-9)


def refusal(directory: Path) -> str:
    with pytest.raises(BadRequest) as caught:
        load_smpl(directory)
    assert caught.value.field == "postprocess"
    assert caught.value.status == 422
    assert str(directory) not in caught.value.detail
    return caught.value.detail


def test_without_files_the_remedy_is_named(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "absent"):
        detail = refusal(directory)
        for word in ("SMPL_NEUTRAL.pkl", "SMPL_MODEL_DIR", "convert_smpl", "licence"):
            assert word in detail


def test_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    assert "run scripts/motion/convert_smpl" in refusal(tmp_path)
    (tmp_path / "SMPL_NEUTRAL.pkl").rename(tmp_path / "SMPL_NEUTRAL.npz")
    assert "broken" in refusal(tmp_path)


def wrong_models() -> dict[str, Arrays]:
    good = model_arrays()
    smplh = np.vstack([np.maximum(np.arange(52) - 1, 0), np.arange(52)])
    loop = good["kintree_table"].copy()
    loop[0, 5] = 9
    holes = np.where(np.arange(200)[:, None] == 3, np.nan, good["v_template"])
    return {
        "kintree_table": good | {"kintree_table": smplh},
        "tree": good | {"kintree_table": loop},
        "J_regressor": good | {"J_regressor": good["J_regressor"][:, :-1]},
        "posedirs": good | {"posedirs": good["posedirs"][..., :100]},
        "finite": good | {"v_template": holes},
        "vertices that are not there": good | {"f": good["f"] + 200},
        "0 vertices": good | {"v_template": np.zeros((0, 3))},
        "0 vertices ": good | {"v_template": np.float64(1.0)},
        "4 shape": good | {"shapedirs": good["shapedirs"][..., :4]},
        "weights": good | {"weights": np.full((200, 24), "x")},
        "no array shapedirs, posedirs": {k: v for k, v in good.items() if k not in ("shapedirs", "posedirs")},
        "broken": good | {"J_regressor": np.array({"a": 1}, dtype=object)},
    }


@pytest.mark.parametrize("word", wrong_models())
def test_other_layouts_are_refused(tmp_path: Path, word: str) -> None:
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **wrong_models()[word])
    assert word.strip() in refusal(tmp_path)


@pytest.mark.parametrize("change", [{"covars": -np.eye(69)[None].repeat(8, 0)}, {"weights": np.zeros(8)}])
def test_broken_prior_is_refused(tmp_path: Path, change: Arrays) -> None:
    write_smpl(tmp_path)
    np.savez(tmp_path / "gmm_08.npz", **prior_arrays() | change)
    assert "gmm_08" in refusal(tmp_path)


def test_mean_of_another_layout_is_refused(tmp_path: Path) -> None:
    write_smpl(tmp_path)
    np.savez(tmp_path / "neutral_smpl_mean_params.npz", pose=np.zeros(144), shape=np.zeros(10))
    assert "pose" in refusal(tmp_path)


def archive_with(header: bytes, body: bytes = b"", *, compressed: bool = False) -> bytes:
    """A model archive whose v_template is exactly these bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in model_arrays().items() if name != "v_template"})
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "a", kind) as archive:
        archive.writestr("v_template.npy", header + body)
    return buffer.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        archive_with(npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }\n")),
        archive_with(npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }\n")),
        archive_with(npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (9" + "9" * 40 + ",)}\n")),
        archive_with(npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"), b"cos\nsystem\n."),
        archive_with(npy_header("__import__('os').system('true')\n")),
        archive_with(npy_header("{(((((((\n")),
        archive_with(b"\x93NUMPY\x09\x00"),
        archive_with(b""),
        archive_with(b"\x93NUMPY\x01\x00", b"\0" * (300 * 2**20), compressed=True),
        b"PK\x05\x06" + b"\0" * 18,
        b"",
    ],
    ids=["huge", "negative", "overflow", "object", "call", "syntax", "version", "empty", "bomb", "no files", "nothing"],
)
def test_hostile_archives_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "SMPL_NEUTRAL.npz").write_bytes(data)
    refusal(tmp_path)


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = write_smpl(tmp_path) / "SMPL_NEUTRAL.npz"
    data = path.read_bytes()
    for part in (0.999, 0.5, 0.01):
        path.write_bytes(data[: int(len(data) * part)])
        assert "broken" in refusal(tmp_path)


def test_flipped_bytes_are_noticed_or_harmless(tmp_path: Path) -> None:
    path = write_smpl(tmp_path, prior=False, mean=False) / "SMPL_NEUTRAL.npz"
    data, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        changed = bytearray(data)
        for place in random.integers(0, len(data), 20):
            changed[place] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        try:
            load_smpl(tmp_path)
        except BadRequest:
            refused += 1
    assert refused > 20
