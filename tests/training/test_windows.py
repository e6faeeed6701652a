"""Windows drawn from a corpus of sines: true to their clips, continuous at splices, mirrored, deterministic."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.features.vrm_native import (
    CONTACTS,
    HIPS_ROT6D,
    LOCAL_ROT6D,
    NUM_BONES,
    POSITIONS,
    ROOT_VELOCITY,
    VELOCITIES,
    VRM_WIDTH,
    YAW_RATE,
    bones_to_features,
    canonical_fk,
)
from motion_service.geometry.rotation import quat_to_rotmat
from motion_service.humanoid import CANONICAL_REST, CONTACT_BONES, LEFT_RIGHT, canonical_index
from motion_service.training.facing import FacingBody
from motion_service.training.standing import standing_features, standing_pose
from motion_service.training.windows import WindowSettings, WindowSource
from tests.training.synthetic_clips import caption_table, corpus, waving

QUIET = WindowSettings(prefix_noise=0.0, caption_noise=0.0, caption_mix=0.0)
PLAIN = replace(QUIET, transitions=0.0, idle=0.0, endings=0.0)


def source(settings: WindowSettings = QUIET) -> WindowSource:
    clips = corpus()
    return WindowSource(clips, caption_table(clips), settings)


def physical(made: WindowSource, frames: Tensor) -> Tensor:
    return frames * made.std + made.mean


def bones(features: Tensor, part: slice) -> Tensor:
    return features[..., part].unflatten(-1, (NUM_BONES, 3))


def draw(made: WindowSource, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Physical frames (B, 80, F) of earlier, prefix and target, and the mask (B, 40)."""
    windows = made.draw(count, torch.Generator().manual_seed(seed))
    return physical(made, torch.cat([windows.earlier, windows.prefix, windows.target], dim=1)), windows.frame_mask


def test_matrix_kinematics_agree_with_quaternions() -> None:
    pose = torch.nn.functional.normalize(torch.randn(5, NUM_BONES, 4), dim=-1)
    height = torch.rand(5)
    expected, _ = canonical_fk(pose, torch.stack([torch.zeros(5), height, torch.zeros(5)], dim=-1))
    torch.testing.assert_close(FacingBody()(quat_to_rotmat(pose), height), expected, atol=1e-5, rtol=0)


def test_plain_windows_are_the_frames_of_their_clip() -> None:
    clip = waving("walk", 150, action="walk", speed=1.0)
    made = WindowSource([clip], caption_table([clip]), PLAIN)
    features, _ = bones_to_features(clip.rotations, clip.hips)
    frames, mask = draw(made, 16)
    for window, valid in zip(frames[:, 20:], mask, strict=True):
        shown = window[: 20 + int(valid.sum())]
        starts = features[: len(features) - len(shown) + 1]
        place = int((starts - shown[0]).abs().sum(1).argmin())
        expected = features[place : place + len(shown)]
        if place > 0:  # before the first frame the pose stands still, which is another speed
            torch.testing.assert_close(shown, expected, atol=2e-4, rtol=0)


def test_frames_are_consistent_in_themselves() -> None:
    frames, _ = draw(source(), 64)
    yaw_step, root = frames[:, 1:, YAW_RATE.start] / 20, frames[:, 1:, ROOT_VELOCITY] / 20
    earlier, now = bones(frames[:, :-1], POSITIONS), bones(frames[:, 1:], POSITIONS)
    cos, sin = torch.cos(yaw_step)[..., None], torch.sin(yaw_step)[..., None]
    x, z = earlier[..., 0] * cos - earlier[..., 2] * sin, earlier[..., 2] * cos + earlier[..., 0] * sin
    step = now - torch.stack([x, earlier[..., 1], z], dim=-1)
    step[..., [0, 2]] += root[:, :, None]
    torch.testing.assert_close(step * 20, bones(frames[:, 1:], VELOCITIES), atol=2e-3, rtol=0)


def test_nothing_jumps_at_a_splice() -> None:
    made = source(replace(QUIET, transitions=0.6, idle=0.2, endings=0.2))
    frames, _ = draw(made, 256)
    step = torch.linalg.vector_norm(bones(frames[:, 1:], VELOCITIES), dim=-1) / 20  # m a frame
    change = torch.linalg.vector_norm(bones(frames[:, 1:], VELOCITIES) - bones(frames[:, :-1], VELOCITIES), dim=-1) / 20
    assert float(step[:, 39].max()) < 0.15  # a hand at 3 m/s
    assert float(change[:, 38:42].max()) < 0.12  # the fastest arm of the corpus turns round within 0.07


def test_soles_stay_on_the_floor_and_planted_through_a_splice() -> None:
    made = source(replace(QUIET, transitions=0.9, idle=0.1, endings=0.0, from_standing=1.0))
    frames, _ = draw(made, 128)
    soles = [canonical_index(bone) for bone in CONTACT_BONES]
    height = bones(frames, POSITIONS)[:, 40:, soles, 1] - torch.tensor(CANONICAL_REST)[soles, 1]
    assert float(height.min()) > -0.01
    idle = (bones(frames, VELOCITIES)[..., [0, 2]].abs().amax((-1, -2)) < 0.2).all(1)
    assert idle.any()
    still = bones(frames[idle], VELOCITIES)[:, 1:, soles]
    assert float(still.abs().max()) < 0.02  # m/s: breathing does not move the feet


def test_rotations_stay_rotations() -> None:
    frames, _ = draw(source(), 64)
    for part in (HIPS_ROT6D, LOCAL_ROT6D):
        columns = frames[..., part].unflatten(-1, (-1, 2, 3))
        torch.testing.assert_close(columns.norm(dim=-1), torch.ones(columns.shape[:-1]), atol=1e-4, rtol=0)
        assert float((columns[..., 0, :] * columns[..., 1, :]).sum(-1).abs().max()) < 1e-4


def test_mirrored_corpus_has_mirrored_statistics() -> None:
    made = source()
    side = torch.tensor([-1.0, 1.0, 1.0])
    mean = made.mean[POSITIONS].unflatten(0, (NUM_BONES, 3))
    torch.testing.assert_close(mean[list(LEFT_RIGHT)] * side, mean, atol=1e-5, rtol=0)
    assert abs(float(made.mean[YAW_RATE])) < 1e-4


def test_mask_ends_with_the_clip_and_never_at_the_first_frame() -> None:
    clip = waving("short", 50, action="walk", speed=1.0)
    made = WindowSource([clip], caption_table([clip]), PLAIN)
    _, mask = draw(made, 64)
    assert bool(mask[:, 0].all())
    assert not bool(mask.all())
    assert bool((mask.int().diff(dim=1) <= 0).all())  # once ended, ended


def test_endings_settle_into_standing_or_start_again() -> None:
    clip = waving("wave", 60)
    settings = replace(QUIET, transitions=0.0, idle=0.0, endings=1.0, settle=(4, 6), hold=0)
    settled, mask = draw(WindowSource([clip], caption_table([clip]), replace(settings, repeat=0.0)), 64)
    assert bool(mask.all())
    standing = bones(standing_features(1), POSITIONS)
    assert float((bones(settled[:, -1:], POSITIONS) - standing).abs().max()) < 0.06  # swaying a little
    again, _ = draw(WindowSource([clip], caption_table([clip]), replace(settings, repeat=1.0)), 64)
    hand = canonical_index("rightHand")
    assert float(bones(again, POSITIONS)[:, -20:, hand].std(dim=1).amax(-1).min()) > 0.02  # still waving


def test_captions_keep_their_flags_and_follow_their_clip() -> None:
    clips = corpus()
    table = caption_table(clips)
    noisy = WindowSource(clips, table, replace(QUIET, caption_noise=0.05, caption_mix=1.0, idle=0.0))
    tokens = noisy.draw(128, torch.Generator().manual_seed(0)).tokens[:, 0]
    assert bool(((tokens[:, -6:] == 0) | (tokens[:, -6:] == 1)).all())
    exact = WindowSource(clips, table, replace(QUIET, transitions=0.0, idle=1.0, endings=0.0))
    idle = table.embeddings[table.index[table.idle_row].flatten()]
    for token in exact.draw(16, torch.Generator().manual_seed(0)).tokens[:, 0]:
        assert bool((idle == token).all(1).any())


def test_draw_is_deterministic_with_a_seed() -> None:
    made = source(WindowSettings())
    one, same, other = (made.draw(8, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.target, other.target)


def test_balance_draws_rare_classes_more() -> None:
    clips = [waving(f"w{i}", 60) for i in range(9)] + [waving("rare", 60, action="bow")]
    even = WindowSource(clips, caption_table(clips), replace(QUIET, balance=1.0)).cumulative
    asis = WindowSource(clips, caption_table(clips), replace(QUIET, balance=0.0)).cumulative
    assert float(1 - even[-2]) == pytest.approx(0.5, abs=1e-5)
    assert float(1 - asis[-2]) == pytest.approx(0.1, abs=1e-5)


def test_first_prefix_is_our_standing_pose() -> None:
    made = source()
    prefix = physical(made, made.first_prefix)
    assert prefix.shape == (20, VRM_WIDTH)
    assert float(prefix[:, VELOCITIES].abs().max()) < 1e-4
    assert bool((prefix[:, CONTACTS] > 0.99).all())
    pose, place = standing_pose()
    torch.testing.assert_close(bones(prefix, POSITIONS)[0], canonical_fk(pose, place)[0], atol=1e-4, rtol=0)


def test_wrong_settings_and_an_empty_corpus_are_refused() -> None:
    with pytest.raises(BadRequest, match="shares"):
        WindowSettings(transitions=0.9, idle=0.2)
    with pytest.raises(BadRequest, match="prepare_dataset"):
        WindowSource([], caption_table(corpus()), QUIET)
