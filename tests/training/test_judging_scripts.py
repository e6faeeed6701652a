"""What the commands that judge shipped weights count: answers of blind judges, seams and sizes of a stream."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import bones_to_features
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts/motion"


def script(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SCRIPTS / name), run_name=name))


def test_answers_are_counted_by_the_key_and_ties_count_half() -> None:
    pairs = script("blind_pairs")
    key = {"pair-001": "A", "pair-002": "B", "pair-003": "A", "pair-004": "B"}
    answers = {"pair-001": "a", "pair-002": "A", "pair-003": "=", "pair-004": "B ", "pair-999": "A"}
    assert pairs.count(key, answers).startswith("ours preferred in 2.5 of 4 pairs: 62.5%")
    with pytest.raises(SystemExit):
        pairs.count(key, {"pair-999": "A"})


@pytest.mark.parametrize(("hits", "total", "low", "high"), [(50, 60, 0.7197, 0.9069), (0, 10, 0.0, 0.2775)])
def test_intervals_are_wilsons(hits: int, total: int, low: float, high: float) -> None:
    assert script("blind_pairs").wilson(hits, total) == pytest.approx((low, high), abs=1e-3)


def still(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    local = torch.zeros(frames, len(CANONICAL_BONES), 4)
    local[..., 3] = 1
    return local, torch.tensor([0.0, CANONICAL_HIPS_HEIGHT, 0.0]).repeat(frames, 1)


def test_the_size_of_the_body_is_read_off_its_joints() -> None:
    stream = script("evaluate_stream")
    features, _ = bones_to_features(*still(3))
    plain = SimpleNamespace(feature_mean=torch.zeros(260), feature_std=torch.ones(260))
    torch.testing.assert_close(stream.bone_scale(features, plain), torch.ones(3), atol=1e-5, rtol=0)
    grown = features.clone()
    grown[2, 130:193] *= 1.2
    torch.testing.assert_close(stream.bone_scale(grown, plain)[2], torch.tensor(1.2), atol=1e-5, rtol=0)


def test_a_jump_at_a_seam_is_seen_and_one_elsewhere_is_not() -> None:
    stream = script("evaluate_stream")
    local, hips = still(60)
    hips[:, 0] = 0.01 * torch.sin(torch.arange(60.0))
    hips[30:, 2] += 0.3
    tracks = dict(zip(CANONICAL_BONES, local.unbind(1), strict=True))
    clip = VrmClip(tracks, hips, torch.ones(60, 4), 20.0, CANONICAL_HIPS_HEIGHT)
    assert stream.seam_ratios(clip, [30], [])["largest"] > 5
    assert stream.seam_ratios(clip, [45], [])["largest"] < 0.2
    assert stream.seam_ratios(clip, [45], [30])["largest"] == pytest.approx(1, abs=0.7)
