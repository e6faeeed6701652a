"""HumanML3D's features: inverse pairs, invariance, short and odd clips, statistics, goals of a window."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service.clips import FeatureClip, JointClip
from motion_service.errors import BadRequest, CheckpointMismatch, CheckpointMissing
from motion_service.features import humanml3d as h3d
from motion_service.features.skeleton import BONE_LENGTHS, HUMANIK_NAMES, JOINT_NAMES, PARENTS, target_offsets
from motion_service.features.statistics import load_statistics
from motion_service.features.target_location import (
    GOALS,
    HEADING,
    joints_to_heading,
    request_to_target,
    window_to_target,
)
from motion_service.features.vrm_native import RootStart
from motion_service.geometry.rotation import normalize, quat_rotate, yaw_to_quat
from motion_service.mdm import target


def moving_body(seed: int, frames: int = 60, *, turn: float = 0.0, stretch: float = 0.0) -> Tensor:
    """Joints (T, 22, 3) m that walk, wobble and turn by ``turn`` radians; bones off HumanML3D's by ``stretch``."""
    generator = torch.Generator().manual_seed(seed)
    bones = target_offsets() + torch.cumsum(torch.randn(frames, 22, 3, generator=generator) * 0.01, dim=0)
    lengths = torch.tensor(BONE_LENGTHS) * (1 + stretch * torch.rand(22, generator=generator))
    bones = normalize(bones) * lengths[:, None]
    places = [torch.tensor([0.0, 0.9, 0.0]).expand(frames, 3)]
    for joint in range(1, 22):
        places.append(places[PARENTS[joint]] + bones[:, joint])
    yaw = torch.linspace(0, turn, frames)
    path = torch.cumsum(torch.stack([torch.sin(yaw), torch.zeros(frames), torch.cos(yaw)], dim=-1) * 0.05, dim=0)
    return quat_rotate(yaw_to_quat(yaw)[:, None], torch.stack(places, dim=1)) + path[:, None]


def placed(positions: Tensor) -> Tensor:
    return h3d.place_at_start(h3d.to_skeleton(positions.double(), target_offsets())).float()


def assert_near(actual: Tensor, expected: Tensor, atol: float) -> None:
    assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("fix_heading", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_decode_is_the_inverse_of_encode(seed, fix_heading):
    positions = moving_body(seed, turn=1.0, stretch=0.2)
    features = h3d.joints_to_features(positions, fix_heading=fix_heading)
    assert_near(h3d.features_to_joints(features), placed(positions)[:-1], 1e-5)
    assert_near(h3d.features_to_joints_by_rotation(features, target_offsets()), placed(positions)[:-1], 5e-5)


@pytest.mark.parametrize("turn", [2 * math.pi, -2 * math.pi, 5 * math.pi])
def test_turning_about_comes_back_right_only_with_the_mended_heading(turn):
    positions = moving_body(1, 160, turn=turn)
    expected = placed(positions)[:-1]
    mended, original = (h3d.joints_to_features(positions, fix_heading=fix) for fix in (True, False))
    assert_near(h3d.features_to_joints(mended), expected, 1e-4)
    assert_near(h3d.features_to_joints_by_rotation(mended, target_offsets()), expected, 1e-4)
    assert float((h3d.features_to_joints(original) - expected).abs().max()) > 0.05
    odd = (mended - original).abs() > 1e-6
    assert not bool(odd[:, 1:].any()) and 1 <= int(odd[:, 0].sum()) <= 5, "only the sign of a turn is mended"


@pytest.mark.parametrize("seed", range(3))
def test_place_heading_floor_and_size_do_not_matter(seed):
    positions = moving_body(seed)
    features = h3d.joints_to_features(positions)
    moved = quat_rotate(yaw_to_quat(torch.tensor(2.5)), positions) * 1.3 + torch.tensor([4.0, -1.0, 7.0])
    assert_near(h3d.joints_to_features(moved), features, 1e-4)


def test_start_moves_and_turns_the_decoded_clip():
    features = h3d.joints_to_features(moving_body(2, turn=1.5))
    start = RootStart(heading=0.7, x=2.0, z=-3.0)
    turned = quat_rotate(yaw_to_quat(torch.tensor(start.heading)), h3d.features_to_joints(features))
    assert_near(h3d.features_to_joints(features, start), turned + torch.tensor([2.0, 0.0, -3.0]), 1e-5)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_windows_join_where_the_one_before_ends(cut):
    features = h3d.joints_to_features(moving_body(3, turn=4.0))
    start = RootStart(heading=-1.0, x=0.5, z=0.25)
    first, second = features[:cut], features[cut:]
    then = h3d.features_to_end(first, start)
    joined = torch.cat([h3d.features_to_joints(first, start), h3d.features_to_joints(second, then)])
    assert_near(joined, h3d.features_to_joints(features, start), 1e-5)


def test_a_batch_decodes_as_its_members_do():
    batch = torch.stack([h3d.joints_to_features(moving_body(seed, turn=seed)) for seed in range(3)])
    rest = target_offsets()
    for i, features in enumerate(batch):
        assert torch.equal(h3d.features_to_joints(batch)[i], h3d.features_to_joints(features))
        by_rotation = h3d.features_to_joints_by_rotation(batch, rest)[i]
        assert_near(by_rotation, h3d.features_to_joints_by_rotation(features, rest), 1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_short_clips(frames):
    positions = moving_body(5, frames)
    features = h3d.joints_to_features(positions)
    assert features.shape == (frames - 1, 263)
    if frames > 1:
        assert_near(h3d.features_to_joints(features), placed(positions)[:-1], 1e-5)
    clip = h3d.features_to_clip(h3d.clip_to_features(JointClip(positions, torch.zeros(frames, 4), 20.0)))
    assert_near(clip.positions, placed(positions), 1e-5)


def test_three_frames_encode_as_the_start_of_a_longer_clip_does():
    """A cross product without a named axis would take the frames for the coordinates here."""
    positions = moving_body(6, 3)
    longer = torch.cat([positions, positions[-1:].expand(4, -1, -1)])
    assert_near(h3d.joints_to_features(positions), h3d.joints_to_features(longer)[:2], 1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([0.0, 1e-12, 1.0, 50.0]))
def test_whatever_comes_in_finite_goes_out_finite(seed, frames, scale):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(frames, 263, generator=generator) * scale
    assert bool(torch.isfinite(h3d.features_to_joints(features)).all())
    assert bool(torch.isfinite(h3d.features_to_joints_by_rotation(features, target_offsets())).all())
    positions = torch.randn(frames, 22, 3, generator=generator) * scale
    for fix in (True, False):
        assert bool(torch.isfinite(h3d.joints_to_features(positions, fix_heading=fix)).all())


def test_opposite_bones_and_exactly_turned_about_are_finite():
    """The original encoder answers NaN where a bone points against its rest direction."""
    positions = -moving_body(7, 5)
    assert bool(torch.isfinite(h3d.joints_to_features(positions)).all())
    flipped = torch.cat([moving_body(7, 1), quat_rotate(yaw_to_quat(torch.tensor(math.pi)), moving_body(7, 1))])
    assert_near(h3d.features_to_joints(h3d.joints_to_features(flipped)), placed(flipped)[:1], 1e-5)


def test_features_mean_what_the_table_says():
    frames = 30
    still = moving_body(0, 1).expand(frames, -1, -1)
    left = still + torch.arange(frames)[:, None, None] * torch.tensor([0.02, 0.0, 0.0])
    features = h3d.joints_to_features(left)
    assert_near(torch.linalg.vector_norm(features[:, h3d.ROOT_STEP], dim=-1), torch.full((frames - 1,), 0.02), 1e-6)
    assert bool((features[:, 1] > 0.019).all()), "the figure's left is +x"
    assert_near(features[:, h3d.CONTACTS], torch.ones(frames - 1, 4), 0)
    hop = still.clone()
    hop[::2, 10] += torch.tensor([0.0, 0.06, 0.0])  # the left toe moves, 0.06^2 > 0.002
    contacts = h3d.still_feet(hop)
    assert contacts.sum(0).tolist() == [frames - 1, 0, frames - 1, frames - 1]
    yaw = torch.arange(401) * 0.01
    turning = h3d.joints_to_features(quat_rotate(yaw_to_quat(yaw)[:, None], moving_body(0, 1)))
    assert float(turning[200, 0]) == pytest.approx(-0.005, rel=1e-3), "half of the turn, of the world to the figure"


def test_features_to_clip_keeps_contacts_in_range():
    features = torch.randn(10, 263, generator=torch.Generator().manual_seed(0)) * 3
    clip = h3d.features_to_clip(FeatureClip(features, "humanml3d", 20.0))
    assert_close(clip.contacts, features[:, -4:].clamp(0, 1))
    assert clip.positions.shape == (10, 22, 3) and clip.fps == 20.0


def test_a_clip_of_another_rate_is_refused():
    with pytest.raises(BadRequest, match="resample"):
        h3d.clip_to_features(JointClip(moving_body(0, 5), torch.zeros(5, 4), 30.0))


def test_normalising_is_undone():
    features, mean = torch.randn(7, 263), torch.randn(263)
    std = torch.rand(263) + 0.1
    assert_near(h3d.denormalise(h3d.normalise(features, mean, std), mean, std), features, 1e-5)


def test_humanik_names_follow_the_joints():
    assert len(set(HUMANIK_NAMES)) == len(JOINT_NAMES)
    for joint, name in zip(JOINT_NAMES, HUMANIK_NAMES, strict=True):
        assert ("left" in joint, "right" in joint) == ("Left" in name, "Right" in name)


# --- statistics -------------------------------------------------------------------------------------------------------


def write_statistics(folder: Path, std: np.ndarray, names: tuple[str, str] = ("Mean.npy", "Std.npy")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / names[0], np.arange(263.0, dtype=np.float32))
    np.save(folder / names[1], std)


def network_std() -> np.ndarray:
    """Of the sizes of HumanML3D's Std.npy."""
    std = np.full(263, 0.1, np.float32)
    std[1:3], std[-4:] = 0.017, 0.36
    return std


def evaluator_std() -> np.ndarray:
    std = network_std().astype(np.float64)
    std[:4] /= 25
    std[-4:] /= 25
    return std


@pytest.mark.parametrize("folder", ["dataset/HumanML3D", "HumanML3D", "."])
def test_statistics_are_found_below_the_data_directory(tmp_path, folder):
    write_statistics(tmp_path / folder, network_std())
    mean, std, where = load_statistics(tmp_path / "checkpoint", tmp_path)
    assert where == "data" and mean.dtype == std.dtype == torch.float32
    assert mean[3] == 3 and float(std[-1]) == pytest.approx(0.36)


def test_a_checkpoint_that_brings_its_own_comes_first(tmp_path):
    write_statistics(tmp_path / "data", network_std())
    write_statistics(tmp_path / "ckpt" / "meta", network_std() * 2, ("mean.npy", "std.npy"))
    assert load_statistics(tmp_path / "ckpt", tmp_path / "data").where == "checkpoint"
    (tmp_path / "ckpt" / "meta" / "std.npy").unlink()
    assert load_statistics(tmp_path / "ckpt", tmp_path / "data").where == "data"


def test_missing_statistics_say_which_files_to_fetch(tmp_path):
    for places in ((None, None), (tmp_path, tmp_path)):
        with pytest.raises(CheckpointMissing, match="EricGuo5513/HumanML3D") as caught:
            load_statistics(*places)
        assert str(tmp_path) not in caught.value.detail


def test_evaluator_statistics_are_refused(tmp_path):
    write_statistics(tmp_path / "ckpt" / "meta", evaluator_std(), ("mean.npy", "std.npy"))
    with pytest.raises(CheckpointMismatch, match="evaluator"):
        load_statistics(tmp_path / "ckpt", tmp_path)
    write_statistics(tmp_path, network_std())
    assert load_statistics(tmp_path / "ckpt", tmp_path).where == "data"


@pytest.mark.parametrize("name", ["humanml3d_Std.npy", "t2m_std.npy"])
def test_the_published_files_are_told_apart(tmp_path, name):
    published = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens" / name
    if not published.is_file():
        pytest.skip("the published statistics are not beside the checkout")
    write_statistics(tmp_path, np.load(published))
    if name == "humanml3d_Std.npy":
        assert load_statistics(None, tmp_path).std.shape == (263,)
    else:
        with pytest.raises(CheckpointMismatch, match="evaluator"):
            load_statistics(None, tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(251, np.float32), "263"),
        (np.ones((263, 1), np.float32), "263"),
        (np.ones(263, np.int64), "decimal"),
        (np.zeros(263, np.float32), "positive"),
        (np.full(263, np.nan, np.float32), "finite"),
    ],
)
def test_unfit_statistics_are_refused(tmp_path, bad, message):
    write_statistics(tmp_path, bad)
    with pytest.raises(CheckpointMismatch, match=message):
        load_statistics(None, tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"version https://git-lfs", b"\x93NUMPY\x01\x00"])
def test_damaged_files_get_one_clear_line(tmp_path, content):
    write_statistics(tmp_path, network_std())
    (tmp_path / "Std.npy").write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=r"Std\.npy is not a readable") as caught:
        load_statistics(None, tmp_path)
    assert "\n" not in caught.value.detail and str(tmp_path) not in caught.value.detail


def test_pickled_statistics_are_not_opened(tmp_path):
    write_statistics(tmp_path, network_std())
    np.save(tmp_path / "Mean.npy", np.array([object()] * 263), allow_pickle=True)
    with pytest.raises(CheckpointMismatch, match=r"Mean\.npy is not a readable"):
        load_statistics(None, tmp_path)


# --- goals of a window ------------------------------------------------------------------------------------------------


def test_goals_of_a_request_come_back_from_the_window_that_reaches_them():
    window = h3d.joints_to_features(moving_body(4, 41, turn=1.0))
    start = RootStart(heading=2.0, x=1.0, z=-2.0)
    last = h3d.features_to_joints(window, start)[-1]
    goals = {"left_wrist": last[20].tolist(), "traj": last[0].tolist(), "heading": [float(joints_to_heading(last))]}
    asked, reached = request_to_target(goals, start), window_to_target(window, goals)
    assert_near(asked.places, reached.places, 1e-5)
    assert torch.equal(asked.asked, reached.asked)
    assert asked.names == ("left_wrist", "traj") and asked.is_heading


def test_without_a_start_goals_are_taken_as_they_are():
    goals = request_to_target({"head": [0.1, 1.5, 0.9], "traj": [1.0, 7.0, 2.0]})
    assert_near(goals.places[GOALS.index("head")], torch.tensor([0.1, 1.5, 0.9]), 0)
    assert_near(goals.places[GOALS.index("traj")], torch.tensor([1.0, 0.0, 2.0]), 0)
    assert int(goals.places.count_nonzero()) == 5 and not goals.is_heading


def test_a_heading_is_the_shorter_way_round():
    start = RootStart(heading=3.0)
    row = request_to_target({HEADING: [-3.0]}, start).places[GOALS.index(HEADING)]
    assert_near(row, torch.tensor([2 * math.pi - 6.0, 0.0, 0.0]), 1e-6)


def test_nothing_asked_is_all_zero():
    nothing = request_to_target({})
    assert nothing.names == () and not nothing.is_heading and not bool(nothing.places.any())


@pytest.mark.parametrize(
    "goals", [{"left_knee": [0, 1, 0]}, {"head": [0, 1]}, {"heading": [0, 0, 0]}, {"pelvis": [0, math.nan, 0]}]
)
def test_impossible_goals_are_refused(goals):
    with pytest.raises(BadRequest, match="target_joints") as caught:
        request_to_target(goals)
    assert caught.value.field == "target_joints"


def test_goals_lie_in_the_order_in_which_the_network_has_them():
    assert GOALS == target.GOALS
