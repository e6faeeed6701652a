"""Prompts to plans: normalising, language, lengths in words, direction flags with their traps, actions in order."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from motion_service.errors import PromptInvalid
from motion_service.prompt import MAX_SECONDS, MAX_SEGMENTS, MIN_SECONDS, prompt_to_plan
from motion_service.wording import FLAGS, canonical_text, normalise_text, text_flags

PROBES = Path(__file__).parent / "training" / "data"


def _flags(text: str) -> set[str]:
    return {name for name, value in zip(FLAGS, text_flags(text), strict=True) if value}


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  wave\n your\thand ", "wave your hand"),
        ("**waves** 👋🏽✨", "waves"),
        ("「手を振って」", "手を振って"),
        ("ｗａｖｅ　３ｓ", "wave 3s"),
        ("- bow politely!!", "bow politely"),
        ("“don’t move”", "don't move"),
        ("(bows) 🙇‍♀️", "bows"),
        ("バイバ～イ", "バイバ イ"),
    ],
)
def test_text_is_normalised(text: str, normal: str) -> None:
    assert normalise_text(text) == normal
    assert normalise_text(normal) == normal


def test_canonical_text_forgets_case_and_final_punctuation() -> None:
    assert canonical_text("Wave! Now.") == canonical_text("wave now") == "wave now"
    assert canonical_text("手を振って。") == "手を振って"


@pytest.mark.parametrize("prompt", ["", "   \n", "👋", "「」", "...", "***"])
def test_empty_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(PromptInvalid) as error:
        prompt_to_plan(prompt)
    assert error.value.field == "prompt"


@pytest.mark.parametrize(
    ("prompt", "language"), [("wave", "en"), ("手", "ja"), ("ダンス", "ja"), ("please お辞儀", "ja"), ("saluda", "en")]
)
def test_language_is_japanese_where_there_is_kana_or_kanji(prompt: str, language: str) -> None:
    assert prompt_to_plan(prompt).language == language


@pytest.mark.parametrize(
    ("prompt", "seconds", "text"),
    [
        ("wave for 3 seconds", 3.0, "wave"),
        ("3s wave", 3.0, "wave"),
        ("wave your hand for 2.5 sec.", 2.5, "wave your hand"),
        ("dance for half a minute", 30.0, "dance"),
        ("dance for a minute and a half", 90.0, "dance"),
        ("a five-second bow", 5.0, "a bow"),
        ("walk for twenty-five seconds", 25.0, "walk"),
        ("wave for one and a half seconds", 1.5, "wave"),
        ("kick 500ms", 0.5, "kick"),
        ("wave for a couple of seconds", 2.0, "wave"),
        ("walk for an hour", MAX_SECONDS, "walk"),
        ("wave for 1 ms", MIN_SECONDS, "wave"),
        ("3秒で手を振る", 3.0, "手を振る"),
        ("5秒間、右手を上げる", 5.0, "右手を上げる"),
        ("三秒お辞儀して", 3.0, "お辞儀して"),
        ("手を２.５秒間振って", 2.5, "手を振って"),
        ("１分３０秒踊って", 90.0, "踊って"),
        ("一分間待って", 60.0, "待って"),
        ("1分半踊る", 90.0, "踊る"),
        ("二十五秒歩く", 25.0, "歩く"),
        ("半秒だけ手を上げる", 0.5, "手を上げる"),
        ("数秒待つ", 3.0, "待つ"),
        ("5秒のお辞儀", 5.0, "お辞儀"),
    ],
)
def test_lengths_in_words_are_understood_and_taken_out(prompt: str, seconds: float, text: str) -> None:
    plan = prompt_to_plan(prompt)
    assert plan.seconds == pytest.approx(seconds)
    assert [part.text for part in plan.segments] == [text]
    assert plan.segments[0].seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "prompt",
    [
        "wave",
        "a 1990s dance",
        "dance like in the 90s",
        "for a second time he waves",
        "wave every 2 seconds",
        "walk 5 steps",
        "after 3 seconds, wave",
        "十分にお辞儀をする",
        "半分だけ手を上げる",
        "自分で歩く",
        "3秒後に手を振る",
        "三回ジャンプする",
        "0秒",
    ],
)
def test_other_numbers_are_no_lengths(prompt: str) -> None:
    assert prompt_to_plan(prompt).seconds is None


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("wave right now", set()),
        ("all right, wave your left hand", {"left"}),
        ("she left the room", set()),
        ("nothing left", set()),
        ("turn right", {"turn", "right"}),
        ("turn left the moment you arrive", {"turn", "left"}),
        ("a right-handed wave", {"right"}),
        ("the other hand", set()),
        ("raise your hands", {"both"}),
        ("arms up", {"both"}),
        ("shake hands", set()),
        ("one of his hands", set()),
        ("with two arms", {"both"}),
        ("walk straight ahead", {"forward"}),
        ("go ahead and wave", set()),
        ("look forward to it", set()),
        ("step back", {"backward"}),
        ("wave back", set()),
        ("sway back and forth", set()),
        ("come back up", set()),
        ("retreat", {"backward"}),
        ("veer leftwards", {"turn", "left"}),
        ("turn off the light", set()),
        ("taking turns", set()),
        ("return home", set()),
        ("右折する", {"right", "turn"}),
        ("左折", {"left", "turn"}),
        ("手を左右に振る", set()),
        ("体を前後に揺らす", set()),
        ("両手を振る", {"both"}),
        ("万歳", {"both"}),
        ("両親と話す", set()),
        ("前に歩く", {"forward"}),
        ("歩く前に座る", set()),
        ("名前を言う", set()),
        ("後ろに下がる", {"backward"}),
        ("その後で歩く", set()),
        ("最後に", set()),
        ("振り向く", {"turn"}),
        ("左にターン", {"left", "turn"}),
        ("パターン", set()),
        ("一回ジャンプ", set()),
        ("ひだりてをふる", {"left"}),
    ],
)
def test_flags_say_side_and_direction(text: str, flags: set[str]) -> None:
    assert _flags(text) == flags


@pytest.mark.parametrize(
    ("prompt", "actions"),
    [
        ("walks forward, then turns left and waves", ["walk", "turn-left", "wave-right"]),
        ("歩いてからお辞儀する", ["walk", "bow"]),
        ("手を振ってから、お辞儀をして、座る", ["wave-right", "bow", "sit"]),
        ("まず右手を上げて、次に左手を上げてください", ["raise-right", "raise-left"]),
        ("右手を上げてください。そして左手を振ってください。", ["raise-right", "wave-left"]),
        ("first walk, then run, finally sit down", ["walk", "run", "sit"]),
        ("Bow (deeply), then wave ***happily***", ["bow", "wave-right"]),
        ("walk and turn left", ["turn-left"]),
        ("歩いて右に曲がる", ["turn-right"]),
        ("raise your right hand and wave", ["wave-right"]),
        ("stand and wave", ["wave-right"]),
        ("元気に手を振って歩く", ["wave-right"]),
        ("右手を振りながら前に歩く", ["walk"]),
        ("a man walks while waving his left hand", ["walk"]),
        ("walks forward, then smiles", ["walk"]),
        ("こんにちは。いい天気ですね。", [None]),
        ("the weather is nice. I like it.", [None]),
    ],
)
def test_actions_are_put_in_order_and_doubt_stays_one_segment(prompt: str, actions: list[str | None]) -> None:
    plan = prompt_to_plan(prompt)
    assert [part.action for part in plan.segments] == actions
    assert plan.action == actions[0]
    assert (plan.confidence > 0) == (actions[0] is not None)


def test_each_segment_has_its_own_length_and_side() -> None:
    plan = prompt_to_plan("前に3秒歩いて、その後5秒間左手を振る")
    assert [(part.action, part.seconds, part.detail) for part in plan.segments] == [
        ("walk", 3.0, ("forward",)),
        ("wave-left", 5.0, ("left",)),
    ]
    assert plan.seconds == 8.0


def test_a_length_at_the_start_is_that_of_the_whole() -> None:
    for prompt in ("in 5 seconds, walk forward then bow", "5秒で歩いてからお辞儀する"):
        plan = prompt_to_plan(prompt)
        assert (plan.seconds, [part.seconds for part in plan.segments]) == (5.0, [None, None])


def test_a_length_of_one_of_several_actions_is_not_that_of_the_whole() -> None:
    plan = prompt_to_plan("walk forward and then bow for 2 seconds")
    assert (plan.seconds, [part.seconds for part in plan.segments]) == (None, [None, 2.0])


@pytest.mark.parametrize("name", ["own_probe_prompts.tsv", "own_check_prompts.tsv"])
def test_actions_of_other_wordings_are_recognised(name: str) -> None:
    with (PROBES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    right = [row["action"] in {part.action for part in prompt_to_plan(row["prompt"]).segments} for row in rows]
    assert sum(right) >= 0.9 * len(right)


@pytest.mark.parametrize(
    "unit", ["raise your hand, wave, ", "手を振って、歩いて、", "raise ", "a", "1分", "3 ", "right ", "手腕を"]
)
def test_long_prompts_stay_bounded(unit: str) -> None:
    prompt = (unit * 2000)[:2000]
    plan = prompt_to_plan(prompt)
    assert 1 <= len(plan.segments) <= MAX_SEGMENTS
    assert all(part.text for part in plan.segments)
    assert prompt_to_plan(prompt) == plan
