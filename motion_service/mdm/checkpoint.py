"""A directory of weights <-> a network ready to use: ``model.safetensors``, ``config.json`` and ``SHA256SUMS``.

The tensors are the network's parameters (fp16) plus ``feature_mean`` (F,), ``feature_std`` (F,) and ``first_prefix``
(C, F), which stands before the first window and is normalised; where config.json has a ``reader``, its tensors too
(``reader.*``, fp16). Large matrices of the network may be rounded to 8 bits (``eight_bits.py``). Only safetensors are
read: nothing in a checkpoint can run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm.eight_bits import from_eight_bits, to_eight_bits
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.reader import TextReader
from motion_service.mdm.trust import file_sha256

FORMAT: Final = 1
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
SUMS: Final = "SHA256SUMS"
_READER: Final = "reader."
_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """Shape of a :class:`~motion_service.mdm.reader.TextReader`."""

    keys: tuple[str, ...]
    hidden: int

    def to_json(self) -> dict[str, Any]:
        return {"keys": list(self.keys), "hidden": self.hidden}


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """What ``config.json`` says: everything about a model that its tensors do not."""

    network: NetworkSpec
    steps: int
    """Diffusion steps it was trained with."""
    schedule: str
    """Name of its noise schedule."""
    text_encoder: str
    """Name of the encoder whose embeddings it reads."""
    features: str
    """Layout of its features."""
    fps: float
    guidance: float
    """Default guidance scale."""
    licence: str
    """Licence of the weights."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Anything else, JSON values: name, data, training facts."""
    reader: ReaderSpec | None = None
    """Shape of its text reader, if it has one."""
    short_steps: int = 0
    """How many steps it can take as learned shortcuts, without noise and with guidance already in them; 0 = none."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.fps > 0 or not self.guidance >= 0:
            raise ValueError("steps and fps must be positive, guidance must not be negative")
        if not 0 <= self.short_steps < self.steps:
            raise ValueError("short_steps must be fewer than steps")

    def to_json(self) -> dict[str, Any]:
        return {
            **self.about,
            "format": FORMAT,
            "network": self.network.to_json(),
            "diffusion": {"steps": self.steps, "schedule": self.schedule}
            | ({"short_steps": self.short_steps} if self.short_steps else {}),
            "text_encoder": self.text_encoder,
            "features": self.features,
            "fps": self.fps,
            "guidance": self.guidance,
            "licence": self.licence,
            **({"reader": self.reader.to_json()} if self.reader else {}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CheckpointConfig:
        """Inverse of :meth:`to_json`. Raises ValueError, KeyError or TypeError that name the field."""
        rest = dict(values)
        if (version := rest.pop("format")) != FORMAT:
            raise ValueError(f"format {version!r} is not known, only {FORMAT}")
        diffusion = rest.pop("diffusion")
        reader = rest.pop("reader", None)
        return cls(
            network=NetworkSpec.from_json(rest.pop("network")),
            steps=int(diffusion["steps"]),
            schedule=str(diffusion["schedule"]),
            short_steps=int(diffusion.get("short_steps", 0)),
            text_encoder=str(rest.pop("text_encoder")),
            features=str(rest.pop("features")),
            fps=float(rest.pop("fps")),
            guidance=float(rest.pop("guidance")),
            licence=str(rest.pop("licence")),
            reader=ReaderSpec(tuple(map(str, reader["keys"])), int(reader["hidden"])) if reader else None,
            about=rest,
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model. Tensors float32 on the CPU, the network in eval mode."""

    name: str
    """Name of the directory it came from."""
    config: CheckpointConfig
    network: Denoiser
    feature_mean: Tensor
    """(F,) of the training data; features = normalised * std + mean."""
    feature_std: Tensor
    """(F,)"""
    first_prefix: Tensor
    """(C, F) normalised frames of neutral standing."""
    reader: TextReader | None = None
    """What texts mean; None: they go to the network as they are encoded."""


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read, verify and build. Raises CheckpointMissing for absent files, CheckpointMismatch for wrong ones."""
    for name in (WEIGHTS, CONFIG, SUMS):
        if not (directory / name).is_file():
            raise CheckpointMissing(f"checkpoint {directory.name!r} has no {name}")
    _verify_sums(directory)
    try:
        config = CheckpointConfig.from_json(json.loads((directory / CONFIG).read_text(encoding="utf-8")))
    except KeyError as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {CONFIG} has no field {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {error}") from error
    try:
        tensors = from_eight_bits(load_file(directory / WEIGHTS))
    except KeyError as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {WEIGHTS} has no {error}") from error
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {error}") from error
    network = Denoiser(config.network).eval().requires_grad_(False)
    reader = _new_reader(config)
    match_keys(directory.name, _expected_shapes(network, reader), tensors)
    extras = {name: tensors.pop(name) for name in _extra_shapes(config.network)}
    if reader:
        reader.load_state_dict({name: tensors.pop(_READER + name) for name in reader.state_dict()})
    network.load_state_dict(tensors, strict=True)
    return Checkpoint(directory.name, config, network, **extras, reader=reader)


def write_checkpoint(
    directory: Path,
    network: Denoiser,
    config: CheckpointConfig,
    feature_mean: Tensor,
    feature_std: Tensor,
    first_prefix: Tensor,
    reader: TextReader | None = None,
    *,
    eight_bits: bool = False,
) -> None:
    """Write the three files that :func:`load_checkpoint` reads: parameters in fp16, the rest in float32.

    Shapes as in :class:`Checkpoint`. ``eight_bits``: large matrices of the network in 8 bits instead. Raises
    CheckpointMismatch before anything is written when a tensor has another shape, is not finite (in fp16 too) or
    ``feature_std`` is not positive.
    """
    if network.spec != config.network:
        raise CheckpointMismatch("the network was not built from config.network")
    config = replace(config, reader=ReaderSpec(reader.keys, reader.hidden) if reader else None)
    extras = {"feature_mean": feature_mean, "feature_std": feature_std, "first_prefix": first_prefix}
    tensors = {name: tensor.detach().half() for name, tensor in network.state_dict().items()}
    if reader:
        tensors |= {_READER + name: tensor.detach().half() for name, tensor in reader.state_dict().items()}
    tensors |= {name: tensor.detach().float() for name, tensor in extras.items()}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    match_keys(directory.name, _expected_shapes(network, reader), tensors)
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken or bool((tensors["feature_std"] <= 0).any()):
        raise CheckpointMismatch(f"not finite: {', '.join(broken) or 'none'}; feature_std must be positive")
    directory.mkdir(parents=True, exist_ok=True)
    if eight_bits:  # not the reader, whose rows hold flags of 1 beside embeddings of 0.04
        tensors |= to_eight_bits({name: tensors[name] for name in network.state_dict()})
    save_file(tensors, directory / WEIGHTS)
    (directory / WEIGHTS).chmod(0o644)  # the library writes 0600, which another user of a container cannot read
    text = json.dumps(config.to_json(), indent=2, sort_keys=True, ensure_ascii=False)
    (directory / CONFIG).write_text(text + "\n", encoding="utf-8")
    sums = [f"{file_sha256(directory / name)}  {name}\n" for name in (WEIGHTS, CONFIG)]
    (directory / SUMS).write_text("".join(sums), encoding="utf-8")


def _extra_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    wide = (spec.features,)
    return {"feature_mean": wide, "feature_std": wide, "first_prefix": (spec.context_frames, spec.features)}


def _new_reader(config: CheckpointConfig) -> TextReader | None:
    if config.reader is None:
        return None
    width = config.network.text_width
    return TextReader(config.reader.keys, width, config.reader.hidden).eval().requires_grad_(False)


def _expected_shapes(network: Denoiser, reader: TextReader | None) -> dict[str, tuple[int, ...]]:
    parameters = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    reading = reader.state_dict() if reader else {}
    parameters |= {_READER + name: tuple(tensor.shape) for name, tensor in reading.items()}
    return parameters | _extra_shapes(network.spec)


def match_keys(name: str, expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointMismatch with one readable line a problem, of the first twelve, unless keys and shapes agree."""
    lines = [f"missing {key} {shape}" for key, shape in expected.items() if key not in tensors]
    lines += [f"unexpected {key} {tuple(tensors[key].shape)}" for key in tensors if key not in expected]
    lines += [
        f"{key} has shape {tuple(tensors[key].shape)}, the network needs {shape}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if lines:
        more = [f"and {len(lines) - _SHOWN} more"] * (len(lines) > _SHOWN)
        shown = "\n  ".join([*lines[:_SHOWN], *more])
        raise CheckpointMismatch(f"checkpoint {name!r} does not fit its network:\n  {shown}")


def _verify_sums(directory: Path) -> None:
    """Compare with SHA256SUMS (the format of ``sha256sum``); it must cover both files, and may cover more."""
    lines = (directory / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    sums = {name.strip().lstrip("*"): digest for digest, _, name in (line.partition(" ") for line in lines)}
    for name in (WEIGHTS, CONFIG):
        if sums.get(name) != file_sha256(directory / name):
            raise CheckpointMismatch(
                f"checkpoint {directory.name!r}: {name} does not have the hash in {SUMS}; fetch it again"
            )
