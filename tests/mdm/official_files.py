"""Directories laid out like the official downloads, with random weights: checkpoints and text encoders, tiny or full.

``write_checkpoint_files(directory, "dip")`` is all that a service needs to have ``dip``; ``trust`` makes it readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motion_service.mdm import published
from motion_service.mdm.network import NetworkSpec, sinusoids
from motion_service.mdm.published import FILES, Kind
from motion_service.mdm.trust import file_sha256, record_trust
from motion_service.training import random_encoders


def new_args(kind: Kind, *, width: int = 16, layers: int = 2, **changes: Any) -> dict[str, Any]:
    """Content of an args.json; a change of None takes the field out."""
    return published.new_args(kind, width=width, layers=layers, **changes)


def new_spec(kind: Kind, *, width: int = 16, layers: int = 2, feedforward: int = 24) -> NetworkSpec:
    """The network of a checkpoint, official in everything but its sizes."""
    return published.new_spec(kind, width=width, layers=layers, feedforward=feedforward)


def new_state_dict(spec: NetworkSpec, seed: int = 0) -> dict[str, Tensor]:
    """Random parameters and the tables of sinusoids, which official files hold too."""
    tables = dict.fromkeys(("sequence_pos_encoder.pe", "embed_timestep.sequence_pos_encoder.pe"))
    table = sinusoids(5000, spec.width)[:, None]  # (5000, 1, D)
    return {**published.random_network(spec, seed).state_dict(), **{name: table.clone() for name in tables}}


def write_checkpoint_files(
    directory: Path, kind: Kind, *, full: bool = False, trust: bool = True, seed: int = 0, **changes: Any
) -> Path:
    """Write ``model*.pt`` and ``args.json``; the path of the first.

    ``full``: sizes of the real ones, else a width of 16. ``changes``: fields of args.json. With ``use_ema`` the file
    holds both sets of weights: the averaged ones of ``seed``, the others of ``seed + 1``.
    """
    sizes = {"width": 512, "layers": 8} if full else {"width": 16, "layers": 2}
    spec = new_spec(kind, **sizes, feedforward=1024 if full else 24)
    args = new_args(kind, **{**sizes, **changes})
    content: Mapping[str, Any] = new_state_dict(spec, seed)
    if args.get("use_ema"):
        content = {"model": new_state_dict(spec, seed + 1), "model_avg": content}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "args.json").write_text(json.dumps(args, indent=4, sort_keys=True))
    file = directory / FILES[kind]
    torch.save(content, file)
    if trust:
        record_trust(file, file_sha256(file), hash_repeated=True)
    return file


# --- text encoders ----------------------------------------------------------------------------------------------------


def write_clip(directory: Path, *, projection: int = 512, positions: int = 77, seed: int = 0) -> Path:
    """A text tower of CLIP with one layer and a vocabulary of single characters."""
    merges = [("w", "a"), ("l", "k</w>"), ("wa", "lk</w>")]
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"max_position_embeddings": positions, "projection_dim": projection}
    return random_encoders.write_clip(directory, merges, seed=seed, **sizes, **more)


def write_distilbert(directory: Path, *, width: int = 768, positions: int = 512, seed: int = 0) -> Path:
    """A DistilBERT with one layer and a vocabulary of words and letters."""
    letters = [chr(code) for code in range(97, 123)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *("##" + letter for letter in letters), "walk", "##ing", "a", "person", "."]
    sizes = {"dim": width, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": positions}
    return random_encoders.write_distilbert(directory, list(dict.fromkeys(vocabulary)), seed=seed, **sizes)
