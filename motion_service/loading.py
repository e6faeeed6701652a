"""Every model that this machine can load, as sources by provider name. A model that cannot be loaded is left out.

The shipped ``mini`` is always tried. Official checkpoints are optional: none of them there is the usual case and no
fault; one that is there and cannot be used says why in one line of the log, and the service goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from motion_service.config import Config
from motion_service.engine.graphs import Graphs
from motion_service.engine.guard import Engine
from motion_service.errors import ModelUnavailable
from motion_service.features.statistics import load_statistics
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm.official import OfficialCheckpoint, load_official
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.mdm_adapter.live_official import LiveOfficialSource
from motion_service.mdm_adapter.official import OfficialSampler
from motion_service.mdm_adapter.official_edit import EditingOfficialSource
from motion_service.mdm_adapter.residents import EngineSettings
from motion_service.mdm_adapter.upstream import UpstreamSampler
from motion_service.mdm_adapter.upstream_program import UpstreamProgram, load_program
from motion_service.quality_clip import ClipMatcher
from motion_service.quality_match import Words, load_matcher
from motion_service.source import MotionSource
from motion_service.telemetry import log_event
from motion_service.text_bert import BertEncoder
from motion_service.text_clip import ClipEncoder
from motion_service.text_encoder import TextEncoder, UseEncoder


def load_sources(config: Config, worker: Engine) -> dict[str, MotionSource]:
    """Sources by provider name, the official ones first."""
    absent = absent_checkpoints(config)
    for name in sorted(absent):
        log_event("no checkpoint", provider=name)
    makers = source_makers(config, worker)
    device = choose_device(config)
    loaded = {name: _load(name, make, device) for name, make in makers.items() if name not in absent}
    return {name: source for name, source in loaded.items() if source is not None}


def source_makers(config: Config, worker: Engine) -> dict[str, Callable[[], MotionSource]]:
    """What loads each model, by provider name. A maker raises ModelUnavailable with the reason and the remedy."""
    settings = engine_settings(config)
    encoders = text_encoders(config.checkpoint_dir / config.text_dir, settings)
    program = _program(config)
    makers: dict[str, Callable[[], MotionSource]] = {
        name: _official_maker(name, path, config, encoders, program, worker, settings)
        for name, path in checkpoint_paths(config).items()
    }
    makers["mini"] = lambda: _load_mini(config, worker, settings)
    return makers


def _load_mini(config: Config, worker: Engine, settings: EngineSettings) -> MotionSource:
    """The shipped model that the settings name; the log says which, and under what licence it may be used."""
    checkpoint = load_checkpoint(weights_directory("mini-free") if config.mini == "free" else mini_directory())
    log_event("weights of mini", checkpoint=checkpoint.name, licence=checkpoint.config.licence)
    return LiveDiffusionSource(checkpoint, sentence_encoder(), worker, settings=settings)


@cache
def sentence_encoder() -> UseEncoder:
    """The sentence encoder of this process: what it remembers serves the model and the evaluator."""
    return UseEncoder()


def load_evaluator(config: Config) -> tuple[ClipMatcher, Words] | None:
    """What says how well a motion fits its text; None where it is not there, or not to be used.

    Its weights learned from clips with a non-commercial term, so it stays out where only free weights are wanted.
    """
    if config.mini == "free":
        return None
    try:
        matcher = load_matcher(weights_directory("evaluator"))
        if matcher is None:
            log_event("no evaluator: answers have no text match")
            return None
        words = Words(matcher, sentence_encoder())
        words.place("a person stands")
    except ModelUnavailable as error:
        log_event("evaluator not loaded", level=logging.ERROR, reason=error.detail)
        return None
    return ClipMatcher(matcher), words


def checkpoint_paths(config: Config) -> dict[str, Path]:
    """Where the official checkpoints have to lie, by provider name."""
    return {
        "mdm": config.checkpoint_dir / config.mdm_checkpoint,
        "mdm-encoder": config.checkpoint_dir / config.mdm_encoder_checkpoint,
        "dip": config.checkpoint_dir / config.dip_checkpoint,
    }


def absent_checkpoints(config: Config) -> set[str]:
    """Official models that nobody has placed, which is no fault."""
    return {name for name, path in checkpoint_paths(config).items() if not path.exists()}


def mini_directory() -> Path:
    """The weights of ``mini`` that are used unless the settings name others."""
    return weights_directory("mini")


def weights_directory(name: str) -> Path:
    """Where shipped weights lie: in the installed package, else in the checkout around it."""
    package = Path(__file__).resolve().parent
    packed = package / "weights" / name
    return packed if packed.is_dir() else package.parent / "models" / "motion" / name


def load_sampler(
    checkpoint: OfficialCheckpoint,
    encoder: TextEncoder,
    data_dir: Path,
    device: str,
    program: UpstreamProgram | None = None,
    *,
    half: bool = False,
) -> OfficialSampler:
    """A sampler with the statistics that go with the checkpoint; with ``program`` it runs the official code.

    ``half``: products on a GPU in float16.

    Raises ModelUnavailable.
    """
    statistics = load_statistics(checkpoint.directory, data_dir)
    if program is not None:
        return UpstreamSampler(checkpoint, encoder, statistics, program, device=device)
    return OfficialSampler(checkpoint, encoder, statistics, device=device, autocast=torch.float16 if half else None)


def open_sampler(path: Path, config: Config) -> OfficialSampler:
    """One official checkpoint with its text encoder, for the command line. Raises ModelUnavailable."""
    device = choose_device(config)
    checkpoint = load_official(path, cache_dir=config.conversion_dir)
    encoder = open_encoder(checkpoint.config.text_encoder, config, device)
    return load_sampler(checkpoint, encoder, config.data_dir, device, _program(config)())


def open_encoder(name: str, config: Config, device: str) -> TextEncoder:
    """One text encoder as exact as it can be, for the command line. Raises ModelUnavailable."""
    exact = EngineSettings(device, dtype="float32", graphs=False)
    return text_encoders(config.checkpoint_dir / config.text_dir, exact)(name)


def engine_settings(config: Config) -> EngineSettings:
    """How this process runs networks."""
    device = choose_device(config)
    if device == "cuda":
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (config.gpu_memory_mb << 20) / whole))
    return EngineSettings(
        device, dtype=config.engine_dtype, graphs=config.engine_graphs, memory_mb=config.gpu_memory_mb
    )


def choose_device(config: Config) -> str:
    """Where models live: as configured, or the first GPU when there is one."""
    if config.device != "auto":
        return config.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def text_encoders(directory: Path, settings: EngineSettings) -> Callable[[str], TextEncoder]:
    """Text encoders by name, each loaded when first asked for and then shared."""

    @cache
    def load(name: str) -> TextEncoder:
        if name == ClipEncoder.name:
            return ClipEncoder(directory / "clip", device=settings.device, compute_half=settings.half)
        # Texts are short and somebody waits: their kernels go before those of motion.
        recorder = Graphs(settings.device, priority=-1) if settings.graphs.enabled else None
        encoder = BertEncoder(directory / "distilbert", device=settings.device, half=settings.half, recorder=recorder)
        encoder.warm_up()
        return encoder

    return load


def _program(config: Config) -> Callable[[], UpstreamProgram | None]:
    """The official code, imported when first asked for and then shared; None where our own engine is chosen."""

    @cache
    def load() -> UpstreamProgram | None:
        if config.mdm_engine == "own":
            return None
        program = load_program(config.mdm_repo_dir)
        log_event("official code imported", commit=program.commit, sha256=program.sha256)
        if not program.is_pinned:
            log_event("official code is not the commit this was tested with", level=logging.WARNING)
        return program

    return load


def _official_maker(
    name: str,
    path: Path,
    config: Config,
    encoders: Callable[[str], TextEncoder],
    program: Callable[[], UpstreamProgram | None],
    worker: Engine,
    settings: EngineSettings,
) -> Callable[[], MotionSource]:
    def make() -> MotionSource:
        checkpoint = load_official(path, cache_dir=config.conversion_dir)
        for warning in checkpoint.warnings:
            log_event("checkpoint warning", level=logging.WARNING, provider=name, warning=warning)
        encoder = encoders(checkpoint.config.text_encoder)
        sampler = load_sampler(checkpoint, encoder, config.data_dir, settings.device, program(), half=settings.half)
        source = (LiveOfficialSource if sampler.is_windowed else EditingOfficialSource)(name, sampler, worker, settings)
        sampler.shrink()
        return source

    return make


def _load(name: str, make: Callable[[], MotionSource], device: str) -> MotionSource | None:
    try:
        source = make()
    except ModelUnavailable as error:
        log_event("model not loaded", level=logging.ERROR, provider=name, reason=error.detail)
        return None
    log_event("model loaded", provider=name, device=device)
    return source
