"""Mean and deviation of HumanML3D's features, with which the official checkpoints were trained: where they come from.

Two files of 2 kB are all that sampling needs of the data set. A checkpoint may bring them (``meta/mean.npy``,
``meta/std.npy``); else they lie below MOTION_DATA_DIR. The files ``t2m_mean.npy`` and ``t2m_std.npy`` of the MDM
repository look the same and are not: they belong to the evaluator, and with them the figure hardly leaves its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.features.humanml3d import CONTACTS, HUMANML3D_WIDTH, ROOT_STEP

REMEDY: Final = (
    "put Mean.npy and Std.npy of the repository EricGuo5513/HumanML3D (folder HumanML3D) into "
    "dataset/HumanML3D below MOTION_DATA_DIR"
)
CHECKPOINT_META: Final = "checkpoint"
DATA_DIR: Final = "data"

_EVALUATOR_CONTACT_STD: Final = 0.07
_EVALUATOR_STEP_STD: Final = 0.0035
"""The evaluator's deviations of these slices are 0.014 and 0.0007, the network's 25 times larger: 0.36 and 0.017."""


class Statistics(NamedTuple):
    """What the network's numbers are normalised with."""

    mean: Tensor
    """(263,) float32."""
    std: Tensor
    """(263,) float32, positive."""
    where: str
    """``checkpoint`` or ``data``: what brought them."""


def load_statistics(checkpoint_dir: Path | None, data_dir: Path | None) -> Statistics:
    """Statistics of a checkpoint, else those of the data directory.

    A checkpoint that brings the evaluator's statistics is passed over when the data directory has the right ones.
    Raises CheckpointMissing when there are none, CheckpointMismatch when those found cannot be the network's.
    """
    refused: CheckpointMismatch | None = None
    for mean, std, where in _candidates(checkpoint_dir, data_dir):
        if not (mean.is_file() and std.is_file()):
            continue
        found = Statistics(_read(mean), _read(std), where)
        if bool((found.std <= 0).any()):
            raise CheckpointMismatch(f"{std.name} holds deviations that are not positive: {REMEDY}")
        if not is_evaluator_std(found.std):
            return found
        refused = CheckpointMismatch(
            f"{std.name} holds the evaluator's deviations (t2m_std.npy), not those the network was trained with: "
            f"{REMEDY}"
        )
    raise refused or CheckpointMissing(f"the statistics of HumanML3D are missing: {REMEDY}")


def is_evaluator_std(std: Tensor) -> bool:
    """Whether deviations (263,) are those of MDM's evaluator: root and contacts 25 times too small."""
    steps, contacts = float(std[ROOT_STEP].mean()), float(std[CONTACTS].mean())
    return steps < _EVALUATOR_STEP_STD and contacts < _EVALUATOR_CONTACT_STD


def _candidates(checkpoint_dir: Path | None, data_dir: Path | None) -> list[tuple[Path, Path, str]]:
    """(mean, std, where) in the order in which they are taken."""
    places = []
    if checkpoint_dir is not None:
        meta = checkpoint_dir / "meta"
        places.append((meta / "mean.npy", meta / "std.npy", CHECKPOINT_META))
    if data_dir is not None:
        for folder in (data_dir / "dataset" / "HumanML3D", data_dir / "HumanML3D", data_dir):
            places.append((folder / "Mean.npy", folder / "Std.npy", DATA_DIR))
    return places


def _read(path: Path) -> Tensor:
    """A vector (263,) of finite numbers as float32. Raises CheckpointMismatch for anything else."""
    try:
        values = np.lib.format.open_memmap(path, mode="r")  # reads .npy only, and never a pickle
    except (OSError, ValueError) as error:
        raise CheckpointMismatch(f"{path.name} is not a readable .npy file: {REMEDY}") from error
    if values.dtype.kind != "f" or values.shape != (HUMANML3D_WIDTH,):
        got = f"{values.dtype} {values.shape}"
        raise CheckpointMismatch(f"{path.name} must hold {HUMANML3D_WIDTH} decimal numbers, not {got}: {REMEDY}")
    if not np.isfinite(values).all():
        raise CheckpointMismatch(f"{path.name} holds numbers that are not finite: {REMEDY}")
    return torch.from_numpy(values.astype(np.float32))
