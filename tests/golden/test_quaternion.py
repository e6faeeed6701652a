"""Quaternions, 6D and Euler angles against quaternion.npz. The goldens are wxyz, this project is xyzw."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.geometry import rotation as rot
from motion_service.geometry import smpl_rotation as smpl
from tests.golden.golden_files import golden

TOLERANCE = 1e-6


def xyzw(q: Tensor) -> Tensor:
    return q[..., [1, 2, 3, 0]]


@pytest.fixture(scope="module")
def numbers():
    return golden("quaternion.npz")


def assert_near(actual: Tensor, expected: Tensor, atol: float = TOLERANCE) -> None:
    assert_close(actual, expected, atol=atol, rtol=0)


def same_rotation(a: Tensor, b: Tensor, atol: float = TOLERANCE) -> None:
    assert_near(torch.where((a * b).sum(-1, keepdim=True) < 0, -a, a), b, atol)


def test_algebra(numbers):
    q, r = xyzw(numbers["q"]), xyzw(numbers["r"])
    assert_near(rot.quat_conjugate(q), xyzw(numbers["qinv"]))
    assert_near(rot.quat_multiply(q, r), xyzw(numbers["qmul"]))
    assert_near(rot.quat_rotate(q, numbers["v"]), numbers["qrot"])
    assert_near(rot.normalize(3 * q), xyzw(numbers["qnormalize_h3d_of_3q"]))


def test_quaternion_between_two_directions(numbers):
    assert_near(rot.quat_between(numbers["v"], numbers["v1"]), xyzw(numbers["qbetween_h3d"]))


def test_opposite_directions_give_a_half_turn_that_fits(numbers):
    """The original gives NaN there, the copy in MDM always turns about Z, which is wrong for Z itself."""
    a, b = numbers["v_opposite_from"], numbers["v_opposite_to"]
    q = rot.quat_between(a, b)
    assert_near(rot.quat_rotate(q, a), b)
    assert_near(rot.quat_angle(rot.quat_identity(len(q)), q), torch.full((len(q),), math.pi))


def test_the_epsilon_of_the_copy_in_mdm_is_what_sets_it_apart(numbers):
    """It adds 1e-4 to z before normalising; without that it is the same function."""
    nudge = torch.tensor([0.0, 0.0, 1e-4, 0.0])
    assert_near(rot.normalize(3 * xyzw(numbers["q"]) + nudge), xyzw(numbers["qnormalize_mdm_of_3q"]))
    a, b = numbers["v"], numbers["v1"]
    w = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1) + (a * b).sum(-1)
    raw = torch.cat([torch.linalg.cross(a, b), w[:, None]], dim=-1)
    assert_near(rot.normalize(raw + nudge), xyzw(numbers["qbetween_mdm"]))
    assert_near(rot.normalize(raw), rot.quat_between(a, b), 1e-5)


def test_matrices_and_columns(numbers):
    q = xyzw(numbers["q"])
    assert_near(rot.quat_to_rotmat(q), numbers["quaternion_to_matrix"])
    assert_near(rot.quat_to_rot6d(q), numbers["quaternion_to_cont6d"])
    assert_near(rot.rot6d_to_rotmat(numbers["c6"]), numbers["cont6d_to_matrix"])


def test_signs_over_time(numbers):
    """The original keeps the sign of the first frame, ours has w >= 0 there: equal up to that one sign a joint."""
    tracks = xyzw(numbers["qfix_in"]).movedim(0, -2)  # (J, T, 4)
    expected = xyzw(numbers["qfix"]).movedim(0, -2)
    ours = rot.quat_unroll(tracks)
    sign = torch.where((ours[:, :1] * expected[:, :1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    assert_near(ours * sign, expected)


def test_rows_and_axis_angle_of_smpl(numbers):
    matrix = smpl.rotvec_to_rotmat(numbers["axis_angle"])
    assert_near(matrix, numbers["p3d/axis_angle_to_matrix"])
    assert_near(smpl.rotmat_to_rot6d_rows(matrix), numbers["p3d/matrix_to_rotation_6d_rows"])
    assert_near(smpl.rot6d_rows_to_rotmat(numbers["c6"]), numbers["p3d/rotation_6d_to_matrix_rows"])


def test_matrix_to_quaternion_and_axis_angle(numbers):
    """The reference takes each component from a square root and loses half its digits where one is near zero (6.7e-5
    in the development set); ours comes back to the axis angle that the matrix was made from."""
    matrix, truth = numbers["p3d/axis_angle_to_matrix"], rot.rotvec_to_quat(numbers["axis_angle"])
    same_rotation(rot.rotmat_to_quat(matrix), truth)
    same_rotation(rot.rotvec_to_quat(smpl.rotmat_to_rotvec(matrix)), truth)
    same_rotation(xyzw(numbers["p3d/matrix_to_quaternion"]), truth, 5e-4)
    same_rotation(rot.rotvec_to_quat(numbers["p3d/matrix_to_axis_angle"]), truth, 5e-4)


def test_euler_angles(numbers):
    """Compared as rotations: an angle of +-pi has two names."""
    ours = smpl.rotmat_to_euler_xyz(numbers["p3d/axis_angle_to_matrix"])
    theirs = rot.euler_to_quat(numbers["p3d/matrix_to_euler_XYZ_rad"], "XYZ")
    same_rotation(rot.euler_to_quat(ours, "XYZ"), theirs)


def test_euler_degrees_of_the_humanik_file(numbers):
    matrix = smpl.rot6d_rows_to_rotmat(smpl.rotmat_to_rot6d_rows(smpl.rotvec_to_rotmat(numbers["axis_angle"])))
    ours, theirs = smpl.rotmat_to_euler_xyz(matrix).rad2deg(), numbers["hik/rot6d_to_euler_deg"]
    apart = torch.remainder(ours - theirs + 180, 360) - 180
    assert_near(apart, torch.zeros_like(apart), 1e-3)
