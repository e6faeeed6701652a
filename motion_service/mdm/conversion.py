"""The safetensors that a pickle was converted to: where it lies, how it is written, and what of it is read.

It holds the tensors of every part of the pickle (``model.*`` and ``model_avg.*``, or plain names). Its metadata has the
SHA-256 of the pickle, so that a pickle exchanged afterwards is noticed, and one of the tensors of each part.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from motion_service.errors import CheckpointMismatch

FLAT: Final = "flat"
"""Name of the only part of a file that holds one plain state dict."""
_SOURCE_KEY: Final = "source_sha256"
"""Metadata of a conversion: SHA-256 of the pickle."""
_DIGEST_KEY: Final = "tensors_sha256:"


def beside(file: Path) -> Path:
    """Where the conversion goes; ``model.safetensors`` is the name that transformers looks for."""
    stem = "model" if file.name == "pytorch_model.bin" else file.stem
    return file.with_name(stem + ".safetensors")


def places(file: Path, digest: str, cache_dir: Path | None) -> list[Path]:
    return [beside(file)] if cache_dir is None else [beside(file), cache_dir / f"{digest}.safetensors"]


def find_conversion(file: Path, digest: str, cache_dir: Path | None) -> Path | None:
    """A conversion of just this content, beside ``file`` or in the cache; None where there is none or a stale one."""
    for place in places(file, digest, cache_dir):
        with contextlib.suppress(SafetensorError, OSError), safe_open(place, framework="pt") as tensors:
            if (tensors.metadata() or {}).get(_SOURCE_KEY) == digest:
                return place
    return None


def write_conversion(target: Path, parts: Mapping[str, Mapping[str, Tensor]], source: str, digest: str) -> None:
    """Write ``{part: {name: tensor}}`` of the pickle called ``source`` with SHA-256 ``digest``."""
    about = {_DIGEST_KEY + part: tensors_sha256(tensors) for part, tensors in parts.items()}
    stored = {
        name if part == FLAT else f"{part}.{name}": tensor.clone(memory_format=torch.contiguous_format)
        for part, tensors in parts.items()
        for name, tensor in tensors.items()  # cloned, because tensors that share memory are refused
    }
    save_file(stored, target, about | {"format": "pt", _SOURCE_KEY: digest, "source": source})


def part_names(about: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(key.removeprefix(_DIGEST_KEY) for key in about if key.startswith(_DIGEST_KEY)))


def read_part(file: Path, prefer_average: bool) -> tuple[str, str, dict[str, Tensor]]:
    """One part of a conversion: (its name, SHA-256 of the pickle, {official name: tensor}).

    ``model_avg`` when it is preferred and there, else ``model``, else the plain names. Raises CheckpointMismatch.
    """
    wanted = ("model_avg", "model", FLAT) if prefer_average else ("model", FLAT, "model_avg")
    return _read_first(file, wanted)


def read_named_part(file: Path, part: str) -> dict[str, Tensor]:
    """One part of a conversion by its name. Raises CheckpointMismatch."""
    return _read_first(file, (part,))[2]


def _read_first(file: Path, wanted: Sequence[str]) -> tuple[str, str, dict[str, Tensor]]:
    """The first of the ``wanted`` parts that there is, as in :func:`read_part`."""
    try:
        with safe_open(file, framework="pt") as stored:
            about = stored.metadata() or {}
            parts = part_names(about)
            if not parts:
                raise CheckpointMismatch(f"{file.name} was not made by `motion convert`: convert the model*.pt again")
            part = next(name for name in wanted if name in parts)
            prefix = "" if part == FLAT else part + "."
            names = [name for name in stored.keys() if name.startswith(prefix)]
            tensors = {name.removeprefix(prefix): stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError, StopIteration) as error:
        raise CheckpointMismatch(f"{file.name} is truncated or damaged: delete it and convert again") from error
    if tensors_sha256(tensors) != about[_DIGEST_KEY + part]:
        raise CheckpointMismatch(f"{file.name} has changed since it was written: delete it and convert again")
    return part, about.get(_SOURCE_KEY, ""), tensors


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes, dtypes and bytes, whatever the order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
