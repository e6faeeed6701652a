"""How often an action is asked for ("twice", 「3回」), and how long that takes where no length is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from motion_service.clips import Language

MOST_TIMES: Final = 20
_ENGLISH: Final[Mapping[str, int]] = {
    word: number for number, word in enumerate("two three four five six seven eight nine ten".split(), start=2)
}
_KANJI: Final[Mapping[str, int]] = {digit: number for number, digit in enumerate("一二三四五六七八九十", start=1)}
_PATTERN: Final[Mapping[str, re.Pattern[str]]] = {
    "en": re.compile(rf"\b(?P<word>twice|thrice)\b|\b(?P<number>\d+|{'|'.join(_ENGLISH)})\s+times\b", re.IGNORECASE),
    "ja": re.compile(r"(?<![\d第今前次])(?P<number>\d+|[一二三四五六七八九十])[回度](?!目|転|答|復|避|収|し[かた]|も)"),
}
_SECONDS: Final[Mapping[str, float]] = {
    "bow": 2.5, "clap": 0.6, "cartwheel": 2.5, "crouch": 2.0, "flip": 2.0, "jump": 1.5, "kick": 1.5, "nod": 1.0,
    "punch": 1.0, "raise": 2.0, "shake-head": 1.0, "shrug": 1.5, "slash": 1.5, "turn": 2.5, "wave": 1.5,
}  # fmt: skip
"""What one of them takes, in seconds; others :data:`_OTHER_S`. Round figures, not measured."""
_OTHER_S: Final = 2.0
_SHORTEST_S: Final = 2.0
_LONGEST_S: Final = 30.0


def find_times(text: str, language: Language) -> int | None:
    """The first count of times in ``text`` (normalised), 2 to :data:`MOST_TIMES`; None without one."""
    match = _PATTERN[language].search(text) if language in _PATTERN else None
    if match is None:
        return None
    found = match.groupdict()
    if found.get("word"):
        return 2 if found["word"].lower() == "twice" else 3
    number = found["number"].lower()
    times = int(number) if number.isdecimal() else {**_ENGLISH, **_KANJI}[number]
    return times if 2 <= times <= MOST_TIMES else None


def times_to_seconds(action: str | None, times: int) -> float:
    """Length of a clip that shows ``action`` so often, in seconds."""
    return min(max(times * _SECONDS.get(action or "", _OTHER_S), _SHORTEST_S), _LONGEST_S)
