"""Root modes and settling: how far the hips go, what is left alone, and where a clip ends."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service.clips import PromptPlan, Segment, VrmClip
from motion_service.features.vrm_native import heading
from motion_service.geometry.rotation import axis_angle_to_quat, quat_angle, quat_identity, quat_multiply, yaw_to_quat
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT, CONTACT_BONES
from motion_service.placeholder import plan_to_placeholder
from motion_service.training.standing import standing_pose
from motion_service.vrm.body import CANONICAL_BODY, fold_bones, pose_body
from motion_service.vrm.footlock import lock_feet
from motion_service.vrm.stage import BOUND, BOUND_HEIGHT, SETTLE_S, RootMode, neutral_pose, settle_clip, stage_clip

FPS = 20.0
LENGTHS = [1, 2, 3, 7, 40, 100]
MODES: list[RootMode] = ["free", "bounded", "in_place"]


def clip_on_path(path: Tensor, yaw: Tensor | None = None, fps: float = FPS) -> VrmClip:
    """A standing figure whose hips take a path (T, 2) of x and z, m, with heading ``yaw`` (T,) rad."""
    frames = len(path)
    pose = neutral_pose()
    rotations = {bone: track.expand(frames, 4) for bone, track in pose.rotations.items()}
    if yaw is not None:
        rotations["hips"] = yaw_to_quat(yaw)
    hips = torch.stack([path[:, 0], pose.hips[0, 1].expand(frames), path[:, 1]], dim=-1)
    return VrmClip(rotations, hips, torch.ones(frames, 4), fps, 0.95)


def walk(meters: float, frames: int = 100, towards: float = 0.4) -> VrmClip:
    """A walk that starts and stops softly, swaying by 3 cm once a second."""
    time = torch.arange(frames) / FPS
    along = meters * (1 - torch.cos(math.pi * time / max(float(time[-1]), 1e-6))) / 2
    sway = 0.03 * torch.sin(2 * math.pi * time)
    forward = torch.tensor([math.sin(towards), math.cos(towards)])
    across = torch.tensor([math.cos(towards), -math.sin(towards)])
    return clip_on_path(along[:, None] * forward + sway[:, None] * across, torch.full((frames,), towards))


def wild(frames: int, seed: int, fps: float = FPS) -> VrmClip:
    """A placeholder that travels and turns, with an upper chest, a curled finger, a face and a gaze."""
    generator = torch.Generator().manual_seed(seed)
    clip = plan_to_placeholder(PromptPlan("waves", "en", (Segment("waves"),), action="wave-both"), frames / FPS, seed)
    drift = torch.cumsum(0.1 * torch.randn(frames, 3, generator=generator), 0) * torch.tensor([1.0, 0.1, 1.0])
    yaw = torch.cumsum(0.2 * torch.randn(frames, generator=generator), 0)
    bend = axis_angle_to_quat(torch.tensor([0.0, 0.0, 1.0]), torch.full((frames,), -0.4))
    return replace(
        clip,
        rotations={
            **clip.rotations,
            "hips": quat_multiply(yaw_to_quat(yaw), clip.rotations["hips"]),
            "upperChest": bend,
            "leftIndexProximal": bend,
        },
        hips=clip.hips + drift,
        fps=fps,
        expressions={"happy": torch.full((frames,), 0.7)},
        gaze=torch.full((frames, 2), 0.1),
    )


def radius(clip: VrmClip) -> Tensor:
    return torch.linalg.vector_norm(clip.hips[:, [0, 2]], dim=-1)


def largest_step(clip: VrmClip) -> float:
    return max(float(quat_angle(track[1:], track[:-1]).max()) for track in clip.rotations.values())


def assert_neutral(clip: VrmClip) -> None:
    """The last frame is the neutral pose within 1e-4 rad and 1 mm."""
    pose = fold_bones(neutral_pose(clip.rest_hips_height), clip.rotations)
    assert_close(clip.hips[-1:], pose.hips, atol=1e-3, rtol=0)
    for bone in clip.rotations:
        if bone != "leftIndexProximal":
            goal = pose.rotations.get(bone, quat_identity(1))
            assert float(quat_angle(clip.rotations[bone][-1:], goal)) < 1e-4, bone


# --- the neutral pose ------------------------------------------------------------------------------------------------


def test_neutral_is_the_pose_that_clips_of_mini_begin_in() -> None:
    local, hips = standing_pose()
    pose = neutral_pose()
    assert tuple(pose.rotations) == CANONICAL_BONES
    for bone, quat in zip(CANONICAL_BONES, local, strict=True):
        assert_close(pose.rotations[bone][0], quat, atol=1e-6, rtol=0)
    assert_close(pose.hips[0], hips, atol=1e-6, rtol=0)


def test_neutral_stands_on_flat_soles_with_hands_below_the_hips() -> None:
    positions, _ = pose_body(CANONICAL_BODY, neutral_pose())
    at = {bone: positions[0, i] for i, bone in enumerate(CANONICAL_BODY.bones)}
    for bone in CONTACT_BONES:
        assert float(at[bone][1]) == pytest.approx(CANONICAL_BODY.rest[bone][1], abs=1e-4)
    assert float(at["leftHand"][1]) < float(at["hips"][1]) and float(at["leftHand"][0]) > 0.2
    assert_close(at["leftHand"] * torch.tensor([-1.0, 1.0, 1.0]), at["rightHand"])
    assert float(neutral_pose(0.475).hips[0, 1]) == pytest.approx(0.5 * float(neutral_pose().hips[0, 1]))


# --- root modes ------------------------------------------------------------------------------------------------------


def test_free_without_settle_is_the_clip_itself() -> None:
    clip = wild(30, 0)
    assert stage_clip(clip, "free", settle=False) is clip


@pytest.mark.parametrize("mode", ["bounded", "in_place"])
@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("seed", range(3))
def test_only_the_place_of_the_hips_changes(mode: RootMode, frames: int, seed: int) -> None:
    clip = wild(frames, seed)
    staged = stage_clip(clip, mode)
    assert staged.rotations is clip.rotations and staged.contacts is clip.contacts
    if mode == "in_place":
        assert torch.equal(staged.hips[:, 1], clip.hips[:, 1])
    else:
        away, before = staged.hips[:, 1] - clip.rest_hips_height, clip.hips[:, 1] - clip.rest_hips_height
        assert float(away.abs().max()) <= BOUND_HEIGHT * clip.rest_hips_height / CANONICAL_HIPS_HEIGHT + 1e-5
        assert_close(away * before.abs().max(), before * away.abs().max(), atol=1e-5, rtol=0)  # one factor for all
    assert float(radius(staged)[[0, -1]].max()) < 1e-4


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 150), seed=st.integers(0, 99), fps=st.sampled_from([5.0, 20.0, 60.0]), jump=st.floats(0, 9)
)
def test_bounded_never_leaves_its_radius(frames: int, seed: int, fps: float, jump: float) -> None:
    clip = wild(frames, seed, fps)
    hips = clip.hips.clone()
    hips[frames // 2 :, 0] += jump
    staged = stage_clip(replace(clip, hips=hips), "bounded")
    assert float(radius(staged).max()) <= BOUND + 1e-4
    assert float(radius(staged)[[0, -1]].max()) < 1e-3


def test_a_long_walk_becomes_one_on_the_spot_and_keeps_its_sway() -> None:
    across = torch.tensor([math.cos(0.4), -math.sin(0.4)])
    for mode in ("bounded", "in_place"):
        staged = stage_clip(walk(6.0), mode)
        assert float(radius(staged).max()) < (0.25 if mode == "bounded" else 0.1)
        sway = staged.hips[20:-20, [0, 2]] @ across
        assert 0.025 < float(sway.max() - sway.min()) / 2 < 0.035


def test_a_small_step_survives_bounded_and_comes_back() -> None:
    clip = clip_on_path(0.2 * torch.sin(torch.linspace(0, math.pi, 100))[:, None] * torch.tensor([1.0, 0.0]))
    staged = stage_clip(clip, "bounded")
    assert_close(staged.hips, clip.hips, atol=1e-3, rtol=0)
    assert float(radius(stage_clip(clip, "in_place")).max()) < 0.05


def test_bounded_shrinks_a_path_as_a_whole() -> None:
    """A circle of two metres stays about round: nowhere does the figure run into a wall."""
    angle = torch.linspace(0, 2 * math.pi, 200)
    clip = clip_on_path(2 * torch.stack([1 - torch.cos(angle), torch.sin(angle)], dim=-1))
    path = stage_clip(clip, "bounded").hips[20:-20, [0, 2]]
    around = torch.linalg.vector_norm(path - torch.tensor([BOUND / 2, 0.0]), dim=-1)
    assert float(around.min()) > 0.13 and float(around.max()) < 0.21
    turned = torch.diff(torch.atan2(path[:, 1], path[:, 0] - BOUND / 2))
    assert float(torch.remainder(turned, 2 * math.pi).min()) > math.pi, "always the same way round"


def test_a_figure_that_turns_away_turns_away() -> None:
    yaw = torch.linspace(0, 3.0, 100)
    clip = clip_on_path(walk(4.0).hips[:, [0, 2]], yaw)
    for mode in ("bounded", "in_place"):
        assert_close(heading(stage_clip(clip, mode).rotations["hips"]), yaw, atol=1e-5, rtol=0)


# --- settling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fps", [7.0, 20.0, 60.0])
@pytest.mark.parametrize("frames", LENGTHS[1:])
def test_settled_clips_end_in_neutral(mode: RootMode, fps: float, frames: int) -> None:
    clip = wild(frames, frames, fps)
    settled = stage_clip(clip, mode, settle=True)
    assert_neutral(settled)
    assert settled.num_frames == frames and settled.fps == fps
    assert list(settled.rotations) == list(clip.rotations)
    for bone, track in clip.rotations.items():
        assert torch.equal(settled.rotations[bone][: frames // 2], track[: frames // 2]), bone
    assert torch.equal(settled.hips[0], stage_clip(clip, mode).hips[0])
    assert torch.equal(settled.rotations["leftIndexProximal"], clip.rotations["leftIndexProximal"])
    assert settled.gaze is not None and float(settled.gaze[-1].abs().max()) == 0
    assert float(settled.expressions["happy"][-1]) == 0 and float(settled.expressions["happy"][0]) == pytest.approx(0.7)


def test_a_single_frame_stays_what_it_is() -> None:
    clip = wild(1, 0)
    assert settle_clip(clip) is clip


def test_it_lasts_six_tenths_of_a_second_or_less_in_a_short_clip_and_more_from_afar() -> None:
    def settling(clip: VrmClip) -> float:
        moved = (settle_clip(clip).contacts == 0).any(dim=1)
        return float(moved.sum()) / clip.fps

    still = torch.zeros(100, 2)
    assert settling(clip_on_path(still)) == pytest.approx(SETTLE_S, abs=1 / FPS)
    assert settling(clip_on_path(still[:21])) == pytest.approx(0.3, abs=1 / FPS)
    assert settling(clip_on_path(still + 0.3)) == pytest.approx(0.3 * math.sqrt(2) / 0.4, abs=1 / FPS)
    assert settling(clip_on_path(still + 9.0)) == pytest.approx(2.5, abs=1 / FPS)
    assert settling(clip_on_path(still, torch.full((100,), 3.0))) == pytest.approx(3.0 / 2.6, abs=1 / FPS)


@pytest.mark.parametrize("seed", range(4))
def test_it_comes_to_rest_without_a_jump(seed: int) -> None:
    clip = stage_clip(wild(240, seed, 60.0), "bounded")
    settled = settle_clip(clip)
    assert largest_step(settled) < largest_step(clip) + 0.1
    assert max(float(quat_angle(track[-1], track[-2])) for track in settled.rotations.values()) < 0.01
    assert float((settled.hips[-1] - settled.hips[-2]).norm()) < 1e-3
    for bone, track in settled.rotations.items():
        assert float((track[1:] * track[:-1]).sum(-1).min()) > 0, bone


@pytest.mark.parametrize("degrees", [-170.0, -90.0, 100.0, 179.0, 200.0, 350.0])
def test_heading_is_unwound_the_short_way_and_upright(degrees: float) -> None:
    turned = torch.deg2rad(torch.linspace(0, degrees, 60))
    yaw = torch.cat([turned, turned[-1].expand(60)])
    lean = axis_angle_to_quat(torch.tensor([1.0, 0.0, 0.0]), torch.full((120,), 0.2))
    clip = clip_on_path(torch.zeros(120, 2), yaw)
    clip = replace(clip, rotations=dict(clip.rotations) | {"hips": quat_multiply(yaw_to_quat(yaw), lean)})
    settled = settle_clip(clip)
    assert_neutral(settled)
    hips = settled.rotations["hips"][60:]
    steps = torch.remainder(torch.diff(heading(hips)) + math.pi, 2 * math.pi) - math.pi
    short = math.remainder(math.radians(degrees), 2 * math.pi)
    assert float(steps.sum()) == pytest.approx(-short, abs=1e-3)
    assert float(steps.abs().sum()) == pytest.approx(abs(short), abs=1e-3)
    tilt = 2 * torch.acos(torch.sqrt(hips[:, 1] ** 2 + hips[:, 3] ** 2).clamp(max=1))
    assert float(tilt.max()) < 0.201, "it must not lean farther on its way round"


def test_an_avatar_without_shoulders_gets_them_in_its_arms() -> None:
    clip = wild(40, 1)
    settled = settle_clip(fold_bones(clip, [bone for bone in clip.rotations if "Shoulder" not in bone]))
    assert_neutral(settled)
    shoulder, arm = neutral_pose().rotations["leftShoulder"], neutral_pose().rotations["leftUpperArm"]
    assert float(quat_angle(settled.rotations["leftUpperArm"][-1:], quat_multiply(shoulder, arm))) < 1e-4


def test_the_foot_lock_leaves_the_end_alone() -> None:
    wander = 0.03 * torch.sin(torch.linspace(0, 9, 100))[:, None] * torch.tensor([0.6, 0.8])
    clip = settle_clip(clip_on_path(wander))
    lock = lock_feet(clip, CANONICAL_BODY)
    assert lock.moved_cm > 1
    assert_neutral(lock.clip)
