"""The shipped first prefixes of DiP: what they are allowed to hold, and that each is a motion on HumanML3D's body."""

import math

import pytest
import torch
from torch.testing import assert_close

from motion_service.errors import BadRequest
from motion_service.features import humanml3d as h3d
from motion_service.features.prefixes import (
    DEFAULT_PREFIX,
    PREFIX_FILE,
    PREFIX_FRAMES,
    choose_prefix,
    cut_prefix,
    load_library,
    load_prefixes,
    write_library,
)
from motion_service.features.skeleton import BONE_LENGTHS, FEET, PARENTS, target_offsets
from motion_service.features.target_location import joints_to_heading

NAMES = list(load_prefixes())
SPEED = {"walk": (0.7, 1.6), "walk-back": (0.7, 1.6), "jog": (2.0, 3.2), "run": (2.8, 5.0)}
"""Of the pelvis over the floor, m/s; all others stay where they are."""
AHEAD = {"walk": 1, "walk-back": -1, "jog": 1, "run": 1}


def decoded(name):
    return h3d.features_to_joints(load_prefixes()[name])


def test_there_is_a_small_free_library():
    assert len(NAMES) >= 6 and DEFAULT_PREFIX in NAMES
    assert PREFIX_FILE.stat().st_size < 100_000
    for prefix in load_library().values():
        assert prefix.source.split()[0] in ("cmu", "mesh2motion")
        assert prefix.licence.startswith(("CMU Graphics Lab", "Mesh2Motion, CC0"))


@pytest.mark.parametrize("name", NAMES)
def test_features_decode_to_the_stored_poses_both_ways(name):
    features = load_prefixes()[name]
    assert features.shape == (PREFIX_FRAMES, 263) and features.dtype == torch.float32
    poses = load_library()[name].joints[:-1]
    assert_close(decoded(name), poses, atol=1e-5, rtol=0)
    by_rotation = h3d.features_to_joints_by_rotation(features, target_offsets())
    assert_close(by_rotation, poses, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_bones_have_exactly_the_lengths_of_humanml3d(name):
    joints = decoded(name)
    bones = torch.linalg.vector_norm(joints[:, 1:] - joints[:, PARENTS[1:]], dim=-1)
    assert_close(bones, torch.tensor(BONE_LENGTHS[1:]).expand_as(bones), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_starts_at_the_origin_on_the_floor_facing_ahead(name):
    joints = decoded(name)
    assert_close(joints[0, 0, [0, 2]], torch.zeros(2), atol=1e-6, rtol=0)
    # The facing of the features is smoothed over seconds, so that a body in the middle of a turn is ahead or behind.
    assert abs(math.degrees(float(joints_to_heading(joints[0])))) < (30 if name.startswith("turn") else 15)
    assert float(joints[..., 1].min()) > -1e-4, "nothing is below the floor"
    lowest = joints[:, FEET, 1].amin(dim=1)
    assert float(lowest.min()) < 0.02, "a foot stands on the floor at some time"
    assert float(lowest.max()) < (0.16 if name in ("jog", "run") else 0.06), "and only runners leave it"


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_moves_as_its_name_says(name):
    joints = decoded(name)
    way = joints[-1, 0, [0, 2]] - joints[0, 0, [0, 2]]
    speed = float(torch.linalg.vector_norm(way)) * h3d.HUMANML3D_FPS / (PREFIX_FRAMES - 1)
    low, high = SPEED.get(name, (0.0, 0.7))
    assert low <= speed <= high
    assert float(way[1]) * AHEAD.get(name, 0) >= 0
    fastest = torch.linalg.vector_norm(joints[1:] - joints[:-1], dim=-1).max() * h3d.HUMANML3D_FPS
    assert float(fastest) < 12.0
    turned = math.degrees(float(joints_to_heading(joints[-1]) - joints_to_heading(joints[0])))
    if name.startswith("turn"):
        assert 60 < turned * (1 if name == "turn-left" else -1) < 150
    else:
        assert abs(turned) < 30


@pytest.mark.parametrize("name", NAMES)
def test_rates_of_the_last_row_lead_to_the_pose_after_it(name):
    """DiP goes on from there: the first frame of its window stands where the last row says."""
    features, pose = load_prefixes()[name], load_library()[name].joints[-1]
    end = h3d.features_to_end(features)
    assert_close(torch.tensor([end.x, end.z]), pose[0, [0, 2]], atol=1e-5, rtol=0)
    r, _ = h3d.features_to_root(features)
    step = features[-1, h3d.STEPS].view(22, 3)
    world = h3d.quat_rotate(h3d.quat_conjugate(r[-1]), step)
    assert_close(decoded(name)[-1] + world, pose, atol=1e-5, rtol=0)


def test_poses_of_sitting_and_waving():
    sit, wave, stand = decoded("sit"), decoded("wave"), decoded(DEFAULT_PREFIX)
    assert float(sit[:, 0, 1].max()) < 0.6 < 0.85 < float(stand[:, 0, 1].min())
    assert float((wave[:, 21, 1] - wave[:, 17, 1]).min()) > -0.1, "the right hand stays up"
    assert float((wave[:, 20, 1] - wave[:, 16, 1]).max()) < -0.25, "the left one hangs"
    assert float((stand[:, [20, 21], 1] - stand[:, :1, 1]).max()) < 0.15, "both hang"


def test_the_file_says_again_what_was_written(tmp_path):
    write_library(tmp_path / "again.npz", load_library())
    again = load_library(tmp_path / "again.npz")
    for name, prefix in load_library().items():
        assert torch.equal(again[name].joints, prefix.joints) and again[name].licence == prefix.licence


@pytest.mark.parametrize("first", [0, 20, -1])
def test_a_motion_too_short_to_cut_is_refused(first):
    with pytest.raises(BadRequest, match="needs one frame before and 20 after"):
        cut_prefix(torch.rand(40, 22, 3), first)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "stand"),
        ("a person does a cartwheel", "stand"),
        ("A man WALKS forward, then runs.", "walk"),
        ("someone is running in circles", "run"),
        ("a person jogs lightly", "jog"),
        ("he walks slowly backwards", "walk-back"),
        ("she takes a step and walks back and forth", "walk"),
        ("the figure backs away", "walk-back"),
        ("turn around to the left", "turn-left"),
        ("a person turns right", "turn-right"),
        ("a person waves", "wave"),
        ("waving with the right hand", "wave"),
        ("waves with the left hand", "stand"),
        ("wave with both arms", "stand"),
        ("a seated man talks", "sit"),
        ("walks to a chair and sits down", "walk"),
        ("gets up from the chair", "sit"),
        ("a man beside a chair walks off", "walk"),
        ("talking on the phone", "talk"),
        ("walk-back", "walk-back"),
        ("turn-left", "turn-left"),
        ("wave-left", "stand"),
        ("dash", "run"),
        ("a pruning wavelet", "stand"),
    ],
)
def test_a_prefix_is_chosen_by_the_first_action_of_a_text(text, name):
    assert choose_prefix(text) == name
    assert name in NAMES
