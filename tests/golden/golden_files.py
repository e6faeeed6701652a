"""Recorded numbers of the reference implementation ("goldens"), read from wherever they lie.

A file is looked for in ``MOTION_GOLDEN_DIR`` alone when that is set, else beside the checkout, else in ``data/`` here,
which holds the few that are small enough for the repository. What each array means: README.md of the goldens.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BESIDE = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens"
HERE = Path(__file__).resolve().parent / "data"


def golden_dirs() -> list[Path]:
    """Where files are looked for, first found wins."""
    chosen = os.environ.get("MOTION_GOLDEN_DIR")
    return [Path(chosen)] if chosen else [BESIDE, HERE]


def golden(name: str) -> dict[str, Any]:
    """Arrays of a golden as tensors, texts (0-d strings) as ``str``; float16 becomes float32, float64 stays.

    Skips the test when the file is nowhere. A fresh dict each time; the tensors are shared, so do not write into them.
    """
    path = next((where / name for where in golden_dirs() if (where / name).is_file()), None)
    if path is None:
        pytest.skip(f"golden {name} is not there; set MOTION_GOLDEN_DIR to a directory that has it")
    return dict(_read(path))


def loop_steps(model_file: str) -> int | None:
    """Diffusion steps of a model, from the first golden of a whole loop with it; None when there is none."""
    names = sorted(path.name for where in golden_dirs() for path in where.glob("diffusion_loop_*.npz"))
    loops = (golden(name) for name in names)
    return next((int(loop["steps"]) for loop in loops if loop["model_file"] == model_file), None)


@lru_cache(maxsize=4)
def _read(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {key: _value(file[key]) for key in file.files}


def _value(array: np.ndarray) -> Any:
    if array.dtype.kind == "U":
        return str(array)
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)
