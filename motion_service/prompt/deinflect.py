"""Japanese inflection as a small grammar: which endings a verb or adjective takes, and what each of them says.

A class of words has stems (歩く: 歩か-, 歩き-, 歩け-, 歩こ-, 歩い-), a stem takes auxiliaries (歩き-ます), and
most auxiliaries are inflected again like some class (歩い-て-い-ます). :func:`match_endings` follows the grammar from
the end of a word's root on; :func:`deinflect` turns it round to find the dictionary form of an inflected word.
Works on text folded to hiragana (kanji stay). Knows no word except the irregular ones.

Grammar: S. Makino and M. Tsutsui, A Dictionary of Basic Japanese Grammar, The Japan Times 1986, appendix 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["CLASSES", "Deinflected", "Ending", "deinflect", "match_endings", "verb_classes"]


class Ending(NamedTuple):
    """One way to read the letters after a root."""

    end: int
    """Where the ending stops."""
    forms: frozenset[str]
    """What it says: te, past, neg, polite, now, want, request, imperative, volitional, potential, passive, ..."""


class Deinflected(NamedTuple):
    """A dictionary form that an inflected word may come from."""

    lemma: str
    word_class: str
    forms: frozenset[str]


_Arc = tuple[str, str, str]
"""(letters, state that follows or "" at the end of the word, form that the letters say or "")"""


def _godan(a: str, i: str, u: str, e: str, o: str, te: str) -> list[_Arc]:
    """The stems of a five-row verb; ``te`` holds the letters before て and whether it is voiced: "い+" gives いで."""
    voiced = te.endswith("+")
    return [
        (u, "", "dict"), (a, "a", ""), (i, "i", ""), (e, "e", ""), (o, "o", ""),
        (te.rstrip("+"), "d" if voiced else "t", ""),
    ]  # fmt: skip


_MASU: Final[list[_Arc]] = [
    ("す", "", "dict"), ("した", "", "past"), ("せん", "", "neg"), ("せんでした", "", "neg"), ("せんか", "", "invite"),
    ("しょう", "", "volitional"), ("して", "", "te"), ("せ", "", "imperative"), ("したら", "", "if"),
    ("すれば", "", "if"),
]  # fmt: skip

_ADJECTIVE: Final[list[_Arc]] = [
    ("い", "", "dict"), ("く", "", "adverb"), ("くて", "", "te"), ("かった", "", "past"), ("かったら", "", "if"),
    ("ければ", "", "if"), ("くな", "adj", "neg"), ("さ", "", "noun"), ("そう", "", "seem"), ("す", "v1-gi", "too"),
    ("げ", "", "seem"),
]  # fmt: skip

_AFTER_I: Final[list[_Arc]] = [  # what the i-stem takes (歩き-)
    ("", "", "stem"), ("ま", "masu", "polite"), ("た", "adj", "want"), ("たが", "v5r", "want"), ("ながら", "", "while"),
    ("乍ら", "", "while"), ("つつ", "", "while"), ("なさい", "", "imperative"), ("な", "", "imperative-na"),
    ("そう", "", "seem"), ("がち", "", "seem"), ("っぱなし", "", "left"), ("やす", "adj", "apt"),
    ("にく", "adj", "apt"),
    ("づら", "adj", "apt"), ("やが", "v5r", ""), ("まく", "v5r", ""), ("はじめ", "v1", "start"),
    ("始め", "v1", "start"), ("だ", "v5s", "start"), ("出", "v5s", "start"), ("つづけ", "v1", ""), ("続け", "v1", ""),
    ("おわ", "v5r", "done"), ("終わ", "v5r", "done"), ("すぎ", "v1", "too"), ("過ぎ", "v1", "too"), ("まわ", "v5r", ""),
    ("回", "v5r", ""), ("さ", "v5r", "go"), ("去", "v5r", "go"), ("なお", "v5s", ""), ("直", "v5s", ""),
    ("かか", "v5r", ""), ("かけ", "v1", ""), ("こ", "v5m", ""), ("込", "v5m", ""), ("寄", "v5r", ""), ("切", "v5r", ""),
    ("きれ", "v1", "potential"), ("通", "v5s", ""), ("合", "v5u", ""), ("あ", "v5u", ""), ("ください", "", "request"),
    ("下さい", "", "request"), ("くださ", "v5ra", "request"), ("いただ", "v5k", "request"), ("頂", "v5k", "request"),
    ("ねが", "v5u", "request"), ("願", "v5u", "request"), ("いた", "v5s", "humble"), ("致", "v5s", "humble"),
    ("飛ば", "v5s", ""), ("とば", "v5s", ""), ("つけ", "v1", ""),
    ("付け", "v1", ""), ("倒", "v5s", ""), ("上げ", "v1", ""), ("下ろ", "v5s", ""), ("返", "v5s", ""),
    ("散ら", "v5s", ""),
    ("抜", "v5k", ""), ("進", "v5m", ""), ("戻", "v5r", ""), ("越え", "v1", ""), ("抜け", "v1", ""),
    ("落と", "v5s", ""),
    ("崩れ", "v1", ""), ("寄せ", "v1", ""), ("着", "v5k", ""), ("回", "v5s", ""), ("狂", "v5u", ""), ("疲れ", "v1", ""),
    ("方", "", "noun"), ("かた", "", "noun"), ("得", "v1", "potential"), ("に", "", "purpose"),
    ("", "vs", "honour"),
]  # fmt: skip

_NEGATION: Final[list[_Arc]] = [
    ("な", "adj", "neg"), ("ず", "", "neg"), ("ずに", "", "neg"), ("ぬ", "", "neg"), ("ん", "", "neg"),
    ("ねえ", "", "neg"),
    ("ないで", "", "neg-te"), ("なきゃ", "", "must"), ("なくちゃ", "", "must"), ("なければ", "", "must"),
    ("んで", "", "neg-te"),
]  # fmt: skip

_GODAN: Final[dict[str, list[_Arc]]] = {
    "v5k": _godan("か", "き", "く", "け", "こ", "い"), "v5g": _godan("が", "ぎ", "ぐ", "げ", "ご", "い+"),
    "v5s": _godan("さ", "し", "す", "せ", "そ", "し"), "v5t": _godan("た", "ち", "つ", "て", "と", "っ"),
    "v5n": _godan("な", "に", "ぬ", "ね", "の", "ん+"), "v5b": _godan("ば", "び", "ぶ", "べ", "ぼ", "ん+"),
    "v5m": _godan("ま", "み", "む", "め", "も", "ん+"), "v5r": [*_godan("ら", "り", "る", "れ", "ろ", "っ"),
    ("て", "te", "te")],
    "v5u": _godan("わ", "い", "う", "え", "お", "っ"), "v5iku": _godan("か", "き", "く", "け", "こ", "っ"),
    "v5ra": [("い", "", "imperative"), *_godan("ら", "い", "る", "れ", "ろ", "っ"), ("り", "i", "")],
}  # fmt: skip

_ARCS: Final[dict[str, list[_Arc]]] = {
    **_GODAN,
    "v1": [("る", "", "dict"), ("", "1", "")],
    "vs": [
        ("する", "", "dict"), ("し", "i", ""), ("し", "t", ""), ("し", "neg", ""), ("せず", "", "neg"),
        ("せずに", "", "neg"),
        ("しろ", "", "imperative"), ("せよ", "", "imperative"), ("すれば", "", "if"), ("しよう", "", "volitional"),
        ("しよ", "", "volitional"), ("さ", "voice", ""), ("でき", "v1", "potential"), ("出来", "v1", "potential"),
    ],
    "vk": [
        ("くる", "", "dict"), ("き", "i", ""), ("き", "t", ""), ("こ", "neg", ""), ("こい", "", "imperative"),
        ("こよう", "", "volitional"), ("くれば", "", "if"), ("こら", "v1-re", "potential"), ("これ", "v1", "potential"),
    ],
    "vk-kanji": [("る", "", "dict"), ("", "i", ""), ("", "t", ""), ("", "neg", ""), ("い", "", "imperative"),
                 ("よう", "", "volitional"), ("れば", "", "if"), ("られ", "v1", "potential"),
                 ("れ", "v1", "potential")],
    "adj": _ADJECTIVE,
    "masu": _MASU,
    "v1-gi": [("ぎ", "v1", "")],
    "v1-re": [("れ", "v1", "")],
    "i": _AFTER_I,
    "neg": _NEGATION,
    "voice": [("れ", "v1", "passive"), ("せ", "v1", "causative")],
    "a": [*_NEGATION, ("れ", "v1", "passive"), ("せ", "v1", "causative"), ("され", "v1", "passive"),
    ("し", "t", "causative")],
    "e": [("", "", "imperative"), ("", "v1", "potential"), ("ば", "", "if"), ("よ", "", "imperative")],
    "o": [("う", "", "volitional"), ("うと", "", "volitional"), ("っ", "", "volitional")],
    "1": [
        *_AFTER_I, *_NEGATION, ("ろ", "", "imperative"), ("よ", "", "imperative"), ("よう", "", "volitional"),
        ("れば", "", "if"), ("", "t", ""), ("られ", "v1", "passive"), ("れ", "v1", "potential"),
        ("させ", "v1", "causative"),
        ("よっ", "", "volitional"), ("さし", "t", "causative"),
    ],
    "t": [
        ("て", "te", "te"), ("た", "", "past"), ("たら", "", "if"), ("たり", "", "or"), ("たろう", "", "past"),
        ("てる", "", "now"),
        ("て", "v1-now", "now"), ("ちゃ", "v5u", "done"), ("ちゃ", "", "if"), ("と", "v5k", "ready"),
        ("てって", "", "te"),
    ],
    "d": [
        ("で", "te", "te"), ("だ", "", "past"), ("だら", "", "if"), ("だり", "", "or"), ("でる", "", "now"),
        ("で", "v1-now", "now"),
        ("じゃ", "v5u", "done"), ("じゃ", "", "if"), ("ど", "v5k", "ready"),
    ],
    "v1-now": [("た", "", "past"), ("て", "", "te"), ("ま", "masu", "polite"), ("な", "adj", "neg"),
    ("ろ", "", "imperative"),
               ("たら", "", "if"), ("よ", "", "imperative")],
    "te": [
        ("", "", ""), ("い", "v1", "now"), ("居", "v1", "now"), ("お", "v5r", "now"), ("あ", "v5r", "state"),
        ("お", "v5k", "ready"),
        ("置", "v5k", "ready"), ("しま", "v5u", "done"), ("み", "v1", "try"), ("見", "v1", "try"),
        ("みせ", "v1", "show"),
        ("見せ", "v1", "show"), ("", "vk", "come"), ("来", "vk-kanji", "come"), ("い", "v5iku", "go"),
        ("行", "v5iku", "go"),
        ("く", "", "go"), ("きな", "", "request"), ("ください", "", "request"), ("下さい", "", "request"),
        ("くださ", "v5ra", "request"),
        ("くださいませ", "", "request"), ("下さ", "v5ra", "request"), ("くれ", "v1", "request"),
        ("くれ", "", "request"),
        ("もら", "v5u", "request"), ("貰", "v5u", "request"), ("いただ", "v5k", "request"), ("頂", "v5k", "request"),
        ("ほし", "adj", "request"), ("欲し", "adj", "request"), ("あげ", "v1", "give"), ("や", "v5r", "give"),
        ("ちょうだい", "", "request"), ("頂戴", "", "request"), ("ごらん", "", "request"), ("ご覧", "", "request"),
        ("いらっしゃ", "v5ra", "now"), ("から", "", "after"), ("も", "", "even"), ("は", "", "topic"),
        ("ね", "", "request"),
        ("よ", "", "request"), ("な", "", "request"), ("くださーい", "", "request"), ("くだちゃい", "", "request"),
        ("くらさい", "", "request"), ("くださ", "", "request"), ("くんな", "", "request"), ("たも", "v5r", ""),
    ],
}  # fmt: skip

CLASSES: Final[dict[str, str]] = {
    "v1": "る", "v5k": "く", "v5g": "ぐ", "v5s": "す", "v5t": "つ", "v5n": "ぬ", "v5b": "ぶ", "v5m": "む", "v5r": "る",
    "v5u": "う", "v5iku": "く", "v5ra": "る", "vs": "する", "vk": "くる", "vk-kanji": "る", "adj": "い",
}  # fmt: skip
"""{class of words: how its dictionary form ends after the root}"""

_GODAN_OF: Final = {ending: name for name, ending in CLASSES.items() if name in _GODAN and len(name) == 3}
_NOT_SURU: Final = frozenset(["すする", "さする", "こする", "なする"])
_BEFORE_RU: Final = frozenset("いきぎしじちにひびぴみりえけげせぜてでねへべぺめれ")
_MAX_DEPTH: Final = 9


def _by_first_letter(arcs: list[_Arc]) -> dict[str, tuple[_Arc, ...]]:
    free = [arc for arc in arcs if not arc[0]]
    letters = {arc[0][0] for arc in arcs if arc[0]}
    table = {letter: (*free, *(arc for arc in arcs if arc[0][:1] == letter)) for letter in letters}
    return {**table, "": tuple(free)}


_TABLE: Final = {state: _by_first_letter(arcs) for state, arcs in _ARCS.items()}


def verb_classes(lemma: str) -> tuple[str, ...]:
    """Classes that a verb in dictionary form may belong to, judged by its letters; several for 〜る, () for no verb."""
    if lemma.endswith("する") and lemma not in _NOT_SURU:
        return ("vs",)
    if lemma in ("くる", "来る"):
        return ("vk",) if lemma == "くる" else ("vk-kanji",)
    if lemma.endswith(("行く", "いく", "ゆく")):
        return ("v5iku",)
    if lemma.endswith(("くださる", "下さる", "なさる", "らっしゃる", "っしゃる", "ござる")):
        return ("v5ra",)
    if lemma.endswith("る") and len(lemma) > 1:
        kanji_or_front = lemma[-2] in _BEFORE_RU or not "ぁ" <= lemma[-2] <= "ゖ"
        return ("v1", "v5r") if kanji_or_front else ("v5r",)
    name = _GODAN_OF.get(lemma[-1:])
    return (name,) if name and len(lemma) > 1 else ()


def match_endings(text: str, start: int, word_class: str) -> list[Ending]:
    """Every way to read ``text`` from ``start``, where the root of a word of ``word_class`` stops; may be empty."""
    found: dict[Ending, None] = {}
    _follow(text, start, word_class, (), found, 0)
    return list(found)


def _follow(text: str, at: int, state: str, forms: tuple[str, ...], found: dict[Ending, None], depth: int) -> None:
    table = _TABLE[state]
    for letters, following, form in table.get(text[at : at + 1], table[""]):
        if letters and not text.startswith(letters, at):
            continue
        said = (*forms, form) if form else forms
        end = at + len(letters)
        if following:
            if depth < _MAX_DEPTH:
                _follow(text, end, following, said, found, depth + 1)
        else:
            found.setdefault(Ending(end, frozenset(said)))


@lru_cache(maxsize=4096)
def deinflect(word: str) -> tuple[Deinflected, ...]:
    """Dictionary forms that ``word`` (in hiragana and kanji) may come from, longest root first; not all are words."""
    results: list[Deinflected] = []
    for cut in range(len(word), -1, -1):
        for word_class, ending in CLASSES.items():
            if cut == 0 and word_class not in ("vs", "vk"):
                continue
            lemma = word[:cut] + ending
            if word_class in verb_classes(lemma) or word_class == "adj":
                endings = (found for found in match_endings(word, cut, word_class) if found.end == len(word))
                results += [Deinflected(lemma, word_class, found.forms) for found in endings]
    return tuple(results)
