"""Japanese to a :class:`~motion_service.prompt.reading.Reading`: the actions in order, their sides and lengths.

Words come from :mod:`prompt_ja_tokens`, what each clause says from :mod:`prompt_ja_clauses`. Here it is judged whether
the text asks for it (a command, a caption, a gesture that the speaker performs) or only talks about it (chat, facts,
questions, negations), and the actions are put in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from motion_service.clips import Segment
from motion_service.prompt.actions import CALM, caption
from motion_service.prompt.gloss import predicate_to_caption
from motion_service.prompt.ja_clauses import sentence_to_predicates, split_sentences
from motion_service.prompt.ja_mood import Style, accepted, text_to_style
from motion_service.prompt.ja_predicates import Predicate
from motion_service.prompt.ja_seconds import Length, take_lengths
from motion_service.prompt.ja_spelling import respell
from motion_service.prompt.ja_tokens import LENGTH_MARK, tokenise
from motion_service.prompt.reading import MAX_SEGMENTS, Reading, sorted_detail
from motion_service.wording import FLAGS, normalise_text, text_flags

__all__ = ["read", "text_to_detail"]

_SHORT: Final = 24
_LOCOMOTION: Final = frozenset(["walk", "run"])
_MEANWHILE: Final = frozenset(
    "wave raise laugh cry talk clap nod look think cheer point shake-head idle stand-up salute".split()
)
"""Said with a bare 〜て before walking or running, these go on while one walks."""

_TRAVELS: Final = frozenset(["crawl", "swim", "run", "walk", "climb", "roll", "jump"])
_CURVES: Final = frozenset("曲がる まがる カーブ かーぶ 右折 左折 旋回 回り込む".split())
_DRAWL: Final = re.compile(r"(?<=[てでよねなさいうるれたんろこけしじせ])[ーぇぁぃぅぉっ]+(?=$|[^ぁ-ゖァ-ヺー㐀-鿿々])")
_LIMB: Final = re.compile(
    r"(?:左右|左|右|ひだり|みぎ|両)の?(?:手(?!側|前|に)|て(?=[をでも])|腕|うで|足|脚|あし|拳|こぶし|肩|膝|ひざ|肘|指|目|耳|パンチ|キック|フック|ストレート|アッパー|ジャブ)"
)
_LIMB_TURNS: Final = re.compile(
    r"手を?振り返|(?:腕|手首|手|首|肩|腰|足首|頭|ハンドル|目|指|うで|くび|かた)を?.{0,8}?(?:回|まわ)[すしせさ]\w?|回し蹴り|まわしげり|前回り|後ろ回り|(?:腕|首|肩|腰|手)回し"
    r"|見回|見まわ|みまわ|[0-9一二三四五六七八九十数何]回(?!転|り(?![0-9一二三四五六七八九十]))|腰を?曲|膝を?曲|ひざを?曲|背中を?曲|曲げ|パターン|リターン|駆け回|かけまわ|回避|回復|振り回|ふりまわ|引っ張り回"
)
_NOT_FORWARD: Final = re.compile(
    r"前(?:かがみ|屈み|のめり|屈|転|方(?:倒立|宙)|へならえ|にならえ|へ倣え|を向|を見|宙|もって|に(?:立|座|待|止)|蹴り|髪|足|脚|歯)"
)
_NOT_BACKWARD: Final = re.compile(r"後ろ(?:回し?蹴|蹴|髪|指|姿)|うしろ姿|バックダンサー|バックル|後ろ(?:で|の方で)手")
_NOT_BOTH: Final = re.compile("万歳|バンザ[イー]|ばんざ[いー]|両(?:断|替|面|端|隣|側|サイド|思い)")
_UPRIGHT: Final = re.compile("(?:まっすぐ|真っ直ぐ|真っすぐ)(?=[にな]?(?:上|立|伸|のば|した|な?姿勢|前を?[見向]))")


@dataclass(slots=True)
class _Step:
    """One action as it will be a segment."""

    predicate: Predicate
    start: int
    end: int
    confidence: float
    meanwhile: list[Predicate] = field(default_factory=list)

    @property
    def action(self) -> str | None:
        return self.predicate.action


def read(text: str) -> Reading:
    """Read normalised Japanese ``text``. Never raises; unclear text is one segment with action "none" or None."""
    reading = _read(text)
    if reading.segments[0].action == CALM and len(text) <= _SHORT and (respelt := respell(text)) is not None:
        again = _read(respelt)
        return Reading(again.segments, again.seconds, round(0.8 * again.confidence, 2))
    return reading


def _read(text: str) -> Reading:
    marked, lengths = take_lengths(text)
    if not marked.replace(LENGTH_MARK, "").strip(" 、。,."):
        return Reading((Segment(text, CALM, (), None, caption(CALM)),), None, 0.5)
    clean = _DRAWL.sub(lambda match: " " * len(match.group()), marked)
    sentences = split_sentences(tokenise(clean))
    parsed = [sentence_to_predicates(sentence) for sentence in sentences]
    style = text_to_style(text, sentences, parsed)
    steps: list[_Step] = []
    for number, (sentence, predicates) in enumerate(zip(sentences, parsed, strict=True)):
        chosen = accepted(predicates, sentence, style, number)
        steps += _steps(chosen, predicates, clean, sentence[0].start, sentence[-1].end)
    steps = _merged(_without_weak(steps)[: 4 * MAX_SEGMENTS], clean)[:MAX_SEGMENTS]
    if not steps:
        return _calm(text, parsed)
    return _reading(steps, marked, lengths, style)


def text_to_detail(text: str) -> tuple[str, ...]:
    """Side and direction words of ``text``; turning an arm or bending the back is no turn."""
    text = _LIMB_TURNS.sub(" ", text)
    text = _UPRIGHT.sub(" ", _NOT_BOTH.sub(" ", text))
    text = _NOT_BACKWARD.sub(" ", _NOT_FORWARD.sub(" ", text))
    found = {name for name, value in zip(FLAGS, text_flags(text), strict=True) if value}
    if re.search("カーブ|弧を描|方向転換", text):
        found.add("turn")
    if re.search("前進|前を指|前方", text):
        found.add("forward")
    if re.search("バク転|バック転|バク宙|後転|後方", text):
        found.add("backward")
    return sorted_detail(found)


def _calm(text: str, parsed: Sequence[Sequence[Predicate]]) -> Reading:
    is_doubtful = any(
        p.kind in ("action", "phrase") and p.action not in (None, "none") for part in parsed for p in part
    )
    return Reading((Segment(text, CALM, (), None, caption(CALM)),), None, 0.6 if is_doubtful else 0.9)


def _steps(
    chosen: Sequence[tuple[Predicate, float]], all_of_it: Sequence[Predicate], text: str, start: int, end: int
) -> list[_Step]:
    """The accepted predicates of one sentence in order of time, each with its stretch of the text."""
    steps: list[_Step] = []
    meanwhile: list[Predicate] = []
    at = start
    for index, (predicate, confidence) in enumerate(chosen):
        following = chosen[index + 1][0] if index + 1 < len(chosen) else None
        before = chosen[index - 1][0] if index > 0 else None
        if steps and before is not None and _only_holds(before, predicate):
            steps[-1].end = end if following is None else predicate.end
            at = steps[-1].end
            continue
        if steps and before is not None and _only_goes_on(before, predicate, text):
            steps[-1].end = predicate.end if following is not None else end
            at = steps[-1].end
            continue
        is_held = following is not None and _only_holds(predicate, following)
        if (
            following is not None
            and not is_held
            and (predicate.role == "while" or _goes_on_meanwhile(predicate, following, text))
        ):
            meanwhile.append(predicate)
            continue
        stop = end if following is None else predicate.end
        steps.append(_Step(predicate, at, stop, confidence, meanwhile))
        meanwhile, at = [], stop
    for index in range(len(steps) - 1):
        if steps[index].predicate.role == "before":
            steps[index], steps[index + 1] = steps[index + 1], steps[index]
    return steps


def _goes_on_meanwhile(first: Predicate, second: Predicate, text: str) -> bool:
    """手を振って歩く is one movement; 手を振って、歩く and 手を振ってから歩く are two."""
    if first.role != "then" or first.is_noun or "te" not in first.forms:
        return False
    if text[first.end : first.end + 1] in ("、", ",") and first.end < len(text):
        return False
    if first.action in ("laugh", "cry") and second.action not in (None, first.action):
        return True
    if first.action == "raise" and second.action in ("wave", "cheer"):
        return True
    if (first.lemma == "急ぐ" or (first.lemma == "向く" and first.action == "look")) and second.action is not None:
        return True
    if first.token.lemma in ("立つ", "たつ") and second.action == "idle":
        return True
    if first.action == "turn" and first.token.lemma in _CURVES and second.action in _LOCOMOTION:
        return True
    return first.action in _MEANWHILE and second.action in _LOCOMOTION


def _only_holds(first: Predicate, second: Predicate) -> bool:
    """敬礼したまま静止: the pose is what is seen."""
    is_pose = first.action not in (None, "idle", "walk", "run") and first.lemma not in ("立つ", "たつ")
    return is_pose and first.role == "while" and "while" not in first.forms and second.action == "idle"


def _only_goes_on(first: Predicate, second: Predicate, text: str) -> bool:
    """床を這って進む: the second verb only says that it leads somewhere."""
    is_joined = first.role == "then" and "te" in first.forms and text[first.end : first.end + 1] not in ("、", ",")
    return is_joined and first.action in _TRAVELS and second.action == "walk" and second.lemma not in ("歩く", "あるく")


def _without_weak(steps: list[_Step]) -> list[_Step]:
    """Weak actions give way to clear ones; their words go to a neighbour."""
    if any(step.action for step in steps):
        steps = [step for step in steps if step.action or not step.predicate.is_weak]
    if all(step.predicate.is_weak for step in steps) or not any(step.predicate.is_weak for step in steps):
        return _only_first_unknown(steps)
    kept: list[_Step] = []
    start: int | None = None
    for step in steps:
        if step.predicate.is_weak:
            if kept and kept[-1].end == step.start:
                kept[-1].end = step.end
            else:
                start = step.start if start is None else start
            continue
        if start is not None:
            step.start, start = start, None
        kept.append(step)
    return _only_first_unknown(kept)


def _only_first_unknown(steps: list[_Step]) -> list[_Step]:
    """Verbs that nobody listed do not stand beside known actions."""
    known = [step for step in steps if step.predicate.kind != "plain"]
    return known or steps[:1]


def _merged(steps: list[_Step], text: str) -> list[_Step]:
    """One action said twice in a row is one, unless the sides differ."""
    merged: list[_Step] = []
    for step in steps:
        before = merged[-1] if merged else None
        if before is not None and before.action == step.action and step.action is not None:
            sides = [set(text_to_detail(text[part.start : part.end])) & {"left", "right"} for part in (before, step)]
            if not (all(sides) and sides[0] != sides[1]):
                before.start, before.end = min(before.start, step.start), max(before.end, step.end)
                before.confidence = max(before.confidence, step.confidence)
                continue
        merged.append(step)
    return merged


def _reading(steps: Sequence[_Step], marked: str, lengths: Sequence[Length], style: Style) -> Reading:
    own, whole = _share_lengths(steps, marked, lengths)
    segments = []
    for step, seconds in zip(steps, own, strict=True):
        words = marked[step.start : step.end] if len(steps) > 1 or style.is_chatty else marked
        words = normalise_text(words.replace(LENGTH_MARK, "")) or normalise_text(marked.replace(LENGTH_MARK, ""))
        detail = _detail(step, words)
        way = text_to_detail(_LIMB.sub(" ", words))
        english = predicate_to_caption(step.predicate, detail, way, step.meanwhile)
        segments.append(Segment(words, step.action, detail, seconds, english))
    return Reading(tuple(segments), whole, round(steps[0].confidence, 2))


def _detail(step: _Step, words: str) -> tuple[str, ...]:
    return text_to_detail(words)


def _share_lengths(
    steps: Sequence[_Step], marked: str, lengths: Sequence[Length]
) -> tuple[list[float | None], float | None]:
    """Length of each step and of the whole. A frame in front (5秒で) or a total (全部で5秒) is the whole's."""
    own: list[list[float]] = [[] for _ in steps]
    whole: float | None = None
    places = [index for index, character in enumerate(marked) if character == LENGTH_MARK]
    for place, length in zip(places, lengths, strict=True):
        is_in_front = not re.search(r"[てでたるっい]", marked[:place]) and length.is_frame
        if len(steps) > 1 and (length.is_total or (is_in_front and len(lengths) == 1)):
            whole = length.seconds
            continue
        nearest = next((i for i, step in enumerate(steps) if step.start <= place < step.end), None)
        if nearest is None:
            nearest = 0 if place < steps[0].start else len(steps) - 1
        own[nearest].append(length.seconds)
    seconds = [sum(part) if part else None for part in own]
    if whole is None and all(value is not None for value in seconds):
        whole = sum(value or 0.0 for value in seconds)
    return seconds, whole
