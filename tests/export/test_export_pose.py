"""Clips on the canonical body, and joints for results.npy."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_service.clips import PromptPlan, VrmClip
from motion_service.export.npy import HUMANML3D_SOURCE, clip_to_results, pose_to_joints
from motion_service.export.pose import clip_to_pose
from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.rotation import quat_identity, quat_multiply, rotvec_to_quat
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT, CANONICAL_REST, canonical_index
from motion_service.placeholder import plan_to_placeholder

HUMANML3D_JOINTS = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot right_foot "
    "neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist"
).split()


@pytest.fixture
def wild() -> VrmClip:
    """Random rotations of every canonical bone, travelling hips."""
    generator = torch.Generator().manual_seed(3)
    tracks = rotvec_to_quat(torch.randn(21, 30, 3, generator=generator) * 0.6)
    hips = torch.randn(30, 3, generator=generator).cumsum(0) * 0.05 + torch.tensor([0.0, 0.95, 0.0])
    return VrmClip(dict(zip(CANONICAL_BONES, tracks, strict=True)), hips, torch.zeros(30, 4), 20.0, 0.95)


def read(data: bytes) -> dict[str, object]:
    array = np.load(io.BytesIO(data), allow_pickle=True)
    assert array.shape == () and array.dtype == object
    results: dict[str, object] = array.item()
    return results


def test_pose_equals_forward_kinematics(wild: VrmClip) -> None:
    local = torch.stack([wild.rotations[bone] for bone in CANONICAL_BONES], dim=1)
    positions, world_quat = clip_to_pose(wild)
    expected = canonical_fk(local, wild.hips)
    torch.testing.assert_close(positions, expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(world_quat, expected[1], atol=1e-5, rtol=0)


def test_missing_bones_keep_their_rest_rotation(wild: VrmClip) -> None:
    bare = replace(wild, rotations={"hips": quat_identity(30)}, hips=torch.tensor([[0.0, 0.95, 0.0]]).expand(30, 3))
    positions, _ = clip_to_pose(bare)
    torch.testing.assert_close(positions, torch.tensor(CANONICAL_REST).expand(30, 21, 3), atol=1e-6, rtol=0)


def test_upper_chest_turns_arms_and_head_with_the_chest(wild: VrmClip) -> None:
    turn = rotvec_to_quat(torch.tensor([0.1, 0.4, -0.2])).expand(30, 4)
    split = replace(wild, rotations={**wild.rotations, "upperChest": turn})
    folded = {**wild.rotations, "chest": quat_multiply(wild.rotations["chest"], turn)}
    torch.testing.assert_close(clip_to_pose(split)[0], clip_to_pose(replace(wild, rotations=folded))[0])


def test_hips_of_another_body_are_scaled(wild: VrmClip) -> None:
    small = replace(wild, hips=wild.hips * 0.5, rest_hips_height=CANONICAL_HIPS_HEIGHT / 2)
    torch.testing.assert_close(clip_to_pose(small)[0], clip_to_pose(wild)[0], atol=1e-5, rtol=0)


def test_joints_come_from_the_bone_of_the_same_place() -> None:
    names = dict(zip(HUMANML3D_JOINTS, HUMANML3D_SOURCE, strict=True))
    assert names["left_ankle"] == "leftFoot" and names["right_foot"] == "rightToes"
    assert names["left_shoulder"] == "leftUpperArm" and names["right_collar"] == "rightShoulder"
    assert names["left_knee"] == "leftLowerLeg" and names["right_wrist"] == "rightHand"
    for joint, source in names.items():
        side = joint.split("_")[0]
        assert side not in ("left", "right") or str(source).startswith(side)


def test_spine_joints_lie_on_the_spine_at_their_fractions(wild: VrmClip) -> None:
    positions, _ = clip_to_pose(wild)
    joints = pose_to_joints(positions)
    line = positions[:, [canonical_index(bone) for bone in ("hips", "spine", "chest", "neck")]]  # (T, 4, 3)
    lengths = (line[:, 1:] - line[:, :-1]).norm(dim=-1)

    def length_to(point: Tensor) -> Tensor:
        """Length along the line to the point, and a check that the point lies on it."""
        before = torch.cat([torch.zeros(30, 1), lengths.cumsum(1)[:, :-1]], dim=1)
        start, end = (point[:, None] - line[:, :-1]).norm(dim=-1), (line[:, 1:] - point[:, None]).norm(dim=-1)
        detour = start + end - lengths
        assert detour.amin(dim=1).max() < 1e-5
        along: Tensor = (before + start).gather(1, detour.argmin(dim=1, keepdim=True))[:, 0]
        return along

    for joint, fraction in (("spine1", 0.239), ("spine2", 0.498), ("spine3", 0.602)):
        along = length_to(joints[:, HUMANML3D_JOINTS.index(joint)]) / lengths.sum(dim=1)
        torch.testing.assert_close(along, torch.full((30,), fraction), atol=1e-4, rtol=0)


def test_results_file_has_the_official_layout(wild: VrmClip) -> None:
    data = clip_to_results(wild, "手を振る")
    results = read(data)
    motion = results["motion"]
    assert isinstance(motion, np.ndarray) and motion.shape == (1, 22, 3, 30) and motion.dtype == np.float32
    assert results["text"] == ["手を振る"] and results["num_samples"] == results["num_repetitions"] == 1
    assert np.asarray(results["lengths"]).tolist() == [30]
    positions = clip_to_pose(wild)[0].numpy()
    np.testing.assert_allclose(
        motion[0, HUMANML3D_JOINTS.index("left_wrist")].T, positions[:, canonical_index("leftHand")], atol=1e-6
    )
    assert data == clip_to_results(wild, "手を振る")


def test_results_are_at_twenty_frames_a_second() -> None:
    clip = plan_to_placeholder(PromptPlan("x", "en", ()), 2.0, 1)
    slow = read(clip_to_results(replace(clip, fps=10.0), "x"))["motion"]
    assert isinstance(slow, np.ndarray) and slow.shape[-1] == 80
