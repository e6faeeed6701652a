"""The actions that prompts are read for: their names, English captions of them, and what ``mini`` calls them.

A caption is worded like those of HumanML3D, which the official models were trained on: "a person walks forward slowly".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

ACTIONS: Final[Mapping[str, str]] = {
    "walk": "walks",
    "run": "runs",
    "jump": "jumps",
    "turn": "turns",
    "sit": "sits down",
    "stand-up": "stands up",
    "crouch": "crouches down",
    "crawl": "crawls on hands and knees",
    "climb": "climbs up a ladder",
    "swim": "swims with the arms",
    "dance": "dances",
    "wave": "waves",
    "raise": "raises",
    "bow": "bows",
    "salute": "salutes",
    "guide": "gestures the way with an open hand",
    "call": "beckons someone over",
    "point": "points",
    "clap": "claps both hands",
    "nod": "nods the head",
    "shake-head": "shakes the head from side to side",
    "shrug": "shrugs both shoulders",
    "think": "puts a hand to the chin and thinks",
    "laugh": "laughs and holds the belly",
    "cry": "covers the face and cries",
    "talk": "talks and gestures with the hands",
    "idle": "stands still",
    "kick": "kicks",
    "punch": "punches",
    "slash": "swings a sword",
    "aim": "aims a gun",
    "throw": "throws something",
    "catch": "catches something",
    "push": "pushes something forward with both hands",
    "pull": "pulls something with both hands",
    "pick-up": "bends down and picks something up",
    "drink": "drinks from a cup",
    "eat": "eats something",
    "wash": "wipes a surface with one hand",
    "drive": "sits and turns a steering wheel",
    "cartwheel": "does a cartwheel",
    "flip": "does a backflip",
    "roll": "rolls over on the ground",
    "fall": "falls down to the ground",
    "stretch": "stretches the body",
    "look": "looks around",
    "hug": "hugs someone with both arms",
    "cheer": "cheers with both arms in the air",
    "none": "stands and talks calmly with small gestures",
}
"""{action: what a person does then}, in the third person. ``none``: no bodily action is asked for."""

DETAILS: Final = ("left", "right", "both", "forward", "backward", "turn")
"""What :attr:`Segment.detail` may hold, in its order."""

CALM: Final = "none"
"""The action of a text that asks for none."""

_ON_FOOT: Final = frozenset(["walk", "run", "crawl", "jump", "swim", "climb", "roll", "dance"])
_WITH_LEG: Final = frozenset(["kick"])
_WITH_HAND: Final = frozenset(
    "wave salute guide call point punch slash throw catch drink eat wash push pull pick-up talk clap aim think".split()
)


def caption(action: str, detail: Collection[str] = (), manner: str = "") -> str:
    """One English sentence for ``action``, one of :data:`ACTIONS`; ``manner`` is an adverb or phrase that ends it."""
    if action == "raise":
        phrase = f"raises {_limb(detail, 'hand') or 'one hand'}"
    elif action == "turn":
        phrase = "turns " + (_side(detail) or "around")
    else:
        phrase = ACTIONS[action] + _way_or_limb(action, detail)
    return " ".join(f"a person {phrase} {manner}".split())


def _way_or_limb(action: str, detail: Collection[str]) -> str:
    if action in _ON_FOOT:
        ways = [way for way in ("forward", "backward") if way in detail]
        side = _side(detail)
        if "turn" in detail:
            ways.append(f"and turns {side}" if side else "in a curve")
        elif side:
            ways.append(f"to the {side}")
        return "".join(f" {way}" for way in ways)
    limb = _limb(detail, "leg" if action in _WITH_LEG else "hand") if action in _WITH_HAND | _WITH_LEG else ""
    return f" with {limb}" if limb and "both" not in ACTIONS[action] else ""


def _side(detail: Collection[str]) -> str:
    return next((side for side in ("left", "right") if side in detail), "") if "both" not in detail else ""


def _limb(detail: Collection[str], limb: str) -> str:
    if "both" in detail or {"left", "right"} <= set(detail):
        return f"both {limb}s"
    return f"the {_side(detail)} {limb}" if _side(detail) else ""


# --- the names that mini knows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FineAction:
    """An action as the shipped model was trained with it."""

    name: str | None
    """Such as wave-left; None: the model reads the words itself."""
    words: str = ""
    """A caption that the model reads as ``name``, where the prompt's own words would mislead it."""
    exact: bool = True
    """False: ``name`` is only the nearest that the model knows."""


_NEAREST: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {  # with the detail that makes it alike
    "stand-up": ("idle", ()), "crawl": ("crouch", ()), "climb": ("walk", ("forward",)), "swim": ("wave", ("both",)),
    "salute": ("raise", ()), "point": ("guide", ()), "clap": ("wave", ("both",)), "shake-head": ("talk", ()),
    "shrug": ("talk", ()), "think": ("idle", ()), "cry": ("bow", ()), "aim": ("guide", ()), "throw": ("punch", ()),
    "catch": ("raise", ("both",)), "pull": ("push", ()), "eat": ("drink", ()), "drive": ("sit", ()),
    "cartwheel": ("jump", ()), "flip": ("jump", ()), "roll": ("crouch", ()), "fall": ("crouch", ()),
    "stretch": ("raise", ("both",)), "look": ("idle", ()), "hug": ("guide", ()), "cheer": ("raise", ("both",)),
}  # fmt: skip

_EXACT: Final[Mapping[str, str]] = {"call": "beckon", "pick-up": "bend-pick-up"}
"""Actions that the model calls by another name."""

_TAUGHT: Final = frozenset("nod shake-head shrug think clap look stretch salute point call".split())
"""Actions that not every checkpoint was trained with: where one lacks them, the nearest stands in."""
_BEFORE: Final[Mapping[str, str]] = {"nod": "respond", "call": "call"}
"""What came nearest to those, where :data:`_NEAREST` does not say."""

_STANDS_IN: Final[Mapping[str, tuple[str, str]]] = {  # name: the name and the words of another
    "walk-back": ("walk", "a person walks"), "walk-left": ("walk", "a person walks"),
    "walk-right": ("walk", "a person walks"), "turn-left": ("walk", "a person walks"),
    "turn-right": ("walk", "a person walks"), "dash": ("run", "a person runs"),
    "bye": ("wave-right", "a person waves the right hand"), "byebye": ("wave-right", "a person waves the right hand"),
    "kick": ("soccer-kick", "a person kicks a ball"), "slash": ("sword", "a person fights with a sword"),
}  # fmt: skip
"""What a checkpoint with fewer actions does instead."""

_BY_WORDS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {  # the kinds of an action that words tell apart
    "wave": (
        ("byebye", r"\bbye[\s-]?bye\b|\b(?<!good)(?<!good )(?<!good-)byes?\b|[ばバ][いイ][ばバ][いイーぁ]"),
        ("bye", r"\bgood[\s-]?bye\b|\bfarewell\b|\bsee\s+(?:you|ya)\b|\bso\s+long\b|\bsee\w*\s+\w+\s+off\b"),
        ("bye", r"さよ(?:う)?なら|サヨナラ|お?別れ|またね|じゃあね|見送|手を振って(?:去|送)"),
    ),
    "dance": (("ballet-dance", r"\b(?:ballet|pirouett\w+|plié|arabesque|ballerina)\b|バレエ|ピルエット"),),
    "kick": (("soccer-kick", r"\b(?:soccer|football|penalty|ball)\b|サッカー|ボール|球を|シュート"),),
    "run": (
        ("dash", r"\bdash|\bsprint|\bbolt|\bflat\s+out\b|\b(?:full|top)\s+speed\b"),
        ("dash", r"ダッシュ|疾走|全速力|猛スピード|全力"),
    ),
    "punch": (("boxing", r"\bbox(?:es|ing|er)?\b|\bspar(?:s|ring)?\b|ボクシング|シャドーボ"),),
    "call": (("call", r"\bcall\w*\s+out\b|\bshout|\byell|\bhail\w*\s+\w|叫|大声|呼びかけ|おーい"),),
    "slash": (("sword", r"^(?!.*(?:slash|cut|斬|切|振)).*(?:sword|katana|blade|fenc|剣|刀)"),),
}  # fmt: skip
_UNNAMED: Final = (  # actions of the model that have no name of their own here
    ("basketball", r"\b(?:basketball|free throw|slam dunk|dunk\w*)\b|バスケ|ドリブル|フリースロー|ダンクシュート"),
    ("direct-traffic", r"\btraffic\b|交通整理|交通誘導"),
    ("torch", r"\btorch\b|\blantern\b|たいまつ|松明|トーチ"),
    ("spell", r"\bspells?\b|\bmagic\b|\bconjur\w+|\bwizard\b|魔法|呪文|詠唱"),
    (
        "interact",
        r"\bpress\w*\s+(?:a|the)\b|\blever\b|\brepair\w*|\bfix(?:es|ing)?\b|操作|いじ[るっ]|ボタン|レバー|修理",
    ),
)
_LIMB: Final = re.compile(
    r"(?:左|右|ひだり|みぎ)の?[手腕足脚肩]|\b(?:left|right)\s+(?:hand|arm|fist|leg|foot|palm)s?\b"
)


def fine_action(
    action: str | None, detail: Collection[str] = (), words: str = "", known: Collection[str] | None = None
) -> FineAction:
    """What ``mini`` calls ``action``. ``words`` are the text it was read from: they tell sprinting from running.

    Sides that the text does not name are the right one, as most people are right-handed. ``known``: the names that the
    checkpoint was trained with; None = all there are.
    """
    fine = _fine_action(action, detail, words.lower(), known)
    if known is None or fine.name is None or fine.name in known or fine.name not in _STANDS_IN:
        return fine
    return FineAction(*_STANDS_IN[fine.name], exact=False)


def _fine_action(action: str | None, detail: Collection[str], words: str, known: Collection[str] | None) -> FineAction:
    """The same before a checkpoint lacks the name."""
    if action is None:
        return FineAction(_first(_UNNAMED, words))
    if action == CALM:
        return FineAction("talk", "a person talks calmly")
    if action in _TAUGHT:
        name = _first(_BY_WORDS.get(action, ()), words) or _EXACT.get(action, action)
        if known is None or name in known:
            return FineAction(name)
        if action in _BEFORE:
            return FineAction(_BEFORE[action])
    if action in _NEAREST:
        nearest, added = _NEAREST[action]
        likewise = (*added, *(set(detail) & {"left", "right", "both"}))
        return FineAction(_fine_action(nearest, likewise, "", known).name, caption(nearest, likewise), exact=False)
    if action == "wave" and (bye := _first(_BY_WORDS["wave"], words)):
        return FineAction("wave-both" if "both" in detail else bye)
    if action in ("wave", "raise"):
        return FineAction(f"{action}-{_hand(detail)}")
    if action in ("walk", "turn"):
        return FineAction(_way(action, detail, words))
    return FineAction(_first(_BY_WORDS.get(action, ()), words) or _EXACT.get(action, action))


def _first(table: Collection[tuple[str, str]], words: str) -> str | None:
    return next((name for name, pattern in table if re.search(pattern, words)), None)


def _hand(detail: Collection[str]) -> str:
    if "both" in detail or {"left", "right"} <= set(detail):
        return "both"
    return "left" if "left" in detail else "right"


def _way(action: str, detail: Collection[str], words: str) -> str:
    """walk, walk-back, walk-left (sideways) or turn-left (in a curve). The side of a hand is not that of the way."""
    sides = set(detail) & {"left", "right"}
    if sides and _LIMB.search(words):
        rest = _LIMB.sub(" ", words)
        sides = {side for side in sides if {"left": "left|左", "right": "right|右"}[side] and _said(side, rest)}
    side = "left" if sides == {"left"} else "right"
    if action == "walk" and "backward" in detail:
        return "walk-back"
    if action == "turn" or "turn" in detail:
        return f"turn-{side}"
    return f"walk-{side}" if sides else "walk"


def _said(side: str, words: str) -> bool:
    return bool(re.search({"left": r"\bleft|左|ひだり", "right": r"\bright|右|みぎ"}[side], words))
