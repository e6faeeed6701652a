"""One English sentence to look around in: what stands before a word, where its clause begins, who is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from motion_service.prompt.words import Token, load_lexicon

_MARKS: Final = frozenset(map(chr, range(0xA000, 0xA100)))
"""Characters that stand for lengths of time."""


_NONE: Final = frozenset[str]()
CLAUSE: Final = 40
"""Words that a clause is looked back over."""


def belongs(word: str, *classes: str) -> bool:
    """Whether ``word`` is of one of the classes of the table, such as "modals"."""
    return not load_lexicon().classes.get(word, _NONE).isdisjoint(classes)


def is_adverb(word: str) -> bool:
    """Words that may stand between a verb and what governs it; lengths of time count."""
    return belongs(word, "adverbs") or (word.endswith("ly") and not belongs(word, "adjectives")) or word in _MARKS


class Words:
    """Tokens ``first`` to ``end`` of a text. Outside of them every word is empty."""

    def __init__(self, tokens: Sequence[Token], first: int, end: int) -> None:
        self._tokens = tokens
        self.first, self.end = first, end

    def word(self, index: int) -> str:
        return self._tokens[index].word if self.first <= index < self.end else ""

    def between(self, start: int, stop: int) -> list[str]:
        return [self.word(index) for index in range(max(start, self.first), min(stop, self.end))]

    def back(self, index: int) -> int:
        """Index of the nearest word before ``index`` that is no adverb; below the sentence's first when none is."""
        index -= 1
        while index >= self.first and is_adverb(self.word(index)):
            index -= 1
        return index

    def before(self, index: int) -> str:
        """The nearest word before ``index`` that is no adverb."""
        return self.word(self.back(index))

    def is_border(self, index: int) -> bool:
        """Whether a clause may begin behind that word: a mark, "and", "while", outside of the sentence."""
        word = self.word(index)
        return not word or not word[0].isalnum() or belongs(word, "borders")

    def clause(self, index: int) -> list[str]:
        """Words of the clause of ``index`` that stand before it."""
        return self.between(self.clause_start(max(self.back(index), self.first)), index)

    def clause_start(self, index: int) -> int:
        """First word of the clause of ``index``, at most CLAUSE words back."""
        furthest = max(self.first, index - CLAUSE)
        while index > furthest and not self.is_border(index - 1):
            index -= 1
        return index

    def noun_start(self, at: int) -> int:
        """First word of the noun phrase that ends at ``at``: "the old man"."""
        if belongs(self.word(at), "pronouns"):
            return at
        start = at
        while start > max(self.first, at - 8) and not belongs(self.word(start), "determiners"):
            stops = belongs(self.word(start - 1), "causes", "modals", "be", "prepositions", "do") or self.word(
                start - 1
            ) in ("that",)
            if self.is_border(start - 1) or stops:
                break
            start -= 1
        return start

    def has_figure(self, index: int) -> bool:
        """Whether someone is named before ``index``: "a man", "she"."""
        return names_figure(self.between(self.first, index))


def names_figure(words: Iterable[str]) -> bool:
    """Whether one of ``words`` is a person in a caption."""
    return any(belongs(word, "subjects", "figures") for word in words)


def noun_places(tokens: Sequence[Token]) -> list[bool | None]:
    """True for a token right after an article or number, None for one with only adjectives between, else False."""
    return [_is_noun_place(tokens, index) for index in range(len(tokens))]


_FUNCTION: Final = (
    "modals",
    "be",
    "prepositions",
    "subjects",
    "negations",
    "starts",
    "causes",
    "borders",
    "pronouns",
    "do",
)


def _is_noun_place(tokens: Sequence[Token], index: int) -> bool | None:
    for steps in range(4):
        at = index - 1 - steps
        word = tokens[at].word if at >= 0 else ""
        if belongs(word, "determiners", "numbers") or word.isdigit():
            return None if steps else True
        if steps and (not word or not word[0].isalnum()):
            return None
        is_function = belongs(word, *_FUNCTION) or word in ("if", "with") or "'" in word
        if is_function or not _may_be_adjective(word):
            return None if steps and is_function else False
    return False


def _may_be_adjective(word: str) -> bool:
    if not word or not (word[0].isalpha() or "-" in word[1:]) or belongs(word, "figures"):
        return False
    if belongs(word, "adjectives") or word in _MARKS:
        return True
    if any(entry.form != "noun" for entry in load_lexicon().entries.get(word, ())):
        return False
    return not is_adverb(word)
