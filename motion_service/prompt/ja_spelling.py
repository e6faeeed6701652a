"""Slips of the pen in Japanese words of motion: ジャンブ for ジャンプ, ダソス for ダンス, おじきぎ for おじぎ.

Only asked when a short text says nothing known. Words are compared by a skeleton without voicing marks, small letters
and long vowels; kana that look alike (ン and ソ, シ and ツ) are one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

from motion_service.prompt.ja_lexicon import fold, lexicon

__all__ = ["respell"]

_SHORTEST: Final = 3
_ALIKE: Final = str.maketrans("ぁぃぅぇぉゃゅょゎっつそ", "あいうえおやゆよわししん")
_RUN: Final = re.compile(r"[ァ-ヺー]{3,}|[ぁ-ゖー]{4,}")
_AFTER: Final = re.compile(r"(?:を|は|の|で|が|し|する|して|お願い|おねがい|くだ).*", re.DOTALL)


def respell(text: str) -> str | None:
    """``text`` with the first misspelt noun of motion put right, None when nothing looks like one."""
    for match in _RUN.finditer(text):
        run = match.group()
        for word in (run, _AFTER.sub("", run, count=1)):
            found = _words().get(_skeleton(word)) if len(word) >= _SHORTEST else None
            if found is not None and found != fold(word):
                return text[: match.start()] + found + text[match.start() + len(word) :]
    return None


@cache
def _words() -> dict[str, str]:
    words = lexicon().words
    nouns = [word for word, rows in words.items() if rows[0].kind == "vs" and len(word) >= _SHORTEST]
    return {_skeleton(word): word for word in reversed(nouns) if re.fullmatch(r"[ぁ-ゖー]+", word)}


def _skeleton(word: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", fold(word)) if not unicodedata.combining(c))
    return re.sub(r"(.)\1+", r"\1", plain.replace("ー", "").translate(_ALIKE))
