"""From a source's motion to an answer: decode it, fit it to the avatar, write its files, encode the body.

It knows nothing of where it runs: :mod:`motion_service.finishing` does it in threads, or in processes of their own.
Files that are slow to make are left as ``pending`` for :mod:`motion_service.jobs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from motion_service.clips import PromptPlan, VrmClip, travels
from motion_service.errors import NotFound, StorageAway, StorageFailed
from motion_service.export.binary import clip_to_blocks, encode_binary
from motion_service.export.bvh import clip_to_bvh
from motion_service.export.mp4 import write_mp4
from motion_service.export.npy import clip_to_joints, joints_to_results
from motion_service.export.smpl import smpl_writers
from motion_service.export.vrm_json import clip_to_fragments, encode_response
from motion_service.export.vrma import clip_to_vrma
from motion_service.mdm_adapter.decode import decode
from motion_service.prompt.reading import plan_to_wire
from motion_service.quality import REAL_RANGE, faults, measure_pose, pose_clip
from motion_service.quality_clip import ClipMatcher
from motion_service.quality_match import Place
from motion_service.schemas import GenerateRequest
from motion_service.source import SourceClip
from motion_service.speak.speech import Speech, perform
from motion_service.store import ARTIFACT_KINDS, ArtifactStore
from motion_service.telemetry import log_event
from motion_service.vrm.fitting import FittedClip, Fitting, fit_clip
from motion_service.vrm.smpl_files import SmplAssets

MEDIA_TYPES: Final[Mapping[str, str]] = {
    **{kind: known.media_type for kind, known in ARTIFACT_KINDS.items()},
    "msgpack": "application/msgpack",
}
"""Content type of an answer in each format."""


@travels
@dataclass(frozen=True, slots=True)
class Take:
    """Everything known once the motion is made."""

    job_id: str
    options: GenerateRequest
    plan: PromptPlan
    made: list[SourceClip]
    """``best_of`` draws for every repetition, one after the other."""
    fitting: Fitting
    fallback_reason: str | None
    warnings: list[str]
    timings_ms: dict[str, float]
    started: float
    """time.monotonic() when the request came in."""
    smpl: SmplAssets | None = None
    """The body model, when the SMPL files were asked for."""
    speech: Speech | None = None
    """What is said meanwhile."""
    words: Place | None = None
    """(128,) where the evaluator places the prompt; None without an evaluator, or without words."""


@dataclass(frozen=True, slots=True)
class LateFile:
    """A file that is made after the answer, and all that it is made of."""

    job_id: str
    kind: str
    write: Callable[[Path], object]

    def save(self, store: ArtifactStore) -> None:
        """Make it. Raises :class:`StorageFailed`, and whatever its maker does."""
        store.save(self.job_id, self.kind, self.write)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets, and what remains to be written after it got it."""

    job_id: str
    body: bytes
    """The response, ready to send; with format vrm-json the same bytes lie in the job's file."""
    media_type: str
    metadata: Mapping[str, Any]
    """As in the body, without the contacts."""
    artifacts: Mapping[str, Mapping[str, Any]]
    pending: Mapping[str, Any]
    """{format: late file} of the artifacts in state pending, for whoever made the answer to save."""


@torch.inference_mode()
def take_to_answer(take: Take, store: ArtifactStore, matcher: ClipMatcher | None = None) -> Answer:
    """Decode, choose, fit, measure, write, encode. Pending files are :class:`LateFile`.

    Raises :class:`GenerationFailed` for features that make no pose, :class:`StorageFailed` only when the body had to
    be a file.
    """
    take.timings_ms.update({stage: round(ms, 3) for stage, ms in take.made[0].timings_ms.items()})
    decoding = time.monotonic()
    motions = [_Motion(*decode(made), matcher, take.words) for made in take.made]
    if take.speech is not None:
        pairs = zip(motions, take.made, strict=True)
        motions = [replace(m, clip=perform(m.clip, take.speech, made.seed), own_joints=None) for m, made in pairs]
    take, motions = _chosen(take, motions)
    if not isinstance(take.made[0].clip, VrmClip):
        take.timings_ms["decode"] = _ms(decoding)
    finishing = time.monotonic()
    fitted = [fit_clip(motion.clip, take.fitting) for motion in motions]
    files = _Files(take, motions, fitted[0], store)
    artifacts = files.write()
    if len(fitted) > 1 and (single := sorted({*artifacts} - {"vrm-json", "npy"})):
        take.warnings.append(f"repetitions: {', '.join(single)} hold the first one only")
    metadata = _metadata(take, motions[0], fitted[0], artifacts, store)
    take.timings_ms["finish"] = _ms(finishing)
    take.timings_ms["total"] = _ms(take.started)
    head = _head(take, fitted, metadata, store)
    text = encode_response(fitted[0].wire, head)
    artifacts["vrm-json"] = files.save("vrm-json", text)
    if artifacts["vrm-json"]["state"] == "failed":  # the motion still goes out; it must not claim a file
        text = encode_response(fitted[0].wire, head)
    body = text
    if take.options.format == "msgpack":
        body = encode_binary(fitted[0].wire, _head(take, fitted, metadata, store, clip_to_blocks))
    elif take.options.format != "vrm-json":
        body = files.body(take.options.format)
    told = {key: value for key, value in metadata.items() if key != "contacts"}
    return Answer(take.job_id, body, MEDIA_TYPES[take.options.format], told, artifacts, files.pending)


@dataclass(frozen=True, slots=True)
class _Motion:
    """One repetition, decoded."""

    clip: VrmClip
    own_joints: Tensor | None
    matcher: ClipMatcher | None
    words: Place | None

    def quality(self) -> dict[str, float | None]:
        """What is measured of it; see :mod:`motion_service.quality`."""
        pose, match = pose_clip(self.clip), None
        if self.matcher is not None and self.words is not None:
            match = self.matcher.match(pose, self.words)
        return {**measure_pose(pose), "text_match": match}

    @property
    def joints(self) -> Tensor:
        """(T, 22, 3) m at 20 fps: the model's own joints where it makes them, else those of the canonical body."""
        return clip_to_joints(self.clip) if self.own_joints is None else self.own_joints


def _chosen(take: Take, motions: list[_Motion]) -> tuple[Take, list[_Motion]]:
    """Of the draws of each repetition the best one, and in the take what became of the others."""
    count = take.options.best_of
    if count == 1 or len(take.made) % count:  # a placeholder answers with one draw
        return take, motions
    made, kept = [], []
    for first in range(0, len(motions), count):
        qualities = [motion.quality() for motion in motions[first : first + count]]
        best = first + min(range(count), key=lambda i: _badness(qualities[i]))
        seeds = [draw.seed for draw in take.made[first : first + count]]
        told = {"seeds": seeds, "text_match": [_rounded(quality["text_match"]) for quality in qualities]}
        made.append(replace(take.made[best], facts={**take.made[best].facts, "best_of": told}))
        kept.append(motions[best])
    return replace(take, made=made), kept


def _badness(quality: Mapping[str, float | None]) -> tuple[float, float]:
    """What the best draw has least of: faults of the body, in whole steps, then distance from the text."""
    return round(faults(quality)), -(quality["text_match"] or 0.0) + 0.01 * faults(quality)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class _Files:
    """The files of one job: contents by format, written or left for later."""

    def __init__(self, take: Take, motions: list[_Motion], fitted: FittedClip, store: ArtifactStore) -> None:
        self._job_id, self._store = take.job_id, store
        title = take.plan.prompt
        self._contents: dict[str, Callable[[], bytes]] = {
            "npy": lambda: joints_to_results([motion.joints for motion in motions], title),
            "vrma": lambda: clip_to_vrma(fitted.clip, fitted.body, title),
            "bvh": lambda: clip_to_bvh(fitted.clip, fitted.body).encode(),
        }
        self._slow: dict[str, Callable[[Path], object]] = {"mp4": partial(write_mp4, fitted.clip, title=title)}
        self._wanted: set[str] = {*take.options.artifacts} | ({take.options.format} - {"msgpack"})
        if take.smpl is not None:
            self._slow |= smpl_writers(motions[0].joints, motions[0].clip.fps, take.smpl, title)
            self._wanted |= {"smpl", "hik"}
        self._format = take.options.format
        self.pending: dict[str, LateFile] = {}

    def write(self) -> dict[str, dict[str, Any]]:
        """Write what is quick, or is the answer itself; the state of every file."""
        states = {"vrm-json": self._status("vrm-json")}
        for kind in sorted(self._wanted - {"vrm-json"}):
            if kind in self._contents:
                states[kind] = self.save(kind, self._contents[kind]())
            elif self._format == kind:
                states[kind] = self._save_with(kind, self._slow[kind])
            else:
                states[kind] = self._status(kind, "pending")
                self.pending[kind] = LateFile(self._job_id, kind, self._slow[kind])
        return states

    def body(self, kind: str) -> bytes:
        """The file as the body of the answer, made again should the disk have refused it."""
        if kind in self._contents:
            return self._contents[kind]()
        try:
            return self._store.read(self._job_id, kind)
        except (NotFound, StorageAway) as error:
            raise StorageFailed(f"the {kind} could not be written, and it was to be the answer") from error

    def save(self, kind: str, content: bytes) -> dict[str, Any]:
        """Write one file; its state."""
        return self._save_with(kind, lambda path: path.write_bytes(content))

    def _save_with(self, kind: str, write: Callable[[Path], object]) -> dict[str, Any]:
        try:
            self._store.save(self._job_id, kind, write)
        except StorageFailed as error:
            log_event("artifact not written", error=error, kind=kind)
            return self._status(kind, "failed") | {"error": error.detail}
        return self._status(kind)

    def _status(self, kind: str, state: str = "ready") -> dict[str, Any]:
        return {"state": state, "url": self._store.url(self._job_id, kind)}


def _head(
    take: Take,
    fitted: list[FittedClip],
    metadata: dict[str, Any],
    store: ArtifactStore,
    encode_clip: Callable[[VrmClip], Mapping[str, Any]] = clip_to_fragments,
) -> dict[str, Any]:
    """The response without the tracks of the first clip."""
    first = fitted[0].wire
    head: dict[str, Any] = {
        "job_id": take.job_id,
        "format": "msgpack" if take.options.format == "msgpack" else "vrm-json",
        "output_path": store.locate(take.job_id, "vrm-json"),
        "url": store.url(take.job_id, "vrm-json"),
        "duration_sec": first.seconds,
        "fps": first.fps,
        "fallback_used": take.fallback_reason is not None,
        "metadata": metadata,
    }
    if len(fitted) > 1:
        pairs = zip(take.made, fitted, strict=True)
        head["clips"] = [{"seed": made.seed, **encode_clip(clip.wire)} for made, clip in pairs]
    return head


def _metadata(
    take: Take, motion: _Motion, fitted: FittedClip, artifacts: dict[str, dict[str, Any]], store: ArtifactStore
) -> dict[str, Any]:
    made, clip = take.made[0], fitted.wire
    quality = motion.quality() | fitted.facts
    metadata = {
        **made.facts,
        "generator": made.generator,
        "checkpoint": made.checkpoint,
        "seed": made.seed,
        "guidance_param": made.guidance,
        "steps": made.steps,
        "fps": clip.fps,
        "motion_length": clip.seconds,
        "prompt": take.options.prompt,
        "url": store.url(take.job_id, "vrm-json"),
        "artifacts": artifacts,
        "target": take.fitting.convention,
        "avatar": take.options.avatar,
        "rest_hips_height": clip.rest_hips_height,
        "contacts": np.round(clip.contacts.numpy().astype(np.float64), 2).tolist(),
        "prompt_plan": plan_to_wire(take.plan),
        "timings_ms": take.timings_ms,
        "quality": {name: _rounded(value) for name, value in quality.items()},
        "quality_range": REAL_RANGE,
        "warnings": [*take.warnings, *made.warnings],
        "licence": made.licence,
    }
    if take.speech is not None:
        metadata["speech"] = replace(take.speech, seed=made.seed).to_wire()
    if take.fallback_reason is not None:
        metadata["fallback_reason"] = take.fallback_reason
    return metadata


def _ms(start: float) -> float:
    return round((time.monotonic() - start) * 1000, 3)
