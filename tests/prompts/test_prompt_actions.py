"""Actions: captions, the names that mini knows, and what each engine is given of a plan."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from motion_service.clips import PromptPlan, Segment
from motion_service.mdm_adapter.cues import plan_to_caption, plan_to_caption_cues, plan_to_cues
from motion_service.prompt.actions import ACTIONS, DETAILS, caption, fine_action
from motion_service.prompt.plan import prompt_to_plan

CONFIG = Path(__file__).parents[2] / "models" / "motion" / "mini" / "config.json"


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_caption_with_any_detail(action: str) -> None:
    for count in range(3):
        for detail in combinations(DETAILS, count):
            text = caption(action, detail, "slowly")
            assert text.startswith("a person ") and text.endswith(" slowly") and "  " not in text


@pytest.mark.parametrize(
    ("action", "detail", "text"),
    [
        ("walk", ("forward",), "a person walks forward"),
        ("walk", ("left",), "a person walks to the left"),
        ("walk", ("left", "turn"), "a person walks and turns left"),
        ("wave", ("left",), "a person waves with the left hand"),
        ("raise", ("left", "right"), "a person raises both hands"),
        ("raise", (), "a person raises one hand"),
        ("kick", ("right",), "a person kicks with the right leg"),
        ("turn", ("right", "turn"), "a person turns right"),
        ("turn", (), "a person turns around"),
    ],
)
def test_captions_say_side_and_way(action: str, detail: tuple[str, ...], text: str) -> None:
    assert caption(action, detail) == text


@pytest.mark.parametrize("weights", ["mini", "mini-free"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_name_that_the_weights_know(action: str, weights: str) -> None:
    config = CONFIG.parents[1] / weights / "config.json"
    known = {key.split("|")[0] for key in json.loads(config.read_text())["reader"]["keys"]}
    for detail in [(), ("left",), ("right",), ("both",), ("backward",), ("turn",)]:
        fine = fine_action(action, detail, "", known)
        assert fine.name in known
        assert fine.exact or fine.words.startswith("a person ")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("walk backwards", "walk"), ("turn right", "walk"), ("wave goodbye", "wave-right"), ("sprint", "run")],
)
def test_weights_that_know_less_do_something_like_it(prompt: str, name: str) -> None:
    config = CONFIG.parents[1] / "mini-free" / "config.json"
    known = {key.split("|")[0] for key in json.loads(config.read_text())["reader"]["keys"]}
    (part,) = prompt_to_plan(prompt).segments
    fine = fine_action(part.action, part.detail, prompt, known)
    assert fine.name == name and not fine.exact and fine.words.startswith("a person ")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("wave your left hand", "wave-left"),
        ("wave", "wave-right"),
        ("両手を振る", "wave-both"),
        ("wave goodbye", "bye"),
        ("say bye-bye with your hand", "byebye"),
        ("sprint", "dash"),
        ("jog", "run"),
        ("walk backwards", "walk-back"),
        ("sidestep to the left", "walk-left"),
        ("walks and holds up his left hand", "walk"),
        ("turn right", "turn-right"),
        ("kick the ball", "soccer-kick"),
        ("dances ballet", "ballet-dance"),
        ("shadow boxing", "boxing"),
        ("pick up the box", "bend-pick-up"),
        ("うなずく", "nod"),
        ("手招きする", "beckon"),
        ("拍手する", "clap"),
        ("cast a spell", "spell"),
        ("what a nice day", "talk"),
    ],
)
def test_prompts_reach_mini_by_the_names_it_was_trained_with(prompt: str, name: str) -> None:
    assert plan_to_cues(prompt_to_plan(prompt), 100, 20.0)[0].action == name


def test_a_checkpoint_without_a_gesture_gets_what_comes_nearest() -> None:
    (nod,) = plan_to_cues(prompt_to_plan("nod"), 100, 20.0, {"respond", "talk"})
    assert (nod.action, nod.asked) == ("respond", None)
    (clap,) = plan_to_cues(prompt_to_plan("clap"), 100, 20.0, {"wave-both"})
    assert (clap.action, clap.asked) == ("wave-both", "clap")


def test_what_mini_lacks_is_the_nearest_and_says_so() -> None:
    (cue,) = plan_to_cues(prompt_to_plan("swim"), 100, 20.0)
    assert (cue.text, cue.action, cue.asked) == ("a person waves with both hands", "wave-both", "swim")
    (cue,) = plan_to_cues(prompt_to_plan("juggle"), 100, 20.0)
    assert (cue.text, cue.action, cue.asked) == ("juggle", None, "juggle")
    (cue,) = plan_to_cues(prompt_to_plan("marche vers moi"), 100, 20.0)
    assert (cue.text, cue.action, cue.asked) == ("marche vers moi", None, None)


def test_talk_is_calm_for_every_engine() -> None:
    plan = prompt_to_plan("今日の天気は晴れです")
    assert "talks" in plan_to_cues(plan, 100, 20.0)[0].text
    assert "talks" in plan_to_caption(plan)
    assert "talks" in plan_to_caption_cues(plan, 100, 20.0)[0].text


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a man walks forward, then waves", "a man walks forward, then waves"),
        ("walk forward, then wave", "a person walks forward, then waves"),
        ("まず歩いて、それからお辞儀する", "a person walks, then bows"),
        ("marche vers moi", "marche vers moi"),
        ("juggle", "a person juggles"),
    ],
)
def test_mdm_gets_one_english_sentence(prompt: str, text: str) -> None:
    assert plan_to_caption(prompt_to_plan(prompt)) == text


def test_dip_gets_a_caption_for_each_action() -> None:
    cues = plan_to_caption_cues(prompt_to_plan("歩いてから、3秒間お辞儀する"), 100, 20.0)
    assert [(cue.text, cue.num_frames) for cue in cues] == [("a person walks", 40), ("a person bows", 60)]


def test_a_plan_without_segments_is_its_prompt() -> None:
    plan = PromptPlan("a person waves", "en", ())
    assert plan_to_caption(plan) == "a person waves"
    assert [cue.text for cue in plan_to_caption_cues(plan, 10, 20.0)] == ["a person waves"]


def test_a_segment_without_caption_is_its_text() -> None:
    plan = PromptPlan("wave", "en", (Segment("wave"),))
    assert [cue.text for cue in plan_to_caption_cues(plan, 10, 20.0)] == ["wave"]
