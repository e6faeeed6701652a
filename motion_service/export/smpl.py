"""The two SMPL files of a clip, fitted to its joints when the first is written: a second for 5 s of motion."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import orjson
import torch
from torch import Tensor

from motion_service.geometry.kinematics import resample_linear
from motion_service.vrm.hik import fit_to_params, fits_to_hik, params_to_npy
from motion_service.vrm.smpl_files import SmplAssets
from motion_service.vrm.smplify import SmplFit, fit_smpl

SMPL_FPS = 20.0
"""The files do not say their rate; every reader of them assumes HumanML3D's."""


def smpl_writers(joints: Tensor, fps: float, assets: SmplAssets, text: str) -> dict[str, Callable[[Path], object]]:
    """{format: writer} of ``smpl`` and ``hik`` for HumanML3D joints (T, 22, 3) in m. One fit serves both.

    The fit runs on the GPU where there is one. Call the writers from one thread.
    """

    @cache
    def fit() -> SmplFit:
        own = joints.clone()  # made in inference mode they could not be fitted to
        at_rate = own if fps == SMPL_FPS else resample_linear(own, fps, SMPL_FPS)
        return fit_smpl(at_rate, assets, device="cuda" if torch.cuda.is_available() else "cpu")

    def write_params(path: Path) -> None:
        path.write_bytes(params_to_npy(fit_to_params(fit(), assets.model, text)))

    def write_hik(path: Path) -> None:
        path.write_bytes(orjson.dumps(fits_to_hik([fit()])))

    return {"smpl": write_params, "hik": write_hik}
