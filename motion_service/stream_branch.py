"""Where a change of a stream takes effect, and what its motion goes on from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from motion_service.source import LiveSource, LiveText
from motion_service.speak.performance import Performance
from motion_service.stream_change import Change
from motion_service.stream_reel import Reel, frames_before, open_reel, settled_by
from motion_service.timeline import ACTION_S, Script, new_script


@dataclass(frozen=True, slots=True)
class Standing:
    """A stream at the moment when something is asked of it."""

    source: LiveSource
    reel: Reel
    script: Script
    idle: LiveText
    fps: float
    seed: int
    soonest: int
    """The first frame that a new window can show."""
    soonest_body: int
    """The first one that can show what the body does by itself, for which no window is made."""
    sent: int

    @property
    def rate(self) -> float:
        """Of the source."""
        return self.source.fps


@dataclass(frozen=True, slots=True)
class Branch:
    """A change on its way: the motion goes on from ``reel``, and takes the place of what there is at ``from_frame``."""

    change: Change
    reel: Reel
    script: Script
    from_frame: int
    anew: tuple[int, Performance] | None = None
    """The source's motion stays as it is, with this performance from this frame of its on."""


@dataclass(frozen=True, slots=True)
class Later:
    """A change that only needs windows that are not made yet."""

    change: Change
    reel: Reel
    script: Script
    from_frame: int


def branch_off(change: Change, now: Standing) -> Branch | Later:
    """What becomes of a stream that is asked for ``change``. Raises BadRequest where its history does not reach."""
    if change.body is not None:
        return _branch_body(change, now)
    rate, texts, reel = now.rate, change.understood.texts, now.reel
    if change.pose is not None:
        from_frame = min(now.soonest, now.sent)
        made = math.floor(from_frame * rate / now.fps + 1e-6)
        opened = open_reel(now.source, reel.fitted.fitting, change.pose, made)
        opened = replace(opened, performance=reel.performance)
        return Branch(change, opened, new_script(texts, now.idle, rate, made), from_frame)
    kept = _kept(change, now, now.soonest)
    if kept >= reel.made and change.reason != "stop":
        script = now.script.then(kept, texts, now.idle, rate)
        return Later(change, _aside(reel, change, now, kept), script, frames_before(kept, rate, now.fps))
    kept = max(min(kept, reel.made), reel.oldest(now.source.context_frames))
    gone_back = reel if kept >= reel.made else reel.rewind(kept)
    script = now.script.then(kept, texts, now.idle, rate)
    return Branch(change, _aside(gone_back, change, now, kept), script, frames_before(kept, rate, now.fps))


def _kept(change: Change, now: Standing, soonest: int) -> int:
    """How many frames of the source stay as they are."""
    kept, made = settled_by(soonest, now.rate, now.fps), now.reel.made
    if change.at == "next":
        return made
    return min(kept, made) if change.at == "now" else max(kept, math.ceil(change.at * now.rate - 1e-6))


def _aside(reel: Reel, change: Change, now: Standing, kept: int) -> Reel:
    """``reel`` whose body leaves what is asked for to the model."""
    performance, texts = reel.performance, change.understood.texts
    if performance is None:
        return reel
    at = kept / now.rate
    if all(text.caption == now.idle.caption for text in texts):
        return replace(reel, performance=performance.change("idle", at))
    ends = texts[-1].seconds is not None
    seconds = sum(text.seconds or ACTION_S for text in texts) if ends else None
    return replace(reel, performance=performance.step_aside(at, seconds))


def _branch_body(change: Change, now: Standing) -> Branch | Later:
    """A change of what the body does by itself. The source's motion is made anew only where it must not go on."""
    assert change.body is not None
    reel, texts = now.reel, change.understood.texts
    kept = _kept(change, now, now.soonest_body)
    script = now.script.then(kept, texts, now.idle, now.rate)
    made = max(kept, reel.made)
    driven = [*now.script.between(kept, made), *script.between(kept, made)]
    stays = all(text.caption == now.idle.caption for text in driven)
    if not stays:
        kept = _kept(change, now, now.soonest)
        script = now.script.then(kept, texts, now.idle, now.rate)
    kept = max(kept, reel.oldest(now.source.context_frames))
    performance = reel.performance or Performance(now.seed)
    performance, told = change.body(performance, kept / now.rate)
    change = replace(change, told=told)
    from_frame = frames_before(kept, now.rate, now.fps)
    if kept >= reel.made:
        return Later(change, replace(reel, performance=performance), script, from_frame)
    if stays:
        return Branch(change, reel, script, from_frame, (kept, performance))
    return Branch(change, replace(reel.rewind(kept), performance=performance), script, from_frame)


def to_message(change: Change, from_frame: int, fps: float) -> dict[str, Any]:
    """What tells the client of a change, but for the number of its revision."""
    return {
        "v": 1,
        "type": "prompt_applied",
        "from_frame": from_frame,
        "t0": round(from_frame / fps, 5),
        "reason": change.reason,
        **change.understood.to_wire(),
        **change.told,
    }
