"""The files of a published text encoder -> tokenizer and network: config, vocabulary, ``model.safetensors``.

They are laid out as the package transformers writes them; it is not needed to read them. Nothing is fetched.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from motion_service.errors import ModelUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS: Final = "model.safetensors"
_REMEDY: Final = "install the extra `official` (pip install 'motion-service[official]')"


class PublishedNetwork(nn.Module, ABC):
    """A network whose files other programs write too, with their names of parameters."""

    title: ClassVar[str]
    """For messages."""
    prefix: ClassVar[str]
    """What files of a larger model put before the names of its parameters."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """By the content of ``config.json``. Raises ValueError, TypeError or LookupError."""


Network = TypeVar("Network", bound=PublishedNetwork)
Sizes = TypeVar("Sizes")


def load_pretrained(
    directory: Path,
    kind: type[Network],
    open_tokenizer: Callable[[Path], Tokenizer],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[Tokenizer, Network]:
    """Tokenizer and network from the files in ``directory``; the network on ``device``, to be used and not trained.

    Raises ModelUnavailable when a package, a file or a tensor is missing, or the files are of another model.
    """
    import_official("tokenizers")
    where = f"text encoder {directory.name!r}"
    _check_files(directory, where)
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        with torch.device("meta"):  # shapes without numbers, which would be random and then thrown away
            network = kind.from_config(config)
        lost = _give_weights(network, directory / WEIGHTS, kind.prefix, torch.device(device), dtype)
        if lost:
            raise ModelUnavailable(f"{where} lacks weights of {kind.title}: {lost[0]} and {len(lost) - 1} more")
        tokenizer = open_tokenizer(directory)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelUnavailable(f"{where} cannot be read as {kind.title}: fetch its files again") from error
    return tokenizer, network


def import_official(package: str) -> ModuleType:
    """A package of the extra ``official``. Raises ModelUnavailable when it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelUnavailable(f"the text encoders of official models need {package}: {_REMEDY}") from error


def named_fields(kind: type[Sizes], values: Mapping[str, Any]) -> Sizes:
    """A dataclass of numbers and words from those of ``values`` that it has. Raises ValueError, TypeError.

    A number must be of the type of the default, and larger than 0.
    """
    default: Any = kind()
    known = {field.name: values[field.name] for field in fields(default) if field.name in values}
    for name, value in known.items():
        if type(value) is not type(getattr(default, name)) or (not isinstance(value, str) and value <= 0):
            raise ValueError(f"config.json: {name} is {value!r}")
    return kind(**known)


def empty_embedding(rows: int, width: int) -> nn.Embedding:
    """A table without numbers. The usual way draws normal ones, which on the meta device imports torch's compiler."""
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width))
    return table


def _check_files(directory: Path, where: str) -> None:
    if not (directory / "config.json").is_file():
        raise ModelUnavailable(f"{where} was not found, or has no config.json: fetch it with `motion download`")
    if (directory / WEIGHTS).is_file():
        return
    if (directory / "pytorch_model.bin").is_file():
        raise ModelUnavailable(
            f"{where} has its weights as a pickle only: run `motion convert --trust pytorch_model.bin` in its directory"
            " if you trust its source"
        )
    raise ModelUnavailable(f"{where} has no {WEIGHTS}: fetch it with `motion download`")


def _give_weights(network: nn.Module, file: Path, prefix: str, device: torch.device, dtype: torch.dtype) -> list[str]:
    """Put the tensors of ``file`` into ``network``; the names of those that are missing or of another shape."""
    tensors: dict[str, Tensor] = {}
    with safe_open(file, framework="pt") as stored:
        names = {_parameter_name(name, prefix): name for name in stored.keys()}
        for name, parameter in network.state_dict().items():
            if name in names and stored.get_slice(names[name]).get_shape() == list(parameter.shape):
                # A copy: what is read are pages of the file, which somebody may replace.
                tensors[name] = stored.get_tensor(names[name]).to(device, dtype, copy=True)
    lost = sorted(set(network.state_dict()) - set(tensors))
    if not lost:
        network.load_state_dict(tensors, assign=True)
        network.eval().requires_grad_(False)
    return lost


def _parameter_name(stored: str, prefix: str) -> str:
    """Without the prefix and in today's words: the oldest files have gamma and beta."""
    name = stored.removeprefix(prefix)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
