"""The curated list is in order, JMdict is packed as described, and Japanese becomes captions."""

from __future__ import annotations

import gzip
import hashlib
import importlib.machinery
import importlib.util
import lzma
from collections import Counter
from pathlib import Path

import pytest

from motion_service.prompt.actions import ACTIONS
from motion_service.prompt.gloss import third_person
from motion_service.prompt.ja import read
from motion_service.prompt.ja_lexicon import dictionary, fold, lexicon
from motion_service.prompt.ja_tokens import tokenise
from motion_service.wording import normalise_text

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "motion_service" / "prompt" / "data"
SOURCE = ROOT / ".." / "shared" / "data" / "jmdict-common.tsv.gz"
SLOTS = {"hand", "arm", "leg", "with_hand", "with_leg", "way", "object"}
NOUNS = ("body", "thing", "way", "who", "form")


def _rows() -> list[list[str]]:
    lines = (DATA / "ja_motion.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def test_rows_are_many_and_none_stands_twice() -> None:
    rows = _rows()
    group = {"v1": "v5", "vk": "v5"}
    words = Counter(
        (group.get(kind, kind), fold(word), needs)
        for kind, spellings, needs, _, _ in rows
        for word in spellings.split("|")
    )
    assert [word for word, count in words.items() if count > 1] == []
    moving = [row for row in rows if row[3] not in ("-", "none") and row[0] not in NOUNS]
    assert len(rows) >= 300 and len(moving) >= 300


def test_every_action_has_a_name_and_every_caption_only_known_slots() -> None:
    for kind, spellings, _, action, english in _rows():
        if kind not in NOUNS:
            assert action.rstrip("?") in {*ACTIONS, "other", "-"}, spellings
        assert english == "-" or english.format(**dict.fromkeys(SLOTS, "")).strip(), spellings


def test_every_action_can_be_said() -> None:
    named = {row.action for rows in (*lexicon().words.values(), *lexicon().verbs.values()) for row in rows}
    assert set(ACTIONS) <= named


def test_jmdict_is_made_from_its_source_and_says_whose_it_is() -> None:
    notice = (DATA / "JMDICT-NOTICE.txt").read_text(encoding="utf-8")
    assert "EDRDG" in notice and "ShareAlike" in notice
    words = dictionary().glosses
    assert len(words) > 60_000 and words["椅子"] == "chair"
    if not SOURCE.exists():
        pytest.skip("the extract of JMdict is not in the repository")
    loader = importlib.machinery.SourceFileLoader("make_jmdict", str(ROOT / "scripts/motion/make_jmdict"))
    spec = importlib.util.spec_from_loader("make_jmdict", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    made = module.table_to_words(gzip.decompress(SOURCE.read_bytes()).decode("utf-8"))
    text = "".join(f"{word}\t{gloss}\n" for word, gloss in made.items())
    packed = lzma.decompress((DATA / "jmdict-common.tsv.xz").read_bytes())
    assert hashlib.sha256(text.encode("utf-8")).digest() == hashlib.sha256(packed).digest()


@pytest.mark.parametrize(
    ("text", "lemmas"),
    [
        ("手を振りながら歩いて", ["手", "を", "振る", "歩く"]),
        ("シャベルで掘る", ["しゃべる", "で", "掘る"]),
        ("ピアノを弾く", ["ぴあの", "を", "弾く"]),
        ("ぴょんぴょん跳ねてくれる", ["ぴょんぴょん", "跳ねる"]),
        ("すわってください", ["すわる"]),
    ],
)
def test_words_are_found(text: str, lemmas: list[str]) -> None:
    tokens = tokenise(text)
    assert [token.lemma for token in tokens] == lemmas
    assert "".join(text[token.start : token.end] for token in tokens) == text


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("元気よく右手を振る", "a person waves with the right hand energetically"),
        ("おじいさんがゆっくり前に歩く", "an old man walks forward slowly"),
        ("女の子がぴょんぴょん飛び跳ねている", "a girl jumps with little hops"),
        ("左手を振りながら前に歩く", "a person walks forward and waves with the left hand"),
        ("両手を上げて", "a person raises both hands"),
        ("左腕を高く上げて", "a person raises the left arm high"),
        ("右に曲がりながら歩いて", "a person walks in a curve to the right"),
        ("左を向いて", "a person turns to the left"),
        ("右足で蹴る", "a person kicks with the right leg"),
        ("ボールを投げて", "a person throws a ball"),
        ("窓を拭く", "a person wipes a window"),
        ("深々とお辞儀をする", "a person bows deeply"),
        ("よろよろ歩いて", "a person walks staggering"),
        ("のろのろ前に進む", "a person walks forward sluggishly"),
        ("ギターを弾いて", "a person plays a guitar"),
        ("髪をとかす", "a person combs the hair"),
        ("薪を割る", "a person divides a piece of firewood"),
        ("酔っ払いがふらふら歩く", "a drunk person walks staggering"),
    ],
)
def test_japanese_becomes_a_caption(text: str, caption: str) -> None:
    assert [part.caption for part in read(normalise_text(text)).segments] == [caption]


@pytest.mark.parametrize(
    ("gloss", "third"),
    [("to carry", "carries"), ("to play (the piano)", "plays (the piano)"), ("to push", "pushes"), ("to do", "does")],
)
def test_glosses_are_put_into_the_third_person(gloss: str, third: str) -> None:
    assert third_person(gloss) == third
