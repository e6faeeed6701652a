"""The composition root: read the environment, load the models, wire the stages, serve. ``python -m motion_service``.

When the shipped weights are missing or broken the service still starts; its answers are labelled placeholders then.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import FrameType
from typing import Final

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.api.security import check_exposure
from motion_service.config import Config, default_options_from_environment, unknown_variables
from motion_service.engine.costs import cpu_costs, h100_costs
from motion_service.engine.worker import SWITCH_S, Worker
from motion_service.errors import BadRequest, ModelUnavailable, MotionError
from motion_service.finishing import Finisher, ProcessFinisher, ThreadFinisher, default_processes
from motion_service.jobs import Jobs
from motion_service.loading import choose_device, load_evaluator, load_sources
from motion_service.pipeline import DEFAULT_SECONDS, Pipeline, Route
from motion_service.placeholder import PlaceholderSource
from motion_service.prompt.llm import LlmSettings
from motion_service.prompt.plan import prompt_to_plan
from motion_service.quality_match import MotionMatcher
from motion_service.schemas import MotionOptions, text_to_options
from motion_service.source import MotionSource, SourceRequest
from motion_service.store import ArtifactStore
from motion_service.stream_schemas import MAX_MESSAGE
from motion_service.streams import GC_THRESHOLDS, Streams
from motion_service.telemetry import configure_logging, log_event
from motion_service.vrm.avatar import read_avatar
from motion_service.vrm.shelf import AvatarShelf
from motion_service.vrm.smpl_files import load_smpl

EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h: do not restart, somebody has to change the settings
CPU_QUEUE: Final = 32
GPU_QUEUE: Final = 256
"""Requests inside at one time where nothing is configured."""
DRAIN_S: Final = 1.0
"""How long streams may take to leave by themselves when the service ends, s."""
WARM_UP_PROMPT: Final = "a person waves with the right hand"


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that one process runs."""

    jobs: Jobs
    worker: Worker
    sources: Mapping[str, MotionSource]

    async def start(self, warm_up: bool) -> None:
        """Start the model thread and whatever makes answers; when asked, let every source make one clip; then keep the
        collector off it all."""
        self.worker.start()
        await self.jobs.pipeline.finisher.start()
        if warm_up:
            await self._prepare()
        placeholder = self.jobs.pipeline.placeholder
        for source in [*self.sources.values(), *([placeholder] if placeholder else [])] if warm_up else []:
            try:
                await source.generate(SourceRequest(prompt_to_plan(WARM_UP_PROMPT), seconds=DEFAULT_SECONDS, seed=0))
            except (
                MotionError,
                RuntimeError,
            ) as error:  # no memory, say: requests will fall back, each with its reason
                log_event("warm-up failed", level=logging.ERROR, error=error, provider=source.name)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def _prepare(self) -> None:
        """Record and time what models run before somebody waits for it. What fails is made when first asked for."""
        started = time.monotonic()
        try:
            await self.worker.prepare()
            log_event("models prepared", seconds=round(time.monotonic() - started, 2), models=self.worker.facts())
        except Exception as error:  # the edge of the device: the service starts, and answers say what is wrong
            log_event("models could not be prepared", level=logging.ERROR, error=error)

    async def stop(self) -> None:
        """Finish what runs."""
        await self.worker.stop()
        await self.jobs.pipeline.finisher.stop()


def load_service(config: Config) -> Service:
    """Everything wired, nothing started. Raises :class:`MotionError` for settings that cannot work."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable("MOTION_DEVICE=cuda, but torch sees no GPU here: set MOTION_DEVICE=auto")
    if config.cpu_threads:
        torch.set_num_threads(config.cpu_threads)
    avatars = AvatarShelf(config.avatar_dir or config.data_root / "avatars")
    defaults = load_defaults(config, avatars)
    on_gpu = choose_device(config) == "cuda"
    worker = Worker(costs=h100_costs() if on_gpu else cpu_costs())
    store = ArtifactStore(config.output_dir, config.data_root, config.mount_path)
    evaluator = load_evaluator(config)
    matcher, words = evaluator or (None, None)
    finisher = load_finisher(config, store, matcher)  # its processes load beside the models
    sources = load_sources(config, worker)
    placeholder = PlaceholderSource() if config.placeholder else None
    rates: dict[Route, float] = {"generate": config.mdm_fps, "dip": config.dip_fps}
    read_smpl = cache(partial(load_smpl, config.smpl_dir or config.data_dir / "body_models" / "smpl"))
    if config.placeholder is False and defaults.provider == "placeholder":
        raise ValueError("MOTION_DEFAULT_PROVIDER=placeholder needs MOTION_PLACEHOLDER=on")
    if defaults.postprocess == "smplify" or {"smpl", "hik"} & {*defaults.artifacts}:
        read_smpl()  # better no service than one that refuses every request
    admission = Admission(config.queue_size or (GPU_QUEUE if on_gpu else CPU_QUEUE))
    llm = load_llm(config)
    pipeline = Pipeline(
        sources, placeholder, store, admission, defaults, avatars, rates, read_smpl, llm, finisher, words
    )
    return Service(Jobs(pipeline), worker, sources)


def load_finisher(config: Config, store: ArtifactStore, matcher: MotionMatcher | None = None) -> Finisher:
    """Who makes the answers: threads, or as many processes as the settings or the machine say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own_choice = default_processes(cores, choose_device(config))
    count = own_choice if config.answer_processes is None else config.answer_processes
    return ProcessFinisher(store, count, config.log_level, matcher) if count else ThreadFinisher(store, matcher=matcher)


def load_defaults(config: Config, avatars: AvatarShelf) -> MotionOptions:
    """The server's default of every option. Raises :class:`MotionError` for an avatar file that cannot be read."""
    defaults = text_to_options({"postprocess": config.postprocess} | default_options_from_environment())
    unsaid: dict[str, object] = {}
    if defaults.duration_sec is None:
        unsaid["duration_sec"] = config.motion_length
    if config.default_avatar is not None:
        try:
            with config.default_avatar.open("rb") as file:
                avatar = read_avatar(file)
        except OSError as error:
            raise BadRequest("MOTION_DEFAULT_AVATAR: the file cannot be read", field="avatar") from error
        avatars.put(avatar, pinned=True)
        unsaid["avatar"] = avatar.id
    return defaults.model_copy(update=unsaid)


def load_llm(config: Config) -> LlmSettings | None:
    """The language model that reads prompts, when one is configured."""
    if config.prompt_llm_url is None:
        return None
    key = config.prompt_llm_api_key.get_secret_value()
    return LlmSettings(str(config.prompt_llm_url), config.prompt_llm_model, config.prompt_llm_timeout_ms, key)


def load_app(config: Config) -> FastAPI:
    """The whole application, ready to serve."""
    check_exposure(config.host, bool(config.keys), config.allow_no_key)
    service = load_service(config)
    secret = config.stream_secret.get_secret_value()
    streams = Streams(service.jobs.pipeline, limit=config.stream_max, secret=secret, keys=config.keys)
    start = partial(service.start, config.warm_up)
    app = create_app(
        *(service.jobs, config.keys, start, service.stop, service.worker.facts),
        streams=streams,
        origins=config.origins,
    )
    app.state.streams = streams
    return app


def main() -> None:
    """Serve until a signal. Exits with 78 and one clear line when the settings cannot work."""
    try:
        config = Config()
        configure_logging(config.log_level)
        for name in unknown_variables():
            log_event("variable not read by this version", level=logging.WARNING, variable=name)
        app = load_app(config)
    except ValidationError as error:
        wrong = [(*map(str, item["loc"]), item["msg"].removeprefix("Value error, ")) for item in error.errors()]
        sys.exit(_explain("; ".join(": ".join(parts) for parts in wrong)))
    except (ValueError, MotionError) as error:
        sys.exit(_explain(str(error)))
    sys.setswitchinterval(SWITCH_S)
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # float32 blocks hardly shrink, and it costs more than making them
    )
    DrainingServer(settings, app.state.streams).run()


class DrainingServer(uvicorn.Server):
    """Tells open streams to go on elsewhere before it closes them, which is all that uvicorn does."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams
        self._draining = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, for at most :data:`DRAIN_S`; the next one ends at once. Runs as signal handler."""
        end = partial(super().handle_exit, sig, frame)
        if self._draining:
            return end()
        self._draining = True
        asyncio.get_running_loop().call_soon_threadsafe(self._drain, end)

    def _drain(self, end: Callable[[], None]) -> None:
        self._streams.drain()
        asyncio.get_running_loop().call_later(DRAIN_S if self._streams.places.inside else 0.0, end)


def _explain(problem: str) -> int:
    print(f"motion_service cannot start: {problem}", file=sys.stderr)
    return EXIT_CONFIG
