"""HumanML3D's features, both ways, against representation.npz and the Mean/Std files beside it."""

import json

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.features import humanml3d as h3d
from motion_service.features import skeleton
from motion_service.features.target_location import GOALS, HEADING, joints_to_heading, window_to_target
from tests.golden.golden_files import golden

SLICES = {
    "turn": (h3d.ROOT_TURN, 5e-5),
    "root step": (h3d.ROOT_STEP, 5e-5),
    "root height": (h3d.ROOT_Y, 5e-5),
    "positions": (h3d.POSITIONS, 5e-5),
    "rotations": (h3d.ROTATIONS, 1e-4),
    "steps": (h3d.STEPS, 5e-5),
    "contacts": (h3d.CONTACTS, 0.0),
}


@pytest.fixture(scope="module")
def numbers():
    return golden("representation.npz")


def assert_near(actual: Tensor, expected: Tensor, atol: float) -> None:
    assert_close(actual.float(), expected.float(), atol=atol, rtol=0)


def denormalised(numbers, motion: Tensor) -> Tensor:
    """Network layout [bs, 263, 1, T] to de-normalised features (B, T, 263)."""
    return h3d.denormalise(motion[:, :, 0].transpose(1, 2), numbers["mean"], numbers["std"])


def test_skeleton(numbers):
    assert list(skeleton.JOINT_NAMES) == json.loads(numbers["joint_names_json"])
    assert [list(chain) for chain in skeleton.CHAINS] == json.loads(numbers["kinematic_chain_json"])
    assert list(skeleton.PARENTS) == numbers["parents"].tolist()
    assert_near(torch.tensor(skeleton.RAW_DIRECTIONS), numbers["raw_offsets"], 0)
    assert_near(skeleton.target_offsets(), numbers["tgt_offsets"], 1e-7)


@pytest.mark.parametrize("clip", "AB")
def test_encoder_steps(numbers, clip):
    uniform = h3d.to_skeleton(numbers[f"{clip}/joints"].double(), numbers["tgt_offsets"])
    assert_near(uniform, numbers[f"{clip}/h3d/uniform_skeleton"], 1e-5)
    assert_near(h3d.place_at_start(uniform), numbers[f"{clip}/h3d/global_positions"], 1e-5)


@pytest.mark.parametrize("part", SLICES)
@pytest.mark.parametrize("clip", "AB")
def test_features_of_the_original_encoder(numbers, clip, part):
    features = h3d.joints_to_features(numbers[f"{clip}/joints"], numbers["tgt_offsets"], fix_heading=False)
    where, atol = SLICES[part]
    assert_near(features[:, where], numbers[f"{clip}/h3d/features"][:, where], atol)


@pytest.mark.parametrize("clip", "AB")
def test_mended_heading_brings_every_clip_back(numbers, clip):
    """Clip B of the development set passes 180 degrees, where the original comes back 0.27 m wrong."""
    features = h3d.joints_to_features(numbers[f"{clip}/joints"], numbers["tgt_offsets"])
    placed = numbers[f"{clip}/h3d/global_positions"][:-1]
    assert_near(h3d.features_to_joints(features), placed, 1e-5)
    assert_near(h3d.features_to_joints_by_rotation(features, numbers["tgt_offsets"]), placed, 5e-5)


@pytest.mark.parametrize("name", ["random", "real"])
def test_decoders(numbers, name):
    features = numbers[f"{name}/features"]
    r, root = h3d.features_to_root(features)
    assert_near(r[..., [3, 0, 1, 2]], numbers[f"{name}/root_quat"], 1e-6)
    assert_near(root, numbers[f"{name}/root_pos"], 1e-5)
    assert_near(h3d.features_to_joints(features), numbers[f"{name}/joints_ric"], 1e-5)
    by_rotation = h3d.features_to_joints_by_rotation(features, numbers["skeleton_offsets"])
    assert_near(by_rotation, numbers[f"{name}/joints_rot"], 5e-5)


def test_network_output_to_results_file(numbers):
    joints = h3d.features_to_joints(denormalised(numbers, numbers["chain/x_norm"]))  # (B, T, 22, 3)
    assert_near(joints.permute(0, 2, 3, 1), numbers["chain/motion_22_3_T"], 1e-5)


def test_target_locations(numbers):
    windows = denormalised(numbers, numbers["target/motion"])
    names = json.loads(numbers["target/names_json"])
    for i, window in enumerate(windows):
        is_heading = bool(numbers["target/is_heading"][i])
        target = window_to_target(window, [*names[i], *[HEADING] * is_heading])
        assert_near(target.places, numbers["target/target_cond"][i], 1e-5)
        assert target.names == tuple(goal for goal in GOALS if goal in names[i])
        assert target.is_heading == is_heading
    headings = joints_to_heading(h3d.features_to_joints(windows))
    assert_near(headings, numbers["target/heading_all_frames"][:, 0], 1e-5)


def test_lower_body_mask():
    mask = golden("diffusion_inpaint.npz")["hml_lower_body_mask_263"]
    assert torch.equal(h3d.lower_body_mask(), mask)
