"""Two-bone inverse kinematics of a leg as a change of pose: how thigh and shank turn so that the ankle gets elsewhere.

The leg bends or stretches at the knee until hip and ankle are as far apart as asked (law of cosines), about the axis it
is bent about already, and swings as a whole by the shortest arc. So the knee keeps its plane and its side, an ankle
that stays gives no turn at all, and lengths cannot change. Knows no clip: world space only, in
:data:`~motion_service.geometry.planes.Planes`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from motion_service.geometry.planes import Planes, between, cross, dot, length, multiply, rotate, turn_about, unit

MAX_REACH: Final = 0.9995
"""Share of its length that a stretched leg comes near to (3.6 degrees of knee); one that is straighter stays so."""
_STRAIGHT: Final = math.sin(math.radians(3.0))
"""Sine of the knee angle below which the plane comes from the thigh's own hinge: three points on a line have none."""

_WRONG: Final = math.sin(math.radians(8.0))
"""Sine of the backward bend from which a knee is not bent any further."""


def turn_leg(hip: Planes, knee: Planes, ankle: Planes, target: Planes, hinge: Planes) -> tuple[Planes, Planes]:
    """World rotations (4, 2, ...), to put in front of the orientations of thigh and shank, that bring the ankle to
    ``target``, and where it is then, (3, ...); points (3, ...) in m, world, float64. Lengths must not be zero.

    A leg that has to stretch gives way softly: what it lacks of being straight is never used up, because a knee snaps
    on the last millimetres. The ankle then stays short of the target, on the line from the hip.

    ``hinge`` (3, ...): world axis about which the knee flexes, the +X axis of the thigh bone.
    """
    down, up = knee - hip, ankle - knee
    thigh, shank, reach, wanted = length(np.stack([down, up, ankle - hip, target - hip], axis=1))  # (...) each
    spare = np.maximum(MAX_REACH * (thigh + shank) - reach, 1e-9)
    normal = cross(down, up)  # twice the triangle, along the flexion axis
    size = thigh * shank
    bend = dot(normal, hinge) / size  # sine of the knee, negative when it is bent the wrong way
    sound = np.clip(1 + bend / _WRONG, 0, 1)
    stretched = reach + spare * np.tanh((wanted - reach) / spare)
    wanted = np.where(wanted > reach, stretched, reach + sound * (wanted - reach))
    wanted = np.maximum(wanted, np.abs(thigh - shank) + 1e-4)
    axis = unit(normal + np.where(bend < -_STRAIGHT, -_STRAIGHT, _STRAIGHT) * size * hinge)
    lead, flexion = _triangle(thigh, shank, np.array([reach, wanted]))
    led = lead[0] - lead[1]
    bends = turn_about(axis[:, None], np.array([led, led + flexion[1] - flexion[0]]))  # (4, 2, ...)
    bent = np.add.reduce(rotate(bends, np.stack([down, up], axis=1)), axis=1)
    way = unit(target - hip)
    swing = between(unit(bent), way)
    return multiply(swing[:, None], bends), hip + length(bent) * way


def _triangle(thigh: Planes, shank: Planes, reach: Planes) -> tuple[Planes, Planes]:
    """Angle between thigh and the line hip-ankle, and flexion of the knee (0 = straight), rad."""
    lead = (thigh**2 + reach**2 - shank**2) / np.maximum(2 * thigh * reach, 1e-9)
    inner = (thigh**2 + shank**2 - reach**2) / np.maximum(2 * thigh * shank, 1e-9)
    return np.arccos(np.clip(lead, -1, 1)), math.pi - np.arccos(np.clip(inner, -1, 1))
