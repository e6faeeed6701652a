"""A prompt in English or Japanese to a :class:`~motion_service.clips.PromptPlan`: language, length, actions in order.

Rules only: pure, without a model, well under 5 ms. Careful rather than clever: what is not clearly several actions
stays one segment, what is not clearly a known action has action None. Knows no network and no caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from motion_service import prompt_ja
from motion_service.clips import Language, PromptPlan, Segment
from motion_service.errors import PromptInvalid
from motion_service.wording import FLAGS, normalise_text, text_flags

__all__ = ["FLAGS", "MAX_SECONDS", "MIN_SECONDS", "prompt_to_plan", "recognise_action", "text_flags"]

MIN_SECONDS, MAX_SECONDS = 0.1, 120.0  # what a request may ask for; lengths in words are held to it
MAX_SEGMENTS = 16

_ACTION_WORDS: tuple[tuple[str, str], ...] = (  # the first that matches names the action; special before general
    ("idle", r"\b(?:do(?:es)?n'?t|do(?:es)? not|without|never)\s+mov(?:e|ing)\b|\bdo(?:es|ing)?\s+nothing\b"),
    ("jumping-jack", r"\b(?:jumping[\s-]?jacks?|star[\s-]?jumps?)\b"),
    ("soccer-kick", r"\b(?:soccer|football|kick\w*\s+(?:\w+\s+){0,2}ball|penalty|dribbl\w+ the ball)\b"),
    ("ballet-dance", r"\b(?:ballet|pirouett\w+|plié|arabesque|ballerina)\b"),
    ("basketball", r"\b(?:basketball|free throw|slam dunk|dunk\w*|hoops)\b"),
    ("direct-traffic", r"\btraffic\b"),
    ("jump", r"\bjump(?:s|ing)?\s+(?:for|with)\s+joy\b"),
    (
        "hit-reaction",
        r"\b(?:gets?|getting|is|being|was)\s+(?:hit|punched|struck|shot)\b|\bflinch\w*|\brecoil\w*|\breel\w*\s+from",
    ),
    ("death-fall", r"\b(?:dies?|dying|drops? dead|collaps\w+|falls?\s+(?:down\s+)?dead|faint\w*)\b"),
    (
        "bend-pick-up",
        r"\bpick\w*\s+(?:\w+\s+){0,4}up\s+(?:from|off)\s+the\s+(?:floor|ground)\b|\bbend\w*\b.*\bpick\w*\b|\bscoop\w*",
    ),
    ("pick-up", r"\bpick\w*\s+(?:\w+\s+){0,4}up\b|\bpick\w*\s+up\b|\bgrab\w*\s+(?:something|an?)\b"),
    ("byebye", r"\bbye[\s-]?bye\b|\b(?<!good)(?<!good )(?<!good-)byes?\b"),
    (
        "bye",
        r"\bgood[\s-]?bye\b|\bfarewell\b|\bsee\s+(?:you|ya)\b|\bso\s+long\b|\bsee\w*\s+\w+\s+off\b|\btake\w*\s+leave\b",
    ),
    ("call", r"\bbeckon\w*|\bcall(?:s|ing)?\b|\bcome\s+(?:over\s+)?here\b|\bhail\w*|\bsummon\w*"),
    (
        "guide",
        r"\bguid(?:e|es|ing)\b|\bshow\w*\s+(?:\w+\s+){0,3}(?:way|path|around|in)\b|\busher\w*|\bescort\w*|\bthis\s+way\b|\bdirect(?:s|ing)?\b|\blead(?:s|ing)?\b",
    ),
    ("respond", r"\brespon(?:d|ds|ding|se)\b|\breact\w*|\brepl(?:y|ies|ying)\b|\banswer\w*|\bnod\w*"),
    ("bow", r"\bbow(?:s|ed|ing)?\b(?!\s+and\s+arrow)|\bcurts\w+|\bbend\w*\s+(?:forward|at the waist)"),
    ("cartwheel", r"\bcartwheels?\b"),
    ("flip", r"\b(?:back|front|side)?[\s-]?flip(?:s|ping)?\b|\bsomersault\w*|\bhand\s?spring\w*"),
    ("roll", r"\broll(?:s|ing)?\b|\btumbl\w+"),
    ("wave", r"\bwav(?:e|es|ed|ing)\b|\bwaggl\w+|\bflap\w*|\bsay\w*\s+(?:hello|hi)\b|\bgreet\w*"),
    (
        "raise",
        r"\b(?:rais|lift|hold|put|stick|reach|stretch|throw)\w*\b.*\b(?:hands?|arms?)\b|\b(?:hands?|arms?)\b.*\b(?:up|high|overhead|raised|lifted)\b|\bup\b.*\b(?:hands?|arms?)\b|\bsurrender\w*",
    ),
    (
        "slash",
        r"\bslash\w*|\b(?:swing|cut|strik|slic|chop)\w*\b.*\b(?:sword|blade|katana|sabre|saber)\b|\bcut\w*\s+down\b",
    ),
    ("sword", r"\b(?:sword|katana|blade|fencing|sabre)\b"),
    ("boxing", r"\bbox(?:es|ing|er)\b|\bspar(?:s|ring)\b"),
    ("punch", r"\bpunch\w*|\bjab(?:s|bing)?\b|\bfists?\b|\buppercut\w*|\b(?:right|left)\s+hook\b|\bhook\s+punch"),
    ("kick", r"\bkick\w*|\broundhouse\b"),
    ("dance", r"\bdanc(?:e|es|ed|er|ing)\b|\bgroov\w+|\bboogie\w*|\bymca\b|\bshimm\w+"),
    ("squat", r"\bsquat\w*|\bknee bends?\b|\bbend\w*\s+(?:\w+\s+)?knees?\b"),
    ("crouch", r"\bcrouch\w*|\bduck(?:s|ing)?\b|\bsneak\w*|\bhunker\w*|\bkneel\w*"),
    ("sit", r"\bsit(?:s|ting)?\b|\bseat(?:ed)?\b|\btak\w+\s+a\s+seat\b"),
    ("jump", r"\bjump\w*|\bleap\w*|\bhop(?:s|ping|ped)?\b|\bbounc\w+|\bskip(?:s|ping)?\b"),
    ("swim", r"\bsw(?:im|ims|imming|am)\b|\bfront crawl\b"),
    ("climb", r"\bclimb\w*|\bladder\b|\b(?:up|down)\s+(?:the\s+)?(?:stairs|steps)\b"),
    ("laugh", r"\blaugh\w*|\bgiggl\w+|\bchuckl\w+|\bcrack\w*\s+up\b"),
    ("drink", r"\bdrink\w*|\bsip(?:s|ping)?\b|\bgulp\w*"),
    ("wash", r"\bwash\w*|\bwip(?:e|es|ing)\b|\bscrub\w*|\bclean\w*"),
    ("push", r"\bpush\w*|\bshov(?:e|es|ing)\b"),
    ("drive", r"\bdriv(?:e|es|ing)\b|\bsteer\w*"),
    ("torch", r"\btorch\b|\blantern\b"),
    ("spell", r"\bspells?\b|\bmagic\b|\bconjur\w+|\bwizard\b"),
    ("aim", r"\baim\w*|\bpistol\b|\bgun\b|\bshoot\w*"),
    ("interact", r"\binteract\w*|\bpress\w*\s+(?:a|the)\b|\blever\b|\brepair\w*|\bfix(?:es|ing)?\b"),
    (
        "turn",
        r"\bturn(?:s|ed|ing)?\b|\bveer\w*|\bcurv(?:e|es|ing)\b|\brotat\w+|\bpivot\w*|\bspin(?:s|ning)?\b|\bswerv\w+|\bhang\s+a\b|\ba?round\s+to\s+the\b|\bcorner\b",
    ),
    (
        "sidestep",
        r"\bside[\s-]?step\w*|\bsideway?s?\b|\bsidl\w+|\bcrab\w*|\b(?:step|slid|shuffl|mov|shift)\w*\s+(?:\w+\s+){0,3}(?:left|right)",
    ),
    (
        "walk-back",
        r"(?<!come )(?<!get )(?<!stand )\bback(?:s|ing)?\s+(?:up|away|off)\b|\bretreat\w*"
        r"|\b(?:step|mov|go)\w*\s+(?:\w+\s+){0,2}back(?:wards?)?\b",
    ),
    ("dash", r"\bdash(?:es|ing)?\b|\bsprint\w*|\bbolt(?:s|ing)?\b|\bflat\s+out\b|\b(?:full|top)\s+speed\b"),
    ("run", r"\brun(?:s|ning)?\b|\bran\b|\bjog\w*|\brac(?:es|ing)\b|\btrot\w*"),
    (
        "walk",
        r"\bwalk\w*|\bstroll\w*|\bmarch\w*|\bstep(?:s|ping)?\b|\bpac(?:es|ing)\b|\bwander\w*|\btrudg\w+|\bplod\w*|\bhobbl\w+|\btoddl\w+|\bsaunter\w*|\bstrut\w*|\bstrid(?:e|es|ing)\b|\btake\w*\s+a\s+stroll|\bmov\w+\s+(?:forward|ahead)|\bamble\w*",
    ),
    ("talk", r"\btalk\w*|\bspeak\w*|\bchat\w*|\bexplain\w*|\bconvers\w+"),
    (
        "idle",
        r"\bstand(?:s|ing)?\b|\bwait\w*|\bidl(?:e|es|ing)\b|\bstill\b|\brest(?:s|ing)?\b|\bstay\w*|\bpaus\w+|\bstop(?:s|ping)?\b|\bremain\w*",
    ),
)

_WORDS_OF: dict[Language, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "en": tuple((action, re.compile(pattern)) for action, pattern in _ACTION_WORDS),
    "ja": tuple((action, re.compile(pattern)) for action, pattern in prompt_ja.ACTION_WORDS),
}

_SEPARATORS = re.compile(
    r"(?P<strong>[\s,;.]*\b(?:and\s+then|then|after\s+that|afterwards|followed\s+by|before|next|finally)\b[\s,]*|\s*[.;!?]+\s+)"
    r"|(?P<weak>\s*,\s*(?:and\s+)?|\s+(?:and|&)\s+)"
    r"|(?P<plain>(?!))"
)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SMALL = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_NUMBER_WORDS = {word: float(value) for value, word in enumerate(_SMALL.split(), start=1)} | {
    "twenty": 20.0, "thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "ninety": 90.0,
    "a": 1.0, "an": 1.0, "a couple of": 2.0, "a few": 3.0, "several": 5.0, "half a": 0.5, "half": 0.5, "a half": 0.5,
}  # fmt: skip
_WORD = "|".join(sorted(_NUMBER_WORDS, key=len, reverse=True))
_TENS, _ONES = "twenty|thirty|forty|fifty", "|".join(_SMALL.split()[:9])
_DURATION = re.compile(
    r"(?P<lead>(?:\b(?:for|in|over|during|within|lasting|about|around|approximately|roughly|exactly|up to)"
    r"\s+(?:the\s+)?)*)"
    rf"(?<![\w.'-])(?P<number>\d+(?:\.\d+)?|\.\d+|(?:{_TENS})[\s-](?:{_ONES})|{_WORD})"
    r"(?P<half>\s+and\s+a\s+half)?[\s-]?"
    r"(?P<unit>ms|milliseconds?|seconds?|secs?|s|minutes?|mins?|hours?)\b(?P<half_unit>\s+and\s+a\s+half)?"
    r"(?:[\s-]long\b)?(?!\s+(?:later|time|times|after|from now))",
    re.IGNORECASE,
)
_NOT_A_LENGTH = re.compile(r"\b(?:every|after|wait|each|first|last|the)\s+$", re.IGNORECASE)

_LIMB = re.compile(
    r"(?:左|右|ひだり|みぎ)の?[手腕足脚肩]|\b(?:left|right)\s+(?:hand|arm|fist|leg|foot|palm)s?\b", re.IGNORECASE
)
_LOCOMOTION = {"walk", "walk-back", "walk-left", "walk-right", "turn-left", "turn-right", "run", "dash"}
_ONE_MOTION = (  # said with "and" these are one movement: "walk and turn left", "raise your hand and wave"
    _LOCOMOTION,
    {"wave-left", "wave-right", "wave-both", "raise-left", "raise-right", "raise-both", "bye", "byebye"},
    {"slash", "sword"},
    {"punch", "boxing"},
    {"bend-pick-up", "pick-up"},
)


def prompt_to_plan(prompt: str) -> PromptPlan:
    """Read ``prompt``. Raises :class:`~motion_service.errors.PromptInvalid` when nothing is left after normalising.

    Lengths in words are taken out of the segments' text (the encoder need not read them) and held to 0.1..120 s.
    A length at the start of a prompt with several actions is that of the whole, any other that of its segment.
    """
    text = normalise_text(prompt)
    if not text:
        raise PromptInvalid("prompt is empty: write what the figure should do", field="prompt")
    language: Language = "ja" if re.search(r"[぀-ヿ㐀-鿿々]", text) else "en"
    segments = tuple(_segment(piece, language) for piece in _split(text, language))
    seconds = _whole_seconds(text, segments, language)
    if len(segments) > 1 and seconds is not None and any(segment.seconds is None for segment in segments):
        segments = (Segment(segments[0].text, segments[0].action, segments[0].detail), *segments[1:])
    action, confidence = recognise_action(segments[0].text, language)
    return PromptPlan(text, language, segments, seconds, action, confidence, (text,) if language == "en" else ())


def recognise_action(text: str, language: Language) -> tuple[str | None, float]:
    """Name of the action in ``text`` and how sure we are (0.9 one action, 0.7 the likeliest of several, 0 none)."""
    words = text.lower()
    for part in (_main_clause(words, language), words):
        found = [action for action, pattern in _WORDS_OF[language] if pattern.search(part)]
        if found:
            return _with_direction(found[0], text), 0.9 if len(set(found)) == 1 else 0.7
    return None, 0.0


def _main_clause(text: str, language: Language) -> str:
    """What is done, without what is done meanwhile: before "while", after 「ながら」."""
    if language == "ja":
        return re.split(r"ながら|つつ", text)[-1]
    return re.split(r"\b(?:while|as you|as (?:he|she|they))\b", text)[0]


def _with_direction(action: str, text: str) -> str:
    """Put side and direction into the name: wave + left = wave-left, walk + turn + right = turn-right."""
    flags = _words_found(text)
    side = "left" if "left" in flags and "right" not in flags else "right"
    hand = "both" if "both" in flags or {"left", "right"} <= flags else side
    if action in ("wave", "raise"):
        return f"{action}-{hand}"
    if action in ("bye", "byebye"):
        return "wave-both" if hand == "both" else action
    if action in ("turn", "sidestep", "walk"):  # the side of the way, not that of a hand
        flags = _words_found(_LIMB.sub(" ", text))
        side = "left" if "left" in flags and "right" not in flags else "right"
    if action == "sidestep":
        return f"walk-{side}"
    if action == "walk" and "backward" in flags:
        return "walk-back"
    if action == "turn" or (action == "walk" and "turn" in flags):
        return f"turn-{side}"
    return f"walk-{side}" if action == "walk" and flags & {"left", "right"} else action


def _words_found(text: str) -> set[str]:
    return {name for name, value in zip(FLAGS, text_flags(text), strict=True) if value}


def _segment(text: str, language: Language) -> Segment:
    words, lengths = _without_lengths(text, language)
    found = _words_found(words)
    detail = tuple(name for name in FLAGS if name in found)
    seconds = min(max(sum(lengths), MIN_SECONDS), MAX_SECONDS) if sum(lengths) > 0 else None
    return Segment(words, recognise_action(words, language)[0], detail, seconds)


def _split(text: str, language: Language) -> list[str]:
    """``text`` cut into actions in order. A piece without a known action stays with its neighbour."""
    pieces: list[str] = []
    last: tuple[str, str] | None = None  # the newest known action and its words
    for separator, strength, piece in _pieces(text, prompt_ja.SEPARATORS if language == "ja" else _SEPARATORS):
        action = recognise_action(piece, language)[0]
        if not pieces or (last and action and len(pieces) < MAX_SEGMENTS and _is_new(last, strength, (action, piece))):
            pieces.append(piece)
        else:
            pieces[-1] += separator + piece
        last = (action, piece) if action else last
    return [piece.strip(" ,;、。") for piece in pieces]


def _pieces(text: str, separators: re.Pattern[str]) -> Iterator[tuple[str, str, str]]:
    """(separator before it, its strength, piece) in order."""
    start, separator, strength = 0, "", "strong"
    for match in separators.finditer(text):
        if match.start() > start:
            yield separator, strength, text[start : match.start()]
            start, separator, strength = match.end(), match.group(), match.lastgroup or "plain"
    yield separator, strength, text[start:]


def _is_new(before: tuple[str, str], strength: str, after: tuple[str, str]) -> bool:
    """Whether ``after`` (action, text) starts another action than ``before`` and is not part of the same movement."""
    (first, first_text), (second, second_text) = before, after
    if strength == "strong":
        return True
    if first == second or "idle" in (first, second):
        return False
    if any(first in group and second in group for group in _ONE_MOTION):
        sides = [_words_found(words) & {"left", "right"} for words in (first_text, second_text)]
        return first not in _LOCOMOTION and all(sides) and sides[0] != sides[1]
    return not (strength == "plain" and first not in _LOCOMOTION and second in _LOCOMOTION)  # 手を振って歩く


def _without_lengths(text: str, language: Language) -> tuple[str, list[float]]:
    """``text`` without its lengths of time, and those in seconds. Text that is nothing but a length is kept."""
    lengths: list[float] = []

    def take(match: re.Match[str]) -> str:
        seconds = _match_to_seconds(match, language)
        if seconds is None or (language == "en" and _NOT_A_LENGTH.search(text[: match.start()])):
            return match.group()
        lengths.append(seconds)
        return "" if language == "ja" else " "

    pattern = prompt_ja.DURATION if language == "ja" else _DURATION
    words = normalise_text(pattern.sub(take, text))
    return words or text, lengths


def _match_to_seconds(match: re.Match[str], language: Language) -> float | None:
    if language == "ja":
        return prompt_ja.match_to_seconds(match)
    unit = match["unit"].lower()
    unit = "ms" if unit.startswith("mil") or unit == "ms" else unit[0]
    number = match["number"].lower()
    if len(match["unit"]) == 1 and (not number[-1].isdigit() or "the" in match["lead"] or len(number) == 4):
        return None  # "in the 90s", "a 1990s dance"
    if number[-1].isdigit():
        value = float(number)
    elif number in _NUMBER_WORDS:
        value = _NUMBER_WORDS[number]
    else:
        tens, _, ones = number.replace("-", " ").rpartition(" ")
        value = _NUMBER_WORDS[tens] + _NUMBER_WORDS[ones]
    return (value + (0.5 if match["half"] or match["half_unit"] else 0.0)) * _UNITS[unit]


def _whole_seconds(text: str, segments: tuple[Segment, ...], language: Language) -> float | None:
    """Length of the whole prompt: said at its start, or known for every segment."""
    if all(segment.seconds is not None for segment in segments):
        return min(sum(segment.seconds or 0.0 for segment in segments), MAX_SECONDS)
    pattern = prompt_ja.DURATION if language == "ja" else _DURATION
    head = pattern.match(text)
    if head is None or segments[0].seconds is None or re.search(r"[のに]$", head.group()):
        return None
    return segments[0].seconds
