"""Text-to-motion measures on places that are right, shuffled, or all the same; and the evaluator that makes them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from motion_service.errors import CheckpointMismatch
from motion_service.quality_match import WEIGHTS, MatchSpec, MotionMatcher, Words, load_matcher
from motion_service.training.caption_table import CaptionTable, caption_key
from motion_service.training.classifier import CLASSES, clips_to_features
from motion_service.training.corpus import with_mirrors
from motion_service.training.evaluate_match import read_style_prompts
from motion_service.training.match_scores import Placed, match_scores, multimodality, r_precision
from motion_service.training.matcher import (
    HANDS,
    MatchData,
    clip_hand,
    clip_style,
    measure_heads,
    save_matcher,
    train_matcher,
)
from motion_service.training.scores import frechet_distance
from tests.training.synthetic_clips import waving

SPEC = MatchSpec(CLASSES, ("normal", "active"), HANDS, "made-up", 14, "split")
STYLES = Path(__file__).resolve().parents[1] / "data" / "style_prompts.tsv"


def placed(classes: int = 8, each: int = 12, noise: float = 0.05) -> Placed:
    """Motions beside their texts, one direction a class."""
    torch.manual_seed(0)
    centres = normalize(torch.randn(classes, 16), dim=-1)
    texts = centres.repeat_interleave(each, 0)
    motions = normalize(texts + noise * torch.randn(classes * each, 16), dim=-1)
    labels = [f"class {i}" for i in range(classes) for _ in range(each)]
    return Placed(motions, texts, labels, [f"{label} {i % 3}" for i, label in enumerate(labels)])


def test_motions_beside_their_texts_are_found_and_shuffled_ones_are_not() -> None:
    right = placed()
    assert r_precision(right, random.Random(0)) == [1.0, 1.0, 1.0]
    wrong = Placed(right.motions.flip(0), right.texts, right.labels, right.prompts)
    assert r_precision(wrong, random.Random(0))[0] < 0.3
    blind = Placed(torch.ones_like(right.motions) / 4, right.texts, right.labels, right.prompts)
    assert r_precision(blind, random.Random(0))[2] < 0.3


def test_figures_are_the_same_every_time_and_carry_an_interval() -> None:
    one, two = (match_scores(placed(), placed(noise=0.1).motions) for _ in range(2))
    assert one == two
    assert set(one) == {
        *(f"r_precision_{k}" for k in (1, 2, 3)), "fid", "multimodal_distance", "diversity", "multimodality",
    }  # fmt: skip
    assert one["r_precision_3"].mean == 1 and one["fid"].interval > 0
    assert one["multimodality"].mean < one["diversity"].mean


def test_one_motion_a_prompt_has_no_multimodality() -> None:
    some = placed(each=4)
    alone = Placed(some.motions, some.texts, some.labels, [str(i) for i in range(len(some.labels))])
    assert multimodality(alone, random.Random(0)) == 0
    assert frechet_distance(some.motions, some.motions) == pytest.approx(0, abs=1e-6)


def _data() -> MatchData:
    clips = with_mirrors([waving(f"w{i}", 70 + i) for i in range(6)] + [
        waving(f"g{i}", 70 + i, action="walk", speed=1.0) for i in range(6)
    ])  # fmt: skip
    keys = sorted({caption_key(clip) for clip in clips})
    torch.manual_seed(1)
    embeddings = torch.randn(4 * len(keys), 14)
    embeddings[:, -6:] = 0
    index = torch.arange(4 * len(keys)).view(len(keys), 2, 2)
    return MatchData(clips, clips_to_features(clips), CaptionTable(embeddings, keys, index, "made-up"))


def test_a_trained_evaluator_tells_waving_from_gliding_and_survives_its_file(tmp_path: Path) -> None:
    data = _data()
    model = train_matcher(data, range(24), "split", steps=60, batch=16)
    assert measure_heads(model, data, range(24))["action"] >= 0.7
    path = save_matcher(model, tmp_path)
    assert path.stat().st_size < 2 * 2**20
    again = load_matcher(tmp_path)
    assert again is not None and again.spec == model.spec
    clip = data.features.clip(0)
    torch.testing.assert_close(again.place_clip(clip), model.place_clip(clip), atol=2e-2, rtol=0)
    assert float(again.place_clip(clip).norm()) == pytest.approx(1, abs=1e-5)


def test_no_file_is_no_evaluator_and_a_broken_one_says_so(tmp_path: Path) -> None:
    assert load_matcher(tmp_path) is None
    (tmp_path / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointMismatch):
        load_matcher(tmp_path)


def test_words_of_another_encoder_are_refused() -> None:
    class Other:
        name, width = "another", 14

    with pytest.raises(CheckpointMismatch):
        Words(MotionMatcher(SPEC), Other())  # type: ignore[arg-type]


def test_hands_and_styles_of_clips() -> None:
    clip = waving("a", 60, action="wave-left")
    assert clip_hand(clip) == "left" and clip_style(clip) == "normal"
    assert clip_hand(waving("b", 60, action="walk")) == "none"
    rows = read_style_prompts(STYLES)
    assert len(rows) == 32 and {row.language for row in rows} == {"en", "ja"}
