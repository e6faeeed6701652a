"""Japanese sentences from verb phrases in the dictionary form: conjugation and ways to ask. Knows no action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SUBJECTS: Final = ("人", "女性", "男性", "誰か", "女の子", "男の子", "キャラクター", "彼女", "彼", "アバター")
PERSONS: Final = ("人", "女性", "男性", "女の子", "キャラクター")

Form = Callable[[str], str]

_GODAN: Final = {  # last kana: te-form ending, i-stem
    "う": ("って", "い"), "つ": ("って", "ち"), "る": ("って", "り"), "む": ("んで", "み"), "ぶ": ("んで", "び"),
    "ぬ": ("んで", "に"), "く": ("いて", "き"), "ぐ": ("いで", "ぎ"), "す": ("して", "し"),
}  # fmt: skip
_E_AND_I_ROWS: Final = "えけげせぜてでねべめれいきぎしじちにびみり"
_GODAN_IN_RU: Final = ("はしる", "しゃべる", "ひねる", "すべる", "いじる", "喋る", "蹴る", "切る", "走る")
_ICHIDAN_KANJI: Final = ("見る", "寝る", "出る", "着る", "得る")


def is_ichidan(verb: str) -> bool:
    """Whether a verb in る drops it when it conjugates (上げる, 見る), which 振る and いじる do not."""
    if verb.endswith(_GODAN_IN_RU) or not verb.endswith("る"):
        return False
    return verb.endswith(_ICHIDAN_KANJI) or verb[-2] in _E_AND_I_ROWS


def verb_to_te(verb: str) -> str:
    """歩く -> 歩いて, 上げる -> 上げて, お辞儀する -> お辞儀して."""
    if verb.endswith("する"):
        return f"{verb[:-2]}して"
    if verb.endswith(("行く", "いく")):
        return f"{verb[:-1]}って"
    if verb.endswith("ない"):
        return f"{verb}で"
    return f"{verb[:-1]}て" if is_ichidan(verb) else verb[:-1] + _GODAN[verb[-1]][0]


def verb_to_stem(verb: str) -> str:
    """歩く -> 歩き, 上げる -> 上げ, お辞儀する -> お辞儀し: what ます follows."""
    if verb.endswith("する"):
        return f"{verb[:-2]}し"
    return verb[:-1] if is_ichidan(verb) else verb[:-1] + _GODAN[verb[-1]][1]


def verb_to_past(verb: str) -> str:
    """歩く -> 歩いた."""
    te = verb_to_te(verb)
    return te[:-1] + ("た" if te.endswith("て") else "だ")


def _negative_or(verb: str, form: Form) -> str:
    """動かない has neither 〜ている nor 〜ます of its own: it stays as it is."""
    return verb if verb.endswith("ない") else form(verb)


FORMS: Final[tuple[Form, ...]] = (  # ordered: what prompts look like most comes first
    lambda verb: verb,
    lambda verb: f"{verb_to_te(verb)}ください",
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_te(v)}いる"),
    lambda verb: verb_to_te(verb),
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_stem(v)}ます"),
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_te(v)}みて"),
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_stem(v)}ながら"),
    lambda verb: f"{verb}動き",
    lambda verb: f"{verb_to_te(verb)}ほしい",
    lambda verb: _negative_or(verb, verb_to_past),
    lambda verb: f"{verb_to_te(verb)}ね",
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_stem(v)}ましょう"),
    lambda verb: f"{verb_to_te(verb)}くれる",
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_te(v)}見せて"),
    lambda verb: f"{verb}モーション",
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_stem(v)}なさい"),
    lambda verb: _negative_or(verb, lambda v: f"{verb_to_te(v)}います"),
    lambda verb: f"{verb}ところ",
)
"""Each turns a phrase in the dictionary form into one sentence."""
STYLED_FORMS: Final = 11
"""How many of :data:`FORMS` are used beside style words."""

NOUN_FORMS: Final[tuple[Form, ...]] = (
    lambda noun: noun,
    lambda noun: f"{noun}をして",
    lambda noun: f"{noun}をお願いします",
    lambda noun: f"{noun}のモーション",
)
