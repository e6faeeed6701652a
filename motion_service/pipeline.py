"""From a prompt to an answer: every stage in order. The only place that decides to fall back to the placeholder.

It knows the stages by their one entry each and nothing of HTTP, queues of models or where files finally lie.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Literal

from motion_service.admission import Admission
from motion_service.answer import Answer, Take
from motion_service.clips import PromptPlan
from motion_service.draws import check_draws, draw_clips, draw_edits
from motion_service.edit import check_length, edit_defaults, request_to_original, request_to_plan, value_to_pose
from motion_service.edit_loop import SEEN_S, LoopingSource
from motion_service.edit_schemas import EditRequest
from motion_service.errors import (
    BadRequest,
    Busy,
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    ModelUnavailable,
    MotionError,
    NotFound,
)
from motion_service.finishing import Finisher, ThreadFinisher
from motion_service.prompt.llm import LlmSettings, read_with_llm
from motion_service.prompt.plan import prompt_to_plan
from motion_service.prompt.times import times_to_seconds
from motion_service.quality_match import Place, Words
from motion_service.schemas import MAX_DRAWN_SEED, MAX_SECONDS, MIN_SECONDS, GenerateRequest, MotionOptions
from motion_service.source import EditingSource, MotionSource, SourceClip, SourceRequest
from motion_service.speak.speech import Speech, new_speech, request_to_speech, speech_to_fitting
from motion_service.speak_schemas import SpeakRequest
from motion_service.store import ArtifactStore
from motion_service.telemetry import log_event
from motion_service.timeline import IDLE, play_parts
from motion_service.together import Together
from motion_service.vrm.avatar import Avatar
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.life import mood_of
from motion_service.vrm.shelf import AvatarShelf
from motion_service.vrm.smpl_files import SmplAssets

Route = Literal["generate", "dip", "edit"]
"""Which endpoint was asked; they differ in what ``auto`` prefers."""

DEFAULT_SECONDS: Final = 5.0
MODEL_FPS: Final = 20.0
MAX_FRAMES: Final = 20_000
"""Most frames of one answer, all repetitions together: 120 s at 120 fps, or 8 clips of 120 s at 20; about 30 MB."""
KEPT_PLANS: Final = 1024
"""Readings of prompts that are remembered, the newest: assistants ask for the same things again."""
BRIEF_PROMPT: Final = 100
"""Prompts of up to so many characters are read at once, in a millisecond or less: no longer than a thread takes to
begin."""
MDM_SECONDS: Final = 9.8
"""Longest clip of the one-shot model (196 frames at 20 fps); beyond it ``auto`` takes one that goes on."""


class Pipeline:
    """The stages with everything they need. ``placeholder=None`` means: answer failures with an error.

    ``rates`` are the frames a second of answers of each route when nobody says; none means the model's own.
    ``llm`` is the language model that is asked what a prompt means; the rules answer when it does not in time.
    ``speech_fit``: a prompt that only talks, such as a reply, gets talking motion as long as it takes to say.
    ``finisher`` makes the answers; threads of this process when nobody says.
    ``words`` places prompts beside motions, for the text match of answers; none without an evaluator.
    ``load_smpl`` reads the SMPL model, once and only when it is asked for; it raises :class:`BadRequest` without files.
    """

    def __init__(
        self,
        sources: Mapping[str, MotionSource],
        placeholder: MotionSource | None,
        store: ArtifactStore,
        admission: Admission,
        defaults: MotionOptions,
        avatars: AvatarShelf | None = None,
        rates: Mapping[Route, float] | None = None,
        load_smpl: Callable[[], SmplAssets] | None = None,
        llm: LlmSettings | None = None,
        finisher: Finisher | None = None,
        speech_fit: bool = False,
        words: Words | None = None,
    ) -> None:
        self.sources = sources
        self.placeholder = placeholder
        self.store = store
        self.finisher = finisher or ThreadFinisher(store)
        self.admission = admission
        self.defaults = defaults
        self.avatars = avatars or AvatarShelf(None)
        self.rates = rates or {}
        self.load_smpl = load_smpl
        self.llm = llm
        self.speech_fit = speech_fit
        self._words = None if words is None else Together(words.place_all, name="motion-words")
        self._plans: dict[str, PromptPlan] = {}

    async def generate(self, request: GenerateRequest, route: Route, job_id: str) -> Answer:
        """The whole flow. Raises :class:`QueueFull`, :class:`BadRequest`, and failures when there is no placeholder."""
        started = time.monotonic()
        options = request.with_defaults(self.defaults)
        until = asyncio.get_running_loop().time() + options.deadline_ms / 1000
        with self.admission.enter():
            plan = await self.read_prompt(options.prompt)
            speech = await self._options_to_speech(request, options, plan)
            scripted = await self._options_to_script(options, speech)
            planned = time.monotonic()
            warnings = [f"unknown field ignored: {name}" for name in request.unknown_fields()]
            wish = self._plan_to_wish(plan, request, options, warnings, speech, _seed(options, job_id))
            fitting = await self._options_to_fitting(request, options, route, wish.seed, warnings)
            fitting = fitting if speech is None else speech_to_fitting(speech, fitting)
            smpl = await self._find_smpl(options, warnings)
            making = self._make_or_fall_back(wish, options, route, warnings, scripted, until)
            (made, reason), words = await asyncio.gather(making, self.place_words(options.prompt))
            timings = {"plan": _ms(started, planned), "generate": _ms(planned, time.monotonic())}
            _warn_of_rate(options, made[0], warnings)
            take = Take(job_id, options, plan, made, fitting, reason, warnings, timings, started, smpl, speech, words)
            return await self._finish_or_fall_back(take, wish)

    async def edit(self, request: EditRequest, job_id: str) -> Answer:
        """A clip of the client's with a part made anew. There is no placeholder: standing still in it would spoil it.

        Raises as :meth:`generate` does, and :class:`ModelUnavailable` when no loaded model can edit.
        """
        started = time.monotonic()
        warnings = [f"unknown field ignored: {name}" for name in request.unknown_fields()]
        with self.admission.enter():
            edit = request_to_plan(request)
            original = await asyncio.to_thread(request_to_original, request, self.store)
            clip = check_length(original, edit)
            options = request.with_defaults(edit_defaults(self.defaults, original))
            plan = PromptPlan("", "en", ())
            if request.prompt:
                plan = await self.read_prompt(request.prompt)
            planned = time.monotonic()
            source = self._choose_editor(options.provider, clip.seconds)
            guidance = options.guidance if request.prompt else 0.0  # no text: the unconditional prediction, as official
            noise = options.noise == "official"
            wish = SourceRequest(
                plan,
                clip.seconds,
                _seed(options, job_id),
                options.steps,
                guidance,
                options.sampler,
                official_noise=noise,
            )
            # The clip's own target counts as said: an avatar for the other one is worth a warning.
            fitting = await self._options_to_fitting(options, options, "edit", wish.seed, warnings)
            fitting = replace(fitting, keep_bones=True)
            smpl = await self._find_smpl(options, warnings)
            words = await self.place_words(request.prompt)
            made = await draw_edits(source, wish, clip, edit, options)
            timings = {"plan": _ms(started, planned), "generate": _ms(planned, time.monotonic())}
            _warn_of_rate(options, made[0], warnings)
            take = Take(job_id, options, plan, made, fitting, None, warnings, timings, started, smpl, words=words)
            return await self.finisher.finish(take)

    async def place_words(self, prompt: str) -> Place | None:
        """Where the evaluator places a prompt; None without one."""
        return None if self._words is None else await self._words.call(prompt)

    async def read_prompt(self, prompt: str) -> PromptPlan:
        """What is understood of a prompt, by the rules, or the language model where one is configured."""
        plan = self._plans.get(prompt)
        if plan is None:
            brief = len(prompt) <= BRIEF_PROMPT
            plan = prompt_to_plan(prompt) if brief else await asyncio.to_thread(prompt_to_plan, prompt)
            self._plans[prompt] = plan
            if len(self._plans) > KEPT_PLANS:
                del self._plans[next(iter(self._plans))]
        return plan if self.llm is None else await read_with_llm(prompt, plan, self.llm)

    def _plan_to_wish(
        self,
        plan: PromptPlan,
        request: GenerateRequest,
        options: GenerateRequest,
        warnings: list[str],
        speech: Speech | None,
        seed: int,
    ) -> SourceRequest:
        """Decide what is still open: seconds, from the request, else its words, else the default."""
        counted = times_to_seconds(plan.action, plan.times) if plan.times else None
        whole = sum(part.sec for part in options.timeline or ())
        asked = (
            whole or request.duration_sec or plan.seconds or counted or self.defaults.duration_sec or DEFAULT_SECONDS
        )
        if speech is not None:
            asked, plan = speech.seconds, IDLE
        seconds = min(max(asked, MIN_SECONDS), MAX_SECONDS)
        if seconds != asked:
            warnings.append(f"the prompt asks for {asked:g} s; clips last {MIN_SECONDS:g} to {MAX_SECONDS:g} s")
        check_draws(options)
        frames = seconds * max((options.fps if options.interpolate else None) or MODEL_FPS, MODEL_FPS)
        if frames * options.repetitions > MAX_FRAMES:
            raise BadRequest(
                f"{options.repetitions} clips of {frames:.0f} frames are more than {MAX_FRAMES} in one answer: lower "
                "repetitions, fps or duration_sec",
                field="repetitions",
            )
        targets = {str(name): place for name, place in (options.target_joints or {}).items()}
        how = (options.steps, options.guidance, options.sampler, options.noise == "official", targets)
        return SourceRequest(plan, seconds, seed, *how)

    async def _options_to_fitting(
        self, request: GenerateRequest, options: GenerateRequest, route: Route, seed: int, warnings: list[str]
    ) -> Fitting:
        """How the clip is to be played. Raises :class:`BadRequest` for an avatar that nobody has uploaded."""
        avatar = await self.find_avatar(options.avatar)
        fitting = Fitting(
            avatar=avatar,
            fold=options.fold,
            foot_lock=options.foot_lock,
            root=options.root,
            settle=options.settle,
            expressions=options.expressions,
            mood=mood_of(options.prompt),
            seed=seed,
            fps=(options.fps or self.rates.get(route)) if options.interpolate else None,
            target=options.target,
            compat=options.compat,
            loop=options.loop,
        )
        if "target" in request.model_fields_set and fitting.convention != options.target:
            warnings.append(f"target: the avatar is for {fitting.convention}, so the tracks are too")
        return fitting

    async def find_avatar(self, avatar_id: str | None) -> Avatar | None:
        """The avatar of an id; None for none. Raises :class:`BadRequest` for one that nobody has uploaded."""
        if avatar_id is None or avatar_id == "none":
            return None
        try:
            return await asyncio.to_thread(self.avatars.get, avatar_id)
        except NotFound:
            raise BadRequest("there is no such avatar: upload it with POST /v1/avatars", field="avatar") from None

    async def _find_smpl(self, options: GenerateRequest, warnings: list[str]) -> SmplAssets | None:
        """The body model when a SMPL file is asked for. Raises :class:`BadRequest` where its files are missing."""
        if options.postprocess != "smplify" and not {"smpl", "hik"} & {*options.artifacts}:
            return None
        if self.load_smpl is None:
            raise BadRequest("smplify needs the SMPL model files, which this service has not", field="postprocess")
        assets = await asyncio.to_thread(self.load_smpl)
        warnings += assets.notes
        return assets

    # --- the choice of a source, and the fallback -------------------------------------------------------------------

    async def _make_or_fall_back(
        self,
        wish: SourceRequest,
        options: GenerateRequest,
        route: Route,
        warnings: list[str],
        scripted: Callable[[MotionSource], MotionSource] | None,
        until: float,
    ) -> tuple[list[SourceClip], str | None]:
        """The clips, and the reason when the placeholder made them; models have time ``until`` (loop's clock)."""
        if options.provider == "placeholder":
            if self.placeholder is None:
                raise BadRequest("the placeholder is switched off; choose another provider", field="provider")
            return await draw_clips(self.placeholder, wish, options), "requested"
        try:
            async with asyncio.timeout_at(until):
                source = self._choose_source(options, route, wish, scripted)
                return await draw_clips(source, _fit(wish, source, warnings), options), None
        except (BadRequest, Busy, Cancelled):
            raise
        except Exception as error:  # the edge of the models: whatever they throw, the avatar must not freeze
            failure = _as_failure(error)
            reason = "not-loaded" if isinstance(failure, ModelUnavailable) else failure.problem
            expected = isinstance(failure, (ModelUnavailable, DeadlineExceeded))
            log_event("generation failed", error=None if expected else error, reason=reason, provider=options.provider)
            if self.placeholder is None:
                raise failure from error
            return await draw_clips(self.placeholder, wish, options), reason

    async def _finish_or_fall_back(self, take: Take, wish: SourceRequest) -> Answer:
        """The answer; a placeholder when the model's numbers make no pose, or whatever was to make it was lost."""
        try:
            return await self.finisher.finish(take)
        except GenerationFailed as failure:
            log_event("answer not made", error=failure, reason=failure.problem)
            if self.placeholder is None or take.fallback_reason is not None:
                raise
            made = await draw_clips(self.placeholder, wish, take.options)
            return await self.finisher.finish(replace(take, made=made, fallback_reason=failure.problem))

    async def _options_to_speech(
        self, request: GenerateRequest, options: GenerateRequest, plan: PromptPlan
    ) -> Speech | None:
        """What is said, where something is: by request, or where the prompt only talks and ``speech_fit`` is on."""
        if isinstance(request, SpeakRequest):
            return await asyncio.to_thread(request_to_speech, request, options.seed or 0)
        fits = self.speech_fit and plan.action == "none" and not (options.loop or options.timeline)
        return await asyncio.to_thread(new_speech, options.prompt, options.seed or 0) if fits else None

    async def _options_to_script(
        self, options: GenerateRequest, speech: Speech | None
    ) -> Callable[[MotionSource], MotionSource] | None:
        """How a clip of a timeline, a speech, or one that continues another, is made on a live source; None for any
        other."""
        if options.timeline is None and options.continue_from is None and speech is None:
            return None
        if options.loop or options.target_joints:
            raise BadRequest("timeline and continue_from go neither with loop nor with target_joints", field="loop")
        parts = [
            (await self.read_prompt(part.prompt) if part.prompt.strip() else IDLE, part.sec)
            for part in options.timeline or ()
        ]
        parts = parts if speech is None else speech.parts(IDLE)
        pose = None
        if options.continue_from is not None:
            pose = await asyncio.to_thread(value_to_pose, options.continue_from, self.store)
        return partial(play_parts, parts=parts, pose=pose, is_speech=speech is not None)

    def _choose_source(
        self,
        options: GenerateRequest,
        route: Route,
        wish: SourceRequest,
        scripted: Callable[[MotionSource], MotionSource] | None,
    ) -> MotionSource:
        if options.loop:
            editor = self._choose_editor(options.provider, wish.seconds + SEEN_S)
            return LoopingSource(editor, editor.max_seconds - SEEN_S)
        name: str = options.provider
        if name == "auto":
            goes_on = route == "dip" or wish.seconds > MDM_SECONDS or bool(wish.target_joints) or scripted is not None
            name = "dip" if goes_on else "mdm"
            name = name if name in self.sources else "mini"
        if name not in self.sources:
            raise ModelUnavailable(
                f"provider {name} is not loaded; leave provider out, or place its weights and restart"
            )
        source = self.sources[name]
        return source if scripted is None else scripted(source)

    def _choose_editor(self, provider: str, seconds: float) -> EditingSource:
        """The model that is to edit; ``auto`` takes the first of mdm and mini that reaches the length of the clip."""
        if provider in ("dip", "placeholder"):
            raise BadRequest(f"{provider} cannot edit: leave provider out, or take mdm or mini", field="provider")
        names = ("mdm", "mini") if provider == "auto" else (provider,)
        loaded = [source for name in names if isinstance(source := self.sources.get(name), EditingSource)]
        if not loaded:
            raise ModelUnavailable("no model that can edit is loaded; place its weights and restart")
        able = [source for source in loaded if seconds <= source.max_seconds + 1e-6]
        if not able:
            most = loaded[0].max_seconds
            raise BadRequest(
                f"{loaded[0].name} edits clips of at most {most:g} s, this one has {seconds:.2f}", field="clip"
            )
        return able[0]


def _seed(options: GenerateRequest, job_id: str) -> int:
    """The seed that was asked for, else that of the job: as random as its id, and the same if it is made again."""
    drawn = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8]) % (MAX_DRAWN_SEED + 1)
    return drawn if options.seed is None else options.seed


def _warn_of_rate(options: GenerateRequest, made: SourceClip, warnings: list[str]) -> None:
    if options.fps and not options.interpolate:
        warnings.append(f"interpolate is false: the answer has the model's {made.clip.fps:g} frames a second")


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


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
