"""A text to the form every reader of it shares: normalised, lower-case, and the direction flags that go beside it.

Sentence encoders hardly tell left from right (cosine 0.89 between "wave your right hand" and "wave your left hand"),
so side and direction words are found by rule and given to the network as numbers. Training and serving both come
through :func:`canonical_text` and :func:`text_flags`, so a word means the same in both. Knows no action.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

FLAGS = ("left", "right", "both", "forward", "backward", "turn")
"""Order of the flags; a trained network depends on it."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters (Unicode Cc) other than tab, line feed and carriage return."""

_DROPPED_CATEGORIES = {"Cc", "Cf", "Cn", "Co", "Cs", "So", "Sk"}  # controls, joiners, private use, emoji, skin tones
_DROPPED_CHARACTERS = {"\ufe0e", "\ufe0f", "\u20e3"}  # emoji variation selectors, keycap
_MARKUP = re.compile(r"[*_`~〜#|<>{}\[\]()\"“”„«»「」『』【】〈〉《》]+|(?<!\w)'|'(?!\w)|^\s*[-+•・]\s+", re.MULTILINE)
_EDGE = " \t'+•-.,;:!?、。・…‥"
_ENDING = re.compile(r"(?<=\w)[!?.。、…]+(?=\s|$)")


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


_BODY_PART = r"\s+(?:hand|arm|leg|foot|side|fist|palm|elbow|knee)"
_TRAPS = _any(  # words that look like a direction and are none
    r"(?<!turn )(?<!turns )(?<!turning )(?<!the )(?<!your )"
    r"\bleft\s+(?:the|a|an|my|his|her|their|our|him|them|me|us|behind|home|work|school|town|early|alone)\b"
    rf"(?!\s+(?:bit|little)|{_BODY_PART})",
    rf"\b(?:nothing|what's|is|are|be|been|being)\s+left\b(?!{_BODY_PART})",
    rf"\b(?:all|that's|it's|is|are|you're|i'm|yeah|ok|okay|oh)\s+right\b(?!{_BODY_PART})",
    r"(?<!turn )(?<!turns )(?<!turning )(?<!to the )"
    r"\bright\s+(?:now|away|this|then|after|before|here|there|beside|behind|next|answer|thing|time|way|moment|words?)\b",
    r",\s*right$|^right\s*[,!.]",
    r"\bleft\s*(?:and|to|or|,)\s*right\b|\bright\s*(?:and|to|or|,)\s*left\b",
    r"\bback\s+(?:and\s+forth|to\s+back)\b|\bforwards?\s+and\s+back(?:wards?)?\b",
    r"\bgo\s+ahead\s*(?:and|,)|\blook(?:s|ed|ing)?\s+forward\s+to\b|\bstraight\s+(?:back|legs?|arms?|face)\b",
    r"\b(?:without|not|never|no)\s+turn(?:ing|s)?(?:\s+(?:a?round|away|back))?\b",
    r"\bin\s+turn\b|\btak(?:e|es|ing)\s+turns\b|\bturn(?:s|ed|ing)?\s+(?:on|off|out|up|down|it|pages?)\b",
    r"\bsha(?:k|ck)\w*\s+hands\b|\bjoin\w*\s+hands\b|\bone\s+of\s+(?:\w+\s+)?(?:hands|arms)\b",
    r"左右|右左|右往左往|座右|前後|その後|この後|[ただの]後で|直後|最後|午後|今後|車両|両親|両者|両国|両立|まっすぐに?立",
    r"パターン|リターン|歩き回|走り回|動き回|飛び回|跳ね回|手が回|頭が回|[一二三四五六七八九十数\d]回り返",
)
_PATTERNS = (
    _any(r"\bleft(?:wards?|hand(?:ed)?)?\b", "左|ひだり"),
    _any(r"\bright(?:wards?|hand(?:ed)?)?\b", "右|みぎ"),
    _any(
        r"\bboth\b|\btwo[\s-](?:hand(?:s|ed)|arms?)\b|\bhands\b|\barms\b",
        "両|双手|諸手|もろ手|りょうて|りょうほう|万歳|バンザ[イー]|ばんざ[いー]",
    ),
    _any(
        r"\bforwards?\b|\bahead\b|\bstraight\b|\bonwards?\b",
        "(?<![名以午直手人目のうくぐすつぬぶむる])前(?:に|へ|方|進|向き)|の前方|まっすぐ|真っ直ぐ|真っすぐ|直進",
    ),
    _any(
        r"\bbackwards?\b|\brevers(?:e|es|ing)\b|\bretreat\w*\b|\brearwards?\b|\bto\s+the\s+(?:rear|back)\b",
        r"(?<!come )(?<!comes )(?<!get )(?<!gets )(?<!stand )(?<!stands )\bback(?:s|ed|ing)?\s+(?:up|away|off)\b",
        r"\b(?:step|walk|mov|go|pac|stagger|shuffl|jump|hop|edg|inch|stroll|run)\w*\s+(?:\w+\s+){0,2}?back\b",
        "後ろ|うしろ|後ずさ|あとずさ|後じさ|後退|後方|後進|バック(?:する|し|で|ステップ)|[歩へにと](?:下が|さが)|(?<!立ち)(?<!を)退[くかきけい]|しりぞ[くかきけい]",
    ),
    _any(
        r"\bturn(?:s|ed|ing)?\b|\bveer\w*\b|\bcurv(?:e|es|ed|ing)\b|\brotat\w+\b|\bspin(?:s|ning)?\b",
        r"\bpivot\w*\b|\bswerv\w+\b|\b(?:hang|make|take)\w*\s+a\s+(?:left|right)\b|\b(?:bear|bend)\w*\s+(?:left|right)\b",
        r"\ba?round\s+to\s+(?:the|your|his|her|their)\s+(?:left|right)\b",
        r"\b(?:a?round|tak\w+)\s+(?:a|the)\s+(?:\w+\s+)?corner\b|\bin\s+an\s+arc\b|\bchang\w+\s+(?:\w+\s+)?direction\b",
        "(?<!腰の)(?<!腰が)(?<!背中の)(?<!背中が)曲が|まが[るりっれろ]|回[るりっれろ転]|まわ[るりっれろ]|振り向|振りむ|ふりむ|振り返|ふりかえ|ターン",
        "右折|左折|旋回|方向転換|(?:方向|向き|進路)を(?:変え|かえ)|カーブ|[右左][をにへ]?向[くいきけこ]|向き直",
    ),
)


@lru_cache(maxsize=4096)
def _kept(character: str) -> str:
    """A character, or a space for one that is dropped."""
    dropped = unicodedata.category(character) in _DROPPED_CATEGORIES or character in _DROPPED_CHARACTERS
    return " " if dropped and character != "\n" else character


def normalise_text(text: str) -> str:
    """NFKC, one space between words, without emoji, markup, quotation marks, brackets and edge punctuation.

    Case is kept. The result may be empty. Idempotent.
    """
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    text = "".join(map(_kept, text))
    return " ".join(_MARKUP.sub(" ", text).split()).strip(_EDGE)


def canonical_text(text: str) -> str:
    """What a sentence encoder is given: :func:`normalise_text`, lower-case, without sentence-ending punctuation."""
    return _ENDING.sub("", normalise_text(text).lower())


def text_flags(text: str) -> tuple[float, ...]:
    """0 or 1 for each of :data:`FLAGS`, from the words of ``text`` in English or Japanese.

    A word that only looks like a direction ("right now", "left the room", 「左右に」, 「その後」) does not count.
    """
    words = _TRAPS.sub(" ", canonical_text(text))
    return tuple(float(bool(pattern.search(words))) for pattern in _PATTERNS)


def check_text(text: str) -> str:
    """The text, if it is printable Unicode; raises ValueError."""
    if CONTROL.search(text):
        raise ValueError("must not hold control characters other than tab, line feed and carriage return")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("must be valid Unicode; it holds half of a surrogate pair")
    return text
