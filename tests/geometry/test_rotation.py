"""Rotations: round trips, algebra and conventions, over random inputs."""

import math

import pytest
import torch
from torch.testing import assert_close

from motion_service.geometry import rotation as rot


@pytest.fixture
def quats() -> torch.Tensor:
    q = rot.normalize(torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    return torch.where(q[:, 3:] < 0, -q, q)


def assert_same_rotation(a: torch.Tensor, b: torch.Tensor, degrees: float = 1e-3) -> None:
    assert math.degrees(float(rot.quat_angle(a, b).max())) < degrees


def test_matrix_round_trip(quats):
    assert_close(rot.rotmat_to_quat(rot.quat_to_rotmat(quats)), quats)


def test_rotvec_round_trip(quats):
    assert_close(rot.rotvec_to_quat(rot.quat_to_rotvec(quats)), quats)
    tiny = torch.tensor([[1e-9, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert_close(rot.quat_to_rotvec(rot.rotvec_to_quat(tiny)), tiny)


def test_rot6d_round_trip(quats):
    assert_close(rot.rot6d_to_quat(rot.quat_to_rot6d(quats)), quats)


def test_rot6d_by_component_is_what_its_matrix_says():
    rot6d = torch.randn(2000, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_close(rot.rot6d_to_quat(rot6d), rot.rotmat_to_quat(rot.rot6d_to_rotmat(rot6d)))
    assert rot.rot6d_to_quat(torch.zeros(0, 6)).shape == (0, 4)


def test_rot6d_of_any_six_numbers_is_a_rotation():
    m = rot.rot6d_to_rotmat(torch.randn(100, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert_close(m @ m.transpose(-1, -2), torch.eye(3, dtype=m.dtype).expand_as(m))
    assert_close(torch.linalg.det(m), torch.ones(100, dtype=m.dtype))


def test_product_is_composition(quats):
    a, b = quats[:250], quats[250:]
    v = torch.randn(250, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_close(rot.quat_rotate(rot.quat_multiply(a, b), v), rot.quat_rotate(a, rot.quat_rotate(b, v)))
    assert_close(rot.quat_rotate(a, v), (rot.quat_to_rotmat(a) @ v[..., None])[..., 0])


def test_conjugate_is_the_inverse(quats):
    assert_same_rotation(rot.quat_multiply(quats, rot.quat_conjugate(quats)), rot.quat_identity(1).double())


def test_between_takes_one_to_the_other_even_when_opposite():
    a = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 2.0, 3.0]])
    for b in (-a, a, a.roll(1, dims=0)):
        assert_close(rot.quat_rotate(rot.quat_between(a, b), rot.normalize(a)), rot.normalize(b), atol=1e-5, rtol=0)


def test_yaw_turns_forward_to_the_left():
    forward = torch.tensor([0.0, 0.0, 1.0])
    assert_close(rot.quat_rotate(rot.yaw_to_quat(torch.tensor(math.pi / 2)), forward), torch.tensor([1.0, 0.0, 0.0]))


def test_unroll_keeps_neighbours_in_one_hemisphere(quats):
    smooth = rot.quat_unroll(quats)
    assert bool(((smooth[1:] * smooth[:-1]).sum(-1) >= 0).all())
    assert float(smooth[0, 3]) >= 0
    assert_same_rotation(smooth, quats)


def test_unroll_goes_on_from_what_was_before(quats):
    tracks = quats.reshape(5, 100, 4)
    whole = rot.quat_unroll(tracks)
    assert_close(rot.quat_unroll(tracks[:, 40:], whole[:, 39]), whole[:, 40:])


def test_slerp_ends_and_middle(quats):
    a, b = quats[:250], quats[250:]
    assert_same_rotation(rot.quat_slerp(a, b, torch.zeros(250).double()), a)
    assert_same_rotation(rot.quat_slerp(a, b, torch.ones(250).double()), b)
    middle = rot.quat_slerp(a, b, torch.full((250,), 0.5).double())
    assert_close(rot.quat_angle(a, middle), rot.quat_angle(middle, b))


def test_swing_twist_recomposes(quats):
    axis = rot.normalize(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64))
    twist = rot.quat_twist(quats, axis)
    swing = rot.quat_multiply(quats, rot.quat_conjugate(twist))
    assert float((rot.quat_to_rotvec(swing) * axis).sum(-1).abs().max()) < 1e-6
    assert_close(rot.axis_angle_to_quat(axis, rot.quat_twist_angle(quats, axis)).abs(), twist.abs())


@pytest.mark.parametrize("order", ["XYZ", "ZXY", "ZYX", "YXZ"])
def test_euler_is_the_product_of_its_letters(order):
    angles = torch.tensor([0.3, -0.7, 1.1])
    product = rot.quat_identity(1)[0]
    for letter, angle in zip(order, angles, strict=True):
        product = rot.quat_multiply(product, rot.axis_angle_to_quat(torch.eye(3)["XYZ".index(letter)], angle))
    assert_close(rot.euler_to_quat(angles, order), product)
