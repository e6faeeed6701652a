"""Japanese prompts to readings: actions in order, sides, lengths, and what is only talk."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.prompt.actions import ACTIONS, DETAILS
from motion_service.prompt.ja import read, text_to_detail
from motion_service.prompt.ja_seconds import take_lengths, word_to_number
from motion_service.prompt.ja_spelling import respell
from motion_service.prompt.ja_tokens import LENGTH_MARK
from motion_service.prompt.reading import MAX_SEGMENTS, Reading
from motion_service.wording import normalise_text

PROMPTS = Path(__file__).parents[1] / "data" / "own_prompts_ja.tsv"
with PROMPTS.open(encoding="utf-8") as _file:
    ROWS = list(csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _read(text: str) -> Reading:
    return read(normalise_text(text))


def _actions(reading: Reading) -> str:
    names: list[str] = []
    for part in reading.segments:
        name = part.action or "other"
        if not names or names[-1] != name:
            names.append(name)
    return ">".join(names)


@pytest.mark.parametrize("row", ROWS, ids=[row["text"] for row in ROWS])
def test_own_prompts_are_understood(row: dict[str, str]) -> None:
    reading = _read(row["text"])
    assert _actions(reading) == row["actions"]
    if row["actions"] == "none":
        return
    detail = {word for part in reading.segments for word in part.detail}
    assert detail == set(row["detail"].split(",")) - {"-"}
    own = [part.seconds for part in reading.segments if part.seconds is not None]
    asked = [float(word) for word in row["seconds"].split("+") if word != "-"]
    assert (own or [reading.seconds]) == pytest.approx(asked) if asked else not own and reading.seconds is None


@pytest.mark.parametrize(
    ("text", "seconds", "left"),
    [
        ("3秒で手を振る", 3.0, "手を振る"),
        ("5秒間、右手を上げる", 5.0, "右手を上げる"),
        ("1分半踊る", 90.0, "踊る"),
        ("1分30秒踊って", 90.0, "踊って"),
        ("二十五秒歩く", 25.0, "歩く"),
        ("半秒だけ手を上げる", 0.5, "手を上げる"),
        ("5秒のお辞儀", 5.0, "お辞儀"),
        ("1秒半ジャンプ", 1.5, "ジャンプ"),
        ("さんびょうかんてをふる", 3.0, "てをふる"),
        ("約10秒ほどかけて座る", 10.0, "座る"),
        ("500ミリ秒でジャブ", 0.5, "ジャブ"),
        ("1時間歩く", 3600.0, "歩く"),
        ("3s 手を振る", 3.0, "手を振る"),
    ],
)
def test_lengths_are_taken_out(text: str, seconds: float, left: str) -> None:
    marked, lengths = take_lengths(normalise_text(text))
    assert [length.seconds for length in lengths] == pytest.approx([seconds])
    assert normalise_text(marked.replace(LENGTH_MARK, "")) == left


@pytest.mark.parametrize(
    "text",
    "10秒後に手を振る|3回ジャンプ|2人で踊る|何秒踊れる|十分に伸ばす|自分で歩く|半分だけ|秒速5メートル|3分の1|3秒ごとに手を振る|3時15分に起きる|数秒待つ"
    "|1秒間に3回手を叩く|5秒数えてからジャンプ|0秒".split("|"),
)
def test_other_numbers_are_no_lengths(text: str) -> None:
    assert take_lengths(text) == (text, [])


@pytest.mark.parametrize(
    ("word", "number"), [("三", 3), ("二十五", 25), ("百二十", 120), ("半", 0.5), ("じゅうご", 15), ("2.5", 2.5)]
)
def test_numbers_in_words(word: str, number: float) -> None:
    assert word_to_number(word) == number


def test_segments_have_their_words_and_lengths() -> None:
    reading = _read("前に3秒歩いて、その後5秒間左手を振る")
    assert [(part.text, part.action, part.seconds, part.detail) for part in reading.segments] == [
        ("前に歩いて", "walk", 3.0, ("forward",)),
        ("その後左手を振る", "wave", 5.0, ("left",)),
    ]
    assert reading.seconds == 8.0


@pytest.mark.parametrize(
    "text", ["5秒で歩いてからお辞儀する", "5秒間、歩いてからお辞儀する", "歩いてからお辞儀する、全部で5秒"]
)
def test_a_frame_or_total_is_the_length_of_the_whole(text: str) -> None:
    reading = _read(text)
    assert (reading.seconds, [part.seconds for part in reading.segments]) == (5.0, [None, None])


def test_sides_of_one_action_make_two_segments() -> None:
    reading = _read("まず右手を上げて、次に左手を上げてください")
    assert [(part.action, part.detail) for part in reading.segments] == [("raise", ("right",)), ("raise", ("left",))]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("腕を回す", set()),
        ("腰の曲がったおばあさん", set()),
        ("手を振り返す", set()),
        ("一刀両断", set()),
        ("まっすぐ上に伸ばす", set()),
        ("前転する", set()),
        ("周りを見回す", set()),
        ("左にカーブ", {"left", "turn"}),
        ("両手を前に出す", {"both", "forward"}),
        ("後ろに2歩", {"backward"}),
        ("左右に揺れる", set()),
    ],
)
def test_only_the_way_and_the_body_have_directions(text: str, detail: set[str]) -> None:
    assert set(text_to_detail(text)) == detail


@pytest.mark.parametrize(
    ("text", "right"),
    [("ジャンブして", "じゃんぷして"), ("ダソスを見せて", "だんすを見せて"), ("ジャンプして", None), ("東京", None)],
)
def test_slips_of_the_pen_are_put_right(text: str, right: str | None) -> None:
    assert respell(text) == right


def test_confidence_says_how_clear_it_is() -> None:
    clear, short, talk, figure = (
        _read(text).confidence for text in ("手を振ってください", "踊りたい", "今日の天気は晴れです", "踊れません")
    )
    assert clear > 0.9 > short > 0 and talk > figure > 0


@settings(deadline=None, max_examples=150)
@given(
    st.text(
        st.sampled_from(
            "手を振って歩く、。お辞儀しながら左右前後3秒間てすわたるいだんジャンプー首横に！か走るまた泣笑ず のはがA1"
        )
    )
)
def test_any_text_gives_a_reading(text: str) -> None:
    _check(text)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=120))
def test_any_letters_give_a_reading(text: str) -> None:
    _check(text)


def _check(text: str) -> None:
    started = time.process_time()
    reading = read(normalise_text(text))
    assert time.process_time() - started < 2.0
    assert 1 <= len(reading.segments) <= MAX_SEGMENTS and 0 <= reading.confidence <= 1
    for part in reading.segments:
        assert part.action is None or part.action in ACTIONS
        assert set(part.detail) <= set(DETAILS)
        assert part.seconds is None or part.seconds > 0
    assert reading == read(normalise_text(text))


@pytest.mark.parametrize(
    "unit", ["手を振って、歩いて、", "するするす", "三十", "行ってきてくれてしまって", "1分", "て"]
)
def test_long_texts_stay_bounded(unit: str) -> None:
    started = time.process_time()
    assert len(read((unit * 2000)[:2000]).segments) <= MAX_SEGMENTS
    assert time.process_time() - started < 5.0
