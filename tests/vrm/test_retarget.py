"""Joints to VRM: bones point where the joints say, twist is sane, and nothing depends on where or which side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service.clips import JointClip, VrmClip
from motion_service.errors import GenerationFailed
from motion_service.geometry.kinematics import local_to_world_quat
from motion_service.geometry.rotation import (
    quat_angle,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    quat_to_rotvec,
    rotvec_to_quat,
    yaw_to_quat,
)
from motion_service.humanoid import VRM_PARENT
from motion_service.vrm.body import MANNEQUIN_BODY, pose_body
from motion_service.vrm.retarget import joints_to_vrm
from motion_service.vrm.source_rest import JOINT, JOINT_BONES, JOINT_PARENTS, REST_DIRECTIONS
from tests.vrm.by_tensors import bone_directions
from tests.vrm.source_figure import SIDES, SOURCE_BODY, SWAP, joints_of, lively, mirrored, pose_clip, real, turn

LIMB_BONES = [f"{side}{bone}" for side in SIDES for bone in ("UpperArm", "LowerArm", "UpperLeg", "LowerLeg")]
AIMED = {  # bone: the joint it points at
    **{bone: next(child for child, parent in VRM_PARENT.items() if parent == bone) for bone in LIMB_BONES},
    **{f"{side}LowerArm": f"{side}Hand" for side in SIDES},
    **{f"{side}Foot": f"{side}Toes" for side in SIDES},
    **{f"{side}Shoulder": f"{side}UpperArm" for side in SIDES},
    "head": "head",
}
LEG = ("UpperLeg", "LowerLeg", "Foot")
TRIPLES = {
    "hips": ("leftUpperLeg", "rightUpperLeg", "spine"),
    "upperChest": ("neck", "leftShoulder", "rightShoulder"),
}
HINGES = {  # bone: axis and sense of its bend
    **{f"{side}LowerLeg": torch.tensor([1.0, 0.0, 0.0]) for side in SIDES},
    "leftLowerArm": torch.tensor([0.0, -1.0, 0.0]),
    "rightLowerArm": torch.tensor([0.0, 1.0, 0.0]),
}
IDENTITY = torch.tensor([0.0, 0.0, 0.0, 1.0])
NAMES = ["A", "B", "lively 1", "lively 2"]


@pytest.fixture(params=NAMES)
def joints(request: pytest.FixtureRequest) -> JointClip:
    name, _, seed = request.param.partition(" ")
    return joints_of(lively(int(seed))) if seed else real(name)


def world_of(clip: VrmClip) -> dict[str, Tensor]:
    """{bone: world orientation (T, 4)}"""
    local = torch.stack([clip.rotations[bone] for bone in JOINT_BONES], dim=1)
    return dict(zip(JOINT_BONES, local_to_world_quat(local, JOINT_PARENTS).unbind(1), strict=True))


def degrees_between(a: Tensor, b: Tensor) -> Tensor:
    a, b = torch.broadcast_tensors(a, b)
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def degrees_of_step(track: Tensor) -> Tensor:
    return torch.rad2deg(quat_angle(track[1:], track[:-1]))


def assert_same_rotations(a: VrmClip, b: VrmClip, degrees: float) -> None:
    assert set(a.rotations) == set(b.rotations)
    worst = {bone: float(quat_angle(track, b.rotations[bone]).max()) for bone, track in a.rotations.items()}
    assert math.degrees(max(worst.values())) < degrees, worst


# --- directions -------------------------------------------------------------------------------------------------------


def test_bones_point_where_the_joints_say(joints):
    world, seen = world_of(joints_to_vrm(joints)), bone_directions(joints.positions.double()).float()
    for bone, end in AIMED.items():
        rest = REST_DIRECTIONS[JOINT[end]].float()
        assert float(degrees_between(quat_rotate(world[bone], rest), seen[:, JOINT[end]]).max()) < 0.1, bone


def test_pelvis_and_chest_fit_their_triples(joints):
    world, seen = world_of(joints_to_vrm(joints)), bone_directions(joints.positions.double()).float()
    for bone, ends in TRIPLES.items():
        for end in ends:
            rest = REST_DIRECTIONS[JOINT[end]].float()
            assert float(degrees_between(quat_rotate(world[bone], rest), seen[:, JOINT[end]]).max()) < 10, (bone, end)


def test_figure_faces_and_stands_as_the_source(joints):
    clip = joints_to_vrm(joints)
    left, right, neck = (joints.positions[:, JOINT[bone]] for bone in ("leftUpperLeg", "rightUpperLeg", "spine"))
    across, up = left - right, neck - (left + right) / 2
    ahead = torch.nn.functional.normalize(torch.linalg.cross(across, up), dim=-1)
    faced = quat_rotate(clip.rotations["hips"], torch.tensor([0.0, 0.0, 1.0]))
    assert float((faced * ahead).sum(-1).min()) > 0.9
    places, _ = pose_body(MANNEQUIN_BODY, clip)
    own = places[:, MANNEQUIN_BODY.index("leftUpperLeg")] - places[:, MANNEQUIN_BODY.index("rightUpperLeg")]
    cosine = torch.nn.functional.cosine_similarity(own, across, dim=-1)
    assert float(cosine.min()) > 0.95


@pytest.mark.parametrize(("side", "sign"), [("left", 1.0), ("right", -1.0)])
def test_raised_arm_is_the_raised_arm(side, sign):
    clip = joints_to_vrm(joints_of(pose_clip({f"{side}UpperArm": turn("z", sign * 75, 30)})))
    places, _ = pose_body(MANNEQUIN_BODY, clip)
    wrist = {name: places[:, MANNEQUIN_BODY.index(f"{name}Hand")] for name in SIDES}
    other = "right" if side == "left" else "left"
    assert bool((wrist[side][:, 1] > wrist[other][:, 1] + 0.3).all())
    assert bool((wrist["left"][:, 0] > 0).all() and (wrist["right"][:, 0] < 0).all())


# --- full rotations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_known_rotations_come_back(seed):
    truth = lively(seed)
    found, true = world_of(joints_to_vrm(joints_of(truth))), pose_body(SOURCE_BODY, truth)[1]
    error = {bone: torch.rad2deg(quat_angle(track, true[:, SOURCE_BODY.index(bone)])) for bone, track in found.items()}
    for bone in ("hips", "spine", "chest", "upperChest"):
        assert float(error[bone].max()) < 0.1, bone
    for bone in LIMB_BONES:  # an arm that is straight for seconds does not show its twist
        assert float(error[bone].median()) < 3, bone
        assert float(error[bone].quantile(0.95)) < (10 if bone.endswith("Leg") else 30), bone
    for bone in ("leftShoulder", "rightShoulder", "neck"):
        assert float(error[bone].max()) < 8, bone


def test_t_pose_is_the_identity():
    still = pose_clip({"hips": turn("y", 0.0, 3)})
    clip = joints_to_vrm(joints_of(still))
    for bone, track in clip.rotations.items():
        assert_close(track, IDENTITY.expand(3, 4), atol=1e-3, rtol=0, msg=bone)


def test_knees_and_elbows_bend_the_right_way(joints):
    clip = joints_to_vrm(joints)
    for bone, axis in HINGES.items():
        bend = torch.rad2deg(quat_to_rotvec(clip.rotations[bone]))
        along = bend @ axis
        assert -10 < float(along.min()) and float(along.max()) < 165, bone
        if bone.endswith("Leg"):
            share = along / bend.norm(dim=-1)
            assert float(share[bend.norm(dim=-1) > 25].min()) > 0.9, bone


def test_no_limb_turns_faster_than_the_joints_ask(joints):
    """At most 40 degrees a frame, unless the bone's direction itself turns more (one throw in clip A: 66 degrees)."""
    clip, seen = joints_to_vrm(joints), bone_directions(joints.positions.double()).float()
    for bone in LIMB_BONES:
        direction = seen[:, JOINT[AIMED[bone]]]
        asked = degrees_between(direction[1:], direction[:-1])
        excess = degrees_of_step(clip.rotations[bone]) - asked.clamp(min=40)
        assert float(excess.max()) <= 0, bone


def test_trunk_shares_the_bend_smoothly(joints):
    clip = joints_to_vrm(joints)
    shares = [torch.rad2deg(quat_to_rotvec(clip.rotations[bone])) for bone in ("spine", "chest", "upperChest")]
    whole = quat_to_rotvec(
        quat_multiply(quat_conjugate(world_of(clip)["hips"]), world_of(clip)["upperChest"]),
    )
    for share, part in zip(shares, (0.3, 0.35, 0.35), strict=True):
        assert_close(share, part * torch.rad2deg(whole), atol=0.05, rtol=0)


# --- what must not matter ---------------------------------------------------------------------------------------------


def test_tracks_are_unit_and_signs_are_continuous(joints):
    clip = joints_to_vrm(joints)
    assert set(clip.rotations) == set(MANNEQUIN_BODY.bones)
    assert clip.rest_hips_height == MANNEQUIN_BODY.hips_height and clip.fps == joints.fps
    for bone, track in clip.rotations.items():
        assert track.dtype == torch.float32
        assert float((track.norm(dim=-1) - 1).abs().max()) < 1e-5, bone
        assert bool(((track[1:] * track[:-1]).sum(-1) >= 0).all()) and float(track[0, 3]) >= 0, bone
    for bone in ("leftHand", "rightHand", "leftToes", "rightToes"):
        assert_close(clip.rotations[bone], IDENTITY.expand(clip.num_frames, 4), atol=1e-4, rtol=0, msg=bone)


def test_mirrored_joints_give_the_mirrored_clip(joints):
    clip, other = joints_to_vrm(joints), joints_to_vrm(mirrored(joints))
    assert_close(other.hips, clip.hips * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-4, rtol=0)
    for bone, partner in zip(JOINT_BONES, (JOINT_BONES[joint] for joint in SWAP), strict=True):
        mirror = clip.rotations[partner] * torch.tensor([1.0, -1.0, -1.0, 1.0])
        assert_close(other.rotations[bone], mirror, atol=1e-4, rtol=0, msg=bone)


def test_turning_and_shifting_changes_the_hips_only(joints):
    yaw, shift = yaw_to_quat(torch.tensor(2.2)), torch.tensor([1.5, 0.0, -2.0])
    moved = replace(joints, positions=quat_rotate(yaw, joints.positions) + shift)
    clip, other = joints_to_vrm(joints), joints_to_vrm(moved)
    turned = replace(
        clip,
        rotations={**clip.rotations, "hips": quat_multiply(yaw.expand(clip.num_frames, 4), clip.rotations["hips"])},
    )
    assert_same_rotations(other, turned, degrees=0.05)
    path = quat_rotate(yaw, clip.hips)
    assert_close(other.hips - other.hips[:1], path - path[:1], atol=1e-3, rtol=0)


def test_size_of_the_source_does_not_matter():
    joints = joints_of(lively(5))
    small, large = joints_to_vrm(joints), joints_to_vrm(replace(joints, positions=1.4 * joints.positions))
    assert_same_rotations(small, large, degrees=0.05)
    assert_close(small.hips, large.hips, atol=1e-4, rtol=0)


def test_strides_fit_the_legs(joints):
    def leg(places: Tensor, index: Callable[[str], int]) -> Tensor:
        chains = torch.stack([places[:, [index(side + bone) for bone in LEG]] for side in SIDES])
        return (chains[..., 1:, :] - chains[..., :-1, :]).norm(dim=-1).sum(-1).median()

    clip = joints_to_vrm(joints)
    places, _ = pose_body(MANNEQUIN_BODY, clip)
    ratio = leg(places, MANNEQUIN_BODY.index) / leg(joints.positions, JOINT_BONES.index)
    travel = joints.positions[:, 0] - joints.positions[:1, 0]
    assert_close(clip.hips - clip.hips[:1], ratio * travel, atol=2e-3, rtol=0)


def test_a_held_pose_stays_held(joints):
    pose = replace(
        joints, positions=joints.positions[40:41].expand(50, 22, 3), contacts=joints.contacts[40:41].expand(50, 4)
    )
    clip = joints_to_vrm(pose)
    for bone, track in clip.rotations.items():
        assert_close(track, track[:1].expand_as(track), atol=1e-5, rtol=0, msg=bone)
    first = joints_to_vrm(replace(pose, positions=pose.positions[:1], contacts=pose.contacts[:1]))
    assert_same_rotations(
        first,
        replace(
            clip,
            **{key: getattr(first, key) for key in ("hips", "contacts")},
            rotations={bone: track[:1] for bone, track in clip.rotations.items()},
        ),
        0.1,
    )


# --- floor ------------------------------------------------------------------------------------------------------------


def feet_above_rest(clip: VrmClip) -> Tensor:
    places, _ = pose_body(MANNEQUIN_BODY, clip)
    bones = [f"{side}{bone}" for side in SIDES for bone in ("Foot", "Toes")]
    rest = torch.tensor([MANNEQUIN_BODY.rest[bone][1] for bone in bones])
    return places[:, [MANNEQUIN_BODY.index(bone) for bone in bones], 1] - rest


@pytest.mark.parametrize("height", [-0.5, 0.0, 2.0])
def test_toes_in_contact_stand_on_the_floor(height):
    joints = joints_of(lively(3))
    contacts = torch.zeros_like(joints.contacts)
    contacts[30:60, 1] = 1.0
    lifted = replace(joints, positions=joints.positions + torch.tensor([0.0, height, 0.0]), contacts=contacts)
    assert float(feet_above_rest(joints_to_vrm(lifted))[30:60, 1].median()) == pytest.approx(0, abs=1e-5)


def test_without_contact_the_lowest_foot_touches_the_floor():
    joints = joints_of(lively(3))
    clip = joints_to_vrm(replace(joints, contacts=torch.zeros_like(joints.contacts)))
    assert float(feet_above_rest(clip).min()) == pytest.approx(0, abs=1e-5)


# --- limbs that stay straight, and points that say nothing ------------------------------------------------------------


def hanging(frames: int, noise: float) -> JointClip:
    """Walking in a circle with arms and legs straight all the time, with measuring noise (m)."""
    time = torch.arange(frames) / 20.0
    swing = 30 * torch.sin(2 * math.pi * 0.8 * time)
    tracks = {"hips": turn("y", 30 * time, frames)}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        down = turn("z", -sign * 85, frames)
        tracks[f"{side}UpperArm"] = quat_multiply(turn("x", sign * swing, frames), down)
        tracks[f"{side}UpperLeg"] = turn("x", -sign * swing, frames)
    joints = joints_of(pose_clip(tracks))
    shake = torch.randn(joints.positions.shape, generator=torch.Generator().manual_seed(0))
    return replace(joints, positions=joints.positions + noise * shake)


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_arms_that_hang_straight_do_not_twist(noise):
    clip = joints_to_vrm(hanging(600, noise))
    world = world_of(clip)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        inward = torch.tensor([-sign, 0.0, 0.0])
        in_chest = quat_multiply(quat_conjugate(world["upperChest"]), world[f"{side}Hand"])
        palm = quat_rotate(in_chest, torch.tensor([0.0, -1.0, 0.0]))  # the palm faces the thigh
        off = degrees_between(palm, inward)
        assert float(off.quantile(0.95)) < 30 and float(off.max()) < 50, side
        assert abs(float(off[:100].median() - off[-100:].median())) < 5, side
        knee = quat_rotate(clip.rotations[f"{side}UpperLeg"], torch.tensor([1.0, 0.0, 0.0]))
        assert float(degrees_between(knee, torch.tensor([1.0, 0.0, 0.0])).max()) < 20, side
        for bone in ("UpperArm", "UpperLeg"):
            assert float(degrees_of_step(clip.rotations[side + bone]).max()) < 25, bone


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from([0, 1, 2]), st.sampled_from([1e-9, 1.0, 1e4]))
@example(0, 1, 0, 1.0)
def test_any_points_give_a_clip(seed, frames, spread, scale):
    """Points of a coarse grid: bones without length, straight and folded limbs, opposite and coinciding directions."""
    grid = torch.randint(-spread, spread + 1, (frames, 22, 3), generator=torch.Generator().manual_seed(seed)).float()
    clip = joints_to_vrm(JointClip(scale * grid, torch.zeros(frames, 4), 20.0))  # a VrmClip is finite and unit by birth
    world, seen = world_of(clip), bone_directions((scale * grid).double()).float()
    for bone, end in AIMED.items():
        rest = REST_DIRECTIONS[JOINT[end]].float()
        assert float(degrees_between(quat_rotate(world[bone], rest), seen[:, JOINT[end]]).max()) < 0.2, bone


def test_an_overstretched_knee_does_not_turn_the_leg_around():
    joints = joints_of(pose_clip({f"{side}LowerLeg": turn("x", -15.0, 20) for side in SIDES}))
    clip = joints_to_vrm(joints)
    for side in SIDES:
        assert math.degrees(float(quat_angle(clip.rotations[f"{side}UpperLeg"], IDENTITY).max())) < 2
        assert_close(clip.rotations[f"{side}LowerLeg"], turn("x", -15.0, 20), atol=0.02, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 21), max_size=6), st.integers(1, 3))
def test_bones_without_length_leave_the_others_alone(seed, lost, frames):
    joints = joints_of(replace_frames(lively(seed % 7), frames))
    positions = joints.positions.clone()
    for joint in sorted(lost):
        positions[:, joint] = positions[:, JOINT_PARENTS[joint]]
    clip = joints_to_vrm(replace(joints, positions=positions))
    world, seen = world_of(clip), bone_directions(positions.double()).float()
    for bone, end in AIMED.items():
        rest = REST_DIRECTIONS[JOINT[end]].float()
        assert float(degrees_between(quat_rotate(world[bone], rest), seen[:, JOINT[end]]).max()) < 0.2, bone


def replace_frames(clip: VrmClip, frames: int) -> VrmClip:
    rotations = {bone: track[:frames] for bone, track in clip.rotations.items()}
    return replace(clip, rotations=rotations, hips=clip.hips[:frames], contacts=clip.contacts[:frames])


def test_all_points_in_one_place_are_the_t_pose():
    clip = joints_to_vrm(JointClip(torch.full((5, 22, 3), 0.7), torch.zeros(5, 4), 20.0))
    for bone, track in clip.rotations.items():
        assert_close(track, IDENTITY.expand(5, 4), atol=1e-4, rtol=0, msg=bone)


def test_a_limb_that_reverses_stays_finite_and_aimed():
    angle = torch.tensor([0.0, 0.0, 180.0, 180.0, 0.0, 180.0])
    joints = joints_of(pose_clip({"leftUpperArm": turn("z", angle, 6), "rightUpperLeg": turn("x", angle, 6)}))
    world, seen = world_of(joints_to_vrm(joints)), bone_directions(joints.positions.double()).float()
    for bone in ("leftUpperArm", "rightUpperLeg"):
        end = JOINT[AIMED[bone]]
        assert float(degrees_between(quat_rotate(world[bone], REST_DIRECTIONS[end].float()), seen[:, end]).max()) < 0.1


def test_long_clips_are_solved_in_one_go():
    clip = joints_of(lively(6, frames=3000))
    whole, part = joints_to_vrm(clip), joints_to_vrm(JointClip(clip.positions[1000:1400], clip.contacts[:400], 20.0))
    for bone in LIMB_BONES:  # far from the ends of the part, it does not matter what came before or after
        error = quat_angle(whole.rotations[bone][1100:1300], part.rotations[bone][100:300])
        assert math.degrees(float(error.max())) < 1, bone


def test_clip_without_frames_is_refused():
    with pytest.raises(GenerationFailed, match="frame"):
        joints_to_vrm(JointClip(torch.zeros(0, 22, 3), torch.zeros(0, 4), 20.0))


def test_hips_may_do_a_somersault():
    flip = rotvec_to_quat(torch.linspace(0, 2 * math.pi, 30)[:, None] * torch.tensor([1.0, 0.0, 0.0]))
    clip = joints_to_vrm(joints_of(pose_clip({"hips": flip})))
    assert math.degrees(float(quat_angle(clip.rotations["hips"], flip).max())) < 0.1
    assert all(float(degrees_of_step(clip.rotations[bone]).max()) < 1 for bone in LIMB_BONES)
