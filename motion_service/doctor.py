"""What keeps a service on this machine from its best: packages, settings, device, models, files, port.

Every check looks with the code that the service itself uses, so that the two cannot disagree. Nothing is changed.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from motion_service.client import MotionClient

if TYPE_CHECKING:
    from motion_service.config import Config

PACKAGE: Final = "motion-service"
EXTRAS: Final = {
    "server": "to serve and to make motion here",
    "official": "text encoders of the official checkpoints",
}
"""Extras worth naming, and what each is for. Only the first is needed."""
LITTLE_ROOM: Final = 2**30  # bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "note", "problem"]
    """note: nothing is broken, and one may want it otherwise."""
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def diagnose() -> Iterator[Finding]:
    """Everything, in order; what cannot be looked at because of an earlier problem is left out."""
    packages = [*check_packages()]
    yield from packages
    if any(finding.state == "problem" for finding in packages):
        return
    config, findings = check_settings()
    yield from findings
    if config is None:
        return
    device = check_device(config)
    yield device
    if device.state != "problem":
        yield from check_models(config)
    yield check_output(config)
    yield check_port(config)


# --- what is installed ------------------------------------------------------------------------------------------------


def check_packages() -> Iterator[Finding]:
    """The interpreter, and the extras of this package."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for extra, purpose in EXTRAS.items():
        missing = [name for name in _requirements(extra) if not _is_installed(name)]
        if not missing:
            yield Finding(f"extra {extra}", "ok", f"installed: {purpose}")
            continue
        state: Literal["note", "problem"] = "problem" if extra == "server" else "note"
        names = ", ".join(missing)
        yield Finding(f"extra {extra}", state, f"{names} missing: {purpose}", f"pip install '{PACKAGE}[{extra}]'")


def _requirements(extra: str) -> list[str]:
    """Names of the packages that an extra brings."""
    lines = importlib.metadata.requires(PACKAGE) or []
    ours = [line for line in lines if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", line)]
    names = [re.split(r"[\s\[<>=!~;]", line)[0] for line in ours]
    return [name for name in names if name != PACKAGE]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


# --- settings ---------------------------------------------------------------------------------------------------------


def check_settings() -> tuple[Config | None, list[Finding]]:
    """The environment as the service would read it."""
    from pydantic import ValidationError

    from motion_service.api.security import check_exposure
    from motion_service.config import Config, default_options_from_environment, unknown_variables
    from motion_service.errors import MotionError
    from motion_service.schemas import text_to_options

    try:
        config = Config()
        text_to_options(default_options_from_environment())
        check_exposure(config.host, bool(config.keys), config.allow_no_key)
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        return None, [Finding("settings", "problem", where, "correct the variable; .env.default explains each")]
    except (ValueError, MotionError) as error:
        return None, [Finding("settings", "problem", str(error), "correct the variable; .env.default explains each")]
    unknown = unknown_variables()
    if unknown:
        detail = f"not read by this version: {', '.join(unknown)}"
        return config, [Finding("settings", "note", detail, "is it a typing error? .env.default has all names")]
    return config, [Finding("settings", "ok", "can be read")]


# --- device -----------------------------------------------------------------------------------------------------------


def check_device(config: Config) -> Finding:
    """Where models would run."""
    import torch

    from motion_service.loading import choose_device

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        if choose_device(config) == "cuda":
            return Finding("device", "ok", f"{name}, torch {torch.__version__}")
        return Finding("device", "note", f"{name} is there, MOTION_DEVICE={config.device}", "set MOTION_DEVICE=auto")
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    remedy = "scripts/motion/install_torch takes the CUDA build of torch" if has_driver else ""
    why = f"torch {torch.__version__} cannot use the NVIDIA GPU" if has_driver else "no NVIDIA GPU"
    if config.device == "cuda":
        return Finding("device", "problem", f"MOTION_DEVICE=cuda, but {why}", remedy or "set MOTION_DEVICE=auto")
    return Finding("device", "note", f"{why}: models run on the CPU, {os.cpu_count()} cores", remedy)


# --- models -----------------------------------------------------------------------------------------------------------


def check_models(config: Config) -> Iterator[Finding]:
    """Every model, loaded as the service loads it."""
    from motion_service.engine.worker import Worker
    from motion_service.errors import ModelUnavailable
    from motion_service.loading import absent_checkpoints, checkpoint_paths, source_makers
    from motion_service.text_encoder import UseEncoder

    absent, loaded = absent_checkpoints(config), []
    for name, make in source_makers(config, Worker()).items():
        subject = f"model {name}"
        if name in absent:
            where = checkpoint_paths(config)[name]
            remedy = f"optional: motion download {name}; docs/official.md"
            yield Finding(subject, "note", f"not placed: there is no {where}", remedy)
            continue
        try:
            make()
            if name == "mini":
                UseEncoder().encode(["a person walks"])  # it is loaded at the first text only
        except ModelUnavailable as error:
            remedy = "git checkout models/motion/mini, or install the package again" if name == "mini" else ""
            yield Finding(subject, "problem", f"not loaded: {error.detail}", remedy)
        else:
            loaded.append(name)
            yield Finding(subject, "ok", f"loads, weights of {config.mini}" if name == "mini" else "loads")
    if not loaded:
        what = "a placeholder" if config.placeholder else "an error"
        yield Finding("models", "problem", f"none can be loaded: every answer would be {what}", "see above")


# --- files and port ---------------------------------------------------------------------------------------------------


def check_output(config: Config) -> Finding:
    """Whether artifacts can be written, and for how long."""
    if isinstance(config.output_dir, str):
        return check_bucket(config.output_dir)
    place = config.output_dir.absolute()
    existing = next(parent for parent in [place, *place.parents] if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding("output", "problem", f"{existing} cannot be written", "set OUTPUT_DIR and DATA_ROOT")
    room = shutil.disk_usage(existing).free
    detail = f"{place}, {room / 2**30:.1f} GiB free"
    return Finding("output", "note" if room < LITTLE_ROOM else "ok", detail, "make room" if room < LITTLE_ROOM else "")


def check_bucket(url: str) -> Finding:
    """Whether a bucket takes what we write."""
    try:
        from motion_service.store_bucket import Bucket

        Bucket(url).check()
    except ImportError:
        return Finding("output", "problem", f"{url} needs the extra s3", "pip install 'motion-service[s3]'")
    except OSError as error:
        return Finding("output", "problem", f"{url} cannot be written: {error}", "see docs/operations.md, Replicas")
    return Finding("output", "ok", f"{url} can be written")


def check_port(config: Config) -> Finding:
    """Whether the service could listen where it is told to."""
    where = f"{config.host}:{config.port}"
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        with socket.create_server((config.host, config.port), family=family):
            return Finding("port", "ok", f"{where} is free")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Finding("port", "problem", f"{where}: {error.strerror}", "set MOTION_HOST and MOTION_PORT")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    with MotionClient(f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}") as client:
        if client.is_alive(2.0):
            return Finding("port", "note", f"a motion service answers at {where} already", "use it, or end it first")
    return Finding("port", "problem", f"another program listens at {where}", "end it, or set MOTION_PORT")
