"""A standing figure by a few angles: it breathes, shifts its weight and looks about on planted feet, without weights.

What is authored by hand stands on it: the placeholder, and the gestures of which the motion corpora have no recording.
Everything slow is a sum of sines, eased in and out, so that a clip starts and ends in the same neutral pose at rest.
The legs follow the hips by analytic two-bone IK, so soles never slide.

Axes of the T-pose: +X left, +Y up, +Z forward. Angles in rad unless ``_deg``; tracks are (T,) or (T, n).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
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

FIGURE_FPS: Final = 20.0
STANCE_DROP: Final = 0.009
"""How far the hips hang below the T-pose, m: slack for the knees, so that the legs reach while the hips sway."""
_TOE_OUT: Final = math.radians(7.0)
_SIDES: Final = (("left", 1.0), ("right", -1.0))


# --- tracks ---------------------------------------------------------------------------------------------------------


def smoothstep(amount: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and a soft passage between."""
    amount = amount.clamp(0, 1)
    return amount * amount * (3 - 2 * amount)


def window(time: Tensor, start: float, stop: float, ramp: float) -> Tensor:
    """1 between ``start`` and ``stop``, 0 outside, with soft edges of ``ramp`` seconds inside."""
    return smoothstep(torch.minimum(time - start, stop - time) / ramp)


@dataclass(frozen=True, slots=True)
class Wander:
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
class Arm:
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
    roll: Tensor
    """Of the forearm, held forward: negative turns its palm up, positive down."""
    bend: Tensor
    """Of the wrist towards the palm."""


@dataclass(frozen=True, slots=True)
class Body:
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
    arms: Mapping[str, Arm]


# --- the figure at rest and alive -----------------------------------------------------------------------------------


def stack_deg(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """Three tracks in degrees to (T, 3) rad about X, Y and Z."""
    return torch.deg2rad(torch.stack([pitch, yaw, roll], dim=-1))


def hanging_arm(wander: Wander) -> Arm:
    lower, swing = 76 + 1.5 * wander(0.06, 0.2), 4 + 2.5 * wander(0.08, 0.25)
    twist, flex, wrist = 3 * wander(0.06, 0.2), 15 + 4 * wander(0.08, 0.25), 4 * wander(0.08, 0.3)
    still = torch.zeros_like(lower)
    return Arm(*torch.deg2rad(torch.stack([lower, swing, twist, flex, wrist, still, still])))


def living_body(wander: Wander) -> Body:
    """Breathing, weight shift, a slow look about and loose arms."""
    rate = float(0.22 + 0.06 * torch.rand(1, generator=wander.generator))  # breaths a second
    breath = torch.sin(2 * math.pi * rate * wander.time) * wander.fade
    weight, turn, lean = wander(0.05, 0.13), wander(0.04, 0.10), wander(0.05, 0.15)
    look, nod, tilt = wander(0.06, 0.20), wander(0.08, 0.25), wander(0.06, 0.18)
    still = torch.zeros_like(breath)
    return Body(
        shift=torch.stack([0.022 * weight, 0.0015 * breath - STANCE_DROP, 0.006 * lean], dim=-1),
        hips=stack_deg(0.6 * lean, 2.5 * turn, 2.0 * weight),  # the hip over the standing leg rises
        spine=stack_deg(0.5 * breath - 0.6 * lean, -turn, -1.6 * weight),
        chest=stack_deg(-1.2 * breath + 0.5 * lean, 0.8 * turn, -1.2 * weight),
        neck=stack_deg(0.4 * breath + 1.5 * nod, 3.0 * look, 0.8 * tilt),
        head=stack_deg(still + 2.5 * nod, 6.0 * look, 1.8 * tilt + 0.5 * weight),
        lift=torch.deg2rad(1.2 * breath),
        arms={side: hanging_arm(wander) for side, _ in _SIDES},
    )


def towards(start: Tensor, degrees: Tensor | float, amount: Tensor) -> Tensor:
    """From ``start`` (rad) to a goal in degrees by ``amount`` in 0..1. (T,)"""
    return start + (torch.deg2rad(torch.as_tensor(degrees)) - start) * amount


# --- angles to bones ------------------------------------------------------------------------------------------------


def _axis_quat(axis: str, angle: Tensor) -> Tensor:
    """Turn about one axis of the T-pose. (T, 4)"""
    return axis_angle_to_quat(torch.eye(3)["xyz".index(axis)], angle)


def _arm_rotations(side: str, sign: float, arm: Arm, lift: Tensor) -> dict[str, Tensor]:
    """Local rotations of one arm. The elbow bends about -Y on the left and +Y on the right."""
    hang = quat_multiply(_axis_quat("x", -arm.swing), _axis_quat("z", -sign * arm.lower))
    return {
        f"{side}Shoulder": _axis_quat("z", sign * lift),
        f"{side}UpperArm": quat_multiply(hang, _axis_quat("x", arm.twist)),
        f"{side}LowerArm": quat_multiply(_axis_quat("y", -sign * arm.flex), _axis_quat("x", arm.roll)),
        f"{side}Hand": quat_multiply(_axis_quat("y", sign * arm.wrist), _axis_quat("z", -sign * arm.bend)),
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


def body_to_clip(body: Body) -> VrmClip:
    hips = torch.tensor(CANONICAL_REST[0]) + body.shift
    rotations = {bone: rotvec_to_quat(getattr(body, bone)) for bone in ("hips", "spine", "chest", "neck", "head")}
    for side, sign in _SIDES:
        rotations |= _arm_rotations(side, sign, body.arms[side], body.lift)
        rotations |= _leg_rotations(side, sign, hips, rotations["hips"])
    return VrmClip(
        rotations={bone: normalize(track) for bone, track in rotations.items()},
        hips=hips,
        contacts=torch.ones(len(hips), 4),
        fps=FIGURE_FPS,
        rest_hips_height=CANONICAL_HIPS_HEIGHT,
    )
