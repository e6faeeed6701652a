"""A SMPL fit to the two files of the official MDM program: HumanIK JSON, and ``sample##_rep##_smpl_params.npy``.

Layouts: ``visualize/motions2hik.py`` and ``visualize/vis_utils.py`` of
https://github.com/GuyTevet/motion-diffusion-model, their quirks included where a reader may count on them. The only
place with Euler angles; VRM tracks are made from joint positions and never from these.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from motion_service.geometry.smpl_rotation import rotmat_to_euler_xyz, rotmat_to_rot6d_rows, rotvec_to_rotmat
from motion_service.vrm.smpl import NUM_BETAS, SmplModel, smpl_vertices
from motion_service.vrm.smplify import SmplFit

HIK_JOINTS: Final = (
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
    "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
    "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
)  # fmt: skip
"""HumanIK names of SMPL's first 22 joints, in its order."""


def fits_to_hik(fits: Sequence[SmplFit]) -> dict[str, Any]:
    """N fits of T frames to the dictionary of the official ``motions2hik``, ready for JSON.

    ``joint_map`` has 22 names; ``thetas`` [N][T][24][3] local angles in degrees, matrix = Rx Ry Rz, the last two joints
    (SMPL's hands) without a name; ``root_translation`` [N][T][3] the pelvis of the input, m.
    """
    degrees = [torch.rad2deg(rotmat_to_euler_xyz(rotvec_to_rotmat(fit.rotvecs))) for fit in fits]
    return {
        "joint_map": list(HIK_JOINTS),
        "thetas": [angles.tolist() for angles in degrees],
        "root_translation": [fit.root.tolist() for fit in fits],
    }


def fit_to_params(fit: SmplFit, model: SmplModel, text: str) -> dict[str, Any]:
    """The dictionary of the official ``sample##_rep##_smpl_params.npy``, arrays float32 in numpy.

    ``motion`` (25, 6, T) is ``thetas`` (24, 6, T), first two rows of each local matrix, and below it
    ``root_translation`` (3, T), the pelvis of the input, filled up with zeros. ``vertices`` (V, 3, T) are those of the
    mean shape, moved by the root relative to the first frame, so the height of the first frame is not in them.
    ``faces`` (F, 3), ``text``, ``length`` T.
    """
    thetas = rotmat_to_rot6d_rows(rotvec_to_rotmat(fit.rotvecs))  # (T, 24, 6)
    root = torch.cat([fit.root, torch.zeros_like(fit.root)], dim=-1)[:, None]  # (T, 1, 6)
    motion = torch.cat([thetas, root], dim=1).permute(1, 2, 0).contiguous().numpy()  # (25, 6, T)
    vertices = smpl_vertices(model, fit.rotvecs, torch.zeros(NUM_BETAS), fit.root - fit.root[:1])  # (T, V, 3)
    return {
        "motion": motion,
        "thetas": motion[:-1],
        "root_translation": motion[-1, :3],
        "faces": model.faces.numpy(),
        "vertices": vertices.permute(1, 2, 0).contiguous().numpy(),
        "text": text,
        "length": int(motion.shape[-1]),
    }


def params_to_npy(params: dict[str, Any]) -> bytes:
    """A pickled 0-d object array, as the official program writes it; readers need ``allow_pickle=True``."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(params, dtype=object), allow_pickle=True)
    return buffer.getvalue()
