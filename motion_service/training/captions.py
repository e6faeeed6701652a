"""Action and style to the sentences people ask for it with, in English and Japanese: what the model learns to read.

The words are in ``captions.toml``; here they are composed, the same way every time. Rules of the words:

* A *wave* moves the hand to and fro, a *raise* holds it up. 「バイバイ」 belongs to bye and byebye.
* A wording without a side ("waves hello", 「手を振る」) belongs mostly to the right hand: :data:`PLAIN_SHARE`.
* Left and right have the same sentences: every one of ``wave-left`` is one of ``wave-right`` with the word swapped.

For whoever trains: a mirrored clip has the captions of :func:`mirror_action`. The clips of :data:`SIDED_ACTIONS` use
one hand or foot, though their name does not say which; look which one moves (bye and byebye: the right hand, the left
when mirrored) and, for a share of the windows, pass it as ``side`` to name it in the words.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeVar

from motion_service.clips import Language
from motion_service.errors import BadRequest
from motion_service.training import captions_en, captions_ja
from motion_service.training.corpus import mirror_action

__all__ = [
    "ACTIONS",
    "PLAIN_SHARE",
    "SIDED_ACTIONS",
    "STYLES",
    "all_captions",
    "captions_for",
    "mirror_action",
    "styles_of",
]

Side = Literal["left", "right"]
_Form = TypeVar("_Form")

_TABLES: Final = tomllib.loads((Path(__file__).parent / "captions.toml").read_text(encoding="utf-8"))
_SIDES: Final[tuple[Side, ...]] = ("left", "right")
_SIDE_JA: Final = {"left": "左", "right": "右"}

ACTIONS: Final[tuple[str, ...]] = tuple(
    name
    for table in _TABLES["action"]
    for name in ([table.replace("SIDE", side) for side in _SIDES] if "SIDE" in table else [table])
)
STYLES: Final[tuple[str, ...]] = tuple(_TABLES["style"])

PLAIN_SHARE: Final[dict[str, float]] = {
    "wave-right": 0.3, "wave-left": 0.06, "wave-both": 0.02, "raise-right": 0.15, "raise-left": 0.05,
    "walk-right": 0.06, "walk-left": 0.06, "turn-right": 0.08, "turn-left": 0.08,
}  # fmt: skip
"""Share of an action's captions that name no side."""
_NOUN_SHARE: Final = 0.14

SIDED_ACTIONS: Final[dict[str, str]] = {
    "bye": "hand", "byebye": "hand", "guide": "hand", "call": "hand", "beckon": "hand", "respond": "hand",
    "salute": "hand", "point": "hand", "punch": "hand", "slash": "hand", "drink": "hand",
    "kick": "leg", "soccer-kick": "leg",
}  # fmt: skip
"""One-sided actions whose name does not tell the side -> the limb. Only these take ``side``."""
_LIMB_JA: Final = {"hand": "手", "leg": "足"}

_LOCOMOTION: Final = {
    "walk",
    "run",
    "dash",
    "walk-back",
    *(f"{kind}-{side}" for kind in ("walk", "turn") for side in _SIDES),
}

_DATASET_1: Final = (
    "normal", "happy", "sad", "angry", "proud", "not-confident", "masculine", "feminine", "childish", "old", "tired",
    "active", "musical", "giant", "chimpira",
)  # fmt: skip
_DATASET_2: Final = ("normal", "active", "elderly", "exhausted", "feminine", "masculine", "youthful")
_IN_DATASET_1: Final = {"walk", "run", "dash", "walk-back", "walk-left", "walk-right", "bow", "bye", "byebye", "guide"}
_IN_DATASET_2: Final = {"walk", "run"} | {a for a in ACTIONS if a.startswith(("raise-", "wave-", "turn-"))}

_ALIKE: Final[dict[str, str]] = {
    "happy": "active", "angry": "active", "musical": "active", "sad": "exhausted", "tired": "exhausted",
    "old": "elderly", "elderly": "old", "exhausted": "tired", "youthful": "active", "childish": "youthful",
    "not-confident": "feminine", "proud": "masculine", "giant": "masculine", "chimpira": "masculine",
}  # fmt: skip
"""Style -> the style nearest to it, for actions that were recorded in that one only."""
_BORROWED_SHARE: Final = 0.2


def styles_of(action: str) -> tuple[str, ...]:
    """Styles in which the Bandai-Namco corpus has ``action``; other actions are ``normal`` only."""
    known = {"normal"} | set(_DATASET_1 if action in _IN_DATASET_1 else ())
    known |= set(_DATASET_2 if action in _IN_DATASET_2 else ())
    return tuple(style for style in STYLES if style in known)


def _borrowed_styles(action: str, style: str) -> tuple[str, ...]:
    """Styles in which the corpus lacks ``action`` and that are asked for with ``style``'s clips instead.

    Without their words "an angry man raises his hand" would read like the actions that do exist in anger.
    """
    known = styles_of(action)
    nearest = {other: _ALIKE.get(other, "normal") for other in STYLES if other not in known}
    return tuple(other for other, alike in nearest.items() if style == (alike if alike in known else "normal"))


@cache
def captions_for(action: str, style: str, language: Language, side: Side | None = None) -> tuple[str, ...]:
    """Distinct captions, lower-case, without final punctuation: up to 130 in style ``normal``, up to 54 in others.

    ``side`` (only :data:`SIDED_ACTIONS`) names the hand or foot in every caption. Raises
    :class:`~motion_service.errors.BadRequest` for an action, style or side that there is not.
    """
    if action not in ACTIONS:
        raise BadRequest(f"unknown action {action!r}: use one of {', '.join(ACTIONS)}", field="action")
    if style not in STYLES:
        raise BadRequest(f"unknown style {style!r}: use one of {', '.join(STYLES)}", field="style")
    if side is not None and action not in SIDED_ACTIONS:
        raise BadRequest(f"action {action!r} takes no side: only {', '.join(SIDED_ACTIONS)} do", field="side")
    phrases = _phrases(action, language, side)
    phrases += _style_words(style, "walk", language) * 2 if action == "walk" else ()
    nouns = _words(action, "noun", language) if side is None else ()
    plain = _words(action, "plain", language) if side is None else ()
    limit = min(130, 6 * len(phrases)) if style == "normal" else min(54, 3 * len(phrases))
    limit = limit if side is None else limit // 2
    share = PLAIN_SHARE.get(action, 0.0)
    named = _compose(action, style, language, phrases, nouns, limit)
    return tuple(
        dict.fromkeys(named + _compose(action, style, language, plain, (), round(limit * share / (1 - share))))
    )


def all_captions() -> tuple[str, ...]:
    """Every caption of the corpus's actions and styles, once, sorted: what has to be embedded."""
    return tuple(
        sorted(
            {
                caption
                for action in ACTIONS
                for style in styles_of(action)
                for language in ("en", "ja")
                for side in (None, *_SIDES)
                if side is None or action in SIDED_ACTIONS
                for caption in captions_for(action, style, language, side)
            }
        )
    )


def _compose(
    action: str, style: str, language: Language, phrases: Sequence[str], nouns: Sequence[str], limit: int
) -> tuple[str, ...]:
    """``limit`` distinct sentences (fewer when the words do not give more), the same every time.

    The seed is that of the table, which left and right share: both sides get the same sentences.
    """
    rng = random.Random(f"{_table_name(action)}|{style}|{language}")
    phrase_bag, noun_bag = _bag(rng, phrases), _bag(rng, nouns)
    borrowed = _borrowed_styles(action, style)
    compose = _compose_english if language == "en" else _compose_japanese
    found: dict[str, None] = {}  # a set that keeps the order
    for _ in range(20 * limit if phrases else 0):
        is_noun = bool(nouns) and rng.random() < _NOUN_SHARE
        words = rng.choice(borrowed) if borrowed and rng.random() < _BORROWED_SHARE else style
        found[compose(rng, next(noun_bag if is_noun else phrase_bag), is_noun, words, action in _LOCOMOTION)] = None
        if len(found) == limit:
            break
    return tuple(found)


def _table_name(action: str) -> str:
    if action in _TABLES["action"]:
        return action
    return action.rpartition("-")[0] + "-SIDE"


def _words(action: str, kind: str, language: Language) -> tuple[str, ...]:
    """Entries of the action's table ("" phrases, "noun", "plain"), with side and limb put in."""
    table = _TABLES["action"][_table_name(action)]
    entries = table.get(language + (f"_{kind}" if kind else ""), ())
    if kind == "plain" and not entries:  # wave-both shares the sideless words of wave-SIDE
        entries = _TABLES["action"].get(action.rpartition("-")[0] + "-SIDE", {}).get(f"{language}_plain", ())
    side = action.rpartition("-")[2]
    side_word = side if language == "en" else _SIDE_JA.get(side, "")
    limbs = ("hand", "arm") if language == "en" else ("手", "腕")
    return tuple(
        dict.fromkeys(entry.replace("{side}", side_word).replace("{hand}", limb) for entry in entries for limb in limbs)
    )


def _phrases(action: str, language: Language, side: Side | None) -> tuple[str, ...]:
    """Verb phrases; with ``side`` the limb that does it is named."""
    phrases = _words(action, "", language)
    if side is None:
        return phrases
    limb = SIDED_ACTIONS[action]
    if language == "en":
        free = [
            phrase
            for phrase in phrases
            if not any(word in phrase for word in ("hand", "fist", "foot", "leg", "palm", "~"))
        ]
        return tuple(
            f"{phrase} {link} {captions_en.OWNER} {side} {limb}" for link in ("with", "using") for phrase in free
        )
    free = [phrase for phrase in phrases if not any(word in phrase for word in "手拳足")] or list(phrases)
    return tuple(f"{_SIDE_JA[side]}{_LIMB_JA[limb]}で{phrase}" for phrase in free)


def _style_words(style: str, kind: str, language: Language) -> tuple[str, ...]:
    return tuple(_TABLES["style"][style].get(kind if language == "en" else f"ja_{kind}", ()))


def _bag(rng: random.Random, items: Sequence[str]) -> Iterator[str]:
    """All items in a random order, again and again: none is left out for long."""
    while items:
        yield from rng.sample(items, len(items))


def _likely(rng: random.Random, forms: Sequence[_Form]) -> _Form:
    """One of ``forms``, the first ones more often: they stand in the order in which people use them."""
    return forms[int(len(forms) * rng.random() ** 1.6)]


def _adverb(rng: random.Random, style: str, moving: bool, language: Language) -> str:
    words = _style_words(style, "adv", language) + (_style_words(style, "move", language) if moving else ())
    return rng.choice(words)


def _english_subject(rng: random.Random, style: str, marked: bool) -> tuple[str, str]:
    """Who does it and whose hand it is; ``marked``: the subject itself tells the style."""
    if not marked:
        return rng.choice(captions_en.SUBJECTS)
    if (who := _style_words(style, "who", "en")) and rng.random() < 0.5:
        return rng.choice(who), "their"
    person, whose = rng.choice(captions_en.PERSONS)
    adjective = rng.choice(_style_words(style, "adj", "en"))
    return f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective} {person}", whose


def _compose_english(rng: random.Random, phrase: str, is_noun: bool, style: str, moving: bool) -> str:
    draw = rng.random()
    marked, told = (draw < 0.06, draw > 0.88) if style == "normal" else (draw < 0.42, draw > 0.34)
    who, whose = _english_subject(rng, style, marked)
    if is_noun:
        form: Callable[[str, str, str], str] = rng.choice(
            captions_en.NOUN_FORMS[1:2] if marked else captions_en.NOUN_FORMS
        )
    else:
        forms = captions_en.FORMS if style == "normal" else captions_en.FORMS[: captions_en.STYLED_FORMS]
        form = _likely(rng, [form for form in forms if "who" in form("go", "who", "the").split()] if marked else forms)
    if told:
        adverb = _adverb(rng, style, moving, "en")
        before = adverb.endswith("ly") and " " not in adverb and not is_noun and rng.random() < 0.25
        if before and not marked:
            return f"{who} {adverb} {captions_en.third_person(phrase, whose)}"
        phrase = f"{phrase} {adverb}"
    return form(phrase, who, whose).replace(captions_en.OWNER, "the")


def _compose_japanese(rng: random.Random, phrase: str, is_noun: bool, style: str, moving: bool) -> str:
    draw = rng.random()
    marked, told = (draw < 0.06, draw > 0.9) if style == "normal" else (draw < 0.36, draw > 0.28)
    forms = captions_ja.FORMS if style == "normal" else captions_ja.FORMS[: captions_ja.STYLED_FORMS]
    if is_noun:
        forms = captions_ja.NOUN_FORMS[:1] if phrase.endswith("に") else captions_ja.NOUN_FORMS
    sentence = _likely(rng, forms)(phrase)
    if told:
        sentence = f"{_adverb(rng, style, moving, 'ja')}{sentence}"
    if marked:
        who = _style_words(style, "who", "ja")
        described = rng.choice(_style_words(style, "adj", "ja")) + rng.choice(captions_ja.PERSONS)
        return f"{rng.choice(who) if who and rng.random() < 0.5 else described}{'の' if is_noun else 'が'}{sentence}"
    if not is_noun and rng.random() < 0.2:
        return f"{rng.choice(captions_ja.SUBJECTS)}が{sentence}"
    return sentence
