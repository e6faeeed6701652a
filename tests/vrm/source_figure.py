"""A figure with the source's rest pose and made-up bone lengths, and motions of it whose rotations are known."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_service.clips import JointClip, VrmClip
from motion_service.geometry.rotation import axis_angle_to_quat, rotvec_to_quat
from motion_service.vrm.body import Body, pose_body
from motion_service.vrm.source_rest import JOINT, JOINT_BONES, JOINT_PARENTS, REST_DIRECTIONS

GOLDENS = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens" / "representation.npz"
FPS = 20.0
SIDES = ("left", "right")
LENGTHS = {
    "spine": 0.12,
    "chest": 0.13,
    "upperChest": 0.06,
    "neck": 0.21,
    "head": 0.09,
    "UpperLeg": 0.12,
    "LowerLeg": 0.39,
    "Foot": 0.41,
    "Toes": 0.13,
    "Shoulder": 0.15,
    "UpperArm": 0.11,
    "LowerArm": 0.26,
    "Hand": 0.25,
}
"""Distance from the parent's joint, m."""


def _rest_places() -> Tensor:
    places = torch.zeros(22, 3, dtype=torch.float64)
    for joint, parent in enumerate(JOINT_PARENTS):
        if parent >= 0:
            length = LENGTHS[JOINT_BONES[joint].removeprefix("left").removeprefix("right")]
            places[joint] = places[parent] + length * REST_DIRECTIONS[joint]
    places[:, 1] += 0.01 - places[JOINT["leftToes"], 1]
    return places


SOURCE_BODY = Body({bone: tuple(place) for bone, place in zip(JOINT_BONES, _rest_places().tolist(), strict=True)})


def pose_clip(rotations: dict[str, Tensor], hips: Tensor | None = None) -> VrmClip:
    """A clip of the source figure, standing on the spot unless told otherwise."""
    frames = len(next(iter(rotations.values())))
    if hips is None:
        hips = torch.tensor(SOURCE_BODY.rest["hips"]).expand(frames, 3)
    rotations = {"hips": torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(frames, 4), **rotations}
    return VrmClip(rotations, hips, torch.ones(frames, 4), FPS, SOURCE_BODY.hips_height)


def joints_of(clip: VrmClip) -> JointClip:
    """What a joint model would say of this clip: the 22 points alone."""
    places, _ = pose_body(SOURCE_BODY, clip)
    order = [SOURCE_BODY.index(bone) for bone in JOINT_BONES]
    return JointClip(places[:, order], clip.contacts, clip.fps)


def turn(axis: str, degrees: Tensor | float, frames: int = 1) -> Tensor:
    """(T, 4) turn about a coordinate axis."""
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32)).expand(frames)
    return axis_angle_to_quat(torch.eye(3)["xyz".index(axis)], angle)


def lively(seed: int, frames: int = 120) -> VrmClip:
    """Limbs, neck and hips sway by their own slow sines, twist included; knees and elbows bend from 4 to 110 degrees.

    The trunk bends as one, 30 % in the spine, 35 % in chest and upper chest each.
    """
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames) / FPS

    def sines(channels: int) -> Tensor:
        speed = 0.2 + 0.5 * torch.rand(channels, generator=generator)
        phase = torch.rand(channels, generator=generator)
        return torch.sin(2 * math.pi * (speed * time[:, None] + phase))  # (T, channels)

    def sway(*degrees: float) -> Tensor:
        return rotvec_to_quat(torch.deg2rad(torch.tensor(degrees)) * sines(3))

    tracks = {"hips": sway(15, 60, 10), "neck": sway(10, 0, 5)}
    bend = torch.deg2rad(torch.tensor([30.0, 40.0, 20.0])) * sines(3)
    tracks |= {"spine": rotvec_to_quat(0.3 * bend)}
    tracks |= {bone: rotvec_to_quat(0.35 * bend) for bone in ("chest", "upperChest")}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        tracks[f"{side}Shoulder"] = sway(0, 8, 8)
        tracks[f"{side}UpperArm"] = sway(30, 40, 50)
        tracks[f"{side}LowerArm"] = turn("y", -sign * (57 + 53 * sines(1)[:, 0]), frames)
        tracks[f"{side}UpperLeg"] = sway(40, 15, 15)
        tracks[f"{side}LowerLeg"] = turn("x", 57 + 53 * sines(1)[:, 0], frames)
        tracks[f"{side}Foot"] = sway(20, 0, 0)
    path = torch.tensor([0.3, 0.05, 0.5]) * sines(3) + torch.tensor(SOURCE_BODY.rest["hips"])
    return pose_clip(tracks, path)


@functools.cache
def real(name: str) -> JointClip:
    """A measured clip of the source skeleton; skips the test where the goldens are absent."""
    if not GOLDENS.exists():
        pytest.skip("needs ../shared/goldens/representation.npz")
    with np.load(GOLDENS) as goldens:
        positions = torch.from_numpy(goldens[f"{name}/joints"])
    feet = positions[:, [JOINT[f"{side}{bone}"] for side in SIDES for bone in ("Foot", "Toes")]]
    step = (feet[1:] - feet[:-1]).square().sum(-1)
    return JointClip(positions, (torch.cat([step[:1], step]) < 0.002).float(), FPS)


SWAP = [
    JOINT[bone.replace("left", "right") if bone.startswith("left") else bone.replace("right", "left")]
    for bone in JOINT_BONES
]


def mirrored(clip: JointClip) -> JointClip:
    """The clip seen in a mirror at x = 0."""
    return JointClip(clip.positions[:, SWAP] * torch.tensor([-1.0, 1.0, 1.0]), clip.contacts[:, [2, 3, 0, 1]], clip.fps)
