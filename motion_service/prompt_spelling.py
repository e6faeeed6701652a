"""Small mends of hasty English typing before a prompt is read: "rasie ur hand" -> "raise your hand".

Only a word that the lexicon does not know is changed, only into one that it knows, and only by two letters swapped or
by a letter doubled or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from motion_service.prompt_words import load_lexicon

_SHORT: Final = {"ur": "your", "u": "you", "pls": "please", "plz": "please", "n": "and", "dont": "don't", "wiv": "with"}
_SHORT_WORD: Final = re.compile(rf"(?<![\w'-])(?:{'|'.join(_SHORT)})(?![\w'-])", re.IGNORECASE)
_THAN: Final = re.compile(r"(,|\band)\s+than\b", re.IGNORECASE)
_DRAWN_OUT: Final = re.compile(r"\b(\w*?)([a-z])\2{2,}(\w*)", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<![\w'-])[a-z]{4,}(?![\w'-])", re.IGNORECASE)
_SAID_OF_WAYS: Final = frozenset("left right hand hands both forward backward backwards around seconds second".split())
_REAL: Final = frozenset(
    "clasp clasps blot blots flit tried sacred quite angel form calm united being diary bored brow snips".split()
)
"""Words that are one of the lexicon with two letters swapped, or a letter doubled."""
MAX_WORDS: Final = 14
"""A longer text is left as it is: the more words, the likelier a rare one is taken for a slip."""


def mend_shorthand(text: str) -> str:
    """Shorthand and drawn-out letters written out: "ur", "pls", "streeetch"."""
    text = _SHORT_WORD.sub(lambda match: _SHORT[match.group().lower()], text)
    return _DRAWN_OUT.sub(_shorten, _THAN.sub(r"\1 then", text))


def mend_slips(text: str, *, swaps_only: bool) -> str:
    """``text`` with swapped letters put right, and letters left out or typed twice unless ``swaps_only``."""
    if len(text.split()) > MAX_WORDS:
        return text
    return _WORD.sub(lambda match: _mended(match.group(), swaps_only), text)


def _shorten(match: re.Match[str]) -> str:
    once, twice = (match[1] + match[2] * count + match[3] for count in (1, 2))
    return twice if twice.lower() in load_lexicon().entries else once


def _mended(word: str, swaps_only: bool) -> str:
    lower = word.lower()
    if lower in _REAL or _is_known(lower):
        return word
    candidates = [*_swaps(lower)] + ([] if swaps_only or len(lower) < 5 else [*_gaps(lower)])
    return next((candidate for candidate in candidates if _is_known(candidate)), word)


def _is_known(word: str) -> bool:
    lexicon = load_lexicon()
    return word in lexicon.entries or word in lexicon.figures or word in _SAID_OF_WAYS


def _swaps(word: str) -> Iterator[str]:
    return (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1))


def _gaps(word: str) -> Iterator[str]:
    """A letter doubled, or of a double one only half: runing, hopp."""
    for i, letter in enumerate(word):
        yield word[:i] + letter + word[i:]
        if word[i : i + 2] == letter * 2:
            yield word[:i] + word[i + 1 :]
