"""SMPL's rotation conventions against recorded numbers of the reference, and against each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.geometry import smpl_rotation as smpl
from motion_service.geometry.rotation import euler_to_quat, normalize, quat_angle, quat_to_rotmat, rotmat_to_quat

GOLDENS = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens" / "quaternion.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    if not GOLDENS.exists():
        pytest.skip("the recorded numbers are not in the repository")
    with np.load(GOLDENS, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture
def rotvecs() -> Tensor:
    axes = normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    return axes * torch.linspace(0, 3.1, 300, dtype=torch.float64)[:, None]


def assert_same_turn(a: Tensor, b: Tensor) -> None:
    assert float(quat_angle(rotmat_to_quat(a), rotmat_to_quat(b)).max()) < 1e-3


def test_rotvec_to_rotmat_is_the_reference(golden: dict[str, Tensor]) -> None:
    expected = golden["p3d/axis_angle_to_matrix"]
    assert_close(smpl.rotvec_to_rotmat(golden["axis_angle"]), expected, atol=1e-6, rtol=0)


def test_rotmat_to_rotvec_is_the_reference(golden: dict[str, Tensor]) -> None:
    found = smpl.rotmat_to_rotvec(golden["p3d/axis_angle_to_matrix"])
    expected = golden["p3d/matrix_to_axis_angle"]
    assert_same_turn(smpl.rotvec_to_rotmat(found), smpl.rotvec_to_rotmat(expected))
    clear = torch.linalg.vector_norm(expected, dim=-1) < 2.5  # near half a turn the reference drops small components
    assert int(clear.sum()) > 20
    assert_close(found[clear], expected[clear], atol=1e-5, rtol=0)


def test_row_6d_is_the_reference(golden: dict[str, Tensor]) -> None:
    found = smpl.rotmat_to_rot6d_rows(golden["p3d/axis_angle_to_matrix"])
    assert_close(found, golden["p3d/matrix_to_rotation_6d_rows"], atol=1e-6, rtol=0)
    decoded = smpl.rot6d_rows_to_rotmat(golden["c6"])
    assert_close(decoded, golden["p3d/rotation_6d_to_matrix_rows"], atol=1e-6, rtol=0)


def test_euler_is_the_reference(golden: dict[str, Tensor]) -> None:
    found = smpl.rotmat_to_euler_xyz(golden["p3d/axis_angle_to_matrix"])
    assert_close(found, golden["p3d/matrix_to_euler_XYZ_rad"], atol=2e-5, rtol=0)


def test_whole_chain_to_degrees_is_the_reference(golden: dict[str, Tensor]) -> None:
    rows = smpl.rotmat_to_rot6d_rows(smpl.rotvec_to_rotmat(golden["axis_angle"]))
    degrees = torch.rad2deg(smpl.rotmat_to_euler_xyz(smpl.rot6d_rows_to_rotmat(rows)))
    assert_close(degrees, golden["hik/rot6d_to_euler_deg"], atol=1e-3, rtol=0)


def test_inverse_pairs(rotvecs: Tensor) -> None:
    m = smpl.rotvec_to_rotmat(rotvecs)
    assert_close(smpl.rotmat_to_rotvec(m), rotvecs)
    assert_close(smpl.rot6d_rows_to_rotmat(smpl.rotmat_to_rot6d_rows(m)), m)
    assert_close(quat_to_rotmat(euler_to_quat(smpl.rotmat_to_euler_xyz(m), "XYZ")), m)


def test_rows_are_the_columns_of_the_inverse(rotvecs: Tensor) -> None:
    m = smpl.rotvec_to_rotmat(rotvecs)
    assert_close(smpl.rotmat_to_rot6d_rows(m), smpl.rotvec_to_rotmat(-rotvecs)[..., :2].mT.flatten(1))


def test_euler_at_the_pole_is_finite_and_the_same_turn() -> None:
    m = quat_to_rotmat(euler_to_quat(torch.tensor([[0.4, math.pi / 2, 0.2], [0.4, -math.pi / 2, 0.2]]), "XYZ"))
    angles = smpl.rotmat_to_euler_xyz(m)
    assert_close(angles[:, 1].abs(), torch.full((2,), math.pi / 2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [0.0, 1e-9, 5e-4, 2e-3, 0.3, 2.0, 3.1])
def test_left_jacobian_is_the_derivative(size: float) -> None:
    rotvec = size * normalize(torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64))
    step = 1e-6 * torch.tensor([0.6, 0.2, -0.7], dtype=torch.float64)
    change = (smpl.rotvec_to_rotmat(rotvec + step) - smpl.rotvec_to_rotmat(rotvec - step)) / 2
    turn = smpl.skew(smpl.rotvec_left_jacobian(rotvec) @ step) @ smpl.rotvec_to_rotmat(rotvec)
    assert_close(change, turn, atol=1e-12, rtol=0)
