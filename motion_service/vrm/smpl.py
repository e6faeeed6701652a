"""SMPL parameters to joints and vertices: the body model of Loper et al. 2015, batched over frames.

Own code instead of the ``smplx`` package: the model is a page of linear algebra, while the package unpickles the model
file (which can run code), needs the unmaintained ``chumpy`` for the official one, computes all 6,890 vertices where a
fit needs 24 joints, and is licensed for non-commercial research only. The files are read in
:mod:`motion_service.vrm.smpl_files`; none is shipped.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.geometry.smpl_rotation import rotvec_to_rotmat

NUM_JOINTS: Final = 24
"""SMPL's joints; the first 22 are those of HumanML3D in its order, the last two are the hands."""

NUM_BETAS: Final = 10
"""Shape components used; files may hold up to 300."""


@dataclass(frozen=True, slots=True, eq=False)
class SmplModel:
    """A body model of V vertices. float32, metres, +Y up, facing +Z, left = +X; the rest pose is a T-pose."""

    template: Tensor
    """(V, 3) vertices of the mean shape."""
    shape_dirs: Tensor
    """(V, 3, 10) displacement by each shape component."""
    pose_dirs: Tensor
    """(V, 3, 207) displacement by each entry of the 23 joint matrices minus identity."""
    joint_regressor: Tensor
    """(24, V) joints as weighted sums of the vertices."""
    skin_weights: Tensor
    """(V, 24)."""
    faces: Tensor
    """(F, 3) int64 vertex indices."""
    parents: tuple[int, ...]
    """Parent of each joint, before its children; -1 = pelvis."""

    def to(self, device: str | torch.device) -> SmplModel:
        """The same model with its tensors on ``device``."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "parents"}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


def smpl_rest_joints(model: SmplModel) -> tuple[Tensor, Tensor]:
    """Rest joints are linear in the shape: ``mean + dirs @ betas``. (24, 3) and (24, 3, 10), float64."""
    regressor = model.joint_regressor.double()
    return regressor @ model.template.double(), torch.einsum("jv,vcs->jcs", regressor, model.shape_dirs.double())


def joint_offsets(rest: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Rest places (24, 3, ...) to offsets from the parent joint; the pelvis keeps its place."""
    return torch.stack([rest[j] if parent < 0 else rest[j] - rest[parent] for j, parent in enumerate(parents)])


def turn_joints(rotmats: Tensor, offsets: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Forward kinematics. Local ``rotmats`` (T, 24, 3, 3), ``offsets`` (24, 3, C) in C independent columns.

    Returns places (T, 24, 3, C), the pelvis at its offset, and world matrices (T, 24, 3, 3).
    """
    places = [offsets[0].expand(rotmats.shape[0], *offsets.shape[1:])]
    world = [rotmats[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        places.append(places[parent] + world[parent] @ offsets[joint])
        world.append(world[parent] @ rotmats[:, joint])
    return torch.stack(places, dim=1), torch.stack(world, dim=1)


def smpl_joints(model: SmplModel, rotvecs: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
    """World joints (T, 24, 3), m. ``rotvecs`` (T, 24, 3) local, radians; ``betas`` (10,); ``transl`` (T, 3), m.

    The same joints as regressed from the vertices of the shaped rest body and carried along: skinning does not matter.
    """
    mean, dirs = smpl_rest_joints(model)
    rest = (mean + dirs @ betas.double()).to(rotvecs.dtype)
    places, _ = turn_joints(rotvec_to_rotmat(rotvecs), joint_offsets(rest, model.parents)[..., None], model.parents)
    return places[..., 0] + transl[:, None]


def smpl_vertices(model: SmplModel, rotvecs: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
    """World vertices (T, V, 3), m; arguments as in :func:`smpl_joints`. Equations 2 to 10 of the paper."""
    mean, dirs = smpl_rest_joints(model)
    rest = (mean + dirs @ betas.double()).to(rotvecs.dtype)  # (24, 3)
    rotmats = rotvec_to_rotmat(rotvecs)  # (T, 24, 3, 3)
    shaped = model.template + model.shape_dirs @ betas  # (V, 3)
    features = (rotmats[:, 1:] - torch.eye(3).to(rotmats)).flatten(1)  # (T, 207)
    posed = shaped + torch.einsum("vcp,tp->tvc", model.pose_dirs, features)
    places, world = turn_joints(rotmats, joint_offsets(rest, model.parents)[..., None], model.parents)
    moves = places[..., 0] - (world @ rest[..., None])[..., 0]  # (T, 24, 3): x -> world x + moves
    blended = torch.einsum("vj,tjab->tvab", model.skin_weights, world)
    return (blended @ posed[..., None])[..., 0] + model.skin_weights @ moves + transl[:, None]
