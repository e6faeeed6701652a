"""The quick evaluator of one clip says what the trained one says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import VRM_WIDTH, bones_to_features
from motion_service.humanoid import CANONICAL_BONES
from motion_service.quality import clip_to_canonical, pose_clip
from motion_service.quality_clip import ClipMatcher
from motion_service.quality_match import MatchSpec, MotionMatcher, vrm_clip_to_features
from tests.features.test_vrm_native import random_motion


@pytest.fixture(scope="module")
def matcher() -> MotionMatcher:
    torch.manual_seed(0)
    matcher = MotionMatcher(MatchSpec(("walk",), ("normal",), ("none",), "made-up", 14, "split"))
    matcher.mean.normal_()
    matcher.scale.uniform_(0.5, 2.0)
    for numbers in matcher.norms.parameters():
        torch.nn.init.normal_(numbers, 0.5, 0.3)
    return matcher.eval().requires_grad_(False)


@pytest.mark.parametrize("frames", [1, 2, 30, 59, 60, 61, 62, 69, 70, 71, 100, 125])
def test_a_clip_has_the_place_that_the_trained_network_gives_it(matcher: MotionMatcher, frames: int) -> None:
    features, _ = bones_to_features(*random_motion(frames, frames))
    assert features.shape == (frames, VRM_WIDTH)
    torch.testing.assert_close(ClipMatcher(matcher).place(features), matcher.place_clip(features), atol=1e-5, rtol=0)


def test_a_match_is_the_cosine_of_both_places(matcher: MotionMatcher) -> None:
    local, hips = random_motion(3, 80)
    clip = VrmClip(dict(zip(CANONICAL_BONES, local.unbind(1), strict=True)), hips, torch.ones(80, 4), 30.0, 0.7)
    clip = replace(clip, rotations={**clip.rotations, "upperChest": local[:, 3]})
    words = normalize(torch.randn(128, generator=torch.Generator().manual_seed(1)), dim=0)
    expected = float(matcher.place_clip(vrm_clip_to_features(clip)) @ words)
    assert ClipMatcher(matcher).match(pose_clip(clip), words.numpy()) == pytest.approx(expected, abs=1e-5)


def test_a_pose_is_the_clip_on_the_canonical_body() -> None:
    local, hips = random_motion(4, 20)
    clip = VrmClip(dict(zip(CANONICAL_BONES, local.unbind(1), strict=True)), hips, torch.ones(20, 4), 30.0, 0.7)
    turns, places = clip_to_canonical(clip)
    pose = pose_clip(clip)
    np.testing.assert_allclose(pose.local.T, turns, atol=1e-6)
    np.testing.assert_allclose(pose.positions[:, 0].T, places, atol=1e-6)
