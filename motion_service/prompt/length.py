"""Lengths of time in English words: "for 2.5 seconds", "half a minute", "a couple of secs", "10s".

Of a range ("3-4 seconds", "a second or two") the larger bound counts.
A moment ("after 10 seconds"), a decade ("the 1980s"), a count ("3 times") and a pace ("every 2 seconds") are none.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SMALL: Final = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES: Final = {word: float(value) for value, word in enumerate(_SMALL, start=1)} | {
    word: 10.0 * value for value, word in enumerate(_TENS, start=2)
}
_AMOUNTS: Final = {
    "a": 1.0, "an": 1.0, "another": 1.0, "a full": 1.0, "a whole": 1.0, "a single": 1.0, "a couple of": 2.0,
    "a couple": 2.0, "couple of": 2.0, "a few": 3.0, "few": 3.0, "several": 5.0, "half": 0.5, "half a": 0.5,
    "half an": 0.5, "a half": 0.5, "half of a": 0.5, "a quarter of a": 0.25, "a quarter of an": 0.25,
    "quarter of a": 0.25, "a quarter": 0.25, "three quarters of a": 0.75, "three-quarters of a": 0.75,
    "three quarters of an": 0.75, "a third of a": 1 / 3, "two thirds of a": 2 / 3, "a hundred": 100.0,
    "one hundred": 100.0, "a dozen": 12.0, "a full half": 0.5,
}  # fmt: skip
_ONES: Final = "|".join(_SMALL[:9])
_WORDS: Final = "|".join(
    [rf"(?:{'|'.join(_TENS)})[\s-](?:{_ONES})", *sorted([*_AMOUNTS, *_VALUES], key=len, reverse=True)]
).replace(" ", r"\s+")
_UNIT: Final = r"ms|msecs?|milliseconds?|millis|seconds?|secs?|s|minutes?|mins?|m(?=\s*\d)|hours?|hrs?|h"
_PART: Final = (
    rf"(?:(?:\d+(?:[.,]\d+)?|[.,]\d+)\s?-?|(?:{_WORDS}|\d+)(?:\s+and\s+(?:a\s+)?(?:half|quarter))?[\s-])\s*(?:{_UNIT})(?:\b|(?<=\dm)(?=\d))\.?"
    r"(?:\s+and\s+(?:a\s+half|a\s+quarter)\b(?!\s*(?:second|sec|minute|min|hour)))?"
)
_LENGTH: Final = re.compile(
    r"(?P<lead>(?:\b(?:for|in|over|during|within|lasting|lasts?|about|around|approximately|roughly|exactly|almost|nearly"
    r"|no longer than|not (?:more|longer) than|less than|a maximum of|max"
    r"|up to|at least|at most|no more than|some|just|only|the span of|a total of|duration of|length of|takes?|taking"
    r"|~)\s+(?:the\s+)?(?:next\s+)?)*)"
    rf"(?<![\w.,'$€£-])(?P<parts>{_PART}(?:(?:\s*,?\s+and\s+|\s*,?\s*){_PART})?)"
    r"(?P<tail>(?:[\s-]long\b|\s+straight\b|\s+in\s+total\b|\s+total\b|\s+or\s+so\b|\s+each\b|\s+worth\s+of\b)?)"
    r"(?!\s+(?:later|times?|after|from\s+now|ago|into|left|remain|until|till|behind|ahead|per|rule|hand|place|in\s+a\s+\w+\s+is"
    r"|(?:delay|interval|timer|countdown|break|mark|lag|latency|ping|ad|ads|advert|adverts|commercials?|warning|notice|head\s+start|flat|window)\b))"
    r"(?!/)",
    re.IGNORECASE,
)
_SPLIT_PART: Final = re.compile(
    rf"(?P<number>\d+(?:[.,]\d+)?|[.,]\d+|{_WORDS})(?P<half>\s+and\s+(?:a\s+)?(?:half|quarter))?[\s-]*"
    rf"(?P<unit>{_UNIT})(?:\b|(?<=\dm)(?=\d))\.?(?P<more>\s+and\s+(?:a\s+half|a\s+quarter)\b)?",
    re.IGNORECASE,
)
_RANGE: Final = re.compile(
    rf"(?<![\w.'-])(?P<low>\d+(?:\.\d+)?|{_WORDS})\s*(?:-|–|to|or)\s*(?=(?:\d+(?:\.\d+)?|{_WORDS})\s*-?(?:{_UNIT})\b)",
    re.IGNORECASE,
)
_NO_LENGTH_BEFORE: Final = re.compile(
    r"(?:\b(?:every|after|each|first|last|the|this|that|another's|than|takes?\s+(?:me|you|him|her)|took|per|past|at|by|since"
    r"|world\s+record(?:\s+\w+)*|lasted|ran|is|was|are|were|has|have|in\s+under|under|been\s+\w+\s+for|there\s+are|give\s+me|just\s+a|hold\s+on|hang\s+on)\s+(?:about\s+|only\s+|just\s+)?)$",
    re.IGNORECASE,
)
_BARE: Final = re.compile(
    rf"\bfor\s+(?:another\s+)?(\d{{1,3}}(?:\.\d+)?|{'|'.join(_VALUES)})"
    r"(?=\s*(?:[,.;!]|$|and\b|then\b|before\b))",
    re.IGNORECASE,
)
_ONE: Final = re.compile(r"(?:a|an|one|half an?|a single)[\s-](?:second|sec|minute|min|hour)\.?$")
_MEANT: Final = re.compile(r"\b(?:for|in|over|within|lasting|about|takes?|exactly|only)\s+$")
_HELD: Final = re.compile(r"\b(?:wait|pause|hold|stand|stay|idle|rest|freeze|still|there)s?\s+$", re.IGNORECASE)
_NUMBER: Final = rf"(?:\d+(?:\.\d+)?|{_WORDS})"
_SPELLINGS: Final = (
    (re.compile(r"(?<![\w.])(\d+)\s*(?:1[⁄/]2|½)(?=[\s-]*(?:s|m|h))", re.I), r"\1.5"),  # 1 1/2 seconds
    (re.compile(r"(?<![\w./])(?:1[⁄/]2|½)(?=\s+(?:a\s+)?(?:s|m|h))", re.I), "half"),
    (re.compile(r"\b(\w+)-and-a-half\b", re.I), r"\1 and a half"),
    (re.compile(rf"\bbetween\s+{_NUMBER}\s+and\s+(?={_NUMBER}[\s-]*(?:{_UNIT})\b)", re.I), ""),
    (re.compile(rf"(?<![\w.-]){_NUMBER}\s*[-–~]\s*(?=\d+(?:\.\d+)?[\s-]*(?:{_UNIT})\b)", re.I), ""),  # 3-4 seconds
    (re.compile(r"\ba\s+(?:second|sec)\s+or\s+(two|three)\b", re.I), r"\1 seconds"),
    (re.compile(r"\ba\s+(?:minute|min)\s+or\s+(two|three)\b", re.I), r"\1 minutes"),
    (re.compile(rf"\b({_NUMBER})(?:\s+|-?ish\s+|\+\s*)(?:(?:good|whole|full|more|long|solid|entire|extra|odd)\s+)*"
                rf"(?=(?:seconds?|secs?|minutes?|mins?)\b)", re.I), r"\1 "),  # 5 more seconds, 5ish seconds
    (re.compile(r"(\d\s?(?:minutes?|mins?|m))\s+(\d{1,2})(?=\s*(?:$|[,.;!)]))", re.I), r"\1 \2 seconds"),  # 1 min 30
    (re.compile(r"(?:\bfor\s+|(?<![\w:]))(?:00?:)?0?0:(\d\d)(?![\d:])"), r"for \1 seconds"),  # 0:05
    (re.compile(r"\bfor\s+(\d{1,2}):(\d\d)(?![\d:])", re.I), r"for \1 minutes \2 seconds"),
    (re.compile(r"(?:(?<=[,;(] )|(?<=\bfor ))(\d{1,3}(?:\.\d+)?)(?:\"|''|″)(?=\s*(?:$|[,.;!)]))"), r"\1 seconds"),
)  # fmt: skip
"""Ways of writing a length and the plain one. Of a range the larger bound counts: the motion has time to end."""
_NEAR: Final = 60
"""Letters before a number that are looked at."""
_SECONDS: Final = {"m": 60.0, "h": 3600.0, "s": 1.0}


class Length(NamedTuple):
    """A length of time found in a text."""

    start: int
    end: int
    seconds: float
    total: bool
    """Said of the whole: "5 seconds in total"."""


def spell_lengths(text: str) -> str:
    """``text`` with unusual ways of writing a length put plainly: "3-4 secs", "a sec or two", "0:05", "1 min 30"."""
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    return text


def find_lengths(text: str) -> list[Length]:
    """Lengths in normalised English text, in order; none is zero. A later "for 2" is in the unit of the first."""
    found = []
    for match in _LENGTH.finditer(text):
        seconds = _parts_to_seconds(match["parts"])
        if seconds and not _is_no_length(text, match):
            begin = max(0, match.start() - _NEAR)
            low = next((r for r in _RANGE.finditer(text, begin, match.end()) if r.end() == match.start("parts")), None)
            start = low.start() if low else match.start()
            found.append(Length(start, match.end(), seconds, "total" in match["tail"] or "total" in match["lead"]))
    if found and "min" not in text[found[0].start : found[0].end].lower():
        later = _BARE.finditer(text, found[0].end)
        found += [
            Length(bare.start(), bare.end(), _number(bare[1].lower()), False)
            for bare in later
            if _number(bare[1].lower())
        ]
    return sorted(found)


def _is_no_length(text: str, match: re.Match[str]) -> bool:
    parts, lead = match["parts"].lower(), match["lead"].lower()
    head = text[max(0, match.start() - _NEAR) : match.start()]
    if re.fullmatch(r"\d{4}s?|\d0s", parts.replace(" ", "")) and "s" == parts[-1]:
        return not (lead.strip() == "for" and len(parts) < 5)  # "the 90s", "1980s"; but "for 30s"
    if re.search(r"\bthe\s+$", lead) and not re.search(r"(?:next|for)\s+the\s+$|next\s+$", lead):
        return True
    if _ONE.match(parts) and not _MEANT.search(lead):  # "a second opinion", "wait a minute", but "a one-second bow"
        return "-" not in parts and not parts.startswith(("one", "half", "a half", "a single"))
    before = text[match.end() :].lstrip().startswith("before")
    if before and "for" not in lead and not _HELD.search(head):
        return True  # "3 seconds before midnight", but "wait 3 seconds before you sit"
    if lead == "in " and not head.strip() and text[match.end() : match.end() + 1] == ",":
        return True  # "in 5 seconds, clap" says when
    if lead.startswith("in ") and re.search(
        r"(?:\bbe (?:back|there|ready|done)|ready|starts?|leav\w+|see you)\s+$", head
    ):
        return True
    return (
        bool(_NO_LENGTH_BEFORE.search(head))
        and "long" not in match["tail"]
        and not re.search(r"\bfor\s+(?:\w+\s+)?$", lead)
    )


def _parts_to_seconds(parts: str) -> float:
    total = 0.0
    for match in _SPLIT_PART.finditer(parts):
        unit = match["unit"].lower()
        scale = 0.001 if unit.startswith(("ms", "mil")) else _SECONDS[unit[0]]
        value = _number(match["number"].lower())
        for extra in (match["half"], match["more"]):
            value += 0.0 if not extra else 0.25 if "quarter" in extra else 0.5
        total += value * scale
    return round(total, 4)


def _number(word: str) -> float:
    word = " ".join(word.replace(",", ".").split())
    if word[-1].isdigit():
        return float(word)
    if word in _AMOUNTS:
        return _AMOUNTS[word]
    tens, _, ones = word.replace("-", " ").rpartition(" ")
    return _VALUES[ones] + _VALUES.get(tens, 0.0)
