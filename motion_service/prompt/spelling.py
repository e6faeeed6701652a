"""Small mends of hasty English typing before a prompt is read: "rasie ur hand" -> "raise your hand".

Only a word that the lexicon does not know is changed, only into one that it knows, and only by two letters swapped or
by a letter doubled or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final

from motion_service.prompt.words import load_lexicon

_SHORT: Final = {"ur": "your", "u": "you", "pls": "please", "plz": "please", "n": "and", "dont": "don't", "wiv": "with"}
_SHORT_WORD: Final = re.compile(rf"(?<![\w'-])(?:{'|'.join(_SHORT)})(?![\w'-])", re.IGNORECASE)
_THAN: Final = re.compile(r"(,|\band)\s+than\b", re.IGNORECASE)
_DRAWN_OUT: Final = re.compile(r"\b(\w*?)([a-z])\2{2,}(\w*)", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<![\w'-])[a-z]{4,}(?![\w'-])", re.IGNORECASE)
_SAID_OF_WAYS: Final = frozenset("left right hand hands both forward backward backwards around seconds second".split())
_REAL: Final = frozenset(
    "clasp clasps blot blots flit tried sacred quite angel form calm united being diary bored brow snips "
    "past spot part salt trial trap".split()
)
"""Words that are one of the lexicon with two letters swapped, or a letter doubled."""
MAX_WORDS: Final = 14
"""A longer text is left as it is: the more words, the likelier a rare one is taken for a slip."""


def mend_shorthand(text: str) -> str:
    """Shorthand and drawn-out letters written out: "ur", "pls", "streeetch"."""
    text = _SHORT_WORD.sub(lambda match: _SHORT[match.group().lower()], text)
    return _DRAWN_OUT.sub(_shorten, _THAN.sub(r"\1 then", text))


def mend_ways(text: str) -> str:
    """``text`` with swapped letters put right in words for sides and directions: "rihgt", "lfet"."""
    return _WORD.sub(lambda match: _mended(match.group(), _SAID_OF_WAYS, _swaps), text)


def mend_actions(text: str) -> str:
    """``text`` with slips put right in words for actions; meant for one in which no action was found."""
    if len(text.split()) > MAX_WORDS:
        return text
    known = load_lexicon().entries
    return _WORD.sub(lambda match: _mended(match.group(), known, _candidates), text)


def _shorten(match: re.Match[str]) -> str:
    once, twice = (match[1] + match[2] * count + match[3] for count in (1, 2))
    return twice if twice.lower() in load_lexicon().entries else once


def _mended(word: str, known: Container[str], candidates: Callable[[str], Iterable[str]]) -> str:
    lower = word.lower()
    lexicon = load_lexicon()
    is_right = lower in lexicon.entries or lower in lexicon.classes
    if is_right or lower in _REAL or lower in _SAID_OF_WAYS:
        return word
    return next((candidate for candidate in candidates(lower) if candidate in known), word)


def _candidates(word: str) -> Iterator[str]:
    yield from _swaps(word)
    yield from _gaps(word) if len(word) >= 5 else ()


def _swaps(word: str) -> Iterator[str]:
    return (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1))


def _gaps(word: str) -> Iterator[str]:
    """A letter doubled, or of a double one only half: runing, hopp."""
    for i, letter in enumerate(word):
        yield word[:i] + letter + word[i:]
        if word[i : i + 2] == letter * 2:
            yield word[:i] + word[i + 1 :]
