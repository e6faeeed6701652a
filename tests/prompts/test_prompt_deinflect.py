"""De-inflection: every form that the rules of Japanese give a verb leads back to its dictionary form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.prompt.deinflect import CLASSES, deinflect, match_endings, verb_classes

KANA = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんっゃゅょ"
    "がぎぐげござじずぜぞばびぶべぼだでど歩手行来食見"
)

STEMS = {  # class: lemma, stems a i e o te (te with what it makes of て)
    "v5k": ("歩く", "歩か", "歩き", "歩け", "歩こ", "歩いて"),
    "v5g": ("泳ぐ", "泳が", "泳ぎ", "泳げ", "泳ご", "泳いで"),
    "v5s": ("話す", "話さ", "話し", "話せ", "話そ", "話して"),
    "v5t": ("立つ", "立た", "立ち", "立て", "立と", "立って"),
    "v5n": ("死ぬ", "死な", "死に", "死ね", "死の", "死んで"),
    "v5b": ("跳ぶ", "跳ば", "跳び", "跳べ", "跳ぼ", "跳んで"),
    "v5m": ("飲む", "飲ま", "飲み", "飲め", "飲も", "飲んで"),
    "v5r": ("座る", "座ら", "座り", "座れ", "座ろ", "座って"),
    "v5u": ("笑う", "笑わ", "笑い", "笑え", "笑お", "笑って"),
    "v5iku": ("行く", "行か", "行き", "行け", "行こ", "行って"),
}
AFTER = {  # what follows which stem, and the form that it says
    "a": {"ない": "neg", "なかった": "past", "ないで": "neg-te", "ず": "neg", "れる": "passive",
          "せる": "causative"},
    "i": {"ます": "polite", "ました": "past", "ません": "neg", "ましょう": "volitional",
          "たい": "want", "ながら": "while", "なさい": "imperative", "続ける": "dict", "たくない": "neg"},
    "e": {"": "imperative", "る": "potential", "ば": "if", "ない": "potential"},
    "o": {"う": "volitional"},
    "te": {"": "te", "ください": "request", "いる": "now", "います": "now", "る": "now",
           "みせて": "show", "から": "after", "もらえます": "request", "くれない": "request", "ほしい": "request",
           "いただけませんか": "request", "しまった": "done"},
}  # fmt: skip


def _forms(stems: tuple[str, ...]) -> list[tuple[str, str]]:
    rows = dict(zip(("a", "i", "e", "o", "te"), stems, strict=True))
    return [(rows[stem] + ending, form) for stem, endings in AFTER.items() for ending, form in endings.items()]


@pytest.mark.parametrize("word_class", list(STEMS))
def test_every_form_of_a_five_row_verb_leads_back(word_class: str) -> None:
    lemma, *stems = STEMS[word_class]
    for word, form in _forms(tuple(stems)):
        found = [r for r in deinflect(word) if (r.lemma, r.word_class) == (lemma, word_class)]
        assert found and any(form in reading.forms for reading in found), (word, form, found)
    te = stems[-1]
    past = te[:-1] + ("た" if te[-1] == "て" else "だ")
    assert any(r.lemma == lemma and "past" in r.forms for r in deinflect(past))


@pytest.mark.parametrize("lemma", ["食べる", "投げる", "見る", "起きる", "つかまえる"])
def test_every_form_of_a_one_row_verb_leads_back(lemma: str) -> None:
    root = lemma[:-1]
    endings = {"て": "te", "た": "past", "ない": "neg", "ます": "polite", "よう": "volitional", "ろ": "imperative",
               "られる": "passive",
               "れば": "if", "ながら": "while", "ている": "now", "てください": "request",
               "させる": "causative", "たい": "want",
               "ないで": "neg-te", "なさい": "imperative", "れる": "potential", "てから": "after"}  # fmt: skip
    for ending, form in endings.items():
        assert any(r.lemma == lemma and form in r.forms for r in deinflect(root + ending)), root + ending


@pytest.mark.parametrize(
    ("word", "lemma", "form"),
    [
        ("して", "する", "te"),
        ("しろ", "する", "imperative"),
        ("させて", "する", "causative"),
        ("しています", "する", "now"),
        ("きて", "くる", "te"),
        ("こない", "くる", "neg"),
        ("来い", "来る", "imperative"),
        ("来てください", "来る", "request"),
        ("ジャンプして"[-2:], "する", "te"),
        ("美しかった", "美しい", "past"),
        ("速くて", "速い", "te"),
        ("速く", "速い", "adverb"),
        ("高くない", "高い", "neg"),
        ("いらっしゃい", "いらっしゃる", "imperative"),
        ("ください", "くださる", "imperative"),
        ("待ちください", "待つ", "request"),
        ("願いします", "願う", "honour"),
    ],
)
def test_irregular_words_and_adjectives(word: str, lemma: str, form: str) -> None:
    assert any(found.lemma == lemma and form in found.forms for found in deinflect(word))


def test_forms_of_several_auxiliaries_add_up() -> None:
    forms = next(found.forms for found in deinflect("踊ってみせてくれませんか") if found.lemma == "踊る")
    assert {"te", "show", "request", "polite"} <= forms


@pytest.mark.parametrize(
    ("lemma", "classes"),
    [
        ("歩く", ("v5k",)),
        ("行く", ("v5iku",)),
        ("する", ("vs",)),
        ("すする", ("v5r",)),
        ("お辞儀する", ("vs",)),
        ("来る", ("vk-kanji",)),
        ("食べる", ("v1", "v5r")),
        ("おどる", ("v5r",)),
        ("手", ()),
        ("", ()),
    ],
)
def test_letters_tell_the_class(lemma: str, classes: tuple[str, ...]) -> None:
    assert verb_classes(lemma) == classes


@given(st.text(KANA, max_size=20))
def test_any_letters_are_read_and_endings_stay_inside(text: str) -> None:
    for word_class in CLASSES:
        assert all(0 <= ending.end <= len(text) for ending in match_endings(text, 0, word_class))
    for found in deinflect(text):
        assert found.lemma.endswith(CLASSES[found.word_class])
