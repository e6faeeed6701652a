"""The Japanese words that the reader and the glosser know: a curated list of motion words, and JMdict for the rest.

Keys are folded to hiragana, so ダンス, だんす and ﾀﾞﾝｽ are one word; kanji stay. Both tables are read on first use.
The curated list (``data/ja_motion.tsv``) explains its own columns. JMdict: (c) EDRDG, CC BY-SA, see
``data/JMDICT-NOTICE.txt``.
"""

from __future__ import annotations

import lzma
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final

from motion_service.prompt.deinflect import CLASSES, verb_classes
from motion_service.wording import normalise_text

__all__ = ["Dictionary", "Lexicon", "Row", "dictionary", "fold", "lexicon"]

KINDS: Final = ("v5", "v1", "vk", "vs", "do", "chat", "adv", "body", "thing", "who", "way", "phrase", "form")
_VERBS: Final = ("v5", "v1", "vk", "do", "chat")
_FOLD: Final = {code: code - 0x60 for code in range(ord("ァ"), ord("ヷ"))}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the curated list for one word."""

    kind: str
    needs: tuple[tuple[str, ...], ...]
    """All of these must hold; of each, one alternative."""
    action: str | None
    """Name of the action, "none" for figurative words, None for one without a name."""
    is_weak: bool
    """Gives way to another action of the same sentence."""
    english: str
    category: str
    """Kind of noun that conditions name: hand, head, sword, world, right, ... or ""."""
    is_known: bool
    """Whether the word moves the body or is said not to; False for plain verbs and nouns."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The curated list."""

    words: dict[str, tuple[Row, ...]]
    """Nouns, adverbs and fixed phrases by their folded letters."""
    verbs: dict[str, tuple[Row, ...]]
    """Verbs by their folded dictionary form."""
    roots: dict[str, tuple[tuple[str, str], ...]]
    """{root of a verb: (dictionary form, class of inflection), ...}"""
    longest: int


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Common words of JMdict with one English gloss each."""

    glosses: dict[str, str] = field(repr=False)
    roots: dict[str, str] = field(repr=False)
    """{root of a verb or adjective: dictionary forms, separated by blanks}"""


def fold(text: str) -> str:
    """Lower-case letters with katakana as hiragana; as many characters as before."""
    folded = text.translate(_FOLD)
    return folded if folded.isascii() else "".join(c.lower() if c.isascii() else c for c in folded)


@cache
def lexicon() -> Lexicon:
    """Read ``ja_motion.tsv``. Raises ``ValueError`` for a row that does not explain itself."""
    text = resources.files("motion_service").joinpath("prompt/data/ja_motion.tsv").read_text(encoding="utf-8")
    words: dict[str, list[Row]] = defaultdict(list)
    verbs: dict[str, list[Row]] = defaultdict(list)
    roots: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 5 or columns[0] not in KINDS:
            raise ValueError(f"ja_motion.tsv, line {number}: five columns and a known kind, not {line!r}")
        row = _row(*columns)
        for spelling in columns[1].split("|"):
            word = fold(normalise_text(spelling))
            if row.kind not in _VERBS or not _add_verb(word, row, verbs, roots):
                words[word if word == "する" or row.kind not in _VERBS else word.removesuffix("する")].append(row)
    return Lexicon(
        {word: tuple(rows) for word, rows in words.items()},
        {word: tuple(rows) for word, rows in verbs.items()},
        {root: tuple(lemmas) for root, lemmas in roots.items()},
        max(map(len, words)),
    )


def _row(kind: str, spellings: str, needs: str, action: str, english: str) -> Row:
    is_noun = kind in ("body", "thing", "way")
    name = action.rstrip("?")
    return Row(
        kind=kind,
        needs=tuple(tuple(map(fold, need.split("|"))) for need in needs.split()) if needs != "-" else (),
        action=None if is_noun or name in ("-", "other") else name,
        is_weak=action.endswith("?"),
        english="" if english == "-" else english,
        category=name if is_noun else kind if kind == "who" else "",
        is_known=name != "-" and not is_noun,
    )


def _add_verb(word: str, row: Row, verbs: dict[str, list[Row]], roots: dict[str, dict[tuple[str, str], None]]) -> bool:
    """Enter a verb under its root; False for a noun that する makes a verb (披露する), entered as that noun."""
    classes = verb_classes(word)
    if word == "する":
        classes = ("vs",)
    elif row.kind in ("v5", "v1"):
        classes = ("v1",) if row.kind == "v1" else tuple(name for name in classes if name != "v1")
    if classes == ("vs",) and word != "する":
        verbs[word.removesuffix("する")].append(row)
        return False
    if not classes:
        return False
    verbs[word].append(row)
    for name in classes:
        roots[word.removesuffix(CLASSES[name])][word, name] = None
    return True


@cache
def dictionary() -> Dictionary:
    """Read JMdict: about 70,000 words, well below 0.3 s."""
    packed = resources.files("motion_service").joinpath("prompt/data/jmdict-common.tsv.xz").read_bytes()
    glosses: dict[str, str] = {}
    roots: dict[str, str] = {}
    for line in lzma.decompress(packed).decode("utf-8").splitlines():
        word, _, gloss = line.partition("\t")
        glosses[word] = gloss
        if (gloss.startswith("to ") or word.endswith("い")) and len(word) > 1:
            root = word[:-1]
            roots[root] = f"{roots[root]} {word}" if root in roots else word
    return Dictionary(glosses, roots)
