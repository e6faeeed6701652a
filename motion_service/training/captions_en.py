"""English sentences from verb phrases: conjugation, persons and the many ways to ask. Knows no action and no style."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

OWNER: Final = "{p}"
"""Stands for whose hand it is: the, your, his, ..."""

SUBJECTS: Final[tuple[tuple[str, str], ...]] = (  # who, whose
    ("a person", "their"), ("a woman", "her"), ("someone", "their"), ("a man", "his"), ("she", "her"), ("he", "his"),
    ("a girl", "her"), ("the figure", "the"), ("the character", "their"), ("a boy", "his"), ("the avatar", "the"),
    ("a human", "the"), ("the assistant", "her"),
)  # fmt: skip
PERSONS: Final = (
    ("person", "their"),
    ("woman", "her"),
    ("man", "his"),
    ("girl", "her"),
    ("boy", "his"),
    ("character", "the"),
)

Form = Callable[[str, str, str], str]
"""(phrase, subject, owner) -> sentence."""

_IRREGULAR_GERUND: Final = {
    "die": "dying", "be": "being", "see": "seeing", "flee": "fleeing",
    **{verb: f"{verb}{verb[-1]}ing" for verb in "stop jog run get put hit cut sit swim spin step nod hop hug grab pat "
       "jab spar scrub drop drag chop cup shrug strut slip trot bid throb beg dip flip flap plod strum tap".split()},
}  # fmt: skip
_IRREGULAR_THIRD: Final = {"be": "is", "have": "has", "do": "does", "go": "goes"}


def verb_to_third_person(verb: str) -> str:
    """walk -> walks, wash -> washes, carry -> carries."""
    if verb in _IRREGULAR_THIRD:
        return _IRREGULAR_THIRD[verb]
    if re.search(r"(?:s|x|z|ch|sh)$", verb):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"


def verb_to_gerund(verb: str) -> str:
    """walk -> walking, wave -> waving, jog -> jogging."""
    if verb in _IRREGULAR_GERUND:
        return _IRREGULAR_GERUND[verb]
    return f"{verb[:-1]}ing" if re.search(r"[^eoy]e$", verb) else f"{verb}ing"


def conjugate(phrase: str, change: Callable[[str], str]) -> str:
    """Apply ``change`` to the first word of ``phrase`` and to every word marked with ~."""
    return re.sub(r"^(\w+)|~(\w+)", lambda match: change(match[1] or match[2]), phrase)


def _plain(phrase: str, owner: str) -> str:
    return phrase.replace("~", "").replace(OWNER, owner)


def third_person(phrase: str, owner: str) -> str:
    """walk and ~wave -> walks and waves."""
    return conjugate(phrase, verb_to_third_person).replace(OWNER, owner)


def _gerund(phrase: str, owner: str) -> str:
    return conjugate(phrase, verb_to_gerund).replace(OWNER, owner)


FORMS: Final[tuple[Form, ...]] = (  # ordered: what prompts look like most comes first
    lambda phrase, who, whose: f"{who} {third_person(phrase, whose)}",
    lambda phrase, who, whose: _plain(phrase, "your"),
    lambda phrase, who, whose: f"{who} is {_gerund(phrase, whose)}",
    lambda phrase, who, whose: _gerund(phrase, "the"),
    lambda phrase, who, whose: f"please {_plain(phrase, 'your')}",
    lambda phrase, who, whose: third_person(phrase, "the"),
    lambda phrase, who, whose: _plain(phrase, "the"),
    lambda phrase, who, whose: f"can you {_plain(phrase, 'your')} for me",
    lambda phrase, who, whose: f"now i will {_plain(phrase, 'my')}",
    lambda phrase, who, whose: f"{who} {third_person(phrase, 'the')} for a while",
    lambda phrase, who, whose: f"{_plain(phrase, 'your')} please",
    lambda phrase, who, whose: f"{_gerund(phrase, whose)}, {who}",
    lambda phrase, who, whose: f"let me see you {_plain(phrase, 'your')}",
    lambda phrase, who, whose: f"try to {_plain(phrase, 'your')}",
    lambda phrase, who, whose: f"i want you to {_plain(phrase, 'your')}",
    lambda phrase, who, whose: f"{who} starts to {_plain(phrase, whose)}",
)
"""Each turns a phrase into one sentence. Styled phrases already carry their adverb at the end."""
STYLED_FORMS: Final = 11
"""How many of :data:`FORMS` are used beside ``style`` words; the rest is for plain captions only."""

NOUN_FORMS: Final[tuple[Form, ...]] = (
    lambda noun, who, whose: noun,
    lambda noun, who, whose: f"{who} doing {noun}",
    lambda noun, who, whose: f"{noun} motion" if not noun.startswith(("a ", "an ", "the ")) else f"do {noun}",
)
