"""Forward kinematics against plain 4x4 matrices, and resampling."""

import math

import pytest
import torch
from torch.testing import assert_close

from motion_service.features.vrm_native import OFFSETS, canonical_fk
from motion_service.geometry.kinematics import (
    local_to_world_quat,
    resample_linear,
    resample_quat,
    world_to_local_quat,
)
from motion_service.geometry.rotation import normalize, quat_angle, quat_to_rotmat, yaw_to_quat
from motion_service.humanoid import CANONICAL_PARENTS, CANONICAL_REST


@pytest.fixture
def pose() -> torch.Tensor:
    return normalize(torch.randn(7, 21, 4, generator=torch.Generator().manual_seed(3)))


def test_rest_pose_gives_rest_positions():
    local = torch.zeros(1, 21, 4)
    local[..., 3] = 1
    positions, _ = canonical_fk(local, torch.tensor([CANONICAL_REST[0]]))
    assert_close(positions[0], torch.tensor(CANONICAL_REST))


def test_fk_equals_chained_matrices(pose):
    hips = torch.randn(7, 3, generator=torch.Generator().manual_seed(4))
    positions, _ = canonical_fk(pose, hips)
    transforms: list[torch.Tensor] = []
    for bone, parent in enumerate(CANONICAL_PARENTS):
        local = torch.eye(4).repeat(7, 1, 1)
        local[:, :3, :3] = quat_to_rotmat(pose[:, bone])
        local[:, :3, 3] = hips if parent < 0 else OFFSETS[bone]
        transforms.append(local if parent < 0 else transforms[parent] @ local)
    assert_close(positions, torch.stack(transforms, dim=1)[:, :, :3, 3], atol=1e-5, rtol=0)


def test_world_and_local_are_inverse(pose):
    back = world_to_local_quat(local_to_world_quat(pose, CANONICAL_PARENTS), CANONICAL_PARENTS)
    assert math.degrees(float(quat_angle(back, pose).max())) < 0.1


@pytest.mark.parametrize("new_fps", [10.0, 20.0, 24.0, 30.0, 60.0])
def test_resampling_keeps_seconds_and_a_steady_turn(new_fps):
    turn = yaw_to_quat(torch.linspace(0, 3.0, 61))  # 3 s at 20 fps, 1 rad/s
    new = resample_quat(turn[:, None], 20.0, new_fps)[:, 0]
    assert len(new) == round(61 / 20 * new_fps)
    steady = yaw_to_quat((torch.arange(len(new)) / new_fps).clamp(max=3.0))
    assert float(quat_angle(new, steady).max()) < 1e-3
    assert_close(
        resample_linear(torch.linspace(0, 3.0, 61), 20.0, new_fps).clamp(max=3.0)[:5], torch.arange(5) / new_fps
    )


def test_resampling_to_the_same_rate_changes_nothing(pose):
    assert float(quat_angle(resample_quat(pose, 20.0, 20.0), pose).max()) < 1e-3
