"""Joints turned too far and limbs through the body, known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service import quality_body as qb
from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.planes import Planes, to_planes
from motion_service.geometry.rotation import (
    axis_angle_to_quat,
    quat_conjugate,
    quat_identity,
    quat_multiply,
    quat_twist,
)
from motion_service.humanoid import CANONICAL_BONES, canonical_index
from motion_service.quality_body import hinge_share, hinge_swings, intersection_depth, limit_share, segment_distance
from motion_service.training.standing import standing_pose
from tests.features.test_vrm_native import random_motion


def bones_to_planes(numbers: torch.Tensor) -> Planes:
    """(T, 21, n) to (n, 21, T)."""
    return to_planes(numbers.transpose(0, 1))


def beyond(local: torch.Tensor) -> float:
    planes = bones_to_planes(local)
    return limit_share(planes, hinge_swings(planes))


def posed(bone: str, axis: tuple[float, float, float], degrees: float) -> torch.Tensor:
    local, _ = standing_pose()
    local = local.repeat(1, 1, 1).clone()
    local[:, canonical_index(bone)] = axis_angle_to_quat(torch.tensor(axis), torch.tensor([math.radians(degrees)]))
    return local


@pytest.mark.parametrize(
    ("bone", "axis", "degrees", "within"),
    [
        ("leftLowerLeg", (1.0, 0.0, 0.0), 140.0, True),
        ("leftLowerLeg", (1.0, 0.0, 0.0), -45.0, False),
        ("rightLowerArm", (0.0, 1.0, 0.0), 150.0, True),
        ("rightLowerArm", (0.0, 1.0, 0.0), -60.0, False),
        ("head", (0.0, 1.0, 0.0), 60.0, True),
        ("head", (0.0, 1.0, 0.0), 120.0, False),
        ("spine", (1.0, 0.0, 0.0), 100.0, False),
        ("leftUpperArm", (0.0, 0.0, 1.0), 170.0, True),
    ],
)
def test_joints_turn_so_far_and_no_farther(bone: str, axis: tuple[float, float, float], degrees: float, within: bool):
    assert (beyond(posed(bone, axis, degrees)) == 0) is within


def test_standing_touches_nothing_and_a_hand_in_the_belly_does() -> None:
    local, hips = standing_pose()
    places, _ = canonical_fk(local[None], hips[None])
    assert float(intersection_depth(bones_to_planes(places))[0]) == 0
    inside = places.clone()
    inside[:, canonical_index("leftHand")] = places[:, canonical_index("spine")]
    assert float(intersection_depth(bones_to_planes(inside))[0]) == pytest.approx(
        0.13, abs=0.02
    )  # to the axis: both radii


_POINT = st.tuples(*[st.floats(-1, 1, allow_subnormal=False)] * 3)


@settings(deadline=None)
@given(_POINT, _POINT, _POINT, _POINT)
def test_no_two_points_of_segments_are_nearer_than_their_distance(a, b, c, d) -> None:  # type: ignore[no-untyped-def]
    one, two, three, four = (torch.tensor(point, dtype=torch.float64) for point in (a, b, c, d))
    ends = [point.numpy() for point in (one, two, three, four)]
    found = float(segment_distance(*ends))
    share = torch.linspace(0, 1, 41, dtype=torch.float64)[:, None]
    best = float(torch.cdist(one + share * (two - one), three + share * (four - three)).min())
    assert found <= best + 1e-6
    assert found >= best - 0.08  # the grid is that coarse
    assert float(segment_distance(*ends[2:], *ends[:2])) == pytest.approx(found, abs=1e-6)


def test_every_bone_is_known() -> None:
    assert beyond(quat_identity(3)[:, None].repeat(1, len(CANONICAL_BONES), 1)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_hinges_are_measured_by_their_swing(seed: int) -> None:
    local, _ = random_motion(seed, 40)
    flexion, axis = torch.from_numpy(qb._FLEXION), torch.from_numpy(qb._ALONG)
    turns = local[:, qb.HINGES] * torch.where(torch.arange(40) % 2 == 0, 1.0, -1.0)[:, None, None]
    swing = quat_multiply(turns, quat_conjugate(quat_twist(turns, axis)))
    swing = swing * swing[..., 3:].sign()
    swings = hinge_swings(bones_to_planes(local))
    np.testing.assert_allclose(swings[0], (swing[..., :3] * flexion).sum(-1).T, atol=1e-6)
    np.testing.assert_allclose(np.hypot(*swings[:2]), swing[..., :3].norm(dim=-1).T, atol=1e-6)
    flexed = 2 * torch.atan2((swing[..., :3] * flexion).sum(-1), swing[..., 3])
    low, high = math.radians(-20), math.radians(165)
    limits = 2 * np.arccos(qb._BALL_LIMITS[:, 0])
    turned = 2 * local[:, qb._BALLS, 3].abs().clamp(max=1).acos() > torch.from_numpy(limits)
    outside = torch.cat([(flexed < low) | (flexed > high), turned], dim=1)
    assert beyond(local) == pytest.approx(float(outside.float().mean()), abs=1e-6) and bool(outside.any())
    right = float((swing[..., :3] * flexion).sum(-1).clamp_min(0).sum() / swing[..., :3].norm(dim=-1).sum())
    assert hinge_share(swings) == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_as_deep_as_the_deepest_of_all_pairs(seed: int) -> None:
    places = bones_to_planes(canonical_fk(*random_motion(seed, 50))[0])
    starts, ends = places[:, qb._ENDS[0]], places[:, qb._ENDS[1]]
    for points in (starts, ends):
        points[1, qb._HEAD] += qb._HEAD_RAISE
    pairs = [(starts[:, i], ends[:, i], starts[:, j], ends[:, j], qb._RADII[i] + qb._RADII[j]) for i, j in qb._PAIRS]
    depth = np.max([touch - segment_distance(*points) for *points, touch in pairs], axis=0)
    np.testing.assert_allclose(intersection_depth(places), np.maximum(depth, 0), atol=1e-6)
    assert depth.max() > 0.01
