"""Joints turned too far and limbs through the body, known by construction."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.rotation import axis_angle_to_quat, quat_identity
from motion_service.humanoid import CANONICAL_BONES, canonical_index
from motion_service.quality_body import intersection_depth, limit_share, segment_distance
from motion_service.training.standing import standing_pose


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
    assert (limit_share(posed(bone, axis, degrees)) == 0) is within


def test_standing_touches_nothing_and_a_hand_in_the_belly_does() -> None:
    local, hips = standing_pose()
    places, _ = canonical_fk(local[None], hips[None])
    assert float(intersection_depth(places)) == 0
    inside = places.clone()
    inside[:, canonical_index("leftHand")] = places[:, canonical_index("spine")]
    assert float(intersection_depth(inside)) == pytest.approx(0.13, abs=0.02)  # to the axis: both radii


_POINT = st.tuples(*[st.floats(-1, 1, allow_subnormal=False)] * 3)


@settings(deadline=None)
@given(_POINT, _POINT, _POINT, _POINT)
def test_no_two_points_of_segments_are_nearer_than_their_distance(a, b, c, d) -> None:  # type: ignore[no-untyped-def]
    one, two, three, four = (torch.tensor(point, dtype=torch.float64) for point in (a, b, c, d))
    found = float(segment_distance(one, two, three, four))
    share = torch.linspace(0, 1, 41, dtype=torch.float64)[:, None]
    best = float(torch.cdist(one + share * (two - one), three + share * (four - three)).min())
    assert found <= best + 1e-6
    assert found >= best - 0.08  # the grid is that coarse
    assert float(segment_distance(three, four, one, two)) == pytest.approx(found, abs=1e-6)


def test_every_bone_is_known() -> None:
    assert limit_share(quat_identity(3)[:, None].repeat(1, len(CANONICAL_BONES), 1)) == 0
