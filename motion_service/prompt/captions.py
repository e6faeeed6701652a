"""English words of one action to a caption: "please wave your left hand" -> "a person waves their left hand"."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from motion_service.prompt.actions import caption
from motion_service.prompt.words import load_lexicon, text_to_tokens

_POLITE: Final = re.compile(
    r"^(?:(?:ok|okay|hey|now|so|well|sure|alright|please|kindly|then|and|first|next|finally|just|first of all"
    r"|after that|could you|can you|would you|will you|let's|go ahead and|i want you to|i'd like you to"
    r"|i would like you to|let me|i will|i'll|i'm going to|(?:make|have|let) (?:her|him|the (?:avatar|character|model))"
    r"|show me|try to|start to|begin to)\b[\s,]*)+",
    re.IGNORECASE,
)
_CAPTION: Final = re.compile(
    r"^(?:an?|the|one|two|three|some)\s+(?:[\w-]+\s+){1,6}?(?:\w+s|is|are|\w+ing|\w+ed)\b"
    r"|^(?:he|she|they|someone|somebody|a person)\s",
    re.IGNORECASE,
)
_TAIL: Final = re.compile(r"[\s,]*\b(?:please|for me|now|right now|thanks|thank you)\b[\s,]*$", re.IGNORECASE)
_OWNER: Final = {
    "your": "their",
    "yourself": "themselves",
    "my": "their",
    "you": "they",
    "myself": "themselves",
    "me": "someone",
}


def words_to_caption(words: str, action: str | None, detail: Collection[str]) -> str:
    """A sentence in the third person; "" when neither the words nor ``action`` give one."""
    plain = _TAIL.sub("", _POLITE.sub("", words)).strip(" ,.;:-")
    if _CAPTION.match(plain) and _names_figure(plain):
        return plain
    tokens = text_to_tokens(plain.lower())
    entries = load_lexicon().entries
    first = next((i for i, token in enumerate(tokens) if token.word in entries), None)
    if first is not None and all(token.word.endswith("ly") for token in tokens[:first]):
        forms = {entry.form for entry in entries[tokens[first].word]}
        rest = " ".join(_OWNER.get(token.word, token.word) for token in tokens[first + 1 :])
        before = "".join(f"{token.word} " for token in tokens[:first])
        verb = tokens[first].word
        if "base" in forms:
            return _join(f"a person {before}{_third_person(verb)} {rest}")
        if "s" in forms:
            return _join(f"a person {before}{verb} {rest}")
        if "ing" in forms:
            return _join(f"a person is {before}{verb} {rest}")
    return caption(action, detail) if action else ""


def is_caption(words: str) -> bool:
    """Whether ``words`` are worded like a caption as they are: "a person walks forward, then waves"."""
    sentences = re.split(r"[.!?]\s", words.strip(" .!?"))
    return len(sentences) <= 2 and bool(_CAPTION.match(words)) and _names_figure(words)


def _names_figure(words: str) -> bool:
    """Whether it is about someone: a noun phrase such as "a deep bow" is no caption."""
    first = [token.word for token in text_to_tokens(words.lower())[:8]]
    known = load_lexicon()
    return any(word in known.figures or word in ("he", "she", "they") for word in first)


def _join(words: str) -> str:
    return re.sub(r"\s+([,.;])", r"\1", " ".join(words.split()))


def _third_person(verb: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh|[^o]o)$", verb):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"
