"""What hands, head and trunk do while something is said: strokes on beats, nods at the ends of phrases, then rest.

A gesture is prepared, strikes, may be held and is retracted (Kendon 2004, Gesture; Kita, van Gijn and van der Hulst
1998, https://doi.org/10.1007/BFb0052986); hands stay up over several phrases. Speakers of Japanese nod at the ends of
phrases (Maynard 1987, https://doi.org/10.1016/0378-2166(87)90181-0; Ishi, Ishiguro and Hagita 2014,
https://doi.org/10.1016/j.specom.2013.06.008), and look away when they begin (Kendon 1967,
https://doi.org/10.1016/0001-6918(67)90005-4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from motion_service.speak.arms import SIDES, Side
from motion_service.speak.beats import Beat
from motion_service.speak.phrases import HEAD_ACTS, Act, Phrase
from motion_service.speak.score import Ask, ask_all
from motion_service.speak.style import Style

PREPARE_S: Final = 0.45
"""A hand takes so long to where it strikes, s."""
STROKE_S: Final = 0.18
RECOVER_S: Final = 0.3
BEAT_M: Final = 0.045
"""A beat comes down by so much, m on the canonical body."""
RETRACT_S: Final = 0.5
SETTLED_S: Final = 0.2
"""Everything rests so long after the last word, s."""
NOD_DEG: Final = (5.0, 8.0)
"""At the end of a phrase, and of a sentence."""
NOD_S: Final = 0.24
"""Down, s."""
NOD_NEAR_S: Final = 0.45
"""A beat so close to the end of a phrase is the nod."""
HEAD_BEAT_DEG: Final = 2.5
HOLD_S: Final = 0.9
"""Hands that would have to be down again sooner do not come up."""
STAY: Final = 0.55
"""How likely hands keep their place from one phrase to the next: a new one each time looks restless."""
SHORTEST_S: Final = 0.9
"""Whoever says less keeps the hands down."""
SEEN_SHARE: Final = 0.4
"""At least this share of what is said has a hand up."""

Hand = tuple[float, float, float, float, float]
"""Out, up, ahead (m), roll and bend (degrees)."""
HIGH_ONE: Final[tuple[Hand, ...]] = (
    (0.10, -0.03, 0.21, -35.0, -15.0),
    (0.14, -0.04, 0.19, -55.0, -20.0),
    (0.09, -0.02, 0.21, -20.0, -12.0),
    (0.06, -0.03, 0.24, -45.0, -6.0),
)
"""Beside the chest: higher or further in, hands stand in front of the neck or beside the cheek."""
HIGH_BOTH: Final[tuple[Hand, ...]] = ((0.11, -0.03, 0.21, -40.0, -15.0), (0.08, -0.04, 0.24, -25.0, -8.0))
LOW: Final[tuple[Hand, ...]] = ((0.02, -0.26, 0.24, -20.0, 0.0), (0.08, -0.24, 0.22, -45.0, -5.0))
"""At the waist, below a head-and-shoulders picture."""
_PARTS: Final = ("out", "up", "ahead", "roll", "bend")


@dataclass(frozen=True, slots=True)
class Talk:
    """Something said from ``start`` on; all its times count from there."""

    start: float
    seconds: float
    phrases: Sequence[Phrase]
    beats: Sequence[Beat]
    acts: Sequence[Act]
    goes_on: bool = False
    """More follows at once: hands stay up."""


def talk_to_asks(talk: Talk, style: Style, posture: Mapping[str, float], random: np.random.Generator) -> list[Ask]:
    """All strokes of a talk. ``posture``: where trunk and head are otherwise, by channel."""
    asks = [*_hands(talk, style, random), *_head(talk, style, posture, random), *_trunk(talk, posture, random)]
    for act in talk.acts:
        start, end = talk.start + act.start, talk.start + act.end
        if act.plan.action in HEAD_ACTS:
            asks = _shake(asks, act.plan.action == "nod", start, end, posture)
        else:
            asks = _give_way(asks, start, end)
    return sorted(asks, key=lambda ask: ask.start)


def hand_asks(side: Side, hand: Hand, start: float, seconds: float) -> list[Ask]:
    """A hand led to a place."""
    goals = {f"{side}_{part}": value for part, value in zip(_PARTS, hand, strict=True)}
    return ask_all({**goals, f"{side}_reach": 1.0}, start, seconds)


def rest_asks(side: Side, start: float, seconds: float) -> list[Ask]:
    """A hand let down."""
    return [Ask(f"{side}_reach", 0.0, start, seconds)]


# --- hands ------------------------------------------------------------------------------------------------------------


def _hands(talk: Talk, style: Style, random: np.random.Generator) -> list[Ask]:
    """Which hands are up in which phrase, and how they beat."""
    if talk.seconds < SHORTEST_S or not talk.phrases:
        return []
    asks, up, was_high = list[Ask](), set[Side](), False
    free_from = talk.start
    end = talk.start + talk.seconds
    for number, (phrase, high) in enumerate(zip(talk.phrases, _heights(talk.phrases, style, random), strict=True)):
        beats = [talk.start + beat.time for beat in talk.beats if beat.phrase == number]
        strike = max([free_from + PREPARE_S / style.tempo, *beats[:1]])
        if strike > min(end - HOLD_S, talk.start + phrase.end + 0.2):
            continue
        if up and high == was_high and random.random() < STAY:
            strike = free_from - 0.2
        else:
            sides, hands = _draw(high, random)
            asks += _lead(sides, hands, up, strike, PREPARE_S / style.tempo)
            up, was_high = set(sides), high
            free_from = strike + 0.2
        for beat in talk.beats:
            time = talk.start + beat.time
            if beat.phrase == number and strike + 0.3 < time < end - 0.2:
                asks += [ask for side in sides for ask in _beat(side, hands, time, beat.strength, style)]
                free_from = time + 0.1
    if not talk.goes_on:
        asks = [ask for ask in asks if ask.start < end + SETTLED_S - RETRACT_S]
        asks += [ask for side in sorted(up) for ask in rest_asks(side, end + SETTLED_S - RETRACT_S, RETRACT_S)]
    return asks


def _lead(sides: Sequence[Side], hand: Hand, up: Collection[Side], strike: float, length: float) -> list[Ask]:
    """Hands led to a place until ``strike``, and others that are ``up`` let down."""
    asks = list[Ask]()
    for side in SIDES:
        if side in sides:
            asks += hand_asks(side, hand, strike - length, length)
        elif side in up:
            asks += rest_asks(side, strike - length, length + 0.1)
    return asks


def _heights(phrases: Sequence[Phrase], style: Style, random: np.random.Generator) -> list[bool]:
    """Whether hands are high or low in each phrase."""
    high = [bool(random.random() < style.hands) for _ in phrases]
    lengths = [phrase.end - phrase.start for phrase in phrases]
    for number in sorted(range(len(phrases)), key=lambda i: -lengths[i]):
        if sum(length for length, is_high in zip(lengths, high, strict=True) if is_high) >= SEEN_SHARE * sum(lengths):
            break
        high[number] = True
    return high


def _draw(high: bool, random: np.random.Generator) -> tuple[tuple[Side, ...], Hand]:
    """Which hands, and where to: mostly the right one, as most people do."""
    chance = random.random()
    sides: tuple[Side, ...] = SIDES if chance < 0.3 else ("right",) if chance < 0.8 else ("left",)
    places = (HIGH_BOTH if len(sides) == 2 else HIGH_ONE) if high else LOW
    out, up, ahead, roll, bend = places[int(random.integers(len(places)))]
    away = random.uniform(-1, 1, 3) * (0.015, 0.012, 0.015)
    return sides, (out + away[0], up + away[1], ahead + away[2], roll + float(random.uniform(-8, 8)), bend)


def _beat(side: Side, hand: Hand, time: float, strength: float, style: Style) -> list[Ask]:
    """Up a little, down with the stress at ``time``, and back."""
    size = strength * style.size
    stroke, prepare = STROKE_S / style.tempo, 0.2 / style.tempo
    out, up, bend = f"{side}_out", f"{side}_up", f"{side}_bend"
    return [
        Ask(up, hand[1] + 0.4 * BEAT_M * size, time - stroke - prepare, prepare),
        Ask(bend, hand[4] - 6 * size, time - stroke - prepare, prepare),
        Ask(up, hand[1] - 0.6 * BEAT_M * size, time - stroke, stroke),
        Ask(out, hand[0] + 0.2 * BEAT_M * size, time - stroke, stroke),
        Ask(bend, hand[4] + 6 * size, time - stroke, stroke),
        *ask_all({up: hand[1], out: hand[0], bend: hand[4]}, time + 0.02, RECOVER_S / style.tempo),
    ]


# --- head and trunk ---------------------------------------------------------------------------------------------------


def _head(talk: Talk, style: Style, posture: Mapping[str, float], random: np.random.Generator) -> list[Ask]:
    """Dips on beats, nods at the ends of phrases, another direction for each phrase, a glance away at first."""
    pitch, yaw, roll = (posture[f"head_{turn}"] for turn in ("pitch", "yaw", "roll"))
    asks, end = list[Ask](), talk.start + talk.seconds
    home = end + SETTLED_S - 0.4
    for bottom, size in _dips(talk, style, random):
        down = (STROKE_S if size < NOD_DEG[0] else NOD_S) / style.tempo
        begin = max(bottom - down, talk.start + 0.01)  # after the head is told where to be while it speaks
        asks.append(Ask("head_pitch", pitch + size, begin, bottom - begin))
        asks.append(Ask("head_pitch", pitch, bottom + 0.02, 0.35))
        home = max(home, min(bottom + 0.02, end + SETTLED_S - 0.25))
    for phrase in talk.phrases:
        goals = {"head_yaw": yaw + random.normal(0, 3.5), "head_roll": roll + random.normal(0, 2.0)}
        asks += ask_all(goals, talk.start + phrase.start, 0.6)
    if random.random() < 0.6 and talk.seconds > 1.2:
        away = (8.0 + 8.0 * style.shun) * random.choice([-1.0, 1.0])
        asks += [Ask("gaze_yaw", away, talk.start + 0.05, 0.12), Ask("gaze_yaw", 0.0, talk.start + 0.75, 0.12)]
    if not talk.goes_on:
        rest = {"head_pitch": pitch, "head_yaw": yaw, "head_roll": roll}
        asks = [ask for ask in asks if ask.start < home]
        asks += ask_all(rest, home, end + SETTLED_S - home)
    return asks


def _dips(talk: Talk, style: Style, random: np.random.Generator) -> list[tuple[float, float]]:
    """(when the head is lowest in s, by how many degrees), in order of time: on every beat, and a nod at the end of
    most phrases, on its last beat where that is near."""
    dips = {beat.time: HEAD_BEAT_DEG * beat.strength * style.size for beat in talk.beats if beat.time > 0.1}
    for phrase in talk.phrases:
        size = NOD_DEG[phrase.is_last] * style.size * float(random.uniform(0.7, 1.15))
        if not phrase.is_last and random.random() < 0.35:
            continue
        bottom = phrase.end + 0.05 if talk.goes_on else min(phrase.end + 0.05, talk.seconds - 0.1)
        near = min(dips, key=lambda time: abs(time - bottom), default=None)
        if near is not None and abs(near - bottom) < NOD_NEAR_S:
            dips[near] = size
        elif bottom > NOD_S:
            dips[bottom] = size
    last = talk.seconds if talk.goes_on else talk.seconds - 0.05
    return [(talk.start + time, size) for time, size in sorted(dips.items()) if time <= last]


def _trunk(talk: Talk, posture: Mapping[str, float], random: np.random.Generator) -> list[Ask]:
    """Each phrase leans and turns a little another way; now and then the weight goes to the other foot."""
    asks = list[Ask]()
    pitch, yaw, roll = (posture[f"trunk_{turn}"] for turn in ("pitch", "yaw", "roll"))
    for phrase in talk.phrases:
        lean = pitch + random.normal(0.8, 0.8)
        goals = {"trunk_yaw": yaw + random.normal(0, 3.0), "trunk_roll": roll + random.normal(0, 1.2)}
        asks += ask_all({"trunk_pitch": lean, **goals}, talk.start + phrase.start, 0.8)
        if random.random() < 0.4:
            asks.append(Ask("hips_aside", float(random.uniform(-0.018, 0.018)), talk.start + phrase.start, 1.1))
    if not talk.goes_on:
        end = talk.start + talk.seconds + SETTLED_S
        asks = [ask for ask in asks if ask.start < end - 0.5]
        asks += ask_all({"trunk_pitch": pitch, "trunk_yaw": yaw, "trunk_roll": roll}, end - 0.5, 0.5)
    return asks


# --- beside what the body does ----------------------------------------------------------------------------------------

_HAND_DOWN_S: Final = 0.35
_SHAKE_S: Final = 0.26


def _shake(asks: Sequence[Ask], nods: bool, start: float, end: float, posture: Mapping[str, float]) -> list[Ask]:
    """The head nodded or shaken as long as asked for."""
    channel, size = ("head_pitch", 11.0) if nods else ("head_yaw", 13.0)
    home = posture[channel]
    kept = [ask for ask in asks if ask.channel != channel or not start - 0.1 <= ask.start < end]
    count = max(2, 2 * int((end - start) / (2 * _SHAKE_S)))
    goals = [home + size * (1.0 if i % 2 == 0 else 0.0 if nods else -1.0) for i in range(count - 1)]
    shaken = [Ask(channel, goal, start + i * _SHAKE_S, _SHAKE_S) for i, goal in enumerate([*goals, home])]
    return [*kept, *shaken]


def _give_way(asks: Sequence[Ask], start: float, end: float) -> list[Ask]:
    """Nothing is led from here while the body acts; what was up comes down as it begins."""
    kept = [ask for ask in asks if not start - 0.1 <= ask.start < end - 0.2]
    down = [ask for side in SIDES for ask in rest_asks(side, start, _HAND_DOWN_S)]
    still = {"trunk_pitch": 0.0, "trunk_yaw": 0.0, "trunk_roll": 0.0, "hips_aside": 0.0, "body": 0.15}
    return [*kept, *down, *ask_all(still, start, 0.5), Ask("body", 1.0, end + 0.3, 0.8)]
