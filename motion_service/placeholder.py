"""A calm, living figure without any weights: the answer when no model can give one. It needs no file and cannot fail.

The figure stands on planted feet, breathes, shifts its weight, looks about a little and lets its arms hang. Everything
is a sum of slow sines drawn from prompt and seed, eased in and out, so that every clip starts and ends in the same
neutral pose at rest. A prompt that asks for a wave, a nod or a bow gets a modest one. The legs follow the hips by
analytic two-bone IK, so soles never slide.

Axes of the T-pose: +X left, +Y up, +Z forward. Angles in rad unless ``_deg``; tracks are (T,) or (T, n).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import PromptPlan, VrmClip
from motion_service.geometry.rotation import (
    axis_angle_to_quat,
    normalize,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    rotmat_to_quat,
    rotvec_to_quat,
    yaw_to_quat,
)
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT, CANONICAL_REST, canonical_index
from motion_service.source import SourceClip, SourceRequest

PLACEHOLDER_FPS: Final = 20.0
STANCE_DROP: Final = 0.009
"""How far the hips hang below the T-pose, m: slack for the knees, so that the legs reach while the hips sway."""
_TOE_OUT: Final = math.radians(7.0)
_EASE: Final = 1.0
"""Seconds in which movement grows from the neutral pose and returns to it."""
_SIDES: Final = (("left", 1.0), ("right", -1.0))


# --- tracks ---------------------------------------------------------------------------------------------------------


def _smoothstep(amount: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and a soft passage between."""
    amount = amount.clamp(0, 1)
    return amount * amount * (3 - 2 * amount)


def _window(time: Tensor, start: float, stop: float, ramp: float) -> Tensor:
    """1 between ``start`` and ``stop``, 0 outside, with soft edges of ``ramp`` seconds inside."""
    return _smoothstep(torch.minimum(time - start, stop - time) / ramp)


@dataclass(frozen=True, slots=True)
class _Wander:
    """Source of slow random tracks in -1..1, faded out at both ends of the clip."""

    time: Tensor  # (T,) s
    fade: Tensor  # (T,)
    generator: torch.Generator

    def __call__(self, slow_hz: float, fast_hz: float) -> Tensor:
        """A sum of three sines between the two frequencies. (T,)"""
        hz, phase, weight = torch.rand(3, 3, generator=self.generator)
        hz, weight = slow_hz + (fast_hz - slow_hz) * hz, weight + 0.5
        waves = torch.sin(2 * math.pi * (hz * self.time[:, None] + phase))  # (T, 3)
        track: Tensor = (waves * weight).sum(-1) / weight.sum() * self.fade
        return track


@dataclass(frozen=True, slots=True)
class _Arm:
    """One arm by angles that both sides share; every field (T,) rad."""

    lower: Tensor
    """Down from the T-pose."""
    swing: Tensor
    """Forward."""
    twist: Tensor
    """Of the upper arm; -pi/2 makes the elbow lift the forearm instead of bringing it forward."""
    flex: Tensor
    """Bend of the elbow, >= 0."""
    wrist: Tensor
    """Side to side."""


@dataclass(frozen=True, slots=True)
class _Body:
    """The whole figure by a few angles and offsets; every field but ``arms`` (T, 3): pitch, yaw, roll or x, y, z."""

    shift: Tensor
    """Hips from their rest place, m."""
    hips: Tensor
    spine: Tensor
    chest: Tensor
    neck: Tensor
    head: Tensor
    lift: Tensor
    """(T,) of both shoulders."""
    arms: Mapping[str, _Arm]


# --- the figure at rest and alive -----------------------------------------------------------------------------------


def _stack_deg(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """Three tracks in degrees to (T, 3) rad about X, Y and Z."""
    return torch.deg2rad(torch.stack([pitch, yaw, roll], dim=-1))


def _hanging_arm(wander: _Wander) -> _Arm:
    lower, swing = 76 + 1.5 * wander(0.06, 0.2), 4 + 2.5 * wander(0.08, 0.25)
    twist, flex, wrist = 3 * wander(0.06, 0.2), 15 + 4 * wander(0.08, 0.25), 4 * wander(0.08, 0.3)
    return _Arm(*torch.deg2rad(torch.stack([lower, swing, twist, flex, wrist])))


def _living_body(wander: _Wander) -> _Body:
    """Breathing, weight shift, a slow look about and loose arms."""
    rate = float(0.22 + 0.06 * torch.rand(1, generator=wander.generator))  # breaths a second
    breath = torch.sin(2 * math.pi * rate * wander.time) * wander.fade
    weight, turn, lean = wander(0.05, 0.13), wander(0.04, 0.10), wander(0.05, 0.15)
    look, nod, tilt = wander(0.06, 0.20), wander(0.08, 0.25), wander(0.06, 0.18)
    still = torch.zeros_like(breath)
    return _Body(
        shift=torch.stack([0.022 * weight, 0.0015 * breath - STANCE_DROP, 0.006 * lean], dim=-1),
        hips=_stack_deg(0.6 * lean, 2.5 * turn, 2.0 * weight),  # the hip over the standing leg rises
        spine=_stack_deg(0.5 * breath - 0.6 * lean, -turn, -1.6 * weight),
        chest=_stack_deg(-1.2 * breath + 0.5 * lean, 0.8 * turn, -1.2 * weight),
        neck=_stack_deg(0.4 * breath + 1.5 * nod, 3.0 * look, 0.8 * tilt),
        head=_stack_deg(still + 2.5 * nod, 6.0 * look, 1.8 * tilt + 0.5 * weight),
        lift=torch.deg2rad(1.2 * breath),
        arms={side: _hanging_arm(wander) for side, _ in _SIDES},
    )


# --- gestures -------------------------------------------------------------------------------------------------------


def _towards(start: Tensor, degrees: Tensor | float, amount: Tensor) -> Tensor:
    """From ``start`` (rad) to a goal in degrees by ``amount`` in 0..1. (T,)"""
    return start + (torch.deg2rad(torch.as_tensor(degrees)) - start) * amount


def _wave(body: _Body, time: Tensor, detail: frozenset[str]) -> _Body:
    """A raised hand, palm forward, swung from the elbow; the right one unless the prompt says otherwise."""
    both = "both" in detail or {"left", "right"} <= detail
    sides = ("left", "right") if both else ("left",) if "left" in detail else ("right",)
    amount = _window(time, 0.2, min(float(time[-1]), 4.2), ramp=0.9)
    beat = torch.sin(2 * math.pi * 1.7 * time)
    arms = dict(body.arms)
    for side in sides:
        arm = arms[side]
        arms[side] = _Arm(
            lower=_towards(arm.lower, 14.0, amount),
            swing=_towards(arm.swing, 12.0, amount),
            twist=_towards(arm.twist, -80.0, amount),
            flex=_towards(arm.flex, 100 + 20 * beat, amount),
            wrist=_towards(arm.wrist, 8 * beat, amount),
        )
    return replace(body, arms=arms)


def _nod(body: _Body, time: Tensor, detail: frozenset[str]) -> _Body:
    """Two or three nods of the head."""
    amount = _window(time, 0.1, min(float(time[-1]), 2.8), ramp=0.4)
    dip = amount * torch.deg2rad(7 * (1 - torch.cos(2 * math.pi * 1.1 * time)))
    pitch = torch.stack([dip, torch.zeros_like(dip), torch.zeros_like(dip)], dim=-1)
    return replace(body, head=body.head + pitch, neck=body.neck + 0.4 * pitch)


def _bow(body: _Body, time: Tensor, detail: frozenset[str]) -> _Body:
    """A bow from the hips, which go back to keep the balance; the arms keep hanging."""
    amount = _window(time, 0.2, min(float(time[-1]), 3.6), ramp=1.1)
    zero = torch.zeros_like(amount)
    pitch = torch.deg2rad(torch.stack([11 * amount, zero, zero], dim=-1))
    arms = {side: replace(arm, swing=arm.swing + 3.0 * pitch[:, 0]) for side, arm in body.arms.items()}
    back = torch.stack([zero, -0.004 * amount, -0.05 * amount], dim=-1)
    trunk = {bone: getattr(body, bone) + share * pitch for bone, share in _BOW_SHARE.items()}
    return replace(body, shift=body.shift + back, arms=arms, **trunk)


_BOW_SHARE: Final = {"hips": 1.5, "spine": 1.2, "chest": 1.0, "neck": 0.5, "head": 0.5}

_GESTURES: Final[Mapping[str, Callable[[_Body, Tensor, frozenset[str]], _Body]]] = {
    "wave": _wave,
    "bye": _wave,
    "nod": _nod,
    "bow": _bow,
}
"""Words of an action's name and what they look like."""


def _gesturing_body(body: _Body, time: Tensor, plan: PromptPlan) -> _Body:
    """The body with the gesture that the plan's action names, such as "wave-left"; unchanged for other actions."""
    action = plan.action or ""
    detail = frozenset([*action.split("-"), *(word for segment in plan.segments[:1] for word in segment.detail)])
    gesture = next((gesture for word, gesture in _GESTURES.items() if word in action), None)
    return gesture(body, time, detail) if gesture else body


# --- angles to bones ------------------------------------------------------------------------------------------------


def _axis_quat(axis: str, angle: Tensor) -> Tensor:
    """Turn about one axis of the T-pose. (T, 4)"""
    return axis_angle_to_quat(torch.eye(3)["xyz".index(axis)], angle)


def _arm_rotations(side: str, sign: float, arm: _Arm, lift: Tensor) -> dict[str, Tensor]:
    """Local rotations of one arm. The elbow bends about -Y on the left and +Y on the right."""
    hang = quat_multiply(_axis_quat("x", -arm.swing), _axis_quat("z", -sign * arm.lower))
    return {
        f"{side}Shoulder": _axis_quat("z", sign * lift),
        f"{side}UpperArm": quat_multiply(hang, _axis_quat("x", arm.twist)),
        f"{side}LowerArm": _axis_quat("y", -sign * arm.flex),
        f"{side}Hand": _axis_quat("y", sign * arm.wrist),
    }


def _leg_rotations(side: str, sign: float, hips: Tensor, hips_quat: Tensor) -> dict[str, Tensor]:
    """Local rotations of one leg that keep its ankle at the rest place (law of cosines). The knee goes forward."""
    hip_rest, knee_rest, ankle = (
        torch.tensor(CANONICAL_REST[canonical_index(side + bone)]) for bone in ("UpperLeg", "LowerLeg", "Foot")
    )
    thigh, shank = float(torch.dist(hip_rest, knee_rest)), float(torch.dist(knee_rest, ankle))
    hip = hips + quat_rotate(hips_quat, hip_rest - torch.tensor(CANONICAL_REST[0]))  # (T, 3)
    reach = torch.linalg.vector_norm(ankle - hip, dim=-1).clamp(max=0.9999 * (thigh + shank))  # (T,)
    knee = math.pi - torch.acos((thigh**2 + shank**2 - reach**2) / (2 * thigh * shank))
    lead = torch.acos(((thigh**2 + reach**2 - shank**2) / (2 * thigh * reach)).clamp(max=1))
    foot_quat = yaw_to_quat(torch.full_like(knee, sign * _TOE_OUT))
    down = normalize(ankle - hip)
    hinge = normalize(torch.linalg.cross(quat_rotate(foot_quat, torch.tensor([0.0, 0.0, 1.0])), down))
    bone = quat_rotate(axis_angle_to_quat(hinge, -lead), down)  # along the thigh, (T, 3)
    thigh_quat = rotmat_to_quat(torch.stack([hinge, -bone, torch.linalg.cross(hinge, -bone)], dim=-1))
    knee_quat = _axis_quat("x", knee)
    return {
        f"{side}UpperLeg": quat_multiply(quat_conjugate(hips_quat), thigh_quat),
        f"{side}LowerLeg": knee_quat,
        f"{side}Foot": quat_multiply(quat_conjugate(quat_multiply(thigh_quat, knee_quat)), foot_quat),
        f"{side}Toes": rotvec_to_quat(torch.zeros_like(down)),
    }


def _body_to_clip(body: _Body) -> VrmClip:
    hips = torch.tensor(CANONICAL_REST[0]) + body.shift
    rotations = {bone: rotvec_to_quat(getattr(body, bone)) for bone in ("hips", "spine", "chest", "neck", "head")}
    for side, sign in _SIDES:
        rotations |= _arm_rotations(side, sign, body.arms[side], body.lift)
        rotations |= _leg_rotations(side, sign, hips, rotations["hips"])
    return VrmClip(
        rotations={bone: normalize(track) for bone, track in rotations.items()},
        hips=hips,
        contacts=torch.ones(len(hips), 4),
        fps=PLACEHOLDER_FPS,
        rest_hips_height=CANONICAL_HIPS_HEIGHT,
    )


# --- source ---------------------------------------------------------------------------------------------------------


def plan_to_placeholder(plan: PromptPlan, seconds: float, seed: int) -> VrmClip:
    """The clip for a prompt: at least one frame, 20 fps, the same for the same prompt, seconds and seed."""
    time = torch.arange(max(1, round(seconds * PLACEHOLDER_FPS))) / PLACEHOLDER_FPS  # (T,)
    digest = hashlib.sha256(f"{seed}:{plan.prompt}".encode(errors="replace")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    wander = _Wander(time, _window(time, 0.0, float(time[-1]), _EASE), generator)
    return _body_to_clip(_gesturing_body(_living_body(wander), time, plan))


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
