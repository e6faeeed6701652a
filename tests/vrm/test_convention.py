"""The axes of VRM 0.x, and signs that the downstream viewer leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from motion_service.clips import VrmClip
from motion_service.geometry.rotation import axis_angle_to_quat, quat_angle, quat_multiply, yaw_to_quat
from motion_service.humanoid import CANONICAL_BONES
from motion_service.vrm.body import CANONICAL_BODY, Body, pose_body
from motion_service.vrm.convention import boost_safe, to_vrm0
from tests.vrm.test_body import FRAMES, make_clip

TURN = torch.tensor([-1.0, 1.0, -1.0])


@pytest.fixture
def clip() -> VrmClip:
    return make_clip(set(CANONICAL_BONES), seed=2)


def test_on_an_avatar_that_faces_backwards_it_is_the_same_motion_turned_half_around(clip: VrmClip) -> None:
    turned_body = Body({bone: (-x, y, -z) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    places, turns = pose_body(CANONICAL_BODY, clip)
    turned_places, turned_turns = pose_body(turned_body, to_vrm0(clip))
    assert_close(turned_places, places * TURN, atol=1e-5, rtol=0)
    half_turn = yaw_to_quat(torch.tensor(math.pi))
    expected = quat_multiply(quat_multiply(half_turn.expand_as(turns), turns), -half_turn.expand_as(turns))
    assert float(quat_angle(turned_turns, expected).max()) < 2e-3


def test_twice_is_nothing(clip: VrmClip) -> None:
    back = to_vrm0(to_vrm0(clip))
    assert_close(back.hips, clip.hips, atol=0, rtol=0)
    for bone, track in clip.rotations.items():
        assert_close(back.rotations[bone], track, atol=0, rtol=0)


def test_rest_stays_rest_and_gaze_stays(clip: VrmClip) -> None:
    rest = VrmClip(
        {"hips": torch.tensor([[0.0, 0.0, 0.0, 1.0]])},
        torch.tensor([[0.0, 0.95, 0.0]]),
        torch.ones(1, 4),
        20.0,
        0.95,
        gaze=torch.tensor([[0.2, -0.1]]),
    )
    turned = to_vrm0(rest)
    assert_close(turned.rotations["hips"], rest.rotations["hips"])
    assert_close(turned.hips, rest.hips)
    assert turned.gaze is rest.gaze


def boosted(track: torch.Tensor) -> torch.Tensor:
    """What the downstream viewer makes of a track: angles times four when all are under 8 degrees."""
    w = track[:, 3].clamp(-1, 1)
    angle = 2 * torch.acos(w)
    if float(torch.rad2deg(angle).max()) >= 8:
        return track
    axis = track[:, :3] / (1 - w**2).clamp_min(1e-12).sqrt()[:, None]
    return axis_angle_to_quat(axis, 4 * angle)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 1.0, 7.0, 7.99, 8.0, 8.01, 20.0, 170.0, 190.0])
def test_the_viewer_plays_boost_safe_tracks_as_they_are(degrees: float) -> None:
    angles = torch.deg2rad(torch.linspace(0.0, degrees, FRAMES))
    track = axis_angle_to_quat(torch.tensor([0.6, 0.0, 0.8]), angles)
    clip = VrmClip({"hips": track}, torch.ones(FRAMES, 3), torch.ones(FRAMES, 4), 20.0, 0.95)
    safe = boost_safe(clip).rotations["hips"]
    rounded = safe.mul(1e5).round() / 1e5  # the digits that the JSON carries
    assert float(quat_angle(boosted(rounded / rounded.norm(dim=-1, keepdim=True)), track).max()) < math.radians(0.1)
    assert bool((safe == track).all()) or bool((safe == -track).all())
    if 0.1 < degrees < 7.9:
        assert float(quat_angle(boosted(track), track).max()) > math.radians(2.9 * degrees), "it would be boosted"
        assert bool((safe[:, 3] < 0).all())


def test_it_works_after_the_turn_for_vrm0_too(clip: VrmClip) -> None:
    small = axis_angle_to_quat(torch.tensor([1.0, 0.0, 0.0]), torch.full((FRAMES,), 0.05))
    mixed = VrmClip({**clip.rotations, "chest": small}, clip.hips, clip.contacts, clip.fps, clip.rest_hips_height)
    safe = boost_safe(to_vrm0(mixed))
    assert float(safe.rotations["chest"][:, 3].max()) < 0
    assert_close(safe.hips, to_vrm0(mixed).hips)
