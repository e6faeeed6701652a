"""Conversions and algebra of rotations. Quaternions are xyzw (scalar last) and unit; any leading batch shape.

Names follow ``<from>_to_<to>``; inverse pairs stand beside each other. ``rotvec`` is axis times angle in radians,
``rot6d`` holds the first two columns of the matrix one after the other (Zhou et al. 2019, eq. 15), ``rotmat`` acts on
column vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8
_NEAR = 0.5
"""4 w^2 of a quaternion from which on w is told well enough by the trace of its matrix."""


def normalize(v: Tensor) -> Tensor:
    """Unit vector or unit quaternion along the last axis; a zero stays zero."""
    unit: Tensor = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(_TINY)
    return unit


def quat_identity(*shape: int) -> Tensor:
    """Identity quaternions (*shape, 4)."""
    q = torch.zeros(*shape, 4)
    q[..., 3] = 1.0
    return q


def quat_conjugate(q: Tensor) -> Tensor:
    """Inverse rotation of a unit quaternion (..., 4) xyzw."""
    return torch.cat([-q[..., :3], q[..., 3:]], dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: rotate by ``b`` first, then by ``a``. (..., 4) xyzw."""
    a_w, b_w = a[..., 3:], b[..., 3:]
    a_xyz, b_xyz = torch.broadcast_tensors(a[..., :3], b[..., :3])
    xyz = a_w * b_xyz + b_w * a_xyz + torch.linalg.cross(a_xyz, b_xyz)
    dot = a_xyz * b_xyz
    w = a_w * b_w - (dot[..., :1] + dot[..., 1:2] + dot[..., 2:])  # quicker than a sum over so short an axis
    return torch.cat([xyz, w], dim=-1)


def quat_rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors (..., 3) by quaternions (..., 4) xyzw."""
    w = q[..., 3:]
    xyz, v = torch.broadcast_tensors(q[..., :3], v)
    t = 2 * torch.linalg.cross(xyz, v)
    turned: Tensor = v + w * t + torch.linalg.cross(xyz, t)
    return turned


def quat_between(a: Tensor, b: Tensor) -> Tensor:
    """Shortest rotation taking direction ``a`` (..., 3) to ``b``; for opposite ones, any half turn. xyzw."""
    a, b = torch.broadcast_tensors(normalize(a), normalize(b))
    w = 1 + (a * b).sum(-1, keepdim=True)
    q = torch.cat([torch.linalg.cross(a, b), w], dim=-1)
    helper = torch.where(a[..., :1].abs() < 0.9, a.new_tensor([1.0, 0.0, 0.0]), a.new_tensor([0.0, 1.0, 0.0]))
    half_turn = torch.cat([normalize(torch.linalg.cross(a, helper)), torch.zeros_like(w)], dim=-1)
    return torch.where(w > 1e-6, normalize(q), half_turn)


def quat_unroll(q: Tensor, before: Tensor | None = None) -> Tensor:
    """Choose signs along axis -2 (time) so that neighbours lie in one hemisphere. (..., T, 4)

    The first lies in that of ``before`` (..., 4); without it, where w >= 0.
    """
    start = q[..., :1, 3:] if before is None else (q[..., :1, :] * before[..., None, :]).sum(-1, keepdim=True)
    first = torch.where(start < 0, -1.0, 1.0)
    flips = torch.where((q[..., 1:, :] * q[..., :-1, :]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return q * torch.cumprod(torch.cat([first, flips], dim=-2), dim=-2)


def quat_slerp(a: Tensor, b: Tensor, amount: Tensor) -> Tensor:
    """Interpolate on the sphere from ``a`` to ``b`` the short way (Shoemake 1985); ``amount`` (...,) or (..., 1)."""
    if amount.ndim < a.ndim:
        amount = amount[..., None]
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    angle = torch.acos(dot.abs().clamp(max=1.0))
    sine = torch.sin(angle)
    near = sine < 1e-4
    safe = torch.where(near, torch.ones_like(sine), sine)
    weight_a = torch.where(near, 1 - amount, torch.sin((1 - amount) * angle) / safe)
    weight_b = torch.where(near, amount, torch.sin(amount * angle) / safe)
    return normalize(weight_a * a + weight_b * b)


def quat_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle between two orientations in radians, 0..pi. (...,)"""
    relative = quat_multiply(quat_conjugate(a), b)
    return 2 * torch.atan2(torch.linalg.vector_norm(relative[..., :3], dim=-1), relative[..., 3].abs())


def quat_twist(q: Tensor, axis: Tensor) -> Tensor:
    """The part of ``q`` that turns about the unit ``axis`` (swing-twist: q = swing * twist). (..., 4) xyzw."""
    along = (q[..., :3] * axis).sum(-1, keepdim=True)
    twist = torch.cat([along * axis, q[..., 3:]], dim=-1)
    length = torch.linalg.vector_norm(twist, dim=-1, keepdim=True)
    identity = torch.zeros_like(twist)
    identity[..., 3] = 1.0
    return torch.where(length > 1e-6, twist / length.clamp_min(_TINY), identity)


def quat_twist_angle(q: Tensor, axis: Tensor) -> Tensor:
    """Signed angle of :func:`quat_twist` about ``axis``, radians in -pi..pi. (...,)"""
    along = (q[..., :3] * axis).sum(-1)
    angle = 2 * torch.atan2(along, q[..., 3])
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def axis_angle_to_quat(axis: Tensor, angle: Tensor) -> Tensor:
    """Unit ``axis`` (..., 3) and ``angle`` (...,) in radians to xyzw."""
    half = angle[..., None] / 2
    axis = axis.expand(*angle.shape, 3)
    return torch.cat([axis * torch.sin(half), torch.cos(half)], dim=-1)


def yaw_to_quat(yaw: Tensor) -> Tensor:
    """Turn about +Y by ``yaw`` radians (...,); positive takes +Z to +X. xyzw."""
    zero = torch.zeros_like(yaw)
    return torch.stack([zero, torch.sin(yaw / 2), zero, torch.cos(yaw / 2)], dim=-1)


def rotvec_to_quat(rotvec: Tensor) -> Tensor:
    """Axis times angle (..., 3), radians, to xyzw."""
    angle = torch.linalg.vector_norm(rotvec, dim=-1, keepdim=True)
    scale = torch.where(angle < 1e-6, 0.5 - angle**2 / 48, torch.sin(angle / 2) / angle.clamp_min(_TINY))
    return torch.cat([rotvec * scale, torch.cos(angle / 2)], dim=-1)


def quat_to_rotvec(q: Tensor) -> Tensor:
    """xyzw to axis times angle, the shorter way (angle <= pi). (..., 3)"""
    q = torch.where(q[..., 3:] < 0, -q, q)
    sine = torch.linalg.vector_norm(q[..., :3], dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., 3:])
    return q[..., :3] * torch.where(sine < 1e-6, torch.full_like(sine, 2.0), angle / sine.clamp_min(_TINY))


def quat_to_rotmat(q: Tensor) -> Tensor:
    """xyzw to a matrix acting on columns (..., 3, 3)."""
    x, y, z, w = q.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], dim=-1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], dim=-1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def rotmat_to_quat(m: Tensor) -> Tensor:
    """Rotation matrix (..., 3, 3) to xyzw, w >= 0; the best-conditioned of four formulas (Shepperd 1978)."""
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack(  # 4x^2, 4y^2, 4z^2, 4w^2
        [1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22], dim=-1
    )
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    rows = torch.stack(  # row i = 4 q_i * q
        [
            torch.stack([squares[..., 0], xy, xz, xw], dim=-1),
            torch.stack([xy, squares[..., 1], yz, yw], dim=-1),
            torch.stack([xz, yz, squares[..., 2], zw], dim=-1),
            torch.stack([xw, yw, zw, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    q = normalize(rows.gather(-2, best).squeeze(-2))
    return torch.where(q[..., 3:] < 0, -q, q)


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """First two columns (..., 6), not necessarily orthonormal, to a matrix by Gram-Schmidt. (..., 3, 3)"""
    a, b = rot6d[..., :3], rot6d[..., 3:]
    x = normalize(a)
    y = normalize(b - (x * b).sum(-1, keepdim=True) * x)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def rotmat_to_rot6d(m: Tensor) -> Tensor:
    """Matrix to its first two columns, one after the other. (..., 6)"""
    return torch.cat([m[..., :, 0], m[..., :, 1]], dim=-1)


def quat_to_rot6d(q: Tensor) -> Tensor:
    """xyzw to the first two matrix columns. (..., 6)"""
    return rotmat_to_rot6d(quat_to_rotmat(q))


def rot6d_to_quat(rot6d: Tensor) -> Tensor:
    """Columns (..., 6) to xyzw, w >= 0.

    Up to 140 degrees or so by the one formula of :func:`rotmat_to_quat` that is sound there, component by component,
    which saves three quarters of the work.
    """
    ax, ay, az, bx, by, bz = rot6d.movedim(-1, 0).contiguous()
    ax, ay, az = _unit(ax, ay, az)
    along = ax * bx + ay * by + az * bz
    bx, by, bz = _unit(bx - along * ax, by - along * ay, bz - along * az)
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    square = 1 + ax + by + cz  # 4 w^2
    q = normalize(torch.stack([bz - cy, cx - az, ay - bx, square], dim=-1))
    far = square < _NEAR
    if bool(far.any()):
        q[far] = rotmat_to_quat(rot6d_to_rotmat(rot6d[far]))
    return q


def _unit(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normalize` of vectors given by their components."""
    length = torch.sqrt(x * x + y * y + z * z).clamp_min(_TINY)
    return x / length, y / length, z / length


def euler_to_quat(angles: Tensor, order: str) -> Tensor:
    """Intrinsic rotations ``angles`` (..., 3) radians in the order of the letters: "ZXY" means Rz * Rx * Ry. xyzw."""
    axes = torch.eye(3, dtype=angles.dtype, device=angles.device)
    parts = [axis_angle_to_quat(axes["XYZ".index(letter)], angles[..., i]) for i, letter in enumerate(order)]
    return quat_multiply(quat_multiply(parts[0], parts[1]), parts[2])
