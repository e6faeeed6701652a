"""Editing a clip: which clip, and how the part that a source made anew is put between what stays the client's.

A model sees the clip on its own body and at its own rate, and what it is told to keep comes back through its features.
So only the new part of its clip is taken. What is kept is the client's, number for number, fingers and face included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.diffusion.rollout import continue_smoothly
from motion_service.edit_schemas import EditRequest
from motion_service.errors import BadRequest, NotFound
from motion_service.export.read import json_to_clip
from motion_service.export.vrm_json import without_repetitions
from motion_service.features.vrm_native import VRM_FPS, heading
from motion_service.geometry.rotation import (
    normalize,
    quat_identity,
    quat_multiply,
    quat_rotate,
    quat_unroll,
    yaw_to_quat,
)
from motion_service.humanoid import VRM_PARENT
from motion_service.schemas import MAX_SECONDS, MotionOptions
from motion_service.source import LOWER_BODY, EditPlan
from motion_service.store import ArtifactStore
from motion_service.vrm.body import fold_bones
from motion_service.vrm.resample import resample_clip

SEAM_FRAMES: Final = 12
"""How long each end of the new part is bent to meet the kept part, at 20 fps. At 8 one seam in seven was rougher than
1.5 times the roughest place elsewhere in the clip, at 12 one in thirty (docs/editing.md)."""
MIN_GAP: Final = 2
"""Shortest gap, in frames of the clip: a join needs a value and a speed."""
MAX_STORED: Final = 96 * 2**20
"""Longest clip that is read of a job's file, bytes: 120 s at 120 fps of all 55 bones are 53 MB."""


# --- which clip -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Original:
    """The clip that is to be edited, in VRM 1.0 axes."""

    clip: VrmClip
    options: Mapping[str, Any]
    """What it was made with and its edit takes over, unless the request says else: ``target``, of a job ``avatar``."""
    field: str
    """What errors name: clip or job_id."""


def request_to_original(request: EditRequest, store: ArtifactStore) -> Original:
    """The clip that the request sends or names. Raises BadRequest naming the field."""
    if (request.clip is None) == (request.job_id is None):
        raise BadRequest("send either clip or job_id", field="clip")
    if request.clip is None:
        return _job_to_original(request.job_id or "", store)
    document = _with_target(request.clip)
    return Original(json_to_clip(document), {"target": document["metadata"].get("target", "vrm1")}, "clip")


def _job_to_original(job_id: str, store: ArtifactStore) -> Original:
    """The first clip of a job's file. Raises BadRequest naming job_id."""
    try:
        text = without_repetitions(store.read(job_id, "vrm-json"))
        if len(text) > MAX_STORED:
            raise BadRequest(f"its clip is larger than {MAX_STORED // 2**20} MiB")
        document = orjson.loads(text)
        clip = json_to_clip(document)
    except NotFound:
        raise BadRequest("there is no such job, or its file is gone: send the clip", field="job_id") from None
    except orjson.JSONDecodeError as error:
        raise BadRequest("the job's file is damaged: send the clip", field="job_id") from error
    except BadRequest as error:
        remedy = "make it anew, shorter or with a lower fps, or send the clip"
        raise BadRequest(f"the job's file cannot be edited ({error.detail}): {remedy}", field="job_id") from error
    metadata = _metadata(document)
    return Original(clip, {"target": metadata.get("target", "vrm1"), "avatar": metadata.get("avatar")}, "job_id")


def value_to_pose(value: str | Mapping[str, Any], store: ArtifactStore) -> VrmClip:
    """What ``continue_from`` says, a job id or a clip, in VRM 1.0 axes. Raises BadRequest naming it."""
    try:
        if isinstance(value, str):
            return _job_to_original(value, store).clip
        return json_to_clip(_with_target(value))
    except BadRequest as error:
        raise BadRequest(f"continue_from: {error.detail}", field="continue_from") from error


def request_to_plan(request: EditRequest) -> EditPlan:
    """What is made anew. Raises BadRequest for a gap that ends before it begins."""
    if request.prefix_end >= request.suffix_start:
        raise BadRequest("suffix_start must be greater than prefix_end", field="suffix_start")
    return EditPlan(request.mode, request.prefix_end, request.suffix_start)


def edit_defaults(defaults: MotionOptions, original: Original) -> MotionOptions:
    """The server's defaults as edits take them: what is kept comes back as sent, unless the request says else."""
    provider = "auto" if defaults.provider in ("dip", "placeholder") else defaults.provider
    neutral = {"fps": None, "foot_lock": False, "root": "free", "settle": False, "expressions": False}
    return defaults.model_copy(update={**neutral, "provider": provider, **original.options})


def describe_edit(clip: VrmClip, plan: EditPlan) -> dict[str, Any]:
    """What ``metadata.edit`` tells: the mode and the frames of the clip, first and after the last, that are new."""
    frames = plan.gap(clip.num_frames) if plan.mode == "in_between" else (0, clip.num_frames)
    return {"edit": {"mode": plan.mode, "frames": list(frames), "fps": clip.fps}}


def check_length(original: Original, plan: EditPlan) -> VrmClip:
    """The clip, if it is long enough to be edited and no longer than the service's clips. Raises BadRequest."""
    clip, field = original.clip, original.field
    if clip.num_frames < 2 or clip.seconds - 0.5 / clip.fps > MAX_SECONDS:  # our own are rounded to whole frames
        raise BadRequest(f"{field}: a clip has at least 2 frames and lasts at most {MAX_SECONDS:g} s", field=field)
    for frames in (clip.num_frames, round(clip.seconds * VRM_FPS)):
        start, stop = plan.gap(frames)
        if plan.mode == "in_between" and stop - start < MIN_GAP:
            raise BadRequest(
                "the gap has less than two frames: send a longer clip, or a greater suffix_start", field="suffix_start"
            )
    return clip


def _with_target(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with ``target``, which clients may put at the top, where answers have it."""
    target = fields.get("target")
    metadata = _metadata(fields)
    if target is not None:
        metadata = {**metadata, "target": target}
    if metadata.get("target", "vrm1") not in ("vrm1", "vrm0"):
        raise BadRequest("clip: target must be vrm1 or vrm0", field="clip")
    return {**fields, "metadata": metadata}


def _metadata(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = fields.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


# --- putting the new part in ------------------------------------------------------------------------------------------


def put_in(original: VrmClip, made: VrmClip, plan: EditPlan) -> VrmClip:
    """``original`` with the part that ``plan`` names taken from ``made``: rate, length, place and body of the original.

    Bones that the source does not move (fingers, eyes, jaw) keep the original's tracks throughout.
    """
    original, made = _same_bones(original, _same_frames(made, original))
    if plan.mode == "upper_body":
        new = {bone: track for bone, track in made.rotations.items() if bone not in LOWER_BODY}
        return replace(original, rotations={**original.rotations, **new})
    start, stop = plan.gap(original.num_frames)
    placed = _place_in_gap(original, made, start, stop)
    bones = tuple(placed.rotations)
    joined = _join(_to_rows(original, bones), _to_rows(placed, bones), start, stop, original.fps)
    tracks = quat_unroll(normalize(joined[:, 3:].unflatten(1, (-1, 4))).movedim(1, 0))  # (J, T, 4)
    kept = torch.ones(original.num_frames, 1, dtype=torch.bool)
    kept[start:stop] = False
    rotations = {
        bone: _restore(original.rotations[bone], track, kept) for bone, track in zip(bones, tracks, strict=True)
    }
    return replace(
        original,
        rotations={**original.rotations, **rotations},
        hips=torch.where(kept, original.hips, joined[:, :3]),
        contacts=torch.where(kept, original.contacts, placed.contacts),
    )


def _restore(original: Tensor, track: Tensor, kept: Tensor) -> Tensor:
    """``track`` (T, 4) with the very digits of the original where ``kept`` (T, 1), signs as in ``track``."""
    sign = torch.where((original * track).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.where(kept, original * sign, track)


def _same_frames(made: VrmClip, original: VrmClip) -> VrmClip:
    """``made`` with the rate, the number of frames (its last is held) and the size of ``original``."""
    made = resample_clip(made, original.fps)
    frames = torch.arange(original.num_frames).clamp(max=made.num_frames - 1)
    return VrmClip(
        {bone: track[frames] for bone, track in made.rotations.items()},
        made.hips[frames] * (original.rest_hips_height / made.rest_hips_height),
        made.contacts[frames],
        original.fps,
        original.rest_hips_height,
    )


def _same_bones(original: VrmClip, made: VrmClip) -> tuple[VrmClip, VrmClip]:
    """Both with every bone that either has, but with ``upperChest`` only if both have it: else it is in the chest's
    children. Tracks of the original that nothing is folded into keep their digits."""
    if "upperChest" not in original.rotations:
        made = fold_bones(made, made.rotations.keys() - {"upperChest"})
    elif "upperChest" not in made.rotations:
        folded = fold_bones(original, original.rotations.keys() - {"upperChest"}).rotations
        own = {bone: track for bone, track in original.rotations.items() if VRM_PARENT[bone] != "upperChest"}
        original = replace(original, rotations={bone: own.get(bone, track) for bone, track in folded.items()})
    rest = quat_identity(original.num_frames)
    bones = dict.fromkeys([*original.rotations, *made.rotations])
    return replace(original, rotations={bone: original.rotations.get(bone, rest) for bone in bones}), made


def _place_in_gap(original: VrmClip, made: VrmClip, start: int, stop: int) -> VrmClip:
    """``made`` moved and turned as a whole so that it leaves the gap's first side as the original does; what is then
    missing at the other side is spread over the gap, in heading first, then in place."""
    before = start - 1 if start else None
    after = stop if stop < original.num_frames else None
    anchor = before if before is not None else after or 0
    turn = heading(original.rotations["hips"][anchor]) - heading(made.rotations["hips"][anchor])
    turned = yaw_to_quat(turn)
    hips = quat_multiply(turned, made.rotations["hips"])
    path = quat_rotate(turned, made.hips - made.hips[anchor]) + original.hips[anchor]
    if before is not None and after is not None:
        share = torch.zeros(original.num_frames)
        share[before : after + 1] = _ease(torch.linspace(0, 1, after + 1 - before))
        share[after:] = 1.0
        lost = float(heading(original.rotations["hips"][after]) - heading(hips[after]))
        spread = yaw_to_quat(math.remainder(lost, math.tau) * share)  # (T, 4)
        hips = quat_multiply(spread, hips)
        steps = quat_rotate(spread[1:], path[1:] - path[:-1])
        path = torch.cat([path[:1], path[:1] + torch.cumsum(steps, dim=0)])
        path = path + (original.hips[after] - path[after]) * share[:, None]
    return replace(made, rotations={**made.rotations, "hips": hips}, hips=path)


def _to_rows(clip: VrmClip, bones: tuple[str, ...]) -> Tensor:
    """Hips and rotations of a clip, (T, 3 + 4J)."""
    return torch.cat([clip.hips, *(clip.rotations[bone] for bone in bones)], dim=1)


def _join(original: Tensor, made: Tensor, start: int, stop: int, fps: float) -> Tensor:
    """Rows (T, 3 + 4J) of ``original`` with ``made`` in the gap, bent at both ends to meet it in value and speed."""
    rows = torch.cat([original[:start], made[start:stop], original[stop:]])
    signed = quat_unroll(rows[:, 3:].unflatten(1, (-1, 4)).movedim(1, 0)).movedim(0, 1)
    rows = torch.cat([rows[:, :3], signed.flatten(1)], dim=1)
    blend = max(1, min(round(SEAM_FRAMES * fps / VRM_FPS), stop - start - 1))
    for _ in range(2):  # forward in time, then backward
        if start:
            lead = rows[[max(start - 2, 0), start - 1]]
            rows[start:stop] = continue_smoothly(lead[None], rows[None, start:stop], blend)[0]
        rows, start, stop = rows.flip(0), len(rows) - stop, len(rows) - start
    return rows


def _ease(amount: Tensor) -> Tensor:
    """0 to 1 without speed and acceleration at either end (quintic)."""
    return amount**3 * (10 + amount * (6 * amount - 15))
