"""Gestures of which the corpora have too few recordings, authored by hand: nodding, beckoning, shrugging, thinking...

Clips of the standing figure (``figure.py``) with the rhythm, size and length drawn anew for each, at rest at both ends.
They carry no licence of any data set, so every model may learn from them. They are plainer than recordings: each
shows one gesture as animators draw it, not a person. So recordings go first: a model that has enough of an action
learns from those alone (``corpus.without_stand_ins``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from motion_service.figure import FIGURE_FPS, Arm, Body, Wander, body_to_clip, living_body, smoothstep, towards, window
from motion_service.humanoid import CANONICAL_BONES
from motion_service.training.corpus import CorpusClip

TAKES: Final = 14
"""Clips of each gesture, mirror images not counted."""
_LAG: Final = 0.07
"""How much later forearm and wrist move than the upper arm, s."""

Pose = Mapping[str, float]
"""Angles of an arm by the names of :class:`~motion_service.figure.Arm`, degrees."""

_HANDS: Final[Mapping[str, Pose]] = {
    "chin": {"lower": 92, "swing": 41, "twist": 30, "flex": 119, "wrist": -8, "bend": 20},
    "under elbow": {"lower": 84, "swing": 12, "twist": 52, "flex": 92, "roll": -15},
    "clap in": {"lower": 87, "swing": 24, "twist": 41, "flex": 70, "roll": -15},
    "clap out": {"lower": 74, "swing": 18, "twist": 21, "flex": 80, "roll": -15},
    "brow": {"lower": 42, "swing": 104, "twist": 41, "flex": 125},
    "ahead": {"lower": 91, "swing": 82, "twist": 0, "flex": 9, "roll": 40},
    "beckon out": {"lower": 89, "swing": 55, "twist": 2, "flex": 40, "roll": -70},
    "beckon in": {"lower": 83, "swing": 36, "twist": 10, "flex": 110, "roll": -60, "bend": 45},
    "flap": {"lower": 80, "swing": 50, "twist": -10, "flex": 75, "roll": 75},
    "shrug": {"lower": 73, "swing": 7, "twist": -36, "flex": 68, "roll": -65},
    "talk low": {"lower": 88, "swing": 12, "twist": 14, "flex": 48, "roll": -20},
    "talk in": {"lower": 86, "swing": 20, "twist": 30, "flex": 82, "roll": -25},
    "talk mid": {"lower": 85, "swing": 18, "twist": 16, "flex": 62, "roll": -40},
    "talk out": {"lower": 77, "swing": 15, "twist": -12, "flex": 72, "roll": -60},
    "wave": {"lower": 14, "swing": 12, "twist": -80, "flex": 100},
    "show": {"lower": 66, "swing": 22, "twist": -28, "flex": 38, "roll": -75},
    "overhead": {"lower": -74, "swing": 5, "twist": -45, "flex": 30},
}


@dataclass(frozen=True, slots=True)
class _Take:
    """What one clip is made from."""

    time: Tensor
    """(T,) s"""
    generator: torch.Generator

    @property
    def end(self) -> float:
        return float(self.time[-1])

    def draw(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def held(self, ramp: float, *, lag: float = 0.0) -> Tensor:
        """1 for most of the clip, 0 at its ends. (T,)"""
        return window(self.time - lag, 0.25, self.end - 0.3, ramp)

    def path(self, low: float, high: float, goals: Callable[[], float]) -> Tensor:
        """A track that rests at one goal after the other; each passage begins ``low`` to ``high`` s after the last."""
        place, track, since = 0.0, torch.zeros_like(self.time), 0.2
        while since < self.end:
            goal = goals()
            track = track + (goal - place) * smoothstep((self.time - since) / self.draw(0.4, 0.8))
            place, since = goal, since + self.draw(low, high)
        return track * self.held(0.5)

    def roam(self, low: float, high: float, wide: float) -> Tensor:
        """The same between goals anywhere in -wide..wide."""
        return self.path(low, high, lambda: self.draw(-wide, wide))


def _reach(arm: Arm, pose: Pose, amount: Tensor, late: Tensor | None = None) -> Arm:
    """The arm moved to ``pose`` by ``amount`` (T,) in 0..1; forearm and wrist by ``late``."""
    late = amount if late is None else late
    upper = ("lower", "swing", "twist")
    return replace(
        arm,
        **{name: towards(getattr(arm, name), deg, amount if name in upper else late) for name, deg in pose.items()},
    )


def _between(one: Pose, two: Pose, share: Tensor) -> dict[str, Tensor]:
    """Angles (T,) degrees on the way from one pose to another."""
    names = {**one, **two}
    return {name: one.get(name, 0.0) + (two.get(name, 0.0) - one.get(name, 0.0)) * share for name in names}


def _moving_reach(arm: Arm, pose: Mapping[str, Tensor], amount: Tensor) -> Arm:
    return replace(arm, **{name: towards(getattr(arm, name), deg, amount) for name, deg in pose.items()})


def _with_arms(body: Body, **arms: Arm) -> Body:
    return replace(body, arms={**body.arms, **arms})


def _with_head(body: Body, pitch: Tensor | float = 0.0, yaw: Tensor | float = 0.0, roll: Tensor | float = 0.0) -> Body:
    """Head and neck turned by degrees, the neck 0.4 of the way."""
    still = torch.zeros_like(body.lift)
    turn = torch.deg2rad(torch.stack([still + pitch, still + yaw, still + roll], dim=-1))
    return replace(body, head=body.head + 0.6 * turn, neck=body.neck + 0.4 * turn)


# --- the gestures ---------------------------------------------------------------------------------------------------


def _nod(body: Body, take: _Take) -> Body:
    hz, depth = take.draw(0.9, 1.6), take.draw(12, 26)
    beats = round(take.draw(1, 4)) / hz
    dip = (1 - torch.cos(2 * math.pi * hz * (take.time - 0.3))) / 2
    inside = window(take.time, 0.3, 0.3 + beats, 0.12)
    again = take.draw(1.0, 2.5) + 0.3 + beats
    more = window(take.time, again, again + 2 / hz, 0.12) * (1 - torch.cos(2 * math.pi * hz * (take.time - again))) / 2
    pitch = depth * (dip * inside + 0.8 * more)
    lean = torch.deg2rad(torch.stack([0.12 * pitch, 0 * pitch, 0 * pitch], dim=-1))
    return replace(_with_head(body, pitch=pitch), chest=body.chest + lean)


def _shake_head(body: Body, take: _Take) -> Body:
    hz, width = take.draw(0.8, 1.4), take.draw(16, 30)
    yaw = width * torch.sin(2 * math.pi * hz * (take.time - 0.3)) * window(take.time, 0.3, take.end - 0.5, 0.4)
    return _with_head(body, pitch=3 * take.held(0.5), yaw=yaw)


def _beckon(body: Body, take: _Take) -> Body:
    """Beckoning: the open hand drawn in again and again, or, as in Japan, flapped with the palm down."""
    hz, amount = take.draw(1.1, 1.7), take.held(0.7)
    pull = (1 - torch.cos(2 * math.pi * hz * take.time)) / 2
    if take.draw(0, 1) < 0.5:
        pose = _between(_HANDS["beckon out"], _HANDS["beckon in"], pull)
    else:
        pose = {name: deg + 0 * pull for name, deg in _HANDS["flap"].items()} | {"bend": -25 + 80 * pull}
    arm = _moving_reach(body.arms["right"], pose, amount)
    return _with_head(_with_arms(body, right=arm), pitch=3 * pull * amount, yaw=-4 * amount)


def _shrug(body: Body, take: _Take) -> Body:
    hold, size = take.draw(0.9, 1.8), take.draw(0.65, 1.0)
    amount = size * window(take.time, 0.3, 0.3 + hold + 0.8, 0.45)
    if (again := 0.3 + hold + 1.6) + hold + 0.8 < take.end:
        amount = amount + 0.8 * size * window(take.time, again, again + hold + 0.8, 0.45)
    arms = {side: _reach(arm, _HANDS["shrug"], amount) for side, arm in body.arms.items()}
    raised = replace(_with_arms(body, **arms), lift=body.lift + math.radians(17) * amount)
    return _with_head(raised, pitch=-3 * amount, roll=take.draw(-9, 9) * amount)


def _think(body: Body, take: _Take) -> Body:
    amount, late = take.held(0.9), take.held(0.9, lag=_LAG)
    right = _reach(body.arms["right"], _HANDS["chin"], amount, late)
    left = body.arms["left"]
    if take.draw(0, 1) < 0.7:
        left = _reach(left, _HANDS["under elbow"], amount, late)
    tilt = take.roam(1.2, 2.4, 9)
    return _with_head(_with_arms(body, right=right, left=left), pitch=8 * amount, yaw=tilt, roll=0.6 * tilt)


def _clap(body: Body, take: _Take) -> Body:
    amount = take.held(0.6)
    beat = (1 + torch.cos(2 * math.pi * take.draw(1.8, 3.0) * take.time)) / 2
    pose = _between(_HANDS["clap out"], _HANDS["clap in"], beat)
    arms = {side: _moving_reach(arm, pose, amount) for side, arm in body.arms.items()}
    return _with_head(_with_arms(body, **arms), pitch=2 * beat * amount)


def _look(body: Body, take: _Take) -> Body:
    width = take.draw(35, 60)
    side = iter([1.0, -1.0] * 20 if take.draw(0, 1) < 0.5 else [-1.0, 1.0] * 20)
    yaw = take.path(1.0, 1.8, lambda: next(side) * width * take.draw(0.6, 1.0))
    pitch = take.path(1.0, 1.8, lambda: take.draw(-10, 8))
    turn = torch.deg2rad(torch.stack([0 * yaw, 0.12 * yaw, 0 * yaw], dim=-1))
    turned = replace(body, hips=body.hips + 0.5 * turn, spine=body.spine + turn, chest=body.chest + turn)
    return _with_head(turned, pitch=pitch, yaw=yaw)


def _talk(body: Body, take: _Take) -> Body:
    """Both hands from one open place to another, the head with them; sometimes one hand rests."""
    places = ("talk low", "talk in", "talk mid", "talk out", "talk mid")
    arms = {}
    for side, arm in body.arms.items():
        if side == "left" and take.draw(0, 1) < 0.35:
            arms[side] = arm
            continue
        shares = [take.path(0.6, 1.3, lambda: take.draw(0.0, 1.0)) for _ in range(3)]
        one, two, three = (_HANDS[places[int(take.draw(0, len(places)))]] for _ in range(3))
        pose = _between(one, two, shares[0])
        pose = {name: deg + 0.6 * (three.get(name, 0.0) - deg) * shares[1] for name, deg in pose.items()}
        beat = 8 * torch.sin(2 * math.pi * take.draw(0.8, 1.4) * take.time) * shares[2]
        pose = pose | {"flex": pose["flex"] + beat, "bend": pose.get("bend", 0.0) - 0.8 * beat}
        arms[side] = _moving_reach(arm, pose, take.held(0.8))
    yaw, pitch = take.roam(0.8, 1.8, 14.0), take.roam(0.8, 1.8, 8.0)
    lean = torch.deg2rad(torch.stack([0.2 * pitch, 0.15 * yaw, 0 * yaw], dim=-1))
    return _with_head(replace(_with_arms(body, **arms), chest=body.chest + lean), pitch=pitch, yaw=yaw)


def _idle(body: Body, take: _Take) -> Body:
    """Weight from one leg to the other, a look aside now and then."""
    weight = take.path(2.0, 4.0, lambda: take.draw(-1.0, 1.0))
    side = torch.stack([0.03 * weight, -0.004 * weight.abs(), 0 * weight], dim=-1)
    tilt = torch.deg2rad(torch.stack([0 * weight, 1.5 * weight, 2.6 * weight], dim=-1))
    yaw, pitch = take.roam(1.5, 3.5, 18.0), take.roam(1.5, 3.5, 6.0)
    swayed = replace(body, shift=body.shift + side, hips=body.hips + tilt, spine=body.spine - 1.1 * tilt)
    return _with_head(swayed, pitch=pitch, yaw=yaw)


def _stretch(body: Body, take: _Take) -> Body:
    amount, late = take.held(1.2), take.held(1.2, lag=2 * _LAG)
    arms = {side: _reach(arm, _HANDS["overhead"], amount, late) for side, arm in body.arms.items()}
    side = take.roam(1.5, 2.5, 9)
    bow = torch.deg2rad(torch.stack([-6 * amount, 0 * amount, side], dim=-1))
    up = replace(_with_arms(body, **arms), spine=body.spine + 0.5 * bow, chest=body.chest + bow)
    return _with_head(replace(up, lift=up.lift + math.radians(10) * amount), pitch=-10 * amount)


def _salute(body: Body, take: _Take) -> Body:
    amount, late = take.held(take.draw(0.4, 0.7)), take.held(0.5, lag=_LAG)
    return _with_arms(body, right=_reach(body.arms["right"], _HANDS["brow"], amount, late))


def _point(body: Body, take: _Take) -> Body:
    amount, late = take.held(0.6), take.held(0.6, lag=_LAG)
    aside, up = take.draw(-25, 10), take.draw(-12, 12)
    pose = dict(_HANDS["ahead"]) | {"swing": 82 + up, "lower": 91 + aside}
    turned = _with_arms(body, right=_reach(body.arms["right"], pose, amount, late))
    return _with_head(turned, pitch=-0.4 * up * amount, yaw=-(6 + 0.5 * abs(aside)) * amount)


def _wave(body: Body, take: _Take, sides: Sequence[str] = ("right",)) -> Body:
    """The hand beside the head, palm ahead, swung from the elbow."""
    hz, width, amount = take.draw(1.1, 2.0), take.draw(14, 26), take.held(0.7)
    beat = torch.sin(2 * math.pi * hz * take.time)
    pose = {name: deg + 0 * beat for name, deg in _HANDS["wave"].items()}
    pose |= {"flex": 100 + width * beat, "wrist": 0.4 * width * beat, "lower": take.draw(0, 30) + 0 * beat}
    return _with_arms(body, **{side: _moving_reach(body.arms[side], pose, amount) for side in sides})


def _raise(body: Body, take: _Take, sides: Sequence[str] = ("right",)) -> Body:
    amount, late = take.held(take.draw(0.5, 0.9)), take.held(0.7, lag=_LAG)
    pose = dict(_HANDS["overhead"]) | {"lower": take.draw(-82, -55), "flex": take.draw(5, 35)}
    arms = {side: _reach(body.arms[side], pose, amount, late) for side in sides}
    return _with_head(_with_arms(body, **arms), pitch=-4 * amount)


def _bow(body: Body, take: _Take) -> Body:
    """From the hips, which go back to keep the balance; hands slide down the thighs."""
    hold = take.draw(1.6, 2.8)
    amount = window(take.time, 0.3, 0.3 + hold, 0.45 * hold)
    pitch = torch.deg2rad(torch.stack([take.draw(7, 14) * amount, 0 * amount, 0 * amount], dim=-1))
    arms = {side: replace(arm, swing=arm.swing + 3.0 * pitch[:, 0]) for side, arm in body.arms.items()}
    back = torch.stack([0 * amount, -0.004 * amount, -0.05 * amount], dim=-1)
    shares = {"hips": 1.5, "spine": 1.2, "chest": 1.0, "neck": 0.5, "head": 0.5}
    trunk = {bone: getattr(body, bone) + share * pitch for bone, share in shares.items()}
    return replace(body, shift=body.shift + back, arms={**body.arms, **arms}, **trunk)


def _guide(body: Body, take: _Take) -> Body:
    """The open hand shows the way to the side, the trunk bends a little towards it."""
    amount, late = take.held(0.8), take.held(0.8, lag=_LAG)
    turn = torch.deg2rad(torch.stack([5 * amount, -take.draw(4, 12) * amount, 0 * amount], dim=-1))
    shown = _with_arms(body, right=_reach(body.arms["right"], _HANDS["show"], amount, late))
    return _with_head(replace(shown, chest=shown.chest + turn), pitch=4 * amount, yaw=-take.draw(5, 20) * amount)


_BOTH: Final = ("left", "right")

GESTURES: Final[Mapping[str, tuple[Callable[[Body, _Take], Body], float, float]]] = {
    "nod": (_nod, 3.0, 5.0),
    "shake-head": (_shake_head, 3.0, 4.5),
    "beckon": (_beckon, 3.5, 5.5),
    "shrug": (_shrug, 3.0, 5.5),
    "think": (_think, 4.5, 7.0),
    "clap": (_clap, 3.5, 5.5),
    "look": (_look, 4.0, 7.0),
    "talk": (_talk, 6.0, 10.0),
    "idle": (_idle, 8.0, 14.0),
    "stretch": (_stretch, 4.5, 6.5),
    "salute": (_salute, 3.0, 4.5),
    "point": (_point, 3.0, 5.0),
    "wave-right": (_wave, 3.5, 6.0),
    "wave-both": (partial(_wave, sides=_BOTH), 3.5, 6.0),
    "raise-right": (_raise, 3.0, 4.5),
    "raise-both": (partial(_raise, sides=_BOTH), 3.0, 4.5),
    "bow": (_bow, 3.5, 4.5),
    "guide": (_guide, 3.5, 5.0),
}
"""{action: how the standing figure does it, shortest and longest clip in s}"""


def authored_clips(takes: int = TAKES) -> Iterator[CorpusClip]:
    """``takes`` clips of every gesture, the same ones every time."""
    for row, (action, (gesture, shortest, longest)) in enumerate(GESTURES.items()):
        for number in range(takes):
            generator = torch.Generator().manual_seed(1000 * row + number)
            seconds = shortest + (longest - shortest) * float(torch.rand((), generator=generator))
            time = torch.arange(round(seconds * FIGURE_FPS)) / FIGURE_FPS
            take = _Take(time, generator)
            alive = living_body(Wander(time, window(time, 0.0, take.end, 0.8), generator))
            clip = body_to_clip(gesture(alive, take))
            rotations = torch.stack([clip.rotations[bone] for bone in CANONICAL_BONES], dim=1)
            yield CorpusClip(f"own_{action}_{number:02d}", "own", action, "normal", rotations, clip.hips)
