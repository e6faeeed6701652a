"""The composition root: read the environment, load the models, wire the stages, serve. ``python -m motion_service``.

When the shipped weights are missing or broken the service still starts; its answers are labelled placeholders then.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import torch
from fastapi import FastAPI
from pydantic import ValidationError

from motion_service import metrics
from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.api.lifecycle import EXIT_DEVICE, Lifecycle
from motion_service.api.security import check_exposure
from motion_service.config import Config, default_options_from_environment, unknown_variables
from motion_service.engine.costs import cpu_costs, h100_costs
from motion_service.engine.guard import LOST_CPU_S, LOST_GPU_S, GuardedWorker
from motion_service.engine.worker import SWITCH_S, Worker
from motion_service.errors import BadRequest, ModelUnavailable, MotionError, StorageAway
from motion_service.faults import FaultPlan
from motion_service.finishing import (
    THREADS,
    THREADS_TO_BUCKET,
    Finisher,
    ProcessFinisher,
    ThreadFinisher,
    default_processes,
)
from motion_service.jobs import Jobs
from motion_service.loading import choose_device, load_evaluator, load_sources
from motion_service.pipeline import DEFAULT_SECONDS, Pipeline, Route
from motion_service.placeholder import PlaceholderSource
from motion_service.prompt.llm import LlmSettings
from motion_service.prompt.plan import prompt_to_plan
from motion_service.quality_clip import ClipMatcher
from motion_service.retention import Retention
from motion_service.schemas import MotionOptions, text_to_options
from motion_service.serving import check_port, serve
from motion_service.source import MotionSource, SourceRequest
from motion_service.store import ArtifactStore
from motion_service.streams import GC_THRESHOLDS, Streams
from motion_service.telemetry import configure_logging, log_event
from motion_service.tracing import export_spans
from motion_service.vrm.avatar import read_avatar
from motion_service.vrm.shelf import AvatarShelf
from motion_service.vrm.smpl_files import load_smpl

EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h: do not restart, somebody has to change the settings
CPU_QUEUE: Final = 32
GPU_QUEUE: Final = 256
"""Requests inside at one time where nothing is configured."""
THREADS_BESIDE_GPU: Final = 1
"""Of one operation on the CPU. All that is left there is small, and threads that wait for each other take the cores
of the processes that make answers."""
WARM_UP_PROMPT: Final = "a person waves with the right hand"
WARM_UP_PROMPT_JA: Final = "右手を振る"


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that one process runs."""

    jobs: Jobs
    worker: GuardedWorker
    sources: Mapping[str, MotionSource]
    retention: Retention

    async def start(self, warm_up: bool) -> None:
        """Start the model thread and whatever makes answers; when asked, let every source make one clip; then keep the
        collector off it all."""
        self.worker.start()
        reading = asyncio.create_task(self._read_first()) if warm_up else None
        await self.jobs.pipeline.finisher.start()
        self.retention.start()
        if reading is not None:
            await self._prepare()
            await reading
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
        self.worker.ready()

    async def _read_first(self) -> None:
        """Load the dictionary and the sentence encoder, which are read from disk when they are first needed."""
        await asyncio.to_thread(prompt_to_plan, WARM_UP_PROMPT_JA)
        await self.jobs.pipeline.place_words(WARM_UP_PROMPT_JA)

    async def _prepare(self) -> None:
        """Record and time what models run before somebody waits for it. What fails is made when first asked for."""
        started = time.monotonic()
        try:
            await self.worker.prepare()
            log_event("models prepared", seconds=round(time.monotonic() - started, 2), models=self.worker.facts())
        except Exception as error:  # the edge of the device: the service starts, and answers say what is wrong
            log_event("models could not be prepared", level=logging.ERROR, error=error)

    async def stop(self) -> None:
        """Finish what runs; what is only being prepared is given up."""
        await self.retention.stop()
        await self.worker.stop(drain=self.worker.condition != "starting")
        await self.jobs.pipeline.finisher.stop()


def load_service(config: Config, faults: FaultPlan | None = None) -> Service:
    """Everything wired, nothing started; ``faults``: what is to break, for tests.

    Raises :class:`MotionError` for settings that cannot work.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable("MOTION_DEVICE=cuda, but torch sees no GPU here: set MOTION_DEVICE=auto")
    if config.cpu_threads or choose_device(config) == "cuda":
        torch.set_num_threads(config.cpu_threads or THREADS_BESIDE_GPU)
    store = load_store(config, faults)
    avatars = load_avatars(config, store)
    defaults = load_defaults(config, avatars)
    on_gpu = choose_device(config) == "cuda"
    worker = GuardedWorker(
        lambda: Worker(costs=h100_costs() if on_gpu else cpu_costs(), faults=faults),
        lost_after_s=LOST_GPU_S if on_gpu else LOST_CPU_S,
    )
    matcher, words = load_evaluator(config) or (None, None)
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
    services = (avatars, rates, read_smpl, llm, finisher, config.speech_fit, words)
    pipeline = Pipeline(sources, placeholder, store, admission, defaults, *services)
    jobs = Jobs(pipeline)
    return Service(jobs, worker, sources, Retention(store, config.output_ttl, config.output_max_bytes, jobs.forget))


def load_store(config: Config, faults: FaultPlan | None = None) -> ArtifactStore:
    """Where files lie. With keys their URLs are signed: by replicas that share keys or secret in the same way."""
    shared = "\n".join((config.stream_secret.get_secret_value(), *config.keys))
    secret = hashlib.sha256(f"artifact urls\n{shared}".encode()).digest() if config.keys else b""
    places = (config.output_dir, config.data_root, config.mount_path)
    store = ArtifactStore(*places, secret=secret, durable=config.durable_files, faults=faults)
    try:
        store.check()
    except StorageAway as error:  # it may come back, and motion can be made without it
        log_event("files cannot be written yet", level=logging.WARNING, error=error)
    return store


def load_avatars(config: Config, store: ArtifactStore) -> AvatarShelf:
    """Where facts of avatars lie: in a directory, or in the bucket where the files are."""
    if store.output_dir is None and config.avatar_dir is None:
        return AvatarShelf(None, bucket=store.place)
    return AvatarShelf(config.avatar_dir or config.data_root / "avatars")


def load_finisher(config: Config, store: ArtifactStore, matcher: ClipMatcher | None = None) -> Finisher:
    """Who makes the answers: threads, or as many processes as the settings or the machine say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own_choice = default_processes(cores, choose_device(config))
    count = own_choice if config.answer_processes is None else config.answer_processes
    if count:
        return ProcessFinisher(store, count, config.log_level, matcher)
    return ThreadFinisher(store, THREADS if store.output_dir else THREADS_TO_BUCKET, matcher)


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
    lifecycle = Lifecycle(lambda: service.worker.condition)
    service.worker.on_fatal = lambda: lifecycle.end(EXIT_DEVICE)
    metrics.look_at({"queue_depth": lambda: service.worker.stats.waiting})
    for name in service.sources:
        metrics.MODEL.labels(name, torch.__version__, choose_device(config)).set(1)
    app = create_app(
        *(service.jobs, config.keys, start, service.stop, service.worker),
        streams=streams,
        origins=config.origins,
        lifecycle=lifecycle,
        rate_limit=config.rate_limit,
        records=config.data_root / "diagnostics",
    )
    app.state.streams, app.state.lifecycle = streams, lifecycle
    return app


def read_settings() -> Config:
    """The environment of this process, which logs and traces as it says from now on."""
    config = Config()
    configure_logging(config.log_level)
    for name in unknown_variables():
        log_event("variable not read by this version", level=logging.WARNING, variable=name)
    if config.otlp_endpoint is not None:
        export_spans(str(config.otlp_endpoint))
    sys.setswitchinterval(SWITCH_S)
    return config


def settings_problem(error: ValidationError) -> str:
    """Which settings are wrong and why, in one line."""
    wrong = [(*map(str, item["loc"]), item["msg"].removeprefix("Value error, ")) for item in error.errors()]
    return "; ".join(": ".join(parts) for parts in wrong)


def main() -> None:
    """Serve until a signal. Exits with 78 and one clear line when the settings cannot work, with 75 when the models
    cannot be run in this process any more, and with 0 after a signal."""
    try:
        config = read_settings()
        check_port(config.host, config.port)
        app = load_app(config)
    except ValidationError as error:
        sys.exit(_explain(settings_problem(error)))
    except ModuleNotFoundError as error:
        sys.exit(_explain(f"MOTION_OTLP_ENDPOINT needs pip install 'motion-service[otel]' ({error.name} is missing)"))
    except (ValueError, MotionError) as error:
        sys.exit(_explain(str(error)))
    sys.exit(serve(app, config.host, config.port, config.grace_sec))


def _explain(problem: str) -> int:
    print(f"motion_service cannot start: {problem}", file=sys.stderr)
    return EXIT_CONFIG
