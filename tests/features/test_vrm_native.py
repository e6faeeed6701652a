"""The layout `vrm`: exact inverse, invariance, and what each slice means."""

import math

import pytest
import torch
from torch.testing import assert_close

from motion_service.clips import VrmClip
from motion_service.errors import GenerationFailed
from motion_service.features import vrm_native as vn
from motion_service.geometry.rotation import (
    normalize,
    quat_angle,
    quat_multiply,
    quat_rotate,
    quat_to_rot6d,
    yaw_to_quat,
)
from motion_service.humanoid import CANONICAL_BONES, canonical_index


def random_motion(seed: int, frames: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drift = torch.cumsum(torch.randn(frames, 21, 4, generator=generator) * 0.1, dim=0)
    local = normalize(drift + torch.tensor([0.0, 0.0, 0.0, 1.0]))
    hips = torch.cumsum(torch.randn(frames, 3, generator=generator) * 0.05, dim=0) + torch.tensor([1.0, 0.9, -2.0])
    return local, hips


@pytest.mark.parametrize("seed", range(5))
def test_round_trip_is_exact(seed):
    local, hips = random_motion(seed)
    features, start = vn.bones_to_features(local, hips)
    back, back_hips = vn.features_to_bones(features, start)
    assert math.degrees(float(quat_angle(back, local).max())) < 0.1
    assert float((back_hips - hips).abs().max()) < 1e-4
    positions, _ = vn.canonical_fk(local, hips)
    again, _ = vn.canonical_fk(back, back_hips)
    assert float((positions - again).abs().max()) < 1e-4


def formula(local: torch.Tensor, hips: torch.Tensor, fps: float) -> torch.Tensor:
    """The layout by the definitions of its slices, in tensors of float64."""
    positions, _ = vn.canonical_fk(local, hips)
    yaw = vn.heading(local[:, 0])
    unturn = yaw_to_quat(-yaw)
    step = torch.zeros_like(positions)
    step[1:] = quat_rotate(unturn[1:, None], positions[1:] - positions[:-1]) * fps
    yaw_step = torch.zeros_like(yaw)
    yaw_step[1:] = torch.remainder(yaw[1:] - yaw[:-1] + math.pi, 2 * math.pi) - math.pi
    facing = quat_rotate(unturn[:, None], positions - hips[:, None] * hips.new_tensor([1.0, 0.0, 1.0]))
    parts = [
        yaw_step[:, None] * fps,
        step[:, 0, [0, 2]],
        hips[:, 1:2],
        quat_to_rot6d(quat_multiply(unturn, local[:, 0])),
        quat_to_rot6d(local[:, 1:]).flatten(1),
        facing.flatten(1),
        step.flatten(1),
        vn.foot_contacts(positions, fps),
    ]
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("frames", [1, 2, 3, 60])
@pytest.mark.parametrize("low", [0.0, 0.9])
def test_features_are_those_of_the_definitions(frames, low):
    local, hips = (numbers.double() for numbers in random_motion(11, frames))
    if low:  # feet on the floor, hardly moving: contacts
        local = normalize(local * 0.01 + local.new_tensor([0.0, 0.0, 0.0, 1.0]))
        hips = hips * 0.01 + hips.new_tensor([0.0, low, 0.0])
    found, start = vn.bones_to_features(local, hips, 30.0)
    assert_close(found, formula(local, hips, 30.0), atol=1e-5, rtol=0)  # offsets of the bones are float32
    assert found.is_contiguous() and (frames == 1 or not low or bool(found[:, vn.CONTACTS].any()))
    assert start == vn.RootStart(float(vn.heading(local[0, 0])), float(hips[0, 0]), float(hips[0, 2]))


def test_features_do_not_depend_on_place_and_heading():
    local, hips = random_motion(7)
    turn = yaw_to_quat(torch.tensor(2.1))
    turned = torch.cat([quat_multiply(turn.expand(60, 4), local[:, 0])[:, None], local[:, 1:]], dim=1)
    moved = quat_rotate(turn, hips) + torch.tensor([3.0, 0.0, -4.0])
    assert_close(vn.bones_to_features(turned, moved)[0], vn.bones_to_features(local, hips)[0], atol=2e-4, rtol=0)


def test_walking_left_is_a_positive_sideways_velocity():
    local, _ = random_motion(0, 10)
    local[:, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    hips = torch.stack([torch.arange(10) * 0.05, torch.full((10,), 0.9), torch.zeros(10)], dim=-1)
    features, _ = vn.bones_to_features(local, hips)
    assert_close(features[1:, 1], torch.full((9,), 1.0))
    assert_close(features[1:, 2], torch.zeros(9))


def test_contacts_need_a_low_and_slow_foot():
    rest = vn._REST.repeat(20, 1, 1)
    toe = canonical_index("leftToes")
    planted = vn.foot_contacts(rest, 20.0)
    lifted, sliding = rest.clone(), rest.clone()
    lifted[:, toe, 1] += 0.05
    sliding[:, toe, 0] += torch.arange(20) * 0.05
    assert_close(planted, torch.ones(20, 4))
    assert float(vn.foot_contacts(lifted, 20.0)[:, 1].max()) == 0
    assert float(vn.foot_contacts(sliding, 20.0)[:, 1].max()) == 0


def test_clip_round_trip_and_sign_continuity():
    local, hips = random_motion(3)
    features, start = vn.bones_to_features(local, hips)
    clip = vn.features_to_vrm(vn.FeatureClip(features, "vrm", 20.0), start)
    assert tuple(clip.rotations) == CANONICAL_BONES
    for track in clip.rotations.values():
        assert bool(((track[1:] * track[:-1]).sum(-1) > 0).all())
    assert_close(vn.vrm_to_features(clip)[0].features, features, atol=1e-3, rtol=0)


def test_a_clip_refuses_impossible_states():
    local, hips = random_motion(1)
    tracks = dict(zip(CANONICAL_BONES, local.unbind(1), strict=True))
    contacts = torch.zeros(60, 4)
    with pytest.raises(GenerationFailed, match="not a VRM humanoid bone"):
        VrmClip({**tracks, "rightToeBase": tracks["head"]}, hips, contacts, 20.0, 0.95)
    with pytest.raises(GenerationFailed, match="unit"):
        VrmClip({**tracks, "head": tracks["head"] * 2}, hips, contacts, 20.0, 0.95)
    with pytest.raises(GenerationFailed, match="finite"):
        VrmClip(tracks, hips * math.nan, contacts, 20.0, 0.95)
