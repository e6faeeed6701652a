"""Everything that a body does by itself over time, as a value: states without an end, talks, interruptions.

What it does at a moment depends on the seed and on what was asked for, and when; not on how far ahead it was planned.
So any part of it can be played again, and a change at any moment leaves what was before as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.speak.arms import SIDES
from motion_service.speak.beats import Beat, find_beats
from motion_service.speak.envelope import Envelope
from motion_service.speak.gestures import SETTLED_S, Talk, rest_asks, talk_to_asks
from motion_service.speak.phrases import Spoken
from motion_service.speak.score import KEPT_S, REST, Ask, Score, ask_all
from motion_service.speak.states import ENTER_S, enter, next_event, posture
from motion_service.speak.style import STYLES
from motion_service.speak.sway import Level, sway
from motion_service.speak_schemas import Emotion, State

Array = npt.NDArray[np.float64]

ASIDE_S: Final = 0.4
INTERRUPT_S: Final = 0.28
"""How long an interrupted speaker takes to come to rest, s."""


@dataclass(frozen=True, slots=True)
class Performance:
    """What a body does, up to where it is planned."""

    seed: int
    score: Score = field(default_factory=Score)
    state: State = "idle"
    """After all that is planned."""
    emotion: Emotion = "neutral"
    planned: float = 0.0
    """Events are planned that begin before this moment, s."""
    events: int = 0
    """How many were planned since the state began."""
    changes: int = 0
    """How many changes were asked for."""
    still: frozenset[str] = frozenset()
    """Signs of life that are left out; here only "weight" counts."""
    moods: tuple[tuple[float, Emotion], ...] = ()
    """(s, emotion) from when on each is felt."""

    def until(self, time: float) -> Performance:
        """Planned until at least ``time`` s."""
        performance = self
        while performance.planned < time:
            performance = performance._with_event()
        return performance

    def _with_event(self) -> Performance:
        asks, planned = next_event(self.state, STYLES[self.emotion], self.planned, self._random(self.events + 1))
        score = self.score.since(self.planned - KEPT_S).with_asks(asks)
        return replace(self, score=score, planned=planned, events=self.events + 1)

    def change(self, state: State, at: float, emotion: Emotion | None = None, seconds: float = ENTER_S) -> Performance:
        """In another state from ``at`` s on, within ``seconds``."""
        emotion = self.emotion if emotion is None else emotion
        asks = enter(state, STYLES[emotion], at, seconds)
        return self._changed(at, asks, state, emotion, at + seconds)

    def interrupt(self, at: float, state: State = "listen") -> Performance:
        """Whatever is done comes to rest at once."""
        return self.change(state, at, seconds=INTERRUPT_S)

    def speak(
        self,
        spoken: Spoken,
        at: float,
        *,
        emotion: Emotion | None = None,
        envelope: Envelope | None = None,
        then: State = "idle",
        still: frozenset[str] | None = None,
    ) -> tuple[Performance, tuple[Beat, ...]]:
        """Saying something from ``at`` s on, and its beats, whose times count from there."""
        emotion = self.emotion if emotion is None else emotion
        style, random = STYLES[emotion], self._random(0)
        beats = find_beats(spoken.phrases, envelope, style.tempo, random)
        talk = Talk(at, spoken.seconds, spoken.phrases, beats, spoken.acts)
        entered = enter("speak", style, at, min(ENTER_S, spoken.seconds))
        asks = [*entered, *talk_to_asks(talk, style, posture("speak", style), random)]
        end = at + spoken.seconds
        left = [
            ask
            for ask in enter(then, STYLES[emotion], end + SETTLED_S - 0.4, 0.4)
            if not ask.channel.startswith(_HANDS)
        ]
        performance = self._changed(at, [*asks, *left], then, emotion, end + SETTLED_S)
        return (performance if still is None else replace(performance, still=still)), beats

    def step_aside(self, at: float, seconds: float | None) -> Performance:
        """Nothing of its own from ``at`` s on, while the body acts; idle again after ``seconds``, None: after another
        change."""
        goals = {channel: REST[channel] for channel in REST if not channel.startswith(_HANDS)}
        down = [ask for side in SIDES for ask in rest_asks(side, at, ASIDE_S)]
        aside = self._changed(at, [*ask_all(goals, at, ASIDE_S), *down], "idle", self.emotion, math.inf)
        return aside if seconds is None else aside.change("idle", at + seconds)

    def _changed(self, at: float, asks: Iterable[Ask], state: State, emotion: Emotion, planned: float) -> Performance:
        """With what was planned from ``at`` on replaced."""
        score = self.until(at).score.before(at).with_asks(asks)
        felt = tuple(entry for entry in self.moods if entry[0] < at)[-8:]
        return replace(
            self,
            score=score,
            state=state,
            emotion=emotion,
            planned=planned,
            events=0,
            changes=self.changes + 1,
            moods=(*felt, (at, emotion)),
        )

    def _random(self, event: int) -> np.random.Generator:
        return np.random.default_rng([self.seed % 2**63, 2, self.changes, event])

    def channels(self, times: Array) -> dict[str, Array]:
        """Every channel at ``times`` (T,) s, sway included. It must be planned that far."""
        led = self.score.at(times)
        levels: dict[Level, Array] = {"body": led["body"], "head": led["head"], "voice": led["voice"]}
        moved = sway(self.seed, times, levels)
        channels = moved | {channel: values + moved.get(channel, 0.0) for channel, values in led.items()}
        if "weight" in self.still:
            channels |= {name: np.zeros(len(times)) for name in ("hips_aside", "hips_ahead")}
        return channels

    def mood(self, time: float) -> str | None:
        """The VRM expression at ``time`` s."""
        felt = [emotion for start, emotion in self.moods if start <= time]
        return STYLES[felt[-1]].mood if felt else None


_HANDS: Final = ("left_", "right_")
