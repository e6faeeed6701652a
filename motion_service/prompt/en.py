"""English prompts: actions in order of time with side, length and a caption each. Rules only, pure.

Lengths are cut out first, then words that name actions are found (:mod:`~motion_service.prompt.words`), judged
(:mod:`~motion_service.prompt.mood`) and put in order: "before X, Y", "X after Y", "while X, Y".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from motion_service.clips import Segment
from motion_service.prompt.captions import words_to_caption
from motion_service.prompt.clauses import settled_noun_places
from motion_service.prompt.length import Length, find_lengths
from motion_service.prompt.mood import Mood, Sentence
from motion_service.prompt.reading import MAX_SEGMENTS, Reading, sorted_detail
from motion_service.prompt.sentence import noun_places
from motion_service.prompt.spelling import mend_actions, mend_shorthand, mend_ways
from motion_service.prompt.unknown import find_deed
from motion_service.prompt.words import OTHER, Mention, Token, find_mentions, text_to_tokens
from motion_service.wording import FLAGS, normalise_text, text_flags

_MARK: Final = 0xA000
"""First of the characters that stand for the lengths that were cut out: letters of a script (Yi) that no prompt in
English has."""
_MARKS: Final = re.compile("[\ua000-\ua0ff]")
_SENTENCE_ENDS: Final = frozenset(".!?…\n")
_EDGES: Final = re.compile(
    r"^(?:(?:and|then|but|or|while|before|after|once)\b[\s,]*)+(?=\S)"
    r"|[\s,;:]*\b(?:and|then|but|while|before|after|once|and then|as|finally)\b[\s,;:]*$|[\s,;:]+$",
    re.IGNORECASE,
)
"""Words that bind one action to another and say nothing of either."""
_ORDER: Final = frozenset(["before", "after", "once", "while", "whilst", "as", "until", "when"])
_MILD: Final = frozenset("smile smiles smiling grin grins wink winks blink look looks catches".split())
"""Words of no bodily action of their own beside another."""


_HELD: Final = frozenset(["raise", "point", "salute", "sit", "crouch", "think", "aim"])
"""Poses that one stays in."""


@dataclass(frozen=True, slots=True)
class _Deed:
    """A mention that counts, with its sentence and how it is bound to the others."""

    mention: Mention
    mood: Mood
    sentence: int
    link: str
    """before, after, while, or "" for a main clause."""


def read(text: str) -> Reading:
    """Understand normalised English ``text``."""
    text = mend_ways(mend_shorthand(text))
    reading = _read(text)
    if reading.segments[0].action == "none" and (mended := mend_actions(text)) != text:
        reading = _read(mended)
    return _read(text, guess=True) if reading.segments[0].action == "none" else reading


def _read(text: str, *, guess: bool = False) -> Reading:
    """``guess``: where no known action is named, one without a name may be."""
    marked, lengths = _mark_lengths(text)
    lower = marked.lower()
    tokens = text_to_tokens(lower)
    spans = list(_sentences(tokens))
    deeds = list(_deeds(lower, tokens, spans))
    chosen = _in_order(_choose(deeds, len(spans)), tokens)
    if guess and not deeds and (first := find_deed(tokens, spans)) is not None:
        number = next(number for number, span in enumerate(spans) if span[0] == first)
        chosen = [_Deed(Mention(OTHER, "base", first, first + 1, False), Mood.LIKELY, number, "")]
    if not chosen:
        return _nothing(text, deeds)
    return _to_reading(_Text(text, marked, tokens, spans, lengths), chosen)


# --- finding ---------------------------------------------------------------------------------------------------------


def _mark_lengths(text: str) -> tuple[str, list[Length]]:
    """``text`` with one private character in place of each length."""
    text = _MARKS.sub(" ", text)
    lengths = find_lengths(text)[:200]
    parts, last = [], 0
    for number, length in enumerate(lengths):
        parts += [text[last : length.start], f" {chr(_MARK + number)} "]
        last = length.end
    return " ".join(("".join(parts) + text[last:]).split(" ")), lengths


def _sentences(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """(first, after the last) token of each sentence, without its final mark."""
    first = 0
    for index, token in enumerate(tokens):
        if token.word in _SENTENCE_ENDS:
            if index > first:
                yield first, index
            first = index + 1
    if first < len(tokens):
        yield first, len(tokens)


def _deeds(text: str, tokens: Sequence[Token], spans: Sequence[tuple[int, int]]) -> Iterator[_Deed]:
    places = settled_noun_places(text, tokens, noun_places(tokens))
    mentions = find_mentions(text, tokens, places)
    for number, (first, end) in enumerate(spans):
        inside = [mention for mention in mentions if first <= mention.first < end]
        if inside:
            moods = Sentence(tokens, first, end, inside).moods()
            links = _links(tokens, first, inside)
            for mention, mood, link in zip(inside, moods, links, strict=True):
                yield _Deed(mention, mood, number, link)


def _links(tokens: Sequence[Token], first: int, mentions: Sequence[Mention]) -> list[str]:
    """The word that puts each mention's clause before, after or beside the main one; "" for a main clause."""
    links: list[str] = []
    for number, mention in enumerate(mentions):
        previous = mentions[number - 1] if number else None
        index, link = mention.first - 1, ""
        while index >= first:
            word = tokens[index].word
            if word in (",", ";", ":", "then", "-", "but") or (previous and index < previous.first):
                break
            if word == "and" and previous and previous.first < index:
                link = links[-1] if mention.form == previous.form and mention.form == "ing" else ""
                break
            if word in _ORDER and _orders(tokens, index, mention.first):
                link = {"whilst": "while", "as": "while", "once": "after", "when": "", "until": "before"}.get(
                    word, word
                )
                break
            index -= 1
        links.append(link)
    return links


def _orders(tokens: Sequence[Token], index: int, mention: int) -> bool:
    """Whether the word at ``index`` begins a clause: "as she walks", not "as fast as", "after that"."""
    word, following = tokens[index].word, tokens[index + 1].word
    if word == "as":
        plain = following in ("he", "she", "they", "you", "i", "it", "we", "the", "a") or following.endswith("ing")
        return plain and not (
            index and tokens[index - 1].word in ("same", "such", "soon", "fast", "high", "far", "just")
        )
    if word == "once":
        return (
            following in ("he", "she", "they", "you", "the", "a", "done", "finished", "it", "that")
            or mention == index + 1
        )
    return (
        following not in ("that", "this", "which", "all", "long", "lunch", "dinner", "work", "a")
        or index + 1 == mention
    )


# --- choosing --------------------------------------------------------------------------------------------------------


def _choose(deeds: Sequence[_Deed], num_sentences: int) -> list[_Deed]:
    """What is asked for; mere phrases only where no sentence talks of something else."""
    idle_talk = {
        number
        for number in {deed.sentence for deed in deeds}
        if all(deed.mood is Mood.TALK for deed in deeds if deed.sentence == number and not deed.link)
    }  # "You should stretch before you run": what goes with talk is talk
    with_main = {deed.sentence for deed in deeds if not deed.link}
    deeds = [deed for deed in deeds if not deed.link or deed.sentence not in idle_talk & with_main]
    active = {deed.sentence for deed in deeds if deed.mood not in (Mood.TALK, Mood.FORBIDDEN)}
    is_chat = num_sentences - len(active) >= 2
    wanted = [deed for deed in deeds if deed.mood is Mood.ASKED or (deed.mood is Mood.LIKELY and not is_chat)]
    if not wanted:
        wanted = [deed for deed in deeds if deed.mood is Mood.MEANWHILE]
    if not wanted:
        wanted = [
            replace(deed, mention=replace(deed.mention, action="idle")) for deed in deeds if deed.mood is Mood.STOPPED
        ]
    known = [deed for deed in wanted if deed.mention.action != OTHER]
    if known and all(deed.link == "while" for deed in known) and len(known) < len(wanted):
        known = [replace(deed, link="") for deed in known]  # "smiles while waving": what is known is the action
        return known
    beside = {deed.sentence for deed in deeds if deed.mood is Mood.MEANWHILE and deed.mention.action != OTHER}
    if wanted and all(deed.mention.action == "idle" and deed.sentence in beside for deed in wanted):
        return [deed for deed in deeds if deed.mood is Mood.MEANWHILE]  # "stands, waving"
    main = [deed for deed in wanted if deed.link != "while"]
    return main or wanted


def _in_order(deeds: Sequence[_Deed], tokens: Sequence[Token]) -> list[_Deed]:
    """In order of time, each action once in a row."""
    ordered: list[_Deed] = []
    for number in sorted({deed.sentence for deed in deeds}):
        mine = [deed for deed in deeds if deed.sentence == number]
        done: list[_Deed] = []
        later: list[_Deed] = []
        for deed in mine:
            if deed.link == "before" and not any(other.link == "" for other in done):
                later.append(deed)
            elif deed.link == "after" and done and done[-1].link == "":
                done.insert(len(done) - 1, deed)
            else:
                done.append(deed)
        ordered += done + later
    kept: list[_Deed] = []
    for deed in ordered:
        if len(ordered) > 1 and tokens[deed.mention.first].word in _MILD and deed.mention.action == OTHER:
            continue
        if kept and _is_stance(kept[-1].mention, deed.mention, tokens):
            kept[-1] = deed
        elif not (kept and _is_same(kept[-1], deed, tokens)):
            kept.append(deed)
    return kept[:MAX_SEGMENTS]


def _is_same(before: _Deed, deed: _Deed, tokens: Sequence[Token]) -> bool:
    """Whether ``deed`` goes on with the action before it; another hand is another action."""
    first, second = before.mention, deed.mention
    if first.action in _HELD and second.action == "idle":  # "raise a hand and keep it there" is one pose
        between = [token.word for token in tokens[first.end : second.first]]
        return before.sentence == deed.sentence and "then" not in between and not before.link
    if first.action != second.action:
        return False
    return first.action not in ("raise", "wave") or _sides(first, tokens) == _sides(second, tokens)


def _is_stance(first: Mention, second: Mention, tokens: Sequence[Token]) -> bool:
    """ "stand and wave": how one stands while doing it. "Stand still, then wave" are two."""
    between = [token.word for token in tokens[first.first : second.first]]
    return (
        first.action == "idle"
        and between[0].startswith("stand")
        and "and" in between[1:]
        and not {"still", "then", ",", "."} & set(between)
    )


def _sides(mention: Mention, tokens: Sequence[Token]) -> set[str]:
    return {token.word for token in tokens[mention.first : mention.end + 4]} & {"left", "right"}


def _nothing(text: str, deeds: Sequence[_Deed]) -> Reading:
    """A text without an action that is asked for."""
    confidence = 0.9 if not deeds else 0.7
    return Reading((Segment(text, "none", (), None),), None, confidence)


# --- segments --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Text:
    """A prompt with its tokens."""

    plain: str
    marked: str
    tokens: Sequence[Token]
    spans: Sequence[tuple[int, int]]
    lengths: Sequence[Length]


def _to_reading(text: _Text, deeds: Sequence[_Deed]) -> Reading:
    pieces = _pieces(text, deeds)
    total = None
    segments = []
    for deed, piece in zip(deeds, pieces, strict=True):
        marks = [text.lengths[ord(mark) - _MARK] for mark in _MARKS.findall(piece)]
        own = [length.seconds for length in marks if not length.total]
        whole = [length.seconds for length in marks if length.total]
        total = whole[0] if whole else total
        words = _EDGES.sub("", normalise_text(_MARKS.sub(" ", piece))) or text.plain
        action = None if deed.mention.action == OTHER else deed.mention.action
        detail = find_detail(words, action)
        caption = words_to_caption(words, action, detail)
        segments.append(Segment(words, action, detail, round(sum(own), 4) or None, caption))
    total, segments = _whole_length(text, total, segments)
    sure = 0.95 if deeds[0].mood is Mood.ASKED else 0.6
    return Reading(tuple(segments), total, sure if segments[0].action else 0.3)


def _whole_length(text: _Text, total: float | None, segments: list[Segment]) -> tuple[float | None, list[Segment]]:
    """Length of the whole: said in total, or at the start of several actions, or known for each."""
    starts = bool(_MARKS.match(text.marked.strip()))
    if total is None and starts and len(segments) > 1 and segments[0].seconds and segments[1].seconds is None:
        return segments[0].seconds, [replace(segments[0], seconds=None), *segments[1:]]
    if total is None and all(segment.seconds for segment in segments):
        total = sum(segment.seconds or 0.0 for segment in segments)
    return total, segments


def _pieces(text: _Text, deeds: Sequence[_Deed]) -> list[str]:
    """The words of each action: the clauses around its mention, without sentences of mere talk."""
    places = sorted(range(len(deeds)), key=lambda number: deeds[number].mention.first)
    talked = {deed.sentence for deed in deeds}
    pieces = [""] * len(deeds)
    for rank, number in enumerate(places):
        deed = deeds[number]
        first, end = text.spans[deed.sentence]
        follower = deeds[places[rank + 1]] if rank + 1 < len(places) else None
        leader = deeds[places[rank - 1]] if rank else None
        begin = (
            _border(text.tokens, leader.mention, deed.mention) if leader and leader.sentence == deed.sentence else first
        )
        if follower and follower.sentence == deed.sentence:
            stop = _border(text.tokens, deed.mention, follower.mention)
        else:
            stop = _with_fragments(text, deed.sentence, end, talked)
        pieces[number] = text.marked[text.tokens[begin].start : text.tokens[stop - 1].end]
    return pieces


def _border(tokens: Sequence[Token], first: Mention, second: Mention) -> int:
    """Index of the token where the clause of ``second`` begins."""
    for index in range(second.first, first.end - 1, -1):
        if tokens[index].word in (",", ";", "then", "and", "before", "after", "once", "while") and index < second.first:
            return index + 1 if index + 1 <= second.first else second.first
    return second.first


def _with_fragments(text: _Text, sentence: int, end: int, talked: set[int]) -> int:
    """Token after the sentence and after what only adds to it: "Raise a hand. The left one." """
    for number in range(sentence + 1, len(text.spans)):
        first, after = text.spans[number]
        words = [token.word for token in text.tokens[first:after]]
        if number in talked or len(words) > 5 or any(word in _VERBAL for word in words):
            break
        end = after
    return end


_VERBAL: Final = frozenset(
    "i you it is are was do don't have has how what thanks thank hello hi that's it's i'm can will okay ok sure".split()
)


# --- direction and side ----------------------------------------------------------------------------------------------


_NO_WAY: Final = re.compile(
    r"\bstraight\s+(?:out\s+of|from|away|up|into|to\s+the\s+point|at)\b|\bleft\s+to\s+right\b"
    r"|\b(?:stand|sit|stay|keep|hold)\w*\s+(?:\w+\s+)?straight\b(?!\s+(?:ahead|on|forward))|\bstraight\s+(?:at|in|through)\b"
    r"|\bboth\s+(?:ways|sides|directions)\b"
)
_BOTH: Final = re.compile(r"\bboth\b|\btwo[\s-](?:hand(?:s|ed)|arm(?:s|ed)|fists|legs|feet)\b")


def find_detail(words: str, action: str | None) -> tuple[str, ...]:
    """Direction and side words of one action, in their order. Plain "hands" are both only where one could do it too."""
    words = _NO_WAY.sub(" ", words.lower())
    found = {name for name, value in zip(FLAGS, text_flags(words), strict=True) if value}
    if action not in ("raise", "wave") and not _BOTH.search(words):
        found.discard("both")
    return sorted_detail(found)
