"""Measures against clips whose skate, depth, jerk and bending are known by construction."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.rotation import axis_angle_to_quat, quat_identity, quat_multiply
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT
from motion_service.quality import clip_to_canonical, clip_to_positions, mean_jerk, measure_clip, seam_acceleration

FPS = 20.0


def still(frames: int = 40) -> VrmClip:
    return VrmClip(
        rotations={bone: quat_identity(frames) for bone in CANONICAL_BONES},
        hips=torch.tensor([0.0, CANONICAL_HIPS_HEIGHT, 0.0]).repeat(frames, 1),
        contacts=torch.ones(frames, 4),
        fps=FPS,
        rest_hips_height=CANONICAL_HIPS_HEIGHT,
    )


def moved(offset: Tensor) -> VrmClip:
    clip = still(offset.shape[0])
    return replace(clip, hips=clip.hips + offset)


def turned(bone: str, axis: tuple[float, float, float], angle: Tensor) -> VrmClip:
    clip = still(angle.shape[0])
    track = axis_angle_to_quat(torch.tensor(axis), angle)
    return replace(clip, rotations={**clip.rotations, bone: track})


def test_standing_still_measures_nothing() -> None:
    measures = measure_clip(still())
    for name in ("skate_cm_s", "penetration_cm", "float_cm", "jitter_m_s3"):
        assert measures[name] == pytest.approx(0.0, abs=0.01), name
    assert measures["plant_share"] == measures["low_share"] == measures["hinge_share"] == 1.0


def test_gliding_is_skate_at_the_speed_of_the_glide() -> None:
    glide = torch.linspace(0, 0.5 * 39 / FPS, 40)  # 0.5 m/s
    measures = measure_clip(moved(torch.stack([glide * 0.6, glide * 0, glide * 0.8], dim=1)))
    assert measures["skate_cm_s"] == pytest.approx(50.0, rel=1e-3)
    assert measures["plant_share"] == 0.0


@pytest.mark.parametrize(("lift", "name"), [(0.10, "float_cm"), (-0.04, "penetration_cm")])
def test_height_shows_as_float_or_penetration(lift: float, name: str) -> None:
    measures = measure_clip(moved(torch.tensor([0.0, lift, 0.0]).repeat(30, 1)))
    assert measures[name] == pytest.approx(100 * abs(lift), abs=0.01)
    other = {"float_cm": "penetration_cm", "penetration_cm": "float_cm"}[name]
    assert measures[other] == pytest.approx(0.0, abs=0.01)
    if lift > 0:
        assert measures["low_share"] == measures["skate_cm_s"] == 0.0


def test_jerk_of_a_cubic_is_its_third_derivative() -> None:
    t = torch.arange(40, dtype=torch.float64) / FPS
    path = torch.zeros(40, 2, 3, dtype=torch.float64)
    path[..., 0] = (2.5 * t**3)[:, None]
    assert mean_jerk(path, FPS) == pytest.approx(15.0, rel=1e-6)
    assert mean_jerk(path[:3], FPS) == 0.0


@pytest.mark.parametrize(
    ("bone", "axis", "share"),
    [
        ("leftLowerArm", (0.0, -1.0, 0.0), 1.0),
        ("leftLowerArm", (0.0, 1.0, 0.0), 0.0),
        ("rightLowerArm", (0.0, 1.0, 0.0), 1.0),
        ("leftLowerLeg", (1.0, 0.0, 0.0), 1.0),
        ("rightLowerLeg", (-1.0, 0.0, 0.0), 0.0),
        ("rightLowerLeg", (0.0, 0.0, 1.0), 0.0),
        ("leftLowerArm", (1.0, 0.0, 0.0), 1.0),  # pure twist: nothing bends
    ],
)
def test_hinges_bend_one_way(bone: str, axis: tuple[float, float, float], share: float) -> None:
    clip = turned(bone, axis, torch.linspace(0.1, 1.2, 20))
    assert measure_clip(clip)["hinge_share"] == pytest.approx(share, abs=1e-3)


def test_flexion_counts_the_same_under_forearm_twist() -> None:
    flex = axis_angle_to_quat(torch.tensor([0.0, -1.0, 0.0]), torch.full((10,), 1.0))
    twist = axis_angle_to_quat(torch.tensor([1.0, 0.0, 0.0]), torch.full((10,), 0.8))
    clip = still(10)
    clip = replace(clip, rotations={**clip.rotations, "leftLowerArm": quat_multiply(flex, twist)})
    assert measure_clip(clip)["hinge_share"] == pytest.approx(1.0, abs=1e-4)


def test_another_bodys_clip_is_scaled_and_missing_bones_rest() -> None:
    clip = still(10)
    small = VrmClip(
        rotations={"hips": quat_identity(10)},
        hips=clip.hips * 0.5 + torch.linspace(0, 1, 10)[:, None] * torch.tensor([0.0, 0.0, 0.5]),
        contacts=clip.contacts,
        fps=FPS,
        rest_hips_height=CANONICAL_HIPS_HEIGHT / 2,
    )
    local, hips = clip_to_canonical(small)
    assert local.shape == (10, 21, 4)
    torch.testing.assert_close(hips[-1], torch.tensor([0.0, CANONICAL_HIPS_HEIGHT, 1.0]))


def test_upper_chest_turns_the_arms_and_head() -> None:
    clip = still(5)
    bend = axis_angle_to_quat(torch.tensor([1.0, 0.0, 0.0]), torch.full((5,), 0.6))
    bent = replace(clip, rotations={**clip.rotations, "upperChest": bend})
    local, hips = clip_to_canonical(bent)
    _, world = canonical_fk(local, hips)
    for bone in ("head", "leftHand", "rightHand"):
        torch.testing.assert_close(world[:, CANONICAL_BONES.index(bone)], bend)


def test_measures_do_not_depend_on_place_or_heading() -> None:
    angle = torch.sin(torch.arange(60) / 5.0)
    clip = turned("leftUpperLeg", (1.0, 0.0, 0.0), angle * 0.3)
    turn = axis_angle_to_quat(torch.tensor([0.0, 1.0, 0.0]), torch.full((60,), 2.1))
    away = replace(clip, rotations={**clip.rotations, "hips": turn}, hips=clip.hips + torch.tensor([3.0, 0.0, -2.0]))
    for name, value in measure_clip(clip).items():
        assert measure_clip(away)[name] == pytest.approx(value, rel=1e-2, abs=1e-3), name


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_short_clips_have_finite_measures(frames: int) -> None:
    assert all(math.isfinite(value) for value in measure_clip(still(frames)).values())


def test_a_jump_at_a_border_stands_out_and_elsewhere_does_not() -> None:
    t = torch.arange(80) / FPS
    path = torch.stack([0.05 * torch.sin(6 * t), 0 * t, 0 * t], dim=1)
    smooth = moved(path)
    jump = moved(path + (torch.arange(80) >= 40)[:, None] * torch.tensor([0.1, 0.0, 0.0]))
    assert seam_acceleration(smooth, [40]) <= 1.0
    assert seam_acceleration(jump, [40]) > 3.0
    assert seam_acceleration(jump, [20, 60]) < 0.2
    assert seam_acceleration(jump, []) == 0.0


def test_positions_of_rest_stand_on_the_floor() -> None:
    positions = clip_to_positions(still(3))
    assert float(positions[..., 1].min()) == pytest.approx(0.03, abs=1e-6)
