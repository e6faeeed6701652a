"""Planes compute what tensors do: every operation against its namesake on components that stand last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.geometry import planes as pl
from motion_service.geometry import rotation as rot
from motion_service.geometry.kinematics import forward_kinematics
from motion_service.humanoid import CANONICAL_PARENTS

SHAPES = [(), (7,), (3, 5)]
DTYPES = [torch.float32, torch.float64]


def random(shape: tuple[int, ...], width: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(*shape, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(shape: tuple[int, ...], width: int, dtype: torch.dtype, seed: int) -> Tensor:
    return rot.normalize(random(shape, width, dtype, seed))


OPERATIONS: dict[str, tuple[Callable[..., pl.Planes], Callable[..., Tensor], tuple[int, ...]]] = {
    "unit": (pl.unit, rot.normalize, (4,)),
    "cross": (pl.cross, torch.linalg.cross, (3, 3)),
    "conjugate": (pl.conjugate, rot.quat_conjugate, (4,)),
    "multiply": (pl.multiply, rot.quat_multiply, (4, 4)),
    "relative": (pl.relative, lambda a, b: rot.quat_multiply(rot.quat_conjugate(a), b), (4, 4)),
    "rotate": (pl.rotate, rot.quat_rotate, (4, 3)),
    "rotate back": (
        lambda q, v: pl.rotate(q, v, back=True),
        lambda q, v: rot.quat_rotate(rot.quat_conjugate(q), v),
        (4, 3),
    ),
    "between": (pl.between, rot.quat_between, (3, 3)),
    "carry": (pl.carry, lambda v, a, b: rot.quat_rotate(rot.quat_between(a, b), v), (3, 3, 3)),
    "rot6d": (pl.quat_to_rot6d, rot.quat_to_rot6d, (4,)),
    "slerp": (lambda a, b: pl.slerp(a, b, 0.3), lambda a, b: rot.quat_slerp(a, b, a.new_tensor([0.3])), (4, 4)),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_that_of_tensors(name: str, shape: tuple[int, ...], dtype: torch.dtype):
    on_planes, on_tensors, widths = OPERATIONS[name]
    inputs = [unit(shape, width, dtype, seed) for seed, width in enumerate(widths)]
    found = on_planes(*map(pl.to_planes, inputs))
    assert found.dtype == inputs[0].numpy().dtype
    expected = on_tensors(*inputs)
    assert_close(pl.to_tensor(found), expected, atol=1e-5 if dtype == torch.float32 else 1e-12, rtol=0)


def test_numbers_and_lengths():
    a, b = random((4, 6), 3, torch.float64, 0), random((4, 6), 3, torch.float64, 1)
    assert_close(torch.from_numpy(pl.dot(pl.to_planes(a), pl.to_planes(b))), (a * b).sum(-1))
    assert_close(torch.from_numpy(pl.length(pl.to_planes(a))), a.norm(dim=-1))
    assert not pl.unit(np.zeros((3, 2))).any()


@pytest.mark.parametrize("axis", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, -0.8]])
def test_opposite_directions_are_half_a_turn_apart(axis: list[float]):
    a = np.array(axis)[:, None]
    q = pl.between(a, -a)
    assert pl.length(q) == pytest.approx(1.0) and q[3] == 0
    assert pl.rotate(q, a) == pytest.approx(-a)
    assert pl.carry(a, a, -a) == pytest.approx(-a)


def test_turns_about_an_axis():
    axis, angle = unit((5,), 3, torch.float64, 0), random((5,), 1, torch.float64, 1)[:, 0]
    found = pl.turn_about(pl.to_planes(axis), angle.numpy())
    assert_close(pl.to_tensor(found), rot.axis_angle_to_quat(axis, angle))


def test_signs_go_on_over_time():
    q = unit((6, 40), 4, torch.float64, 0)
    assert_close(pl.to_tensor(pl.unroll(pl.to_planes(q))), rot.quat_unroll(q))
    before = q[..., -1, :].roll(1, -1)
    assert_close(pl.to_tensor(pl.unroll(pl.to_planes(q), pl.to_planes(before))), rot.quat_unroll(q, before))


def test_matrices_become_quaternions():
    m = rot.quat_to_rotmat(unit((500,), 4, torch.float64, 0))
    found = pl.rotmat_to_quat(m.permute(1, 2, 0).numpy())
    assert_close(pl.to_tensor(found), rot.rotmat_to_quat(m))


def test_two_columns_become_quaternions():
    rot6d = random((2000,), 6, torch.float64, 0)
    q, expected = pl.to_tensor(pl.rot6d_to_quat(pl.to_planes(rot6d))), rot.rot6d_to_quat(rot6d)
    assert_close(q, expected)
    assert pl.rot6d_to_quat(np.zeros((6, 0))).shape == (4, 0)


def test_a_tree_of_bones_is_posed_alike():
    bones = len(CANONICAL_PARENTS)
    local, root = unit((9, bones), 4, torch.float32, 0), random((9,), 3, torch.float32, 1)
    offsets = random((bones,), 3, torch.float32, 2)
    planes = np.ascontiguousarray(local.numpy().T)  # (4, J, T)
    found = pl.forward_kinematics(planes, pl.to_planes(root), offsets.numpy().T[..., None], CANONICAL_PARENTS)
    for mine, expected in zip(found, forward_kinematics(local, root, offsets, CANONICAL_PARENTS), strict=True):
        assert_close(torch.from_numpy(mine.T.copy()), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="one root"):
        pl.forward_kinematics(planes[:, :2], pl.to_planes(root), offsets.numpy().T[:, :2, None], (-1, -1))
