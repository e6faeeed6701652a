"""The placeholder figure: planted, whole, calm, repeatable, for any length."""

from __future__ import annotations

import asyncio
import math

import pytest
import torch
from torch import Tensor

from motion_service.clips import PromptPlan, Segment, VrmClip
from motion_service.features.vrm_native import canonical_fk
from motion_service.figure import STANCE_DROP
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_REST, CONTACT_BONES, canonical_index
from motion_service.placeholder import PlaceholderSource, plan_to_placeholder
from motion_service.source import MotionSource, SourceRequest

REST = torch.tensor(CANONICAL_REST)
FEET = [canonical_index(bone) for bone in CONTACT_BONES]
ACTIONS = [None, "wave-right", "wave-left", "wave-both", "bye", "nod", "bow", "dance"]
CASES = [(action, seed) for action in ACTIONS for seed in range(3)]


def plan(action: str | None = None, prompt: str = "a person stands") -> PromptPlan:
    return PromptPlan(prompt, "en", (Segment(prompt, action),), action=action)


def clip_to_positions(clip: VrmClip) -> Tensor:
    local = torch.stack([clip.rotations[bone] for bone in CANONICAL_BONES], dim=1)
    return canonical_fk(local, clip.hips)[0]  # (T, 21, 3)


def bone(positions: Tensor, name: str) -> Tensor:
    return positions[:, canonical_index(name)]


def distance_to_segment(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    axis = end - start
    along = (((points - start) * axis).sum(-1) / (axis * axis).sum(-1)).clamp(0, 1)
    distance: Tensor = torch.linalg.vector_norm(points - start - along[:, None] * axis, dim=-1)
    return distance


@pytest.mark.parametrize(("action", "seed"), CASES)
def test_feet_stay_planted_while_the_hips_move(action: str | None, seed: int) -> None:
    clip = plan_to_placeholder(plan(action), 8.0, seed)
    feet = clip_to_positions(clip)[:, FEET]  # (T, 4, 3)
    assert (feet[..., 1] - REST[FEET, 1]).abs().max() < 0.001
    assert (feet[1:] - feet[:-1]).norm(dim=-1).max() * clip.fps < 0.005
    assert (clip.hips.amax(0) - clip.hips.amin(0))[0] > 0.005
    assert bool((clip.contacts == 1).all())


@pytest.mark.parametrize(("action", "seed"), CASES)
def test_hands_and_forearms_stay_outside_the_body(action: str | None, seed: int) -> None:
    positions = clip_to_positions(plan_to_placeholder(plan(action), 8.0, seed))
    for side in ("left", "right"):
        wrist, elbow = bone(positions, f"{side}Hand"), bone(positions, f"{side}LowerArm")
        for point in (wrist, (wrist + elbow) / 2, wrist + 0.5 * (wrist - elbow)):  # wrist, forearm, about the fingers
            assert distance_to_segment(point, bone(positions, "hips"), bone(positions, "chest")).min() > 0.19
            for leg in ("left", "right"):
                thigh = (bone(positions, f"{leg}UpperLeg"), bone(positions, f"{leg}LowerLeg"))
                assert distance_to_segment(point, *thigh).min() > 0.11


@pytest.mark.parametrize(("action", "seed"), CASES)
def test_elbows_and_knees_bend_the_right_way(action: str | None, seed: int) -> None:
    clip = plan_to_placeholder(plan(action), 6.0, seed)
    for side, axis in (("left", -1.0), ("right", 1.0)):
        elbow, knee = clip.rotations[f"{side}LowerArm"], clip.rotations[f"{side}LowerLeg"]
        assert bool((elbow[:, 1] * axis * elbow[:, 3] > 0).all()) and elbow[:, [0, 2]].abs().max() < 1e-6
        assert bool((knee[:, 0] * knee[:, 3] > 0).all()) and knee[:, 1:3].abs().max() < 1e-6
        degrees = torch.rad2deg(2 * torch.asin(knee[:, 0]))
        assert degrees.min() > 1 and degrees.max() < 60


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("seconds", [0.1, 0.15, 0.5, 1.0, 3.3, 120.0])
def test_any_length_is_whole_and_smooth(action: str | None, seconds: float) -> None:
    clip = plan_to_placeholder(plan(action), seconds, 7)
    assert clip.num_frames == round(seconds * 20) and clip.fps == 20
    tracks = torch.stack([*clip.rotations.values()])  # (J, T, 4)
    assert bool(torch.isfinite(tracks).all())
    assert (tracks.norm(dim=-1) - 1).abs().max() < 1e-5
    step = 2 * torch.acos((tracks[:, 1:] * tracks[:, :-1]).sum(-1).abs().clamp(max=1))
    assert torch.rad2deg(step).max() < 18  # 360 degrees a second


@pytest.mark.parametrize("action", ACTIONS)
def test_starts_and_ends_at_rest_in_the_neutral_pose(action: str | None) -> None:
    clips = [plan_to_placeholder(plan(action), 5.0, seed) for seed in (1, 2)]
    neutral = clip_to_positions(plan_to_placeholder(plan(), 0.05, 0))[0]
    for positions in map(clip_to_positions, clips):
        for end, inward in ((0, 1), (-1, -2)):
            torch.testing.assert_close(positions[end], neutral, atol=1e-5, rtol=0)
            assert (positions[inward] - positions[end]).norm(dim=-1).max() * 20 < 0.15  # m/s


def test_neutral_pose_stands_upright_and_arms_hang() -> None:
    clip = plan_to_placeholder(plan(), 0.05, 0)
    positions = clip_to_positions(clip)[0]
    torch.testing.assert_close(clip.hips[0], REST[0] - torch.tensor([0.0, STANCE_DROP, 0.0]))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        arm = positions[canonical_index(f"{side}Hand")] - positions[canonical_index(f"{side}UpperArm")]
        assert arm[1] < -0.47 and 0.05 < sign * arm[0] < 0.2 and 0 < arm[2] < 0.2


def test_same_seed_same_clip_and_other_seeds_or_prompts_differ() -> None:
    first, again, seed, prompt = (
        plan_to_placeholder(plan(prompt=text), 4.0, seed)
        for text, seed in (("stand", 1), ("stand", 1), ("stand", 2), ("立つ", 1))
    )
    assert all(torch.equal(track, again.rotations[name]) for name, track in first.rotations.items())
    assert torch.equal(first.hips, again.hips)
    for other in (seed, prompt):
        assert (first.hips - other.hips).abs().max() > 0.002
        assert (first.rotations["head"] - other.rotations["head"]).abs().max() > 0.005


def test_it_lives() -> None:
    clip = plan_to_placeholder(plan(), 10.0, 5)
    positions = clip_to_positions(clip)
    for name in ("head", "leftHand", "rightHand", "neck"):
        spread = bone(positions, name).amax(0) - bone(positions, name).amin(0)
        assert 0.01 < float(spread.max()) < 0.2
    speed = (positions[1:] - positions[:-1]).norm(dim=-1) * clip.fps
    assert speed.max() < 0.4


def test_gestures_do_what_they_say() -> None:
    right = clip_to_positions(plan_to_placeholder(plan("wave-right"), 5.0, 1))
    both = clip_to_positions(plan_to_placeholder(plan("wave-both"), 5.0, 1))
    bow = clip_to_positions(plan_to_placeholder(plan("bow"), 5.0, 1))
    calm = clip_to_positions(plan_to_placeholder(plan("dance"), 5.0, 1))
    head = REST[canonical_index("head"), 1]
    assert bone(right, "rightHand")[50, 1] > head and bone(right, "leftHand")[:, 1].max() < 1.1
    assert bone(both, "rightHand")[50, 1] > head and bone(both, "leftHand")[50, 1] > head
    sway = bone(right, "rightHand")[30:60, 0]
    assert sway.max() - sway.min() > 0.08
    assert bone(bow, "head")[:, 2].max() > 0.25 and bone(calm, "head")[:, 2].max() < 0.1
    dip = plan_to_placeholder(plan("nod"), 3.0, 1).rotations["head"][:, 0]
    assert dip.max() > math.sin(math.radians(5))


def test_source_reports_what_it_is() -> None:
    source = PlaceholderSource()
    assert isinstance(source, MotionSource) and source.name == "placeholder" and source.max_seconds == math.inf
    made = asyncio.run(source.generate(SourceRequest(plan(), 2.0, 9, steps=50, guidance=7.5)))
    assert (made.generator, made.steps, made.checkpoint, made.seed) == ("placeholder", 0, None, 9)
    assert made.clip.num_frames == 40
