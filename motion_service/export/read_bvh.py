"""BVH as :mod:`motion_service.export.bvh` writes it, to a clip. Files of other programs are refused, not guessed at."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.export.bvh import CENTIMETRES, POSITION_CHANNELS, ROTATION_CHANNELS
from motion_service.export.keys import (
    MAX_BYTES,
    MAX_FPS,
    MAX_FRAMES,
    KeyedClip,
    Keys,
    check_height,
    keys_to_clip,
    refuse,
)
from motion_service.geometry.rotation import euler_to_quat
from motion_service.humanoid import VRM_PARENT
from motion_service.vrm.body import Body, Vector

_MOTION = re.compile(r"\s*Frames:\s*(\d{1,6})\s+Frame Time:\s*([0-9.eE+-]{1,32})\s*\n")
_OFFSET = re.compile(r"OFFSET\s+(\S+)\s+(\S+)\s+(\S+)")


@dataclass
class _Skeleton:
    """Joints in file order; the hips stand at the origin."""

    bones: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    places: list[Vector] = field(default_factory=list)
    """Of each joint in the T-pose, from the hips, m."""
    lowest: float = 0.0
    """Lowest point of all joints and end sites, m."""


def bvh_to_clip(text: str) -> VrmClip:
    """The clip; the body's hips height is what puts its lowest end site on the floor.

    Raises BadRequest (field ``clip``) for anything that :func:`motion_service.export.bvh.clip_to_bvh` does not write.
    """
    if len(text) > MAX_BYTES:
        raise refuse(f"the file is larger than {MAX_BYTES // 2**20} MiB")
    hierarchy, _, motion = text.partition("MOTION")
    found = _MOTION.match(motion)
    if found is None:
        raise refuse("this is not a BVH file: it has no MOTION section")
    skeleton = _read_skeleton(hierarchy)
    frames, frame_time = int(found[1]), _to_float(found[2])
    table = _read_table(motion[found.end() :], frames, 3 + 3 * len(skeleton.bones))
    if not 1 / MAX_FPS <= frame_time <= 10:
        raise refuse(f"Frame Time: must lie between 1/{MAX_FPS:g} s and 10 s")
    fps = round(1 / frame_time, 6)
    times = np.arange(frames) / fps
    angles = torch.deg2rad(table[:, 3:]).unflatten(1, (-1, 3))  # (T, J, 3)
    quats = euler_to_quat(angles, "ZXY").float()
    rotations = {bone: Keys(bone, times, quats[:, i]) for i, bone in enumerate(skeleton.bones)}
    hips = Keys("hips", times, (table[:, :3] / CENTIMETRES).float())
    height = check_height(-skeleton.lowest, "HIERARCHY: OFFSET")
    return keys_to_clip(KeyedClip(rotations, hips, height), fps)


def _read_table(text: str, frames: int, columns: int) -> Tensor:
    """(T, columns) float64, the numbers as they stand in the file."""
    if not 1 <= frames <= MAX_FRAMES or not text.strip():
        raise refuse(f"Frames: must be between 1 and {MAX_FRAMES}")
    try:
        table = np.loadtxt(io.StringIO(text), comments=None, ndmin=2, max_rows=frames)
    except ValueError as error:
        raise refuse("MOTION: holds something that is not a number, or rows of unequal length") from error
    if table.shape != (frames, columns):
        raise refuse(f"MOTION: needs {frames} rows of {columns} numbers, as the hierarchy says")
    return torch.from_numpy(table)


def _read_skeleton(text: str) -> _Skeleton:
    """The HIERARCHY section. Every joint must be a VRM bone under its VRM parent."""
    skeleton, at_end = _Skeleton(), False
    stack: list[int] = []
    for line in (line.strip() for line in text.splitlines()):
        word = line.partition(" ")[0]
        if word in ("ROOT", "JOINT"):
            skeleton.parents.append(stack[-1] if stack else -1)
            stack.append(len(skeleton.bones))
            skeleton.bones.append(line.partition(" ")[2].strip())
        elif word == "End":
            at_end = True
        elif word == "OFFSET":
            _add_place(skeleton, line, at_end)
        elif word == "CHANNELS":
            _check_channels(line, is_root=len(stack) == 1)
        elif word == "}":
            stack, at_end = (stack, False) if at_end else (stack[:-1], False)
        elif word not in ("HIERARCHY", "{", ""):
            raise refuse(f"HIERARCHY: {word[:20]!r} is not a word of BVH")
    _check_tree(skeleton)
    return skeleton


def _add_place(skeleton: _Skeleton, line: str, at_end: bool) -> None:
    """An OFFSET line of the newest joint, or of its end site."""
    found = _OFFSET.fullmatch(line)
    joints = len(skeleton.bones)
    if found is None or not joints or len(skeleton.places) != joints - (not at_end):
        raise refuse("HIERARCHY: each joint and end site has one OFFSET of three numbers")
    parent = joints - 1 if at_end else skeleton.parents[-1]
    start = skeleton.places[parent] if parent >= 0 else (0.0, 0.0, 0.0)
    x, y, z = (a + _to_float(b) / CENTIMETRES for a, b in zip(start, found.groups(), strict=True))
    if not at_end:
        skeleton.places.append((x, y, z))
    skeleton.lowest = min(skeleton.lowest, y)


def _check_channels(line: str, is_root: bool) -> None:
    wanted = f"CHANNELS 6 {POSITION_CHANNELS} {ROTATION_CHANNELS}" if is_root else f"CHANNELS 3 {ROTATION_CHANNELS}"
    if line.split() != wanted.split():
        raise refuse(f"HIERARCHY: channels must be {wanted!r}; export the file with those")


def _check_tree(skeleton: _Skeleton) -> None:
    bones, height = skeleton.bones, -skeleton.lowest
    if len(set(bones)) != len(bones) or len(skeleton.places) != len(bones) or not set(bones) <= set(VRM_PARENT):
        raise refuse("HIERARCHY: joints must be VRM humanoid bones, each once")
    try:
        body = Body({bone: (x, y + height, z) for bone, (x, y, z) in zip(bones, skeleton.places, strict=True)})
    except BadRequest as error:
        raise refuse("HIERARCHY: needs hips above the floor, which the lowest end site is") from error
    wanted = {
        bone: body.bones[parent] if parent >= 0 else None for bone, parent in zip(body.bones, body.parents, strict=True)
    }
    if any(
        wanted[bone] != (bones[parent] if parent >= 0 else None)
        for bone, parent in zip(bones, skeleton.parents, strict=True)
    ):
        raise refuse("HIERARCHY: every bone must hang on its VRM parent")


def _to_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise refuse(f"{text[:20]!r} is not a number") from error
    if not abs(number) < 1e6:
        raise refuse("numbers must be finite and below a million")
    return number
