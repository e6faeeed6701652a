"""Everything official that a service can load, in full size, with random weights: for benchmarks only.

Arithmetic, memory and files are those of the published checkpoints; the motion is a wobble. Names begin with
``random-``, so that the ``checkpoint`` of an answer says what made it. :func:`random_settings` is what a service must
be told to use them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from motion_service.features.humanml3d import HUMANML3D_WIDTH
from motion_service.features.prefixes import DEFAULT_PREFIX, load_prefixes
from motion_service.mdm.conversion import write_conversion
from motion_service.mdm.published import DIRECTORIES, FILES, Kind, new_args, new_spec, random_network
from motion_service.training.random_encoders import bert_vocabulary, clip_merges, write_clip, write_distilbert

NAME_PREFIX: Final = "random-"
PROVIDERS: Final[Mapping[str, Kind]] = {"mdm": "mdm", "mdm-encoder": "mdm-encoder", "dip": "dip-target"}
"""Which checkpoint a provider loads by default."""
_VARIABLES: Final = {
    "mdm": "MOTION_MDM_DEFAULT_CKPT",
    "mdm-encoder": "MOTION_MDM_ENCODER_CKPT",
    "dip": "MOTION_MDM_DIP_CKPT",
}
_SMALL_NETWORK: Final = {"width": 16, "layers": 2}
_SMALL_BERT: Final = {"n_layers": 1, "n_heads": 2, "hidden_dim": 32}
_SMALL_CLIP: Final = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_LEAST_STD: Final = 1e-3


def random_place(root: Path, provider: str) -> Path:
    """Directory of a provider's checkpoint below ``root``."""
    kind = PROVIDERS[provider]
    folder = "dip" if kind.startswith("dip") else "mdm"
    return root / folder / (NAME_PREFIX + DIRECTORIES[kind])


def random_settings(root: Path) -> dict[str, str]:
    """Environment variables that make a service load what :func:`write_random_assets` wrote to ``root``."""
    root = root.absolute()
    paths = {_VARIABLES[name]: str(random_place(root, name).relative_to(root)) for name in PROVIDERS}
    return {"CHECKPOINT_DIR": str(root), "MOTION_DATA_DIR": str(root / "data"), **paths}


def write_random_assets(root: Path, *, small: bool = False, seed: int = 0) -> dict[str, Any]:
    """Checkpoints, text encoders and statistics below ``root``; how many parameters each part has.

    ``small``: of tiny sizes, to try the tools. 770 MB and some seconds otherwise.
    """
    counts = {name: write_random_checkpoint(root, name, small=small, seed=seed) for name in PROVIDERS}
    bert, clip = (_SMALL_BERT, _SMALL_CLIP) if small else ({}, {})
    write_distilbert(root / "text" / "distilbert", bert_vocabulary(), seed=seed, **bert)
    write_clip(root / "text" / "clip", clip_merges(), seed=seed, projection_dim=512, **clip)
    write_statistics(root / "data" / "dataset" / "HumanML3D")
    (root / "README.txt").write_text("Random weights in the sizes of the official ones: for benchmarks only.\n")
    return {"parameters": counts, "seed": seed, "small": small, "settings": random_settings(root)}


def write_random_checkpoint(root: Path, provider: str, *, small: bool = False, seed: int = 0) -> int:
    """``args.json`` and the converted weights of one provider; the number of its parameters."""
    kind, directory = PROVIDERS[provider], random_place(root, provider)
    sizes = _SMALL_NETWORK if small else {}
    tensors = dict(random_network(new_spec(kind, **sizes), seed).state_dict())
    directory.mkdir(parents=True, exist_ok=True)
    args = new_args(kind, **sizes, use_ema=False)
    (directory / "args.json").write_text(json.dumps(args, indent=2, sort_keys=True) + "\n")
    file = directory / FILES[kind]
    write_conversion(file.with_suffix(".safetensors"), {"model": tensors}, f"{NAME_PREFIX}{file.name}", "random")
    return sum(tensor.numel() for tensor in tensors.values())


def write_statistics(directory: Path) -> None:
    """``Mean.npy`` and ``Std.npy`` of the prefixes that ship: what comes out stands upright and moves like a person."""
    prefixes = load_prefixes()
    mean = prefixes[DEFAULT_PREFIX].mean(dim=0)
    std = torch.cat([*prefixes.values()]).std(dim=0).clamp(min=_LEAST_STD)
    assert mean.shape == std.shape == (HUMANML3D_WIDTH,)
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "Mean.npy", mean.numpy())
    np.save(directory / "Std.npy", std.numpy())
