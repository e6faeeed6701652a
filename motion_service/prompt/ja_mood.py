"""Does a Japanese sentence ask for its actions, or does it only talk about them?

Commands, requests, captions (「男が走る」) and gestures that the speaker performs (「お辞儀しますね」) ask; statements
of habit, past, ability, wish, questions and negations talk. A long reply of a chat partner needs clearer words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from motion_service.prompt.ja_predicates import Predicate
from motion_service.prompt.ja_tokens import Token

__all__ = ["Style", "accepted", "text_to_style"]

_LONG: Final = 40
_SHORT: Final = 16
_ASKS: Final = frozenset(["request", "imperative", "volitional", "invite", "imperative-na"])
_ADVICE: Final = frozenset(
    "idle drink eat look talk climb drive wash think walk run swim call throw catch push pull pick-up sit stretch turn"
    " stand-up roll fall crouch".split()
)
"""What one is told to do for one's own good or on one's way; in chat that is no wish to see it."""

_CARE: Final = frozenset(["idle", "drink", "eat", "wash", "stretch", "drive"])
_WHEN: Final = frozenset("とき 時 ときに 時に 場合 際 なら".split())
_TIMES: Final = frozenset(
    "毎日 毎朝 毎晩 毎週 いつも 普段 ふだん 最近 昨日 きのう 一昨日 おととい 先週 先日 先月 明日 あした あす 来週"
    " 来月 今朝 昨夜 昨晩 去年 昨年 来年 昔 むかし"
    " 将来 週末 休日 日曜日 土曜日 月曜日 火曜日 水曜日 木曜日 金曜日 日曜 土曜 子供の頃 今年 今週 今月 今日 きょう"
    " 今夜 普通 たまに 時々 ときどき よく"
    " もう 一般 夏休み 冬休み この前 さっき 先ほど 学生時代 午前中 午後 夕方 昼間 朝 夜".split()
)
_PERFORMS: Final = frozenset(
    "では それでは じゃあ じゃ はい 今から いまから 承知しました かしこまりました 了解 了解です わかりました"
    " 分かりました よし ほら さあ さぁ まず まずは".split()
)


@dataclass(frozen=True, slots=True)
class Style:
    """What kind of text it is as a whole."""

    length: int
    is_long: bool
    is_chatty: bool
    """Another sentence says something that is no motion."""
    is_polite: bool
    sentences: int


def text_to_style(text: str, sentences: Sequence[Sequence[Token]], parsed: Sequence[Sequence[Predicate]]) -> Style:
    """Judge the text by its sentences."""
    talking = sum(
        1 for sentence, predicates in zip(sentences, parsed, strict=True) if _only_talks(sentence, predicates)
    )
    is_polite = any(
        "polite" in p.forms or p.token.text.startswith(("です", "でしょ", "でし")) for part in parsed for p in part
    )
    return Style(len(text), len(text) > _LONG, talking > 0, is_polite, len(sentences))


def _only_talks(sentence: Sequence[Token], predicates: Sequence[Predicate]) -> bool:
    if not predicates:
        return sum(len(token.text) for token in sentence if token.kind != "mark") > 2
    last = predicates[-1]
    return last.kind in ("state", "chat") and not last.forms & {"request"} and last.role == "main"


def accepted(
    predicates: Sequence[Predicate], sentence: Sequence[Token], style: Style, number: int
) -> list[tuple[Predicate, float]]:
    """The predicates that the sentence asks for, with how sure that is."""
    candidates = [p for p in predicates if _may_count(p)]
    if not candidates:
        return []
    last = predicates[-1]
    if any(p.role == "stop" for p in candidates):
        return [(p, 0.85) for p in candidates if p.role == "stop"][:1] if _is_command(last) else []
    if last.kind in ("state", "chat") and last.role in ("main", "then") and not _is_command(last):
        is_caption = last.kind == "chat" and not last.tail and not last.forms & {"polite", "past", "potential"}
        beside = ("while", "then") if is_caption and style.sentences == 1 else ()
        kept = [p for p in candidates if "request" in p.forms or p.role in beside]
        return [(p, 0.6) for p in kept if p.kind in ("action", "phrase")]
    chain = [p for p in candidates if p.role in ("main", "then", "after", "before", "while", "relative")]
    mains = [p for p in chain if p.role != "relative" or p is chain[-1]]
    if not any(p.role in ("main", "then", "after", "before", "relative") and p.kind != "plain" for p in mains):
        mains = mains or chain
    if not mains:
        return []
    if last.role not in ("main", "then", "relative", "after") or last.kind not in ("action", "plain", "do", "phrase"):
        last = mains[-1]
    has_condition = any(p.role == "side" for p in predicates) or any(t.text in _WHEN for t in sentence)
    confidence = _confidence(last, mains, sentence, style, has_condition)
    if confidence <= 0:
        return []
    return [(p, confidence * (0.8 if p.is_weak else 1.0)) for p in mains if _fits(p, style)]


def _is_command(predicate: Predicate) -> bool:
    is_bare_te = "te" in predicate.forms and not predicate.forms & {"dict", "past", "polite"}
    return bool(predicate.forms & _ASKS) or (is_bare_te and predicate.role in ("main", "then"))


def _may_count(predicate: Predicate) -> bool:
    """Not a negation, not a figure of speech, not a verb of the mind."""
    if predicate.kind not in ("action", "plain", "phrase") or predicate.action == "none" or predicate.role == "side":
        return "request" in predicate.forms and predicate.kind == "action" and predicate.action != "none"
    if predicate.forms & {"neg", "neg-te", "must"} and not predicate.forms & {"request"}:
        return predicate.row is not None and any("#neg" in need or "#neg-te" in need for need in predicate.row.needs)
    if "apt" in predicate.forms:
        return False
    if predicate.kind == "plain":
        has_object = any(a.particle == "を" for a in predicate.arguments)
        english = predicate.token.gloss if predicate.row is None else predicate.row.english if has_object else ""
        return bool(english) and predicate.role in ("main", "then")
    return "passive" not in predicate.forms


def _fits(predicate: Predicate, style: Style) -> bool:
    if predicate.kind == "phrase" and predicate.is_weak:
        return style.length <= _SHORT
    return True


def _confidence(
    last: Predicate, chain: Sequence[Predicate], sentence: Sequence[Token], style: Style, has_condition: bool
) -> float:
    """How surely the sentence that ends in ``last`` asks for what it says; 0 when it only talks about it."""
    words = {token.text for token in sentence}
    is_question = any(token.kind == "question" for token in sentence) or "か" in last.tail
    times = words & _TIMES
    forms = last.forms
    asks = bool(forms & _ASKS) or last.is_noun or last.kind == "phrase" or last.role in ("then", "while", "after")
    if forms & {"try", "show"} and "past" not in forms:
        asks = True
    if asks:
        return _asked(last, chain, style, is_question, bool(times), has_condition)
    if "past" in forms:
        is_caption = (
            "polite" not in forms and not times and not style.is_chatty and not last.tail and last.kind != "plain"
        )
        return 0.6 if is_caption and not is_question else 0.0
    if "potential" in forms:
        return 0.0
    is_remark = {"now", "polite"} <= forms and "ね" in last.tail  # 走り回っていますね is said of others
    if is_question or times or is_remark or last.tail >= {"んです", "よ"}:
        return 0.0
    if "want" in forms:
        return 0.5 if style.length <= 20 and not style.is_chatty and not last.tail & {"です", "ですね", "ね"} else 0.0
    if last.kind == "plain":
        return 0.3 if style.length <= 25 and not style.is_chatty and "polite" not in forms else 0.0
    if "polite" in forms:
        if all(p.action in (None, "talk", "think", "idle") for p in chain):
            return 0.0
        topics = [a.token for p in chain for a in p.arguments if a.particle == "は"]
        if any(not topic.rows or topic.categories <= {"world", "weather"} for topic in topics):
            return 0.0
        return _performed(last, words, style)
    return 0.0 if style.is_long and style.is_chatty and style.is_polite else 0.9


def _asked(
    last: Predicate, chain: Sequence[Predicate], style: Style, is_question: bool, has_time: bool, has_condition: bool
) -> float:
    is_polite_request = bool(last.forms & {"request", "volitional", "invite"}) and style.is_polite | (
        "request" in last.forms
    )
    if style.is_chatty and is_polite_request and all(p.action in _ADVICE or p.action is None for p in chain):
        return 0.0
    if last.kind == "plain" and style.is_chatty:
        return 0.0
    if {"causative", "request"} <= last.forms and last.action in _ADVICE:
        return 0.0
    if is_polite_request and has_condition and all(p.action in _CARE for p in chain):
        return 0.0
    if last.is_noun or last.kind == "phrase":
        if style.is_long and style.is_chatty:
            return 0.0
        return 0.0 if has_time and not last.forms & _ASKS else 0.85
    if last.role in ("then", "while", "after") and not last.forms & _ASKS:
        return 0.0 if (style.is_long and style.is_chatty) or is_question else 0.85
    if is_question and not last.forms & {"request", "invite"}:
        return 0.0
    if "invite" in last.forms and "request" not in last.forms and has_time:
        return 0.0
    if last.kind == "plain":
        return 0.3 if "request" not in last.forms or style.length <= _SHORT else 0.0
    return 0.95


def _performed(last: Predicate, words: set[str], style: Style) -> float:
    """手を振りますね, では踊ります: the speaker does it."""
    performs = bool(last.tail & {"ね", "よ"} or words & _PERFORMS or last.forms & {"humble"})
    if style.is_long and style.is_chatty:
        return 0.7 if performs and last.action not in _ADVICE else 0.0
    if style.is_chatty:
        return 0.75 if performs or last.action not in _ADVICE else 0.0
    return 0.8
