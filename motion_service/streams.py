"""Every open stream of this process: who may have one, how it begins, is taken up again, and told to go elsewhere."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from motion_service.admission import Admission
from motion_service.clips import PromptPlan, VrmClip
from motion_service.errors import BadRequest, Draining, ModelUnavailable, MotionError, QueueFull
from motion_service.export.read import json_to_clip
from motion_service.pipeline import Pipeline
from motion_service.schemas import MAX_DRAWN_SEED
from motion_service.source import LiveSource
from motion_service.speak.performance import Performance
from motion_service.stream import Session
from motion_service.stream_begin import Beginnings
from motion_service.stream_body import message_to_change
from motion_service.stream_change import Change, StreamOptions, Understood
from motion_service.stream_pace import Outbox, WindowCosts
from motion_service.stream_reel import Reel, fit_state, new_extender, open_reel, settled_by
from motion_service.stream_schemas import Interrupt, Pose, Prompt, SeekPose, SetState, Speak, Start, Stop
from motion_service.stream_token import Bookmark, new_secret, read_token, write_token
from motion_service.timeline import IDLE, read_plan
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.life import mood_of
from motion_service.vrm.live_fit import MEMORY

MAX_STREAMS: Final = 64
FEW: Final = 16
"""So many may begin at a time when few play; else as many as play. What a crowd costs is known when it plays."""
BEGIN_S: Final = 1.5
"""A stream that waits longer for its first frames shows that there is no time for another."""
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""When the interpreter looks for cycles of garbage, as of :func:`gc.set_threshold`. A thousand streams keep so many
objects that each thorough look stops them all for a fifth of a second; what they drop has hardly any cycles."""
MAX_POSE_S: Final = 10.0
"""Longest pose that is read, s; of it the last second counts."""
_PREFERRED: Final = ("dip", "mini")
_NOT_RESUMED: Final = frozenset({"v", "type", "prompt", "pose", "resume_token", "encoding", "frame"})


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A session and what its client is told first."""

    session: Session
    started: Mapping[str, Any]
    start: Start


class Streams:
    """Opens sessions on the live sources of a pipeline, with its avatars and its reading of prompts."""

    def __init__(
        self, pipeline: Pipeline, *, limit: int = MAX_STREAMS, secret: str = "", keys: tuple[str, ...] = ()
    ) -> None:
        self.pipeline = pipeline
        self.places = Admission(limit)
        self.draining = False
        self._secret = new_secret(secret, keys)
        self._costs: dict[str, WindowCosts] = {}
        self._extender = new_extender()
        self._beginnings = Beginnings()
        self._idle: dict[str, Understood] = {}
        self._sessions: dict[str, OpenStream] = {}
        self._since: dict[str, float] = {}

    @cached_property
    def sources(self) -> dict[str, LiveSource]:
        """Those that can go on for ever, by provider name."""
        return {name: source for name, source in self.pipeline.sources.items() if isinstance(source, LiveSource)}

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold the place of one stream. Raises :class:`QueueFull`, :class:`Draining`.

        There is none while windows come late to the streams that play, in the last seconds: one more, and their clients
        would wait; while one that has begun waits for its first frames; and while as many begin as play already.
        """
        if self.draining:
            raise Draining()
        now = asyncio.get_running_loop().time()
        if self.places.inside and self._is_busy(now):
            raise QueueFull("the model has no time for another stream; try again later", retry_after_s=5.0)
        with self.places.enter():
            yield

    def _is_busy(self, now: float) -> bool:
        waiting = [self._since[key] for key, stream in self._sessions.items() if not stream.session.counts.chunks]
        playing = len(self._sessions) - len(waiting)
        is_herd = self.places.inside - playing >= max(FEW, playing)
        is_starving = any(now - since > BEGIN_S for since in waiting)
        return is_herd or is_starving or any(costs.falls_behind(now) for costs in self._costs.values())

    # --- opening ------------------------------------------------------------------------------------------------------

    async def open(self, start: Start) -> OpenStream:
        """A session, not yet running. Raises BadRequest, ModelUnavailable."""
        mark = read_token(start.resume_token, self._secret) if start.resume_token else None
        if mark is not None:
            try:
                start = _take_up(start, mark)
            except (ValueError, TypeError, AttributeError) as error:
                raise BadRequest("what the token says is no stream: start anew", field="resume_token") from error
        name, source = self._choose(start.provider)
        seed = secrets.randbelow(MAX_DRAWN_SEED + 1) if start.seed is None else start.seed
        start = start.model_copy(update={"seed": seed, "provider": name})
        fitting = await self._fitting(start, seed)
        if mark is not None and start.pose is not None and start.frame is not None:
            mark = replace(mark, frame=start.frame, made=settled_by(start.frame, source.fps, start.fps))
        understood, idle = await self.read(start.prompt, source, seed), await self._read_idle(name, source, seed)
        if mark is None and start.pose is None:
            reel = self._beginnings.stand(source, fitting)
        else:
            reel = await asyncio.to_thread(_open, source, fitting, start.pose, mark)
        if start.state is not None:
            opened = Performance(seed, still=fitting.still)
            begun = opened.change(start.state, reel.made / source.fps, start.emotion)
            reel = replace(reel, performance=begun)
        options = StreamOptions(
            session_id=secrets.token_hex(8),
            seed=seed,
            fps=start.fps,
            lead_sec=start.lead_sec,
            guidance=start.guidance,
            steps=start.steps,
            first_frame=mark.frame if mark else 0,
            revision=mark.revision + 1 if mark else 0,
        )
        said = _said(start)
        session = Session(
            source,
            reel,
            understood,
            idle,
            options,
            Outbox(start.fps, start.lead_sec),
            extender=self._extender,
            costs=self._costs.setdefault(name, WindowCosts()),
            make_token=lambda session: write_token(_bookmark(session, said), self._secret),
        )
        return OpenStream(session, _started(session, start, fitting), start)

    def _choose(self, provider: str) -> tuple[str, LiveSource]:
        sources = self.sources
        wanted = _PREFERRED if provider == "auto" else (provider,)
        name = next((name for name in wanted if name in sources), None)
        if name is None:
            raise ModelUnavailable("no model that can make endless motion is loaded; place its weights and restart")
        return name, sources[name]

    async def _fitting(self, start: Start, seed: int) -> Fitting:
        default = self.pipeline.defaults
        avatar = default.avatar if start.avatar is None else start.avatar
        return Fitting(
            avatar=await self.pipeline.find_avatar(avatar),
            fold=start.fold,
            foot_lock=start.foot_lock,
            root=start.root,
            expressions=start.expressions or (start.state is not None and "expressions" not in start.model_fields_set),
            still=frozenset(start.still),
            seed=seed,
            target=start.target,
        )

    async def read(self, text: str, source: LiveSource, seed: int) -> Understood:
        """A prompt as ``source`` reads it; an empty one asks for idling."""
        plan = await self.pipeline.read_prompt(text) if text.strip() else IDLE
        return await self._read_plan(text, plan, source, seed)

    async def _read_plan(self, text: str, plan: PromptPlan, source: LiveSource, seed: int) -> Understood:
        mood = mood_of(text) if text.strip() else None
        texts = await read_plan(source, plan, seed)
        return Understood(text, plan, tuple(replace(part, mood=mood) for part in texts))

    async def _read_idle(self, name: str, source: LiveSource, seed: int) -> Understood:
        if name not in self._idle:
            self._idle[name] = await self._read_plan("", IDLE, source, 0)
        return self._idle[name]

    # --- while it runs ------------------------------------------------------------------------------------------------

    async def change(self, session: Session, message: Prompt | Speak | SetState | Interrupt | SeekPose | Stop) -> None:
        """What a client asks of its running session. Raises BadRequest for a pose that is none."""
        source, seed = session.source, session.options.seed
        if isinstance(message, SeekPose):
            pose = await asyncio.to_thread(pose_to_clip, message.pose)
            session.ask(Change("seek", session.understood, pose=pose), message.frame)
        elif isinstance(message, Prompt):
            understood = await self.read(message.text, source, seed)
            session.ask(Change("prompt", understood, message.at), message.frame)
        elif isinstance(message, Speak | SetState | Interrupt):
            idle = await self._read_idle(source.name, source, seed)
            session.ask(await message_to_change(message, session, idle, self.pipeline), message.frame)
        elif message.to == "idle":
            session.ask(Change("stop", await self._read_idle(source.name, source, seed)), message.frame)
        else:
            session.stop()

    @property
    def sessions(self) -> list[OpenStream]:
        """Those that run, oldest first."""
        return [*self._sessions.values()]

    @contextmanager
    def running(self, stream: OpenStream) -> Iterator[None]:
        """Count a stream among those that are told when this process goes away."""
        key = stream.session.options.session_id
        self._sessions[key], self._since[key] = stream, asyncio.get_running_loop().time()
        try:
            yield
        finally:
            del self._sessions[key], self._since[key]

    def drain(self) -> None:
        """Tell every client to go on elsewhere, each with a token of where it is."""
        self.draining = True
        for stream in self._sessions.values():
            token = write_token(_bookmark(stream.session, _said(stream.start)), self._secret)
            stream.session.outbox.put({"v": 1, "type": "draining", "resume_token": token})


def pose_to_clip(pose: Pose) -> VrmClip:
    """The tracks of a client as a clip in VRM 1.0 axes. Raises BadRequest naming ``pose``."""
    try:
        clip = json_to_clip(pose.to_document())
    except MotionError as error:
        raise BadRequest(f"pose: {error.detail}", field="pose") from error
    if clip.seconds > MAX_POSE_S:
        raise BadRequest(f"pose: send the last second, at most {MAX_POSE_S:g} s", field="pose")
    return clip


def _open(source: LiveSource, fitting: Fitting, pose: Pose | None, mark: Bookmark | None) -> Reel:
    """A reel that goes on from a pose, or from where a mark was."""
    if pose is not None:
        return open_reel(source, fitting, pose_to_clip(pose), mark.made if mark else 0)
    assert mark is not None
    state = source.open(mark.pose.to_clip(*mark.rate), mark.made)
    memory = mark.memory if len(mark.memory) == MEMORY else None
    return Reel(state, fit_state(state, fitting, memory))


def _take_up(start: Start, mark: Bookmark) -> Start:
    """``start`` with what it does not say taken from the stream that it resumes."""
    unsaid = {name: value for name, value in mark.options.items() if name not in start.model_fields_set}
    said = {name: getattr(start, name) for name in start.model_fields_set}
    prompt = start.prompt if "prompt" in start.model_fields_set else mark.prompt
    fields = {**unsaid, **said, "type": "start", "prompt": prompt, "fps": float(mark.options.get("fps", start.fps))}
    return Start.model_validate(fields)


def _said(start: Start) -> dict[str, Any]:
    """What of a start a token tells."""
    return {**start.model_dump(exclude=set(_NOT_RESUMED), exclude_defaults=True), "fps": start.fps}


def _bookmark(session: Session, said: dict[str, Any]) -> Bookmark:
    """Where the client of a session is, as far as is known."""
    frame = max(session.played + 1, session.options.first_frame)
    source = session.source
    made = min(session.reel.made, settled_by(frame, source.fps, session.options.fps))
    made = max(made, session.reel.oldest(source.context_frames))
    reel = session.reel if made == session.reel.made else session.reel.rewind(made)
    pose = reel.state.window(min(source.context_frames + 1, len(reel.state.frames)))
    return Bookmark(
        said,
        session.understood.prompt,
        frame,
        made,
        session.revision,
        pose,
        (reel.state.fps, reel.state.rest_hips_height),
        reel.fitted.memory[-1],
    )


def _started(session: Session, start: Start, fitting: Fitting) -> dict[str, Any]:
    options, wire = session.options, session.understood.to_wire()
    return {
        "v": 1,
        "type": "started",
        "session_id": options.session_id,
        "fps": options.fps,
        "lead_sec": options.lead_sec,
        "first_frame": options.first_frame,
        "revision": options.revision,
        "seed": options.seed,
        "generator": session.source.name,
        "encoding": start.encoding,
        "target": fitting.convention,
        "rest_hips_height": round(fitting.body.hips_height, 5),
        "bones": list(session.reel.fitted.frames.bones),
        "prompt_plan": wire["prompt_plan"],
        "warnings": wire["warnings"],
    }
