"""The hinge solve: evidence is followed, its absence is smooth, and limbs that say nothing keep their swing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service.geometry.rotation import axis_angle_to_quat, normalize, quat_rotate
from motion_service.vrm.hinge import smooth_angles, unwrap_angles
from tests.vrm.by_tensors import signed_angle, solve_hinge, swing_hinge

REST = torch.tensor([[0.0, -1.0, 0.0]], dtype=torch.float64)
HINGE = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
numbers = st.lists(st.floats(-50, 50), min_size=1, max_size=40)


def cone(frames: int, turns: float, degrees: float) -> Tensor:
    """(1, T, 3) a bone that goes round the rest direction at a fixed angle."""
    way = torch.linspace(0, 2 * math.pi * turns, frames, dtype=torch.float64)
    tilt = math.radians(degrees)
    ring = torch.stack([torch.sin(way), torch.zeros_like(way), torch.cos(way)], -1)
    return (math.cos(tilt) * REST + math.sin(tilt) * ring)[None]


def solve(bone: Tensor, axes: Tensor | None = None, weights: Tensor | None = None, fps: float = 20.0) -> Tensor:
    axes = torch.zeros_like(bone) if axes is None else axes
    weights = torch.zeros_like(bone[..., 0]) if weights is None else weights
    return solve_hinge(bone, swing_hinge(bone, REST, HINGE), REST, axes[None], weights[None], fps)


def rolled(bone: Tensor, degrees: Tensor) -> Tensor:
    """The swing hinge turned about the bone."""
    return quat_rotate(axis_angle_to_quat(bone, torch.deg2rad(degrees)), swing_hinge(bone, REST, HINGE))


def worst_degrees(a: Tensor, b: Tensor) -> float:
    return math.degrees(float(torch.acos((a * b).sum(-1).clamp(-1, 1)).max()))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.floats(1, 120))
def test_hinge_is_a_unit_vector_upright_on_the_bone(seed, frames, fps):
    generator = torch.Generator().manual_seed(seed)
    bone, axes = normalize(torch.randn(2, 1, frames, 3, generator=generator, dtype=torch.float64))
    hinge = solve(bone, axes, torch.rand(1, frames, generator=generator, dtype=torch.float64), fps)
    assert_close(hinge.norm(dim=-1), torch.ones(1, frames, dtype=torch.float64))
    assert float((hinge * bone).sum(-1).abs().max()) < 1e-6


def test_steady_evidence_is_followed_exactly():
    bone = cone(40, 0.5, 50)[:, :1].expand(1, 40, 3)
    seen = rolled(bone, torch.full((1, 40), 70.0, dtype=torch.float64))
    assert worst_degrees(solve(bone, seen, torch.ones(1, 40, dtype=torch.float64)), seen) < 0.1


def test_without_evidence_a_still_limb_keeps_its_swing():
    bone = cone(40, 0.5, 50)[:, :1].expand(1, 40, 3)
    assert worst_degrees(solve(bone), swing_hinge(bone, REST, HINGE)) < 1e-3


def test_without_evidence_a_swinging_limb_does_not_drift():
    bone = cone(2000, 40, 30)
    assert worst_degrees(solve(bone), swing_hinge(bone, REST, HINGE)) < 15


def test_a_gap_in_the_evidence_is_bridged_smoothly():
    frames = torch.arange(60)
    bone = cone(60, 0.2, 40)
    angle = torch.where(frames < 30, 0.0, 100.0)[None].double()
    weight = ((frames < 25) | (frames > 35))[None].double()
    hinge = solve(bone, rolled(bone, angle), weight)
    found = torch.rad2deg(signed_angle(swing_hinge(bone, REST, HINGE), hinge, bone))[0]
    assert float((found[1:] - found[:-1]).abs().max()) < 25
    assert found[10] == pytest.approx(0, abs=3) and found[50] == pytest.approx(100, abs=3)


def test_faint_outliers_do_not_spin_the_bone():
    bone = cone(60, 0.5, 40)
    angle, weight = torch.zeros(1, 60, dtype=torch.float64), torch.ones(1, 60, dtype=torch.float64)
    angle[0, 30], weight[0, 30] = 179.0, 0.05
    assert worst_degrees(solve(bone, rolled(bone, angle), weight), swing_hinge(bone, REST, HINGE)) < 15


def test_evidence_may_go_round_more_than_once():
    bone = cone(100, 0.0, 30)
    angle = torch.linspace(0, 3 * 360, 100, dtype=torch.float64)[None]
    seen = rolled(bone, angle)
    hinge = solve(bone, seen, torch.ones(1, 100, dtype=torch.float64))
    assert worst_degrees(hinge[:, 10:-10], seen[:, 10:-10]) < 5
    assert worst_degrees(hinge[:, 1:], hinge[:, :-1]) < 13


def test_time_may_run_backwards():
    generator = torch.Generator().manual_seed(2)
    bone = cone(50, 0.7, 40)
    seen = rolled(bone, 60 * torch.rand(1, 50, generator=generator, dtype=torch.float64))
    weight = torch.rand(1, 50, generator=generator, dtype=torch.float64)
    assert_close(solve(bone.flip(1), seen.flip(1), weight.flip(1)), solve(bone, seen, weight).flip(1))


def test_limbs_do_not_know_of_each_other():
    bones = torch.cat([cone(30, 1.0, 40), cone(30, -0.5, 70)])
    rest, hinge = REST.expand(2, 3), HINGE.expand(2, 3)
    none, zero = torch.zeros(1, 2, 30, 3, dtype=torch.float64), torch.zeros(1, 2, 30, dtype=torch.float64)
    both = solve_hinge(bones, swing_hinge(bones, rest, hinge), rest, none, zero, 20.0)
    assert_close(both, torch.cat([solve(bones[:1]), solve(bones[1:])]))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_are_solved(frames):
    bone = cone(frames, 0.3, 40)
    assert bool(torch.isfinite(solve(bone)).all())


@given(numbers, st.floats(0, 100), st.integers(0, 2**31))
def test_smooth_angles_solves_the_least_squares_problem(target, stiffness, seed):
    count = len(target)
    weight = 0.01 + torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    goal = torch.tensor(target, dtype=torch.float64)
    step = torch.diff(torch.eye(count, dtype=torch.float64), dim=0)
    dense = torch.linalg.solve(torch.diag(weight) + stiffness * step.T @ step, weight * goal)
    found = torch.tensor(smooth_angles(target, weight.tolist(), stiffness), dtype=torch.float64)
    assert float((found - dense).abs().max()) < 1e-6


@given(numbers)
def test_unwrapping_adds_full_turns_only(angles):
    unwrapped = unwrap_angles(angles, [1.0] * len(angles))
    for before, after in zip(angles, unwrapped, strict=True):
        turns = (after - before) / math.tau
        assert abs(turns - round(turns)) < 1e-9
    assert all(abs(b - a) <= math.pi + 1e-6 for a, b in zip(unwrapped, unwrapped[1:], strict=False))
