"""The three motion sources: their files, joint names and labels -> :class:`~motion_service.training.corpus.CorpusClip`.

Facts about the data (what is wrong in it, which frames are T-poses) are in ``corpus.toml`` and docs/data.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.features.vrm_native import VRM_FPS, canonical_fk
from motion_service.geometry.kinematics import resample_linear, resample_quat
from motion_service.geometry.rotation import quat_rotate
from motion_service.humanoid import canonical_index
from motion_service.training.bvh import Bvh, read_bvh
from motion_service.training.calibration import (
    Calibration,
    SourceMotion,
    calibrate_from_motion,
    calibrate_from_t_pose,
    place_on_floor,
    source_to_bones,
)
from motion_service.training.corpus import CorpusClip, SourceName
from motion_service.training.gltf import GltfAnimation, read_gltf_animations

_LIMBS: Final = ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toes")
_TRUNK: Final = ("hips", "spine", "chest", "neck", "head")

BANDAI_JOINT: Final[Mapping[str, str]] = {
    **{bone: bone.capitalize() for bone in _TRUNK},
    **{f"{side}{limb}": f"{limb}_{side[0].upper()}" for side in ("left", "right") for limb in _LIMBS},
}
_CMU_LIMBS: Final = dict(zip(_LIMBS[:-1], ("Collar", "Shldr", "ForeArm", "Hand", "Thigh", "Shin", "Foot"), strict=True))
CMU_JOINT: Final[Mapping[str, str]] = {
    **dict(zip(_TRUNK, ("hip", "abdomen", "chest", "neck", "head"), strict=True)),
    **{f"{side}{limb}": side[0] + joint for side in ("left", "right") for limb, joint in _CMU_LIMBS.items()},
}
_RIG_LIMBS: Final = dict(
    zip(_LIMBS, ("shoulder", "upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toe"), strict=True)
)
MESH2MOTION_JOINT: Final[Mapping[str, str]] = {
    **dict(zip(_TRUNK, ("DEF-hips", "DEF-spine.001", "DEF-spine.002", "DEF-neck", "DEF-head"), strict=True)),
    **{
        f"{side}{limb}": f"DEF-{joint}.{side[0].upper()}"
        for side in ("left", "right")
        for limb, joint in _RIG_LIMBS.items()
    },
}
"""DEF-spine.003 carries the upper half of the chest: it is folded into the chest (see :func:`_rig_motion`)."""

CMU_LEAD_IN: Final = 3
"""Frame 0 of a CMU file is a T-pose and the next two blend out of it."""
MIN_FRAMES: Final = 20
"""Clips shorter than a second at 20 fps teach nothing."""
REST_SPEED: Final = 0.35
"""A body whose fastest bone is slower than this is at rest, m/s."""
REST_FRAMES: Final = 10
"""Rest that an action keeps at either end: more, as the 9 s before one dance, would teach that to dance is to stand."""
MAX_SPEED: Final = 15.0
"""No bone of a real body moves faster, m/s; recordings where one does have jumps in them."""


def labels() -> dict[str, Any]:
    """The tables of ``corpus.toml``."""
    text = resources.files("motion_service.training").joinpath("corpus.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


# --- Bandai-Namco -----------------------------------------------------------------------------------------------------


def bandai_motion(bvh: Bvh) -> SourceMotion:
    """World transforms of a Bandai-Namco file, joints under their VRM names."""
    return _bvh_motion(bvh, BANDAI_JOINT)


def read_bandai(files: list[Path]) -> Iterator[CorpusClip]:
    """Clips of Bandai-Namco-Research-Motiondataset 1 and 2. All files share one body, hence one calibration."""
    table = labels()["bandai_namco"]
    left_out = set(table["left_out"]["wrong_turn"]) | set(table["left_out"]["short"])
    kept: list[tuple[Path, str, str]] = []
    for path in sorted(files):
        _, content, style, _ = path.stem.split("_")
        if path.stem not in left_out and content in table["actions"]:
            kept.append((path, table["actions"][content], table["styles"].get(style, style)))
    motions = [bandai_motion(read_bvh(path)) for path, _, _ in kept]
    calibration = calibrate_bandai([(m, a, s) for m, (_, a, s) in zip(motions, kept, strict=True)])
    for motion, (path, action, style) in zip(motions, kept, strict=True):
        clip = _to_clip(motion, calibration, path.stem, "bandai", action, style)
        if clip is not None and not _is_weak_raise(clip):
            yield clip


def calibrate_bandai(motions: list[tuple[SourceMotion, str, str]]) -> Calibration:
    """Calibration from (motion, action, style); the first frame of a normal raise or wave clip is neutral standing."""
    stride = 5
    standing: list[Tensor] = []
    for motion, action, style in motions:
        flags = torch.zeros(len(motion.rotations["hips"][::stride]), dtype=torch.bool)
        flags[0] = style == "normal" and action.startswith(("raise", "wave"))
        standing.append(flags)
    joined = SourceMotion(
        {b: torch.cat([m.rotations[b][::stride] for m, _, _ in motions]) for b in BANDAI_JOINT},
        {b: torch.cat([m.positions[b][::stride] for m, _, _ in motions]) for b in BANDAI_JOINT},
        motions[0][0].fps,
    )
    return calibrate_from_motion(joined, torch.cat(standing))


def _is_weak_raise(clip: CorpusClip) -> bool:
    """A "raised" hand that stays below the shoulder (all feminine raises): it would teach that raising is optional."""
    if not clip.action.startswith("raise"):
        return False
    positions, _ = canonical_fk(clip.rotations, clip.hips)
    sides = ("left", "right") if clip.action.endswith("both") else (clip.action.split("-")[1],)
    for side in sides:
        wrist = positions[:, canonical_index(f"{side}Hand"), 1]
        shoulder = positions[:, canonical_index(f"{side}UpperArm"), 1]
        if float((wrist - shoulder).max()) < 0:
            return True
    return False


# --- CMU --------------------------------------------------------------------------------------------------------------


def cmu_motion(bvh: Bvh) -> SourceMotion:
    """World transforms of a CMU file (cgspeed conversion), T-pose frame included. Toes: the end site of the foot."""
    motion = _bvh_motion(bvh, CMU_JOINT)
    positions = dict(motion.positions)
    for side in ("left", "right"):
        offset = torch.tensor(bvh.end_offsets[CMU_JOINT[f"{side}Foot"]])
        foot = f"{side}Foot"
        positions[f"{side}Toes"] = motion.positions[foot] + quat_rotate(motion.rotations[foot], offset)
    return SourceMotion(motion.rotations, positions, motion.fps)


def read_cmu(files: list[Path]) -> Iterator[CorpusClip]:
    """Clips of the CMU database; every file brings its own T-pose."""
    action_of = {trial: action for action, trials in labels()["cmu"].items() for trial in trials}
    for path in sorted(files):
        if path.stem in action_of:
            motion = cmu_motion(read_bvh(path))
            calibration = calibrate_from_t_pose(_frames(motion, slice(0, 1)))
            rest = _frames(motion, slice(CMU_LEAD_IN, None))
            clip = _to_clip(rest, calibration, f"cmu_{path.stem}", "cmu", action_of[path.stem], "normal")
            if clip is not None:
                yield clip


# --- Mesh2Motion ------------------------------------------------------------------------------------------------------


def read_mesh2motion(files: list[Path]) -> Iterator[CorpusClip]:
    """Clips of the Mesh2Motion files; the animation T-Pose of the base file calibrates them all."""
    animations = [animation for path in sorted(files) for animation in read_gltf_animations(path, 30.0)]
    t_pose = next((a for a in animations if a.name == "T-Pose"), None)
    if t_pose is None:
        raise BadRequest("the Mesh2Motion files hold no animation named T-Pose: human-base-animations.glb is needed")
    calibration = calibrate_from_t_pose(_frames(rig_motion(t_pose), slice(0, 1)))
    action_of = {name: action for action, names in labels()["mesh2motion"].items() for name in names}
    for animation in animations:
        if animation.name in action_of:
            action = action_of[animation.name]
            motion = rig_motion(animation)
            clip = _to_clip(motion, calibration, f"m2m_{animation.name}", "mesh2motion", action, "normal")
            if clip is not None:
                yield clip


def rig_motion(animation: GltfAnimation) -> SourceMotion:
    """World transforms of a Mesh2Motion animation. The chest turns as its upper half, which carries neck and arms."""
    rotations = {bone: animation.rotations[joint] for bone, joint in MESH2MOTION_JOINT.items()}
    rotations["chest"] = animation.rotations["DEF-spine.003"]
    positions = {bone: animation.positions[joint] for bone, joint in MESH2MOTION_JOINT.items()}
    return SourceMotion(rotations, positions, animation.fps)


# --- shared -----------------------------------------------------------------------------------------------------------


def _bvh_motion(bvh: Bvh, joint_of: Mapping[str, str]) -> SourceMotion:
    world, positions = bvh.world_transforms()
    index = {name: i for i, name in enumerate(bvh.names)}
    return SourceMotion(
        {bone: world[:, index[joint]] for bone, joint in joint_of.items()},
        {bone: positions[:, index[joint]] for bone, joint in joint_of.items()},
        bvh.fps,
    )


def _frames(motion: SourceMotion, part: slice) -> SourceMotion:
    return SourceMotion(
        {bone: q[part] for bone, q in motion.rotations.items()},
        {bone: p[part] for bone, p in motion.positions.items()},
        motion.fps,
    )


def _to_clip(
    motion: SourceMotion, calibration: Calibration, name: str, source: SourceName, action: str, style: str
) -> CorpusClip | None:
    local, hips = source_to_bones(motion, calibration)
    local = resample_quat(local, motion.fps, VRM_FPS)
    hips = resample_linear(hips, motion.fps, VRM_FPS)
    if len(hips) < MIN_FRAMES:
        return None
    positions, _ = canonical_fk(local, hips)
    speed = torch.linalg.vector_norm(positions[1:] - positions[:-1], dim=-1).amax(dim=1) * VRM_FPS  # (T - 1,)
    if float(speed.max()) > MAX_SPEED:
        return None
    part = moving_part(speed)
    return CorpusClip(name, source, action, style, *place_on_floor(local[part], hips[part]))


def moving_part(speed: Tensor) -> slice:
    """The frames from just before the first to just after the last movement; all of a clip that never moves.

    ``speed`` (T - 1,) of the fastest bone, m/s.
    """
    moving = (speed > REST_SPEED).nonzero()[:, 0].tolist()
    if not moving:
        return slice(0, len(speed) + 1)
    first, last = max(moving[0] - REST_FRAMES, 0), min(moving[-1] + 2 + REST_FRAMES, len(speed) + 1)
    return slice(min(first, max(last - MIN_FRAMES, 0)), max(last, min(first + MIN_FRAMES, len(speed) + 1)))
