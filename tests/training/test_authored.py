"""Gestures drawn by hand: on planted feet, within the reach of joints, at rest at both ends, the same every time."""

from __future__ import annotations

import pytest
import torch

from motion_service.humanoid import canonical_index
from motion_service.quality import clip_to_positions, measure_clip
from motion_service.training.authored import GESTURES, authored_clips
from motion_service.training.captions import ACTIONS
from motion_service.training.corpus import (
    ENOUGH_RECORDINGS,
    CorpusClip,
    read_corpus,
    training_clips,
    without_stand_ins,
    write_corpus,
)
from motion_service.training.evaluate import corpus_clip_to_vrm
from motion_service.training.sources import MIN_FRAMES, REST_FRAMES, moving_part
from tests.training.synthetic_clips import waving

CLIPS = {clip.action: clip for clip in authored_clips(1)}


@pytest.mark.parametrize("action", GESTURES)
def test_a_gesture_is_sound_and_at_rest_at_both_ends(action: str) -> None:
    clip = CLIPS[action]
    measures = measure_clip(corpus_clip_to_vrm(clip, 10_000, 0))
    assert measures["skate_cm_s"] < 0.5 and measures["penetration_cm"] < 0.2 and measures["float_cm"] < 0.2
    assert measures["limit_share"] == 0 and measures["hinge_share"] == pytest.approx(1, abs=0.01)
    # What rests there is the whole figure: hands hang, the head looks ahead.
    for place in (0, -1):
        standing = clip_to_positions(corpus_clip_to_vrm(clip, 10_000, 0))[place]
        for side in ("left", "right"):
            assert float(standing[canonical_index(f"{side}Hand"), 1]) < 1.0


def test_the_named_part_moves() -> None:
    def way(action: str, bone: str) -> float:
        places = clip_to_positions(corpus_clip_to_vrm(CLIPS[action], 10_000, 0))[:, canonical_index(bone)]
        return float((places.amax(0) - places.amin(0)).norm())

    assert way("nod", "rightHand") < 0.1 < way("beckon", "rightHand")
    assert way("beckon", "leftHand") < 0.1
    assert min(way("clap", "leftHand"), way("clap", "rightHand")) > 0.3


def test_gestures_have_captions_and_do_not_change() -> None:
    assert set(GESTURES) <= set(ACTIONS)
    again = {clip.action: clip for clip in authored_clips(1)}
    assert all(torch.equal(clip.rotations, again[action].rotations) for action, clip in CLIPS.items())


def test_recordings_go_before_what_is_authored(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bow, nod = CLIPS["bow"], CLIPS["nod"]
    recorded = [waving(f"r{i}", 40, action="bow") for i in range(ENOUGH_RECORDINGS)]
    assert without_stand_ins([*recorded, bow, nod]) == [*recorded, nod]
    assert without_stand_ins([*recorded[1:], bow]) == [*recorded[1:], bow]
    write_corpus(tmp_path / "corpus.xz", [*recorded, bow, nod])
    assert {clip.source for clip in read_corpus(tmp_path / "corpus.xz")} == {"cmu", "own"}
    assert len(training_clips(tmp_path / "corpus.xz", free=True)) == 2 * (ENOUGH_RECORDINGS + 1)


def test_long_rest_is_cut_and_short_clips_are_kept() -> None:
    speed = torch.zeros(199)
    speed[120:150] = 1.0
    part = moving_part(speed)
    assert (part.start, part.stop) == (120 - REST_FRAMES, 151 + REST_FRAMES)
    assert moving_part(torch.zeros(50)) == slice(0, 51)
    speed = torch.zeros(199)
    speed[198] = 1.0
    part = moving_part(speed)
    assert part.stop == 200 and part.stop - part.start >= MIN_FRAMES


def test_a_corpus_clip_knows_whether_it_was_recorded() -> None:
    assert not CLIPS["nod"].is_recorded and CLIPS["nod"].is_free
    assert CorpusClip("a", "bandai", "bow", "normal", torch.zeros(2, 21, 4), torch.zeros(2, 3)).is_recorded
