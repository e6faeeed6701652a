"""A calm, living figure without any weights: the answer when no model can give one. It needs no file and cannot fail.

The figure of :mod:`motion_service.figure`, drawn from prompt and seed. A prompt that asks for a wave, a nod or a bow
gets a modest one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import PromptPlan, VrmClip
from motion_service.figure import FIGURE_FPS, Body, Wander, body_to_clip, living_body, towards, window
from motion_service.source import SourceClip, SourceRequest

_EASE: Final = 1.0
"""Seconds in which movement grows from the neutral pose and returns to it."""


# --- gestures -------------------------------------------------------------------------------------------------------


def _wave(body: Body, time: Tensor, detail: frozenset[str]) -> Body:
    """A raised hand, palm forward, swung from the elbow; the right one unless the prompt says otherwise."""
    both = "both" in detail or {"left", "right"} <= detail
    sides = ("left", "right") if both else ("left",) if "left" in detail else ("right",)
    amount = window(time, 0.2, min(float(time[-1]), 4.2), ramp=0.9)
    beat = torch.sin(2 * math.pi * 1.7 * time)
    arms = dict(body.arms)
    for side in sides:
        arm = arms[side]
        arms[side] = replace(
            arm,
            lower=towards(arm.lower, 14.0, amount),
            swing=towards(arm.swing, 12.0, amount),
            twist=towards(arm.twist, -80.0, amount),
            flex=towards(arm.flex, 100 + 20 * beat, amount),
            wrist=towards(arm.wrist, 8 * beat, amount),
        )
    return replace(body, arms=arms)


def _nod(body: Body, time: Tensor, detail: frozenset[str]) -> Body:
    """Two or three nods of the head."""
    amount = window(time, 0.1, min(float(time[-1]), 2.8), ramp=0.4)
    dip = amount * torch.deg2rad(7 * (1 - torch.cos(2 * math.pi * 1.1 * time)))
    pitch = torch.stack([dip, torch.zeros_like(dip), torch.zeros_like(dip)], dim=-1)
    return replace(body, head=body.head + pitch, neck=body.neck + 0.4 * pitch)


def _bow(body: Body, time: Tensor, detail: frozenset[str]) -> Body:
    """A bow from the hips, which go back to keep the balance; the arms keep hanging."""
    amount = window(time, 0.2, min(float(time[-1]), 3.6), ramp=1.1)
    zero = torch.zeros_like(amount)
    pitch = torch.deg2rad(torch.stack([11 * amount, zero, zero], dim=-1))
    arms = {side: replace(arm, swing=arm.swing + 3.0 * pitch[:, 0]) for side, arm in body.arms.items()}
    back = torch.stack([zero, -0.004 * amount, -0.05 * amount], dim=-1)
    trunk = {bone: getattr(body, bone) + share * pitch for bone, share in _BOW_SHARE.items()}
    return replace(body, shift=body.shift + back, arms=arms, **trunk)


_BOW_SHARE: Final = {"hips": 1.5, "spine": 1.2, "chest": 1.0, "neck": 0.5, "head": 0.5}

_GESTURES: Final[Mapping[str, Callable[[Body, Tensor, frozenset[str]], Body]]] = {
    "wave": _wave,
    "bye": _wave,
    "nod": _nod,
    "bow": _bow,
}
"""Words of an action's name and what they look like."""


def _gesturing_body(body: Body, time: Tensor, plan: PromptPlan) -> Body:
    """The body with the gesture that the plan's action names, such as "wave-left"; unchanged for other actions."""
    action = plan.action or ""
    detail = frozenset([*action.split("-"), *(word for segment in plan.segments[:1] for word in segment.detail)])
    gesture = next((gesture for word, gesture in _GESTURES.items() if word in action), None)
    return gesture(body, time, detail) if gesture else body


# --- source ---------------------------------------------------------------------------------------------------------


def plan_to_placeholder(plan: PromptPlan, seconds: float, seed: int) -> VrmClip:
    """The clip for a prompt: at least one frame, 20 fps, the same for the same prompt, seconds and seed."""
    time = torch.arange(max(1, round(seconds * FIGURE_FPS))) / FIGURE_FPS  # (T,)
    digest = hashlib.sha256(f"{seed}:{plan.prompt}".encode(errors="replace")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    wander = Wander(time, window(time, 0.0, float(time[-1]), _EASE), generator)
    return body_to_clip(_gesturing_body(living_body(wander), time, plan))


class PlaceholderSource:
    """The :class:`~motion_service.source.MotionSource` of last resort."""

    name = "placeholder"
    max_seconds = math.inf

    async def generate(self, request: SourceRequest) -> SourceClip:
        """A calm clip. It takes milliseconds and stays on the event loop, so that a busy thread pool cannot stop it."""
        return SourceClip(
            clip=plan_to_placeholder(request.plan, request.seconds, request.seed),
            generator=self.name,
            checkpoint=None,
            licence="CC0-1.0",
            steps=0,
            guidance=0.0,
            seed=request.seed,
        )
