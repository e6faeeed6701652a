"""HIK JSON and SMPL parameters: keys, shapes, order and conventions of the official files."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from motion_service.geometry.rotation import euler_to_quat, quat_to_rotmat
from motion_service.geometry.smpl_rotation import rot6d_rows_to_rotmat, rotvec_to_rotmat
from motion_service.vrm.hik import HIK_JOINTS, fit_to_params, fits_to_hik, params_to_npy
from motion_service.vrm.smpl import smpl_vertices
from motion_service.vrm.smpl_files import SmplAssets, load_smpl
from motion_service.vrm.smplify import SmplFit
from tests.vrm.synthetic_smpl import dancing, write_smpl

FRAMES = 6


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> SmplAssets:
    return load_smpl(write_smpl(tmp_path_factory.mktemp("smpl")))


def fit(seed: int = 3) -> SmplFit:
    rotvecs, transl = dancing(FRAMES, seed)
    pose = rotvecs.flatten(1)
    return SmplFit(
        pose[:, :3], pose[:, 3:], torch.ones(10), transl, transl + torch.tensor([0.0, -0.2, 0.0]), 0.0, 0.0, 1
    )


def test_hik_has_the_official_keys_shapes_and_names() -> None:
    hik = json.loads(json.dumps(fits_to_hik([fit(), fit(4)])))
    assert list(hik) == ["joint_map", "thetas", "root_translation"]
    assert np.shape(hik["thetas"]) == (2, FRAMES, 24, 3)
    assert np.shape(hik["root_translation"]) == (2, FRAMES, 3)
    names = hik["joint_map"]
    assert len(names) == 22 and names[0] == "Hips" and names[18] == "LeftForeArm" and names[21] == "RightHand"
    for left, right in ((1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21)):
        assert HIK_JOINTS[right] == HIK_JOINTS[left].replace("Left", "Right")


def test_hik_angles_are_degrees_in_the_order_xyz() -> None:
    one = fit()
    angles = torch.deg2rad(torch.tensor(fits_to_hik([one])["thetas"][0]))
    assert_close(quat_to_rotmat(euler_to_quat(angles, "XYZ")), rotvec_to_rotmat(one.rotvecs), atol=1e-6, rtol=0)


def test_hik_of_single_turns_is_plain() -> None:
    pose = torch.zeros(3, 24, 3)
    for axis in range(3):
        pose[axis, 5, axis] = 0.5
    still = torch.zeros(3, 3)
    flat = pose.flatten(1)
    thetas = torch.tensor(
        fits_to_hik([SmplFit(flat[:, :3], flat[:, 3:], torch.zeros(10), still, still, 0.0, 0.0, 1)])["thetas"]
    )
    assert_close(thetas[0, :, 5], torch.rad2deg(0.5 * torch.eye(3)), atol=1e-4, rtol=0)
    assert float(thetas.abs().sum()) == pytest.approx(3 * 28.6479, abs=1e-3)


def test_root_is_that_of_the_input_and_not_the_fitted_one() -> None:
    one = fit()
    assert_close(torch.tensor(fits_to_hik([one])["root_translation"][0]), one.root)
    assert not torch.allclose(one.root, one.transl)


def test_params_are_the_official_dictionary(assets: SmplAssets) -> None:
    one = fit()
    data = params_to_npy(fit_to_params(one, assets.model, "a person waves"))
    params = np.load(io.BytesIO(data), allow_pickle=True).item()
    shapes = {name: value.shape for name, value in params.items() if isinstance(value, np.ndarray)}
    assert list(params) == ["motion", "thetas", "root_translation", "faces", "vertices", "text", "length"]
    assert shapes == {
        "motion": (25, 6, FRAMES),
        "thetas": (24, 6, FRAMES),
        "root_translation": (3, FRAMES),
        "faces": (396, 3),
        "vertices": (200, 3, FRAMES),
    }
    assert params["text"] == "a person waves" and params["length"] == FRAMES
    assert params["motion"].dtype == params["vertices"].dtype == np.float32
    np.testing.assert_array_equal(params["motion"][:24], params["thetas"])
    np.testing.assert_array_equal(params["motion"][24, :3], params["root_translation"])
    assert not params["motion"][24, 3:].any()
    np.testing.assert_allclose(params["root_translation"].T, one.root)


def test_params_hold_rows_of_the_matrices(assets: SmplAssets) -> None:
    one = fit()
    rows = torch.from_numpy(fit_to_params(one, assets.model, "")["thetas"]).permute(2, 0, 1)
    assert_close(rot6d_rows_to_rotmat(rows), rotvec_to_rotmat(one.rotvecs), atol=1e-6, rtol=0)


def test_vertices_are_of_the_mean_shape_and_relative_to_the_first_root(assets: SmplAssets) -> None:
    one = fit()
    vertices = torch.from_numpy(fit_to_params(one, assets.model, "")["vertices"]).permute(2, 0, 1)
    unmoved = smpl_vertices(assets.model, one.rotvecs, torch.zeros(10), torch.zeros(FRAMES, 3))
    assert_close(vertices[0], unmoved[0])
    assert_close(vertices - unmoved, (one.root - one.root[0])[:, None].expand_as(vertices), atol=1e-6, rtol=0)
