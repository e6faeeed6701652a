"""An interrupted training on disk: tensors in safetensors shards under 16 MiB, and ``state.json`` that names them.

``state.json`` is replaced last and in one step, so a run killed while saving goes on from the save before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_service.errors import CheckpointMismatch

STATE: Final = "state.json"
SHARD_BYTES: Final = 15 * 2**20


def has_state(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return (folder / STATE).is_file()


def write_state(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Save ``tensors`` and ``facts`` (JSON values), then remove the shards of the save before."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob("shard-*.safetensors"))
    shards: dict[str, list[str]] = {}
    for number, names in enumerate(_packed(tensors)):
        shard = f"shard-{facts['step']:08d}-{number:02d}.safetensors"
        save_file({name: tensors[name].detach().cpu().contiguous() for name in names}, folder / shard)
        shards[shard] = names
    fresh = folder / (STATE + ".new")
    fresh.write_text(json.dumps({**facts, "shards": list(shards)}, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, folder / STATE)
    for old in before - {folder / shard for shard in shards}:
        old.unlink()


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of :func:`write_state`, on the CPU. Raises CheckpointMismatch when a shard is missing or damaged."""
    try:
        facts: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        tensors: dict[str, Tensor] = {}
        for shard in facts["shards"]:
            tensors |= load_file(folder / shard)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointMismatch("the saved run is damaged: delete its folder, or start with --fresh") from error
    return tensors, facts


def _packed(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names in groups whose bytes fit a shard; a tensor that is too large alone gets its own."""
    groups: list[list[str]] = []
    room = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if not groups or size > room:
            groups.append([])
            room = SHARD_BYTES
        groups[-1].append(name)
        room -= size
    return groups


def rng_tensors(device: torch.device) -> dict[str, Tensor]:
    """State of the random generators that training draws from."""
    states = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_rng(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back, those that were saved."""
    if "rng.cpu" in tensors:
        torch.set_rng_state(tensors["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)
