"""Lengths of time in Japanese words: 3秒で, 三秒ほど, 1分半, 半秒, さんびょうかん; not 10秒後, 3回, 十分に, 自分.

A length that is found is replaced by one mark, so that the words around it can be read without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from motion_service.prompt.ja_lexicon import fold
from motion_service.prompt.ja_tokens import LENGTH_MARK

__all__ = ["Length", "take_lengths", "word_to_number"]


@dataclass(frozen=True, slots=True)
class Length:
    """A length of time asked for in words."""

    seconds: float
    is_total: bool
    """Said to be that of everything (全部で10秒)."""
    is_frame: bool
    """In the form of a frame for what follows (5秒で, 5秒間、), not right before a verb (5秒歩いて)."""


_DIGITS: Final = {"〇": 0, "零": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_KANA: Final = {
    "いっ": 1, "いち": 1, "に": 2, "さん": 3, "よん": 4, "ご": 5, "ろく": 6, "ろっ": 6, "なな": 7, "しち": 7,
    "はち": 8, "はっ": 8, "きゅう": 9, "じゅう": 10, "じゅっ": 10, "にじゅう": 20, "さんじゅう": 30,
    "じゅうご": 15, "はん": 0.5,
}  # fmt: skip
_KANA_WORDS: Final = "|".join(sorted(_KANA, key=len, reverse=True))
_NUMBER: Final = r"\d+(?:\.\d+)?|[一二三四五六七八九]・[一二三四五六七八九]|[一二三四五六七八九十百]{1,6}"
_RANGE: Final = rf"(?:(?:{_NUMBER})[、,\-~から ]{{1,2}})?"
_ABOUT: Final = r"(?:(?:あと|約|およそ|だいたい|大体|ほぼ|たった|わずか|ちょうど|きっかり|せいぜい|最低|最大|最長)の?)*"
_TOTAL: Final = r"(?P<total>(?:全部で|ぜんぶで|全体で|合計で?|計|あわせて|合わせて|とーたるで?)[、 ]?)?"
_NO_LENGTH: Final = (
    r"(?!後|あと|ご[にで、]|ごと|おき|毎|前|目|速|針|読み|台|差|るーる|たったら|経|たって|したら|して|すぎ|過ぎ|間?に(?:約?\d+|[一二三数])[回度]"
    r"|数え|かうんと|間後|間前|ほど前|くらい前|ほど後|くらい後|間隔|ちゃれんじ|で(?:行け|着|でき|出来|終わ|わか|分か|作|つく)|立)"
)
_TAIL: Final = (
    r"(?P<tail>(?:(?:の間|間|かん|ほど|くらい|ぐらい|程度|かけて|だけ|ばかり|以内|以上|ぴったり|きっかり|ちょうど|は|も|ずつ|位|続けて"
    r"|使って|の長さ|の尺|のあいだ|のもーしょん)*)(?:で(?![すきしもあは])|[のに])?(?:、|,)?)"
)
_PATTERN: Final = re.compile(
    rf"(?<![.\d時分])(?<!残り)(?<!毎){_TOTAL}{_ABOUT}(?:"
    rf"{_RANGE}(?:(?P<hours>{_NUMBER})時間(?P<half_hour>半)?)?"
    rf"(?:(?P<minutes>\d+(?:\.\d+)?)分(?!の\d|の[一二三四五]|割|野|け|類|散|裂)(?P<half_minute>半)?"
    r"|(?P<kanji>[一二三四五六七八九]|[一二三四五六七八九]?十[一二三四五六七八九]?(?=分(?:間|半|ほど|くらい|ぐらい|かけて|[一二三四五六七八九十]+秒)))"
    r"分(?!の|割|野|け|類|[一二三四五六七八九]分)(?P<half_kanji>半)?)?"
    rf"(?:(?P<seconds>{_NUMBER}|半)秒(?P<half_second>半)?|(?P<milli>\d+)みり秒|(?P<latin>\d+(?:\.\d+)?)\s?(?:seconds?|secs?|s)(?![a-z]))?"
    rf"|(?<![ぁ-ゖ])(?P<kana>(?:{_KANA_WORDS})+)(?P<kana_unit>びょう|ぷん|ふん)(?P<kana_half>はん)?"
    rf"|(?P<digits_kana>\d+(?:\.\d+)?)(?P<digits_unit>びょう|ぷん|ふん)(?P<digits_half>はん)?"
    rf"){_NO_LENGTH}{_TAIL}"
)
_UNIT_SECONDS: Final = {"びょう": 1.0, "ぷん": 60.0, "ふん": 60.0}


def word_to_number(word: str) -> float:
    """「三」 3, 「二十五」 25, 「百二十」 120, 「数」 (a few) 3, 「半」 0.5, 「じゅうご」 15, "2.5" 2.5."""
    if word in ("数", "半"):
        return 3.0 if word == "数" else 0.5
    if word[0].isdigit():
        return float(word)
    if "・" in word:
        return _DIGITS[word[0]] + _DIGITS[word[2]] / 10
    if word in _KANA:
        return float(_KANA[word])
    if word[0] not in _DIGITS and word[0] not in "十百":
        return float(sum(_KANA[part] for part in re.findall(_KANA_WORDS, word)))
    total, digit = 0, 0
    for character in word:
        if character in "十百":
            total += (digit or 1) * (10 if character == "十" else 100)
            digit = 0
        else:
            digit = _DIGITS[character]
    return float(total + digit)


def take_lengths(text: str) -> tuple[str, list[Length]]:
    """``text`` with one :data:`LENGTH_MARK` for each length, and the lengths in order."""
    folded = fold(text)
    lengths: list[Length] = []
    parts: list[str] = []
    at = 0
    for match in _PATTERN.finditer(folded):
        seconds = _match_to_seconds(match)
        if seconds is None or seconds <= 0:
            continue
        parts += [text[at : match.start()], LENGTH_MARK]
        at = match.end()
        tail = match["tail"]
        is_frame = (
            tail.rstrip("、,").endswith(("で", "かけて", "以内に"))
            or tail.endswith(("、", ","))
            or text[at : at + 1] in " 、"
        )
        lengths.append(Length(seconds, match["total"] is not None, is_frame))
    return "".join(parts) + text[at:], lengths


def _match_to_seconds(match: re.Match[str]) -> float | None:
    """None for a match without a number that has a unit."""
    if word := match["kana"] or match["digits_kana"]:
        unit = _UNIT_SECONDS[match["kana_unit"] or match["digits_unit"]]
        half = match["kana_half"] or match["digits_half"]
        return word_to_number(word) * unit + (unit / 2 if half else 0.0)
    total, is_found = 0.0, False
    units = (("hours", "half_hour", 3600.0), ("minutes", "half_minute", 60.0), ("kanji", "half_kanji", 60.0),
             ("seconds", "half_second", 1.0), ("latin", "half_second", 1.0),
             ("milli", "half_second", 0.001))  # fmt: skip
    for name, half, unit in units:
        if word := match[name]:
            total += word_to_number(word) * unit + (unit / 2 if match[half] else 0.0)
            is_found = True
    return total if is_found else None
