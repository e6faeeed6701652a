"""What a body does by itself while it idles, listens or thinks: a posture, and small events without an end.

Idle figures shift their weight now and then (Duarte and Zatsiorsky 1999,
https://doi.org/10.1123/mcj.3.1.12) and look about. Listeners look at the
speaker for most of the time, speakers less (Kendon 1967), and they nod: in Japanese every few seconds (Maynard 1990,
https://doi.org/10.1016/0378-2166(90)90097-W). Who thinks looks away (Glenberg, Schroeder and Robertson 1998,
https://doi.org/10.3758/BF03211385).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from motion_service.speak.arms import SIDES
from motion_service.speak.beats import find_beats
from motion_service.speak.gestures import Hand, Talk, hand_asks, rest_asks, talk_to_asks
from motion_service.speak.phrases import Phrase
from motion_service.speak.score import Ask, ask_all
from motion_service.speak.style import Style
from motion_service.speak_schemas import State

STATES: Final[tuple[State, ...]] = ("idle", "listen", "think", "speak")
ENTER_S: Final = 0.6
"""How long a new posture takes, s."""

_LEVELS: Final[Mapping[State, tuple[float, float, float]]] = {
    # of sway of body and head, and of the head's movement with the voice
    "idle": (1.0, 1.0, 0.0),
    "listen": (0.8, 0.5, 0.1),
    "think": (0.9, 0.7, 0.0),
    "speak": (0.8, 0.6, 1.0),
}
_LEANS: Final[Mapping[State, tuple[float, float, float]]] = {
    # pitch of trunk and head and roll of the head, degrees
    "idle": (0.0, 0.0, 0.0),
    "listen": (2.5, 0.5, 2.5),
    "think": (0.0, -3.0, -2.0),
    "speak": (1.0, 0.0, 0.0),
}
_EVERY_S: Final[Mapping[State, tuple[float, float]]] = {
    "idle": (2.5, 6.0),
    "listen": (1.6, 4.0),
    "think": (2.2, 4.5),
    "speak": (0.25, 0.6),
}
"""Events begin so long after the one before is over, s."""
_CHIN: Final[Hand] = (-0.135, 0.04, 0.135, 10.0, 10.0)
"""The wrist of a hand at the chin."""
_CLASPED: Final[Hand] = (-0.09, -0.34, 0.2, 0.0, 10.0)
"""Hands before the body."""


def posture(state: State, style: Style) -> dict[str, float]:
    """Where trunk, head, shoulders and eyes are in a state, by channel."""
    trunk, head, roll = _LEANS[state]
    shy = -6.0 * style.shun
    return {
        "trunk_pitch": trunk + style.stoop,
        "trunk_yaw": 0.0,
        "trunk_roll": 0.0,
        "head_pitch": head + style.bow - 0.4 * (trunk + style.stoop),
        "head_yaw": 0.0,
        "head_roll": roll + style.tilt,
        "lift": style.lift,
        "gaze_yaw": 0.0,
        "gaze_pitch": -shy if state != "think" else -4.0,
    }


def enter(state: State, style: Style, start: float, seconds: float = ENTER_S) -> list[Ask]:
    """Into a state: its posture and levels; hands down."""
    body, head, voice = _LEVELS[state]
    levels = {"body": body, "head": head, "voice": voice * style.size}
    down = [ask for side in SIDES for ask in rest_asks(side, start, seconds)]
    return [*ask_all({**posture(state, style), **levels}, start, seconds), *down]


def next_event(state: State, style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """What happens next in a state, not before ``start`` s, and when the one after may begin."""
    start += float(random.uniform(*_EVERY_S[state])) / style.tempo
    if state == "speak":
        return _talk_on(style, start, random)
    kinds, chances = zip(*_EVENTS[state], strict=True)
    event = kinds[int(random.choice(len(kinds), p=np.array(chances) / sum(chances)))]
    asks, seconds = event(posture(state, style), style, start, random)
    return asks, start + seconds


Event = Callable[[Mapping[str, float], Style, float, np.random.Generator], tuple[list[Ask], float]]


def _shift(at: Mapping[str, float], style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """The weight goes to one foot or the other."""
    seconds = float(random.uniform(1.1, 1.8))
    aside = float(random.choice([-1.0, 1.0]) * random.uniform(0.008, 0.022))
    return ask_all({"hips_aside": aside, "hips_ahead": float(random.uniform(-0.006, 0.006))}, start, seconds), seconds


def _look_about(
    at: Mapping[str, float], style: Style, start: float, random: np.random.Generator
) -> tuple[list[Ask], float]:
    """The eyes go first, the head follows, both come back."""
    yaw, pitch = float(random.normal(0, 9.0)), float(random.normal(0, 3.0))
    hold = float(random.uniform(0.8, 2.2))
    away = {"head_yaw": at["head_yaw"] + 0.6 * yaw, "head_pitch": at["head_pitch"] + 0.5 * pitch}
    home = {"head_yaw": at["head_yaw"], "head_pitch": at["head_pitch"]}
    return [
        *ask_all({"gaze_yaw": 0.8 * yaw, "gaze_pitch": at["gaze_pitch"] + 0.5 * pitch}, start, 0.1),
        *ask_all(away, start + 0.08, 0.7),
        *ask_all({"gaze_yaw": at["gaze_yaw"], "gaze_pitch": at["gaze_pitch"]}, start + hold, 0.1),
        *ask_all(home, start + hold + 0.08, 0.8),
    ], hold + 0.9


def _tilt(at: Mapping[str, float], style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """The head leans to a side for a while."""
    roll, hold = float(random.normal(0, 4.0)), float(random.uniform(1.2, 2.5))
    return [
        Ask("head_roll", at["head_roll"] + roll, start, 0.7),
        Ask("head_roll", at["head_roll"], start + hold, 0.8),
    ], hold + 0.8


def _sigh(at: Mapping[str, float], style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """A deep breath: shoulders and chest rise and sink."""
    return [
        *ask_all({"lift": at["lift"] + 2.5, "trunk_pitch": at["trunk_pitch"] - 2.0}, start, 1.0),
        *ask_all({"lift": at["lift"], "trunk_pitch": at["trunk_pitch"]}, start + 1.0, 1.4),
    ], 2.4


def _turn(at: Mapping[str, float], style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """The trunk turns a little and stays so."""
    goals = {"trunk_yaw": float(random.normal(0, 2.5)), "trunk_roll": float(random.normal(0, 1.0))}
    return ask_all(goals, start, 1.2), 1.2


def _nod(at: Mapping[str, float], style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """One to three nods, each smaller."""
    asks, time, size = list[Ask](), start, float(random.uniform(4.0, 8.0)) * style.size
    for _ in range(int(random.integers(1, 4))):
        down = 0.24 / style.tempo
        asks.append(Ask("head_pitch", at["head_pitch"] + size, time, down))
        asks.append(Ask("head_pitch", at["head_pitch"], time + down, 1.2 * down))
        time, size = time + 2.2 * down, 0.65 * size
    return asks, time - start


def _ponder(
    at: Mapping[str, float], style: Style, start: float, random: np.random.Generator
) -> tuple[list[Ask], float]:
    """Eyes and head go up and aside and stay there."""
    side, hold = float(random.choice([-1.0, 1.0])), float(random.uniform(1.8, 3.5))
    yaw, pitch = side * float(random.uniform(6, 12)), float(random.uniform(-6, 2))
    return [
        *ask_all({"gaze_yaw": 1.2 * yaw, "gaze_pitch": pitch - 4.0}, start, 0.12),
        *ask_all({"head_yaw": yaw, "head_pitch": at["head_pitch"] + 0.5 * pitch, "head_roll": -0.4 * yaw}, start, 0.8),
        *ask_all({"gaze_yaw": 0.5 * yaw}, start + hold, 0.12),
    ], hold


def _hand_to_chin(
    at: Mapping[str, float], style: Style, start: float, random: np.random.Generator
) -> tuple[list[Ask], float]:
    """A hand at the chin, for some seconds."""
    hold, side = float(random.uniform(3.0, 6.0)), SIDES[int(random.random() < 0.75)]
    return [*hand_asks(side, _CHIN, start, 0.8), *rest_asks(side, start + hold, 0.9)], hold + 0.9


def _clasp(at: Mapping[str, float], style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """Both hands before the body, for some seconds."""
    hold = float(random.uniform(4.0, 8.0))
    asks = [ask for side in SIDES for ask in hand_asks(side, _CLASPED, start, 1.1)]
    return [*asks, *(ask for side in SIDES for ask in rest_asks(side, start + hold, 1.1))], hold + 1.1


_EVENTS: Final[Mapping[State, tuple[tuple[Event, float], ...]]] = {
    "idle": ((_shift, 3.0), (_look_about, 3.0), (_tilt, 1.0), (_sigh, 0.7), (_turn, 1.5), (_clasp, 0.5)),
    "listen": ((_nod, 5.0), (_tilt, 1.5), (_shift, 1.5), (_turn, 1.0)),
    "think": ((_ponder, 4.0), (_hand_to_chin, 1.5), (_shift, 1.0), (_tilt, 1.0)),
}


def _talk_on(style: Style, start: float, random: np.random.Generator) -> tuple[list[Ask], float]:
    """One more phrase of somebody who talks without a text."""
    seconds = float(random.uniform(1.6, 3.2))
    is_last = bool(random.random() < 0.5)
    phrases = [Phrase("", 0.0, seconds, is_last)]
    beats = find_beats(phrases, None, style.tempo, random)
    talk = Talk(start, seconds, phrases, beats, (), goes_on=not is_last)
    return talk_to_asks(talk, style, posture("speak", style), random), start + seconds
