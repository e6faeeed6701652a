"""Conversions that only the SMPL side needs: rotation vectors, 6D of matrix **rows**, and Euler XYZ.

Everything else of this project keeps quaternions xyzw and 6D of columns (:mod:`motion_service.geometry.rotation`); SMPL
stores rotation vectors (axis times angle, radians) and the official MDM program the first two rows of the matrix.
Matrices act on column vectors; any leading batch shape.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from motion_service.geometry.rotation import quat_to_rotmat, quat_to_rotvec, rotmat_to_quat, rotvec_to_quat

_TINY_ANGLE = 1e-3  # radians; below it a series of two terms is exact to double precision


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """Rotation vector (..., 3), radians, to a matrix (..., 3, 3)."""
    return quat_to_rotmat(rotvec_to_quat(rotvec))


def rotmat_to_rotvec(m: Tensor) -> Tensor:
    """Inverse of :func:`rotvec_to_rotmat`, angle <= pi. (..., 3)"""
    return quat_to_rotvec(rotmat_to_quat(m))


def rotmat_to_rot6d_rows(m: Tensor) -> Tensor:
    """Matrix to its first two rows, one after the other. (..., 6)"""
    return m[..., :2, :].flatten(-2)


def rot6d_rows_to_rotmat(rot6d: Tensor) -> Tensor:
    """First two rows (..., 6), not necessarily orthonormal, to a matrix by Gram-Schmidt. (..., 3, 3)"""
    a, b = rot6d[..., :3], rot6d[..., 3:]
    x = normalize(a, dim=-1)
    y = normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-2)


def rotmat_to_euler_xyz(m: Tensor) -> Tensor:
    """Intrinsic angles (..., 3) in radians with m = Rx Ry Rz; y within -pi/2..pi/2.

    Inverse of ``euler_to_quat(angles, "XYZ")``. At y = +-90 degrees x and z turn about one axis and are not unique.
    """
    x = torch.atan2(-m[..., 1, 2], m[..., 2, 2])
    y = torch.asin(m[..., 0, 2].clamp(-1.0, 1.0))
    z = torch.atan2(-m[..., 0, 1], m[..., 0, 0])
    return torch.stack([x, y, z], dim=-1)


def skew(v: Tensor) -> Tensor:
    """Matrix of the cross product: ``skew(v) @ w = v x w``. (..., 3) -> (..., 3, 3)"""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*v.shape, 3)


def rotvec_left_jacobian(rotvec: Tensor) -> Tensor:
    """How a small change of a rotation vector turns the body: R(v + d) = R(J d) R(v) to first order. (..., 3, 3)

    J = I + (1 - cos a) / a^2 [v] + (a - sin a) / a^3 [v]^2 with a = |v|; Sola et al. 2018 (arXiv:1812.01537), eq. 145.
    """
    angle = torch.linalg.vector_norm(rotvec, dim=-1)[..., None, None]
    small = angle < _TINY_ANGLE
    a = torch.where(small, torch.ones_like(angle), angle)
    first = torch.where(small, 0.5 - angle**2 / 24, (1 - torch.cos(a)) / a**2)
    second = torch.where(small, 1 / 6 - angle**2 / 120, (a - torch.sin(a)) / a**3)
    cross = skew(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + first * cross + second * cross @ cross
