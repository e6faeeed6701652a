"""Prompts to plans: normalising, language, stage directions, emoji, and what both readers have in common."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.errors import PromptInvalid
from motion_service.prompt.actions import ACTIONS, DETAILS
from motion_service.prompt.plan import prompt_to_plan
from motion_service.prompt.reading import MAX_SEGMENTS, plan_to_wire
from motion_service.schemas import PromptPlanOut
from motion_service.wording import FLAGS, canonical_text, normalise_text, text_flags

PROBES = Path(__file__).parents[1] / "training" / "data"


def actions(prompt: str) -> list[str | None]:
    return [part.action for part in prompt_to_plan(prompt).segments]


def flags(text: str) -> set[str]:
    return {name for name, value in zip(FLAGS, text_flags(text), strict=True) if value}


# --- wording, which the shipped network was trained on ----------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("wave right now", set()),
        ("all right, wave your left hand", {"left"}),
        ("she left the room", set()),
        ("nothing left", set()),
        ("turn right", {"turn", "right"}),
        ("turn left the moment you arrive", {"turn", "left"}),
        ("a right-handed wave", {"right"}),
        ("raise your hands", {"both"}),
        ("shake hands", set()),
        ("with two arms", {"both"}),
        ("walk straight ahead", {"forward"}),
        ("look forward to it", set()),
        ("step back", {"backward"}),
        ("wave back", set()),
        ("sway back and forth", set()),
        ("veer leftwards", {"turn", "left"}),
        ("turn off the light", set()),
        ("右折する", {"right", "turn"}),
        ("手を左右に振る", set()),
        ("両手を振る", {"both"}),
        ("両親と話す", set()),
        ("前に歩く", {"forward"}),
        ("歩く前に座る", set()),
        ("後ろに下がる", {"backward"}),
        ("その後で歩く", set()),
        ("パターン", set()),
        ("ひだりてをふる", {"left"}),
    ],
)
def test_flags_say_side_and_direction(text: str, found: set[str]) -> None:
    assert flags(text) == found


# --- what is refused, and what never fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", "   \n", "✨", "「」", "...", "***"])
def test_empty_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(PromptInvalid) as error:
        prompt_to_plan(prompt)
    assert error.value.field == "prompt"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_plan_or_is_refused(prompt: str) -> None:
    try:
        plan = prompt_to_plan(prompt)
    except PromptInvalid:
        return
    assert 1 <= len(plan.segments) <= MAX_SEGMENTS
    assert 0 <= plan.confidence <= 1
    for part in plan.segments:
        assert part.text
        assert part.action in (None, *ACTIONS)
        assert [name for name in DETAILS if name in part.detail] == list(part.detail)
        assert part.seconds is None or part.seconds > 0


@pytest.mark.parametrize(
    "unit",
    [
        "raise your hand, wave, ",
        "手を振って、歩いて、",
        "raise ",
        "a",
        "1分",
        "3 ",
        "right ",
        "手腕を",
        "*waves* ",
        "(a",
        "wave 3s ",
        "👋",
    ],
)
def test_long_prompts_stay_bounded(unit: str) -> None:
    prompt = (unit * 2000)[:2000]
    plan = prompt_to_plan(prompt)
    assert 1 <= len(plan.segments) <= MAX_SEGMENTS
    assert all(part.text for part in plan.segments)
    assert prompt_to_plan(prompt) == plan


def test_a_plan_fits_its_schema() -> None:
    for prompt in ("walks, then waves for 2 seconds", "今日はいい天気", "marche et danse"):
        wire = plan_to_wire(prompt_to_plan(prompt))
        assert PromptPlanOut.model_validate(wire, strict=True).model_dump() == wire


# --- language ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("wave", "en"),
        ("yodel", "en"),
        ("手", "ja"),
        ("右手挙手", "ja"),
        ("ダンス", "ja"),
        ("please お辞儀", "ja"),
        ("a café dance", "en"),
        ("saluda", "other"),
        ("Marche en avant et salue de la main", "other"),
        ("Geh vorwärts und winke", "other"),
        ("camina hacia adelante", "other"),
        ("向前走", "other"),
        ("请挥手", "other"),
        ("손을 흔들어", "other"),
        ("Помаши рукой", "other"),
    ],
)
def test_language(prompt: str, language: str) -> None:
    assert prompt_to_plan(prompt).language == language


def test_another_language_stays_one_text_without_action() -> None:
    plan = prompt_to_plan("salue de la main gauche 👋")
    assert [(part.text, part.action, part.caption) for part in plan.segments] == [("salue de la main gauche", None, "")]
    assert (plan.confidence, plan.captions) == (0.0, ())


# --- stage directions, emoji, markdown, quotes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hello there! *waves* How can I help you?", ["wave"]),
        ("(nods) I understand. The walk takes ten minutes.", ["nod"]),
        ("That is great news! [jumps up and down]", ["jump"]),
        ("**spins around, then bows** Ta-da!", ["turn", "bow"]),
        ("Sure thing. (waves) See you. (bows)", ["wave", "bow"]),
        ("こんにちは！（お辞儀）今日はいい天気ですね。", ["bow"]),
        ("Bow (deeply), then wave ***happily***", ["bow", "wave"]),
        ("Walk (slowly), then **jump**", ["walk", "jump"]),
        ("The list (see below) is long.", ["none"]),
        ("1. wave\n2. bow\n3. sit down", ["wave", "bow", "sit"]),
        ("# Steps\n- wave\n- bow", ["wave", "bow"]),
        ('She says "wave your hand" and sits down', ["sit"]),
    ],
)
def test_stage_directions_are_read_alone(prompt: str, expected: list[str]) -> None:
    assert actions(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("👋", ["wave"]),
        ("👋🏽 🙇‍♀️", ["wave", "bow"]),
        ("Great job 👏👏", ["clap"]),
        ("了解です🙇", ["bow"]),
        ("dance 👋", ["dance"]),
        ("lol that was funny 😂", ["none"]),
        ("😂", ["laugh"]),
    ],
)
def test_an_emoji_says_what_no_word_says(prompt: str, expected: list[str]) -> None:
    assert actions(prompt) == expected


@pytest.mark.parametrize("name", ["own_probe_prompts.tsv", "own_check_prompts.tsv"])
def test_actions_of_other_wordings_are_recognised(name: str) -> None:
    coarse = {
        "byebye": "wave",
        "bye": "wave",
        "dash": "run",
        "respond": "nod",
        "jumping-jack": "jump",
        "squat": "crouch",
    }
    with (PROBES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    wanted = [coarse.get(row["action"], row["action"].split("-")[0]) for row in rows]
    right = [
        want in {str(a).split("-")[0] for a in actions(row["prompt"])} for want, row in zip(wanted, rows, strict=True)
    ]
    assert sum(right) >= 0.9 * len(right)
