"""One thing that a Japanese sentence says is done, and which row of the curated list it is by the words around it.

手を + 振る is to wave, 首を + 振る to shake the head, 話を + 振る no motion at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from motion_service.prompt.ja_lexicon import Row
from motion_service.prompt.ja_tokens import Token

__all__ = ["Argument", "Predicate", "best_row", "unnamed"]


@dataclass(frozen=True, slots=True)
class Argument:
    """A noun and the particle after it, "" when there is none."""

    token: Token
    particle: str


@dataclass(slots=True)
class Predicate:
    """One verb, or noun used as one."""

    start: int
    end: int
    """Where what belongs to it stops, connective included."""
    kind: str
    """action, plain (a verb that says no known motion), chat, state (です, adjectives), phrase."""
    role: str
    """main, then, after (strictly later), while, before, relative, stop, or side (a condition, reason, comparison)."""
    row: Row | None
    token: Token
    forms: frozenset[str]
    arguments: tuple[Argument, ...] = ()
    manners: tuple[Token, ...] = ()
    who: Token | None = None
    is_noun: bool = False
    tail: frozenset[str] = field(default=frozenset())
    """Words after it that colour it: か, ね, よ."""

    @property
    def lemma(self) -> str:
        return self.token.lemma

    @property
    def action(self) -> str | None:
        return self.row.action if self.row else None

    @property
    def is_weak(self) -> bool:
        return self.row is not None and self.row.is_weak


_OBJECT: Final = frozenset(["を", "", "は", "も", "だけ", "とか", "でも", "って"])
_ACCEPTED: Final[dict[str, frozenset[str]]] = {
    "を": _OBJECT,
    "が": frozenset(["が", "", "は", "も", "って"]),
    "に": frozenset(["に", "へ", "", "には", "の", "にも", "までに", "まで"]),
    "へ": frozenset(["に", "へ", ""]),
    "で": frozenset(["で", "でも"]),
    "は": frozenset(["は"]),
    "と": frozenset(["と"]),
    "の": frozenset(["の"]),
}


def best_row(
    rows: tuple[Row, ...], own: Sequence[Argument], before: Sequence[Argument], forms: frozenset[str], words: set[str]
) -> Row | None:
    """The most demanding row whose conditions hold; a bodiless subject (電車が) makes any motion figurative."""
    best: tuple[float, Row] | None = None
    for row in rows:
        for arguments, worth in ((own, 0.1), ((*own, *before), 0.0)):
            scores = [_score(need, arguments, forms, words) for need in row.needs]
            if all(scores):
                score = sum(scores) + worth
                if best is None or score > best[0]:
                    best = score, row
                break
    if best is None:
        return None
    return best[1]


def _score(need: tuple[str, ...], arguments: Sequence[Argument], forms: frozenset[str], words: set[str]) -> float:
    """How much it says that one of the alternatives holds; 0 when none does."""
    for option in need:
        if option.startswith("#"):
            if option[1:] in forms:
                return 1.0
        elif option.startswith("!"):
            particle = option[1:]
            absent = not any(a.particle == particle for a in arguments) and particle not in words - {"を", "に"}
            if absent:
                return 0.5
        elif ":" in option:
            noun, _, particle = option.partition(":")
            accepted = _ACCEPTED.get(particle, frozenset([particle]))
            for argument in arguments:
                token = argument.token
                if argument.particle in accepted and (noun == token.text or noun in token.categories):
                    return 2.0 if noun == token.text else 1.9
        elif option in words or any(option in a.token.categories for a in arguments):
            return 1.5
    return 0.0


def unnamed(row: Row | None) -> Row:
    """The row of an action that is played, but has no name (電話をかける仕草)."""
    empty = Row("v5", (), None, False, "", "", True)
    return empty if row is None else replace(row, action=None, is_weak=False, english="", is_known=True)
