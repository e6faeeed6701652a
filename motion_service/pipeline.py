"""From a prompt to an answer: every stage in order. The only place that decides to fall back to the placeholder.

It knows the stages by their one entry each and nothing of HTTP, queues of models or where files finally lie.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from motion_service.admission import Admission
from motion_service.clips import PromptPlan, VrmClip
from motion_service.errors import (
    BadRequest,
    Busy,
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    ModelUnavailable,
    MotionError,
    StorageFailed,
)
from motion_service.export.mp4 import write_mp4
from motion_service.export.npy import clip_to_results
from motion_service.export.vrm_json import clip_to_fragments, encode_response
from motion_service.geometry.kinematics import resample_linear, resample_quat
from motion_service.prompt import prompt_to_plan
from motion_service.quality import measure_clip
from motion_service.schemas import MAX_DRAWN_SEED, MAX_SECONDS, MAX_SEED, MIN_SECONDS, GenerateRequest, MotionOptions
from motion_service.source import MotionSource, SourceClip, SourceRequest
from motion_service.store import ArtifactStore
from motion_service.telemetry import log_event

Route = Literal["generate", "dip"]
"""Which of the two endpoints was asked; they differ in what ``auto`` prefers."""

DEFAULT_SECONDS: Final = 5.0
MDM_SECONDS: Final = 9.8
"""Longest clip of the one-shot model (196 frames at 20 fps); beyond it ``auto`` takes one that goes on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets, and what remains to be written after it got it."""

    job_id: str
    body: bytes
    """The response, JSON, ready to send. The same bytes lie in the job's file."""
    metadata: Mapping[str, Any]
    artifacts: Mapping[str, Mapping[str, Any]]
    pending: Mapping[str, Callable[[Path], object]]
    """{format: writer} of the artifacts in state pending."""


@dataclass(frozen=True, slots=True)
class _Take:
    """Everything known once the motion is made."""

    job_id: str
    options: GenerateRequest
    plan: PromptPlan
    made: list[SourceClip]
    fallback_reason: str | None
    warnings: list[str]
    timings_ms: dict[str, float]
    started: float


class Pipeline:
    """The stages with everything they need. ``placeholder=None`` means: answer failures with an error."""

    def __init__(
        self,
        sources: Mapping[str, MotionSource],
        placeholder: MotionSource | None,
        store: ArtifactStore,
        admission: Admission,
        defaults: MotionOptions,
    ) -> None:
        self.sources = sources
        self.placeholder = placeholder
        self.store = store
        self.admission = admission
        self.defaults = defaults

    async def generate(self, request: GenerateRequest, route: Route, job_id: str) -> Answer:
        """The whole flow. Raises :class:`QueueFull`, :class:`BadRequest`, and failures when there is no placeholder."""
        started = time.monotonic()
        options = request.with_defaults(self.defaults)
        with self.admission.enter():
            plan = await asyncio.to_thread(prompt_to_plan, options.prompt)
            planned = time.monotonic()
            warnings = [f"unknown field ignored: {name}" for name in request.unknown_fields()]
            wish = self._plan_to_wish(plan, request, options, warnings)
            made, reason = await self._make_or_fall_back(wish, options, route, warnings)
            timings = {"plan": _ms(started, planned), "generate": _ms(planned, time.monotonic())}
            take = _Take(job_id, options, plan, made, reason, warnings, timings, started)
            return await asyncio.to_thread(self._finish, take)

    def _plan_to_wish(
        self, plan: PromptPlan, request: GenerateRequest, options: GenerateRequest, warnings: list[str]
    ) -> SourceRequest:
        """Decide what is still open: seconds (request, else words, else default) and seed (request, else fresh)."""
        asked = request.duration_sec or plan.seconds or self.defaults.duration_sec or DEFAULT_SECONDS
        seconds = min(max(asked, MIN_SECONDS), MAX_SECONDS)
        if seconds != asked:
            warnings.append(f"the prompt asks for {asked:g} s; clips last {MIN_SECONDS:g} to {MAX_SECONDS:g} s")
        seed = secrets.randbelow(MAX_DRAWN_SEED + 1) if options.seed is None else options.seed
        return SourceRequest(plan, seconds, seed, options.steps, options.guidance)

    # --- the choice of a source, and the fallback -------------------------------------------------------------------

    async def _make_or_fall_back(
        self, wish: SourceRequest, options: GenerateRequest, route: Route, warnings: list[str]
    ) -> tuple[list[SourceClip], str | None]:
        """The clips, and the reason when the placeholder made them."""
        if options.provider == "placeholder":
            if self.placeholder is None:
                raise BadRequest("the placeholder is switched off; choose another provider", field="provider")
            return await _repeat(self.placeholder, wish, options.repetitions), "requested"
        try:
            async with asyncio.timeout(options.deadline_ms / 1000):
                source = self._choose_source(options.provider, route, wish.seconds)
                return await _repeat(source, _fit(wish, source, warnings), options.repetitions), None
        except (BadRequest, Busy, Cancelled):
            raise
        except Exception as error:  # the edge of the models: whatever they throw, the avatar must not freeze
            failure = _as_failure(error)
            reason = "not-loaded" if isinstance(failure, ModelUnavailable) else failure.problem
            expected = isinstance(failure, (ModelUnavailable, DeadlineExceeded))
            log_event("generation failed", error=None if expected else error, reason=reason, provider=options.provider)
            if self.placeholder is None:
                raise failure from error
            return await _repeat(self.placeholder, wish, options.repetitions), reason

    def _choose_source(self, provider: str, route: Route, seconds: float) -> MotionSource:
        name = provider
        if provider == "auto":
            goes_on = route == "dip" or seconds > MDM_SECONDS
            name = "dip" if goes_on else "mdm"
            name = name if name in self.sources else "mini"
        if name not in self.sources:
            raise ModelUnavailable(
                f"provider {name} is not loaded; leave provider out, or place its weights and restart"
            )
        return self.sources[name]

    # --- after the model: resample, measure, write (in a thread) ----------------------------------------------------

    def _finish(self, take: _Take) -> Answer:
        """Change the rate, write npy and JSON, encode the answer."""
        finishing = time.monotonic()
        options, job_id, native = take.options, take.job_id, take.made[0].clip
        fps = options.fps if options.interpolate else None
        clips = [resample_clip(made.clip, fps) for made in take.made]
        artifacts: dict[str, dict[str, Any]] = {
            kind: self._status(job_id, kind) for kind in ("vrm-json", *options.artifacts)
        }
        if "npy" in artifacts:
            artifacts["npy"] = self._save(job_id, "npy", clip_to_results(native, take.plan.prompt))
        if "mp4" in artifacts:
            artifacts["mp4"] = self._status(job_id, "mp4", "pending")
        if options.fps and not options.interpolate:
            take.warnings.append(f"interpolate is false: the answer has the model's {native.fps:g} frames a second")
        if len(clips) > 1 and options.artifacts:
            take.warnings.append("files other than the JSON hold the first repetition only")
        take.timings_ms.update({stage: round(ms, 3) for stage, ms in take.made[0].timings_ms.items()})
        take.timings_ms["finish"] = _ms(finishing, time.monotonic())
        take.timings_ms["total"] = _ms(take.started, time.monotonic())
        metadata = self._metadata(take, clips[0], artifacts)
        head = self._head(take, clips, metadata)
        body = encode_response(clips[0], head)
        artifacts["vrm-json"] = self._save(job_id, "vrm-json", body)
        if artifacts["vrm-json"]["state"] == "failed":  # the motion still goes out; it must not claim a file
            body = encode_response(clips[0], head)
        pending = {"mp4": partial(write_mp4, clips[0], title=take.plan.prompt)} if "mp4" in artifacts else {}
        return Answer(job_id, body, metadata, artifacts, pending)

    def _save(self, job_id: str, kind: str, content: bytes) -> dict[str, Any]:
        try:
            self.store.save(job_id, kind, lambda path: path.write_bytes(content))
        except StorageFailed as error:
            log_event("artifact not written", error=error, kind=kind)
            return self._status(job_id, kind, "failed") | {"error": error.detail}
        return self._status(job_id, kind)

    def _status(self, job_id: str, kind: str, state: str = "ready") -> dict[str, Any]:
        return {"state": state, "url": self.store.url(job_id, kind)}

    def _head(self, take: _Take, clips: list[VrmClip], metadata: dict[str, Any]) -> dict[str, Any]:
        """The response without the tracks."""
        head = {
            "job_id": take.job_id,
            "format": take.options.format,
            "output_path": str(self.store.path(take.job_id, "vrm-json")),
            "url": self.store.url(take.job_id, "vrm-json"),
            "duration_sec": clips[0].seconds,
            "fps": clips[0].fps,
            "fallback_used": take.fallback_reason is not None,
            "metadata": metadata,
        }
        if len(clips) > 1:
            pairs = zip(take.made, clips, strict=True)
            head["clips"] = [{"seed": made.seed, **clip_to_fragments(clip)} for made, clip in pairs]
        return head

    def _metadata(self, take: _Take, clip: VrmClip, artifacts: dict[str, dict[str, Any]]) -> dict[str, Any]:
        made = take.made[0]
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
            "url": self.store.url(take.job_id, "vrm-json"),
            "artifacts": artifacts,
            "target": take.options.target,
            "rest_hips_height": clip.rest_hips_height,
            "contacts": [[round(value, 2) for value in frame] for frame in clip.contacts.tolist()],
            "prompt_plan": plan_to_wire(take.plan),
            "timings_ms": take.timings_ms,
            "quality": {name: round(value, 4) for name, value in measure_clip(made.clip).items()},
            "warnings": [*take.warnings, *made.warnings],
            "licence": made.licence,
        }
        if take.fallback_reason is not None:
            metadata["fallback_reason"] = take.fallback_reason
        return metadata


async def _repeat(source: MotionSource, wish: SourceRequest, times: int) -> list[SourceClip]:
    """One clip per repetition; seeds count up from the asked one."""
    return [await source.generate(replace(wish, seed=(wish.seed + i) % (MAX_SEED + 1))) for i in range(times)]


def _fit(wish: SourceRequest, source: MotionSource, warnings: list[str]) -> SourceRequest:
    """Cut the length to what the source can make, and say so."""
    if wish.seconds <= source.max_seconds:
        return wish
    warnings.append(f"{source.name} makes at most {source.max_seconds:g} s; the clip was cut")
    return replace(wish, seconds=source.max_seconds)


def _as_failure(error: Exception) -> MotionError:
    """What went wrong in the words of our own tree."""
    if isinstance(error, (GenerationFailed, ModelUnavailable)):
        return error
    return DeadlineExceeded() if isinstance(error, TimeoutError) else GenerationFailed()


def resample_clip(clip: VrmClip, fps: float | None) -> VrmClip:
    """The clip at another rate: rotations by slerp, the rest linearly; seconds are kept. None = leave it."""
    if fps is None or fps == clip.fps:
        return clip
    return replace(
        clip,
        rotations={bone: resample_quat(track, clip.fps, fps) for bone, track in clip.rotations.items()},
        hips=resample_linear(clip.hips, clip.fps, fps),
        contacts=resample_linear(clip.contacts, clip.fps, fps),
        fps=fps,
        expressions={name: resample_linear(track, clip.fps, fps) for name, track in clip.expressions.items()},
        gaze=None if clip.gaze is None else resample_linear(clip.gaze, clip.fps, fps),
    )


def plan_to_wire(plan: PromptPlan) -> dict[str, Any]:
    """The plan as JSON values, as ``metadata.prompt_plan`` shows it."""
    return {
        "prompt": plan.prompt,
        "language": plan.language,
        "action": plan.action,
        "confidence": round(plan.confidence, 4),
        "seconds": plan.seconds,
        "segments": [
            {"text": part.text, "action": part.action, "detail": list(part.detail), "seconds": part.seconds}
            for part in plan.segments
        ],
        "captions": list(plan.captions),
    }


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
