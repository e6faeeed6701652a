"""The algebra of :mod:`motion_service.geometry.rotation` by numpy, for the few thousand numbers of one clip.

Components stand in front: a quaternion is (4, ...) xyzw, a vector (3, ...), so each component is a plane of its own and
every operation a plain one on whole planes. On the CPU that is two to eight times as fast as tensors with the
components last, which spend their time on being called. Any shape behind the components, broadcast as usual; float32
stays float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Planes = npt.NDArray[np.floating[Any]]
"""Components (3, ...) or (4, ...), or one number for each place (...)."""

_TINY: Final = 1e-8
_OPPOSITE: Final = 1e-6
"""One more than the cosine between directions that are taken for opposite."""

_NEAR: Final = 0.5
"""4 w^2 of a quaternion from which on w is told well enough by the trace of its matrix."""


def to_planes(tensor: Tensor, dtype: type[np.floating[Any]] | None = None) -> Planes:
    """(..., n) on the CPU to (n, ...)."""
    numbers = tensor.numpy()
    return np.ascontiguousarray(numbers.transpose(-1, *range(numbers.ndim - 1)), dtype=dtype)


def to_tensor(planes: Planes) -> Tensor:
    """(n, ...) to a contiguous tensor (..., n)."""
    numbers = np.empty((*planes.shape[1:], len(planes)), planes.dtype)
    for component, plane in enumerate(planes):
        numbers[..., component] = plane
    return torch.from_numpy(numbers)


# --- vectors ----------------------------------------------------------------------------------------------------------


def dot(a: Planes, b: Planes) -> Planes:
    """Scalar product (...) of vectors or quaternions."""
    product: Planes = np.add.reduce(a * b)
    return product


def length(v: Planes) -> Planes:
    """(...)"""
    return np.sqrt(dot(v, v))


def unit(v: Planes) -> Planes:
    """The unit vector or quaternion along ``v``; a zero stays zero."""
    return v / np.maximum(length(v), _TINY)


def cross(a: Planes, b: Planes) -> Planes:
    """Vector product (3, ...)."""
    ax, ay, az = a
    bx, by, bz = b
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


# --- quaternions ------------------------------------------------------------------------------------------------------


def conjugate(q: Planes) -> Planes:
    """Inverse rotation of a unit quaternion."""
    return np.concatenate([-q[:3], q[3:]])


def multiply(a: Planes, b: Planes) -> Planes:
    """Hamilton product: rotate by ``b`` first, then by ``a``."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by + ay * bw + az * bx - ax * bz,
            aw * bz + az * bw + ax * by - ay * bx,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def relative(a: Planes, b: Planes) -> Planes:
    """From ``a`` to ``b``, as seen from ``a``: the conjugate of ``a`` times ``b``."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        [
            aw * bx - ax * bw - ay * bz + az * by,
            aw * by - ay * bw - az * bx + ax * bz,
            aw * bz - az * bw - ax * by + ay * bx,
            aw * bw + ax * bx + ay * by + az * bz,
        ]
    )


def rotate(q: Planes, v: Planes, *, back: bool = False) -> Planes:
    """Vectors turned by quaternions; ``back``: by their inverses."""
    x, y, z, w = q
    vx, vy, vz = v
    tx, ty, tz = y * vz - z * vy, z * vx - x * vz, x * vy - y * vx
    if back:
        w = -w
    return np.array(
        [
            vx + 2 * (w * tx + y * tz - z * ty),
            vy + 2 * (w * ty + z * tx - x * tz),
            vz + 2 * (w * tz + x * ty - y * tx),
        ]
    )


def between(a: Planes, b: Planes) -> Planes:
    """Shortest rotation from direction ``a`` to ``b``, both unit; for opposite ones any half turn, for a zero none."""
    q = np.concatenate([cross(a, b), 1 + dot(a, b)[None]])
    opposite = q[3] <= _OPPOSITE
    if opposite.any():
        ax, ay, az = np.broadcast_to(a, q[:3].shape)
        low, zero = np.abs(ax) < 0.9, np.zeros_like(ax)  # upright on a: its product with the X axis, or with Y
        aside = np.array([np.where(low, zero, -az), np.where(low, az, zero), np.where(low, -ay, ax), zero])
        q = np.where(opposite, aside, q)
    return unit(q)


def carry(v: Planes, a: Planes, b: Planes) -> Planes:
    """``v`` (3, ...) turned by the shortest rotation from direction ``a`` to ``b``, both unit."""
    middle, near = a + b, 1 + dot(a, b)
    opposite = near <= _OPPOSITE
    if opposite.any():
        return np.where(opposite, rotate(between(a, b), v), carry(v, a, np.where(opposite, a, b)))
    return v - middle * (dot(middle, v) / near) + 2 * b * dot(a, v)


def turn_about(axis: Planes, angle: Planes) -> Planes:
    """Quaternions (4, ...) of turns by ``angle`` (...) radians about the unit ``axis`` (3, ...)."""
    half = 0.5 * angle
    return np.concatenate([axis * np.sin(half), np.cos(half)[None]])


def slerp(a: Planes, b: Planes, amount: Planes) -> Planes:
    """Interpolate on the sphere from ``a`` to ``b`` the short way (Shoemake 1985), by ``amount`` (...)."""
    cosine = dot(a, b)
    angle = np.arccos(np.minimum(np.abs(cosine), 1.0))
    sine = np.sin(angle)
    near = sine < 1e-4
    safe = np.where(near, 1.0, sine)
    weight_a = np.where(near, 1 - amount, np.sin((1 - amount) * angle) / safe)
    weight_b = np.where(near, amount, np.sin(amount * angle) / safe)
    return unit(weight_a * a + np.copysign(weight_b, cosine) * b)


def unroll(q: Planes, before: Planes | None = None) -> Planes:
    """Signs along the last axis (time) chosen so that neighbours lie in one hemisphere.

    The first lies in that of ``before`` (4, ...); without it, where w >= 0.
    """
    flips = np.empty(q.shape[1:], dtype=bool)
    flips[..., 0] = (q[3, ..., 0] if before is None else dot(q[..., 0], before)) < 0
    np.less(dot(q[..., 1:], q[..., :-1]), 0, out=flips[..., 1:])
    return np.where(np.logical_xor.accumulate(flips, axis=-1), -q, q)


def rotmat_to_quat(rows: Sequence[Sequence[Planes]]) -> Planes:
    """Three rows of a rotation matrix, each of three numbers (...), to quaternions (4, ...), w >= 0.

    Up to 140 degrees or so by the one formula that is sound there, beyond by the best-conditioned of four (Shepperd
    1978).
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = rows
    square = 1 + m00 + m11 + m22  # 4 w^2
    q = unit(np.array([m21 - m12, m02 - m20, m10 - m01, square]))
    far = square < _NEAR
    if far.any():
        q[:, far] = _best_quat([[part[far] for part in row] for row in rows])
    return q


def _best_quat(rows: Sequence[Sequence[Planes]]) -> Planes:
    """:func:`rotmat_to_quat` of (N,) numbers by the formula that divides by the largest component."""
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = rows
    xx, yy, zz, ww = 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22
    xy, xz, yz, xw, yw, zw = m01 + m10, m02 + m20, m12 + m21, m21 - m12, m02 - m20, m10 - m01
    table = np.array([[xx, xy, xz, xw], [xy, yy, yz, yw], [xz, yz, zz, zw], [xw, yw, zw, ww]])  # row i = 4 q_i * q
    largest = np.array([xx, yy, zz, ww]).argmax(0)
    q = unit(table[largest, :, np.arange(len(largest))].T)
    return np.where(q[3] < 0, -q, q)


def rot6d_to_quat(rot6d: Planes) -> Planes:
    """First two columns of a matrix (6, ...), not necessarily orthonormal, to quaternions (4, ...)."""
    a, b = unit(rot6d[:3]), rot6d[3:]
    b = unit(b - dot(a, b) * a)
    return rotmat_to_quat([*zip(a, b, cross(a, b), strict=True)])


def quat_to_rot6d(q: Planes) -> Planes:
    """Quaternions to the first two columns (6, ...) of their matrices."""
    x, y, z, w = q
    doubled = 2 * q[:3]
    xx, yy, zz = doubled * q[:3]
    xy, xz, yz = doubled[0] * y, doubled[0] * z, doubled[1] * z
    xw, yw, zw = doubled * w
    return np.array([1 - (yy + zz), xy + zw, xz - yw, xy - zw, 1 - (xx + zz), yz + xw])


# --- trees of bones ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _levels(parents: tuple[int, ...]) -> tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], ...]:
    """For each level of a tree below its root, bone 0: the bones of that level, and their parents."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    if depth.count(0) != 1 or depth[0] != 0:
        raise ValueError("a tree of bones has one root, and it is bone 0")
    levels = [[bone for bone, d in enumerate(depth) if d == level] for level in range(1, max(depth) + 1)]
    return tuple((np.array(level), np.array([parents[bone] for bone in level])) for level in levels)


def forward_kinematics(local: Planes, root: Planes, offsets: Planes, parents: tuple[int, ...]) -> tuple[Planes, Planes]:
    """World positions (3, J, ...) and orientations (4, J, ...) of a skeleton.

    ``local`` (4, J, ...), ``root`` (3, ...) world position of bone 0, ``offsets`` (3, J, ...) rest offset of each bone
    from its parent in metres (that of bone 0 is not used), ``parents`` -1 = root, parents before children.
    """
    world, levels = np.empty_like(local), _levels(parents)
    world[:, 0] = local[:, 0]
    for bones, above in levels:
        world[:, bones] = multiply(world.take(above, axis=1), local.take(bones, axis=1))
    positions = rotate(world.take([max(parent, 0) for parent in parents], axis=1), offsets)  # from the parent
    positions[:, 0] = root
    for bones, above in levels:
        positions[:, bones] += positions.take(above, axis=1)
    return positions, world
