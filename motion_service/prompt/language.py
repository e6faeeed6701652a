"""Which language a prompt is in: English, Japanese, or another one, by its letters and its commonest words."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from importlib import resources
from typing import Final

from motion_service.clips import Language
from motion_service.prompt.words import load_lexicon

_KANA: Final = re.compile(r"[ぁ-ゖァ-ヺｦ-ﾟ]")
_HAN: Final = re.compile(r"[㐀-鿿々]")
_CHINESE: Final = re.compile(
    r"[你您她们这那哪个吗呢啊么请给让为们来过说话时谁对没还从边样种长张开关门马车东见现转头举双两边头脚跑挥招坐站蹲踢鞠躬拍]"
)
"""Characters that Japanese writes in another way, or hardly uses."""
_JAPANESE_HAN: Final = re.compile(r"[歩走振拝礼挙手右左両前後回転座踊働込払気]")


def detect_language(text: str) -> Language:
    """Language of non-empty normalised ``text``. Kana make it Japanese; in doubt Latin letters make it English."""
    if _KANA.search(text):
        return "ja"
    if _HAN.search(text):
        return "other" if _is_chinese(text) else "ja"
    if not text.isascii() and not _is_mostly_latin(text):
        return "other"
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())
    known = _vocabularies()
    english = sum(word in known["English"] or word in load_lexicon().entries for word in words)
    other = max(sum(word in vocabulary for word in words) for name, vocabulary in known.items() if name != "English")
    accents = sum(any(ord(character) > 0xBF for character in word) for word in words)
    is_other = other + accents > english and (other + accents >= 2 or not english)
    return "other" if is_other else "en"


def _is_mostly_latin(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return sum(unicodedata.name(character, "").startswith("LATIN") for character in letters) >= len(letters) / 2


def _is_chinese(text: str) -> bool:
    """Whether text without kana is Chinese rather than Japanese without particles, such as 「右手挙手」."""
    needed = 2 if _JAPANESE_HAN.search(text) else 1
    return len(set(_CHINESE.findall(text))) >= needed or bool(re.search(r"[向着了的把吧吗]", text))


@cache
def _vocabularies() -> dict[str, frozenset[str]]:
    """{language: its frequent words}, read once in a process."""
    text = resources.files("motion_service").joinpath("prompt/data/languages.toml").read_text(encoding="utf-8")
    return {name: frozenset(words.split()) for name, words in tomllib.loads(text).items()}
