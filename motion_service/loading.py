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
from motion_service.engine.worker import Worker
from motion_service.errors import ModelUnavailable
from motion_service.features.statistics import load_statistics
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm.official import OfficialCheckpoint, load_official
from motion_service.mdm_adapter.mini import DiffusionSource
from motion_service.mdm_adapter.official import OfficialSampler
from motion_service.mdm_adapter.official_source import OfficialSource
from motion_service.source import MotionSource
from motion_service.telemetry import log_event
from motion_service.text_bert import BertEncoder
from motion_service.text_clip import ClipEncoder
from motion_service.text_encoder import TextEncoder, UseEncoder


def load_sources(config: Config, worker: Worker) -> dict[str, MotionSource]:
    """Sources by provider name, the official ones first."""
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoders = _encoders(config.checkpoint_dir / config.text_dir, device)
    paths = {
        "mdm": config.mdm_checkpoint,
        "mdm-encoder": config.mdm_encoder_checkpoint,
        "dip": config.dip_checkpoint,
    }
    makers: dict[str, Callable[[], MotionSource]] = {
        name: _official_maker(name, config.checkpoint_dir / path, encoders, config.data_dir, worker, device)
        for name, path in paths.items()
    }
    makers["mini"] = lambda: DiffusionSource(load_checkpoint(mini_directory()), UseEncoder(), worker, device=device)
    absent = {name for name, path in paths.items() if not (config.checkpoint_dir / path).exists()}
    for name in sorted(absent):
        log_event("no checkpoint", provider=name)
    loaded = {name: _load(name, make, device) for name, make in makers.items() if name not in absent}
    return {name: source for name, source in loaded.items() if source is not None}


def mini_directory() -> Path:
    """Where the shipped weights lie: in the installed package, else in the checkout around it."""
    package = Path(__file__).resolve().parent
    packed = package / "weights" / "mini"
    return packed if packed.is_dir() else package.parent / "models" / "motion" / "mini"


def load_sampler(checkpoint: OfficialCheckpoint, encoder: TextEncoder, data_dir: Path, device: str) -> OfficialSampler:
    """A sampler with the statistics that go with the checkpoint. Raises ModelUnavailable."""
    statistics = load_statistics(checkpoint.directory, data_dir)
    return OfficialSampler(checkpoint, encoder, statistics, device=device)


def _encoders(directory: Path, device: str) -> Callable[[str], TextEncoder]:
    """Text encoders by name, each loaded when first asked for and then shared."""

    @cache
    def load(name: str) -> TextEncoder:
        if name == ClipEncoder.name:
            return ClipEncoder(directory / "clip", device=device)
        return BertEncoder(directory / "distilbert", device=device)

    return load


def _official_maker(
    name: str, path: Path, encoders: Callable[[str], TextEncoder], data_dir: Path, worker: Worker, device: str
) -> Callable[[], MotionSource]:
    def make() -> MotionSource:
        checkpoint = load_official(path)
        for warning in checkpoint.warnings:
            log_event("checkpoint warning", level=logging.WARNING, provider=name, warning=warning)
        sampler = load_sampler(checkpoint, encoders(checkpoint.config.text_encoder), data_dir, device)
        return OfficialSource(name, sampler, worker)

    return make


def _load(name: str, make: Callable[[], MotionSource], device: str) -> MotionSource | None:
    try:
        source = make()
    except ModelUnavailable as error:
        log_event("model not loaded", level=logging.ERROR, provider=name, reason=error.detail)
        return None
    log_event("model loaded", provider=name, device=device)
    return source
