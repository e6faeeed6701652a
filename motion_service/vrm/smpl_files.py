"""A directory of SMPL files to what a fit needs: body model, pose prior, mean pose. Reads ``.npz`` only.

The official files are pickles, which can run code when they are read, so the service never opens them:
``scripts/motion/convert_smpl`` turns them into ``.npz`` once. Arrays keep their official names: v_template, shapedirs,
posedirs, J_regressor (dense), weights, kintree_table, f; means, covars, weights; pose, shape.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.vrm.smpl import NUM_BETAS, NUM_JOINTS, SmplModel

MODEL_NAMES: Final = (
    "SMPL_NEUTRAL",
    "basicmodel_neutral_lbs_10_207_0_v1.1.0",
    "basicModel_neutral_lbs_10_207_0_v1.0.0",
)
"""Names, without ending, under which the neutral model is published; the first found is read."""

PRIOR_NAME: Final = "gmm_08"
MEAN_NAME: Final = "neutral_smpl_mean_params"

MODEL_ARRAYS: Final = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
PRIOR_ARRAYS: Final = ("means", "covars", "weights")
MEAN_ARRAYS: Final = ("pose", "shape")
HASH_ARRAY: Final = "source_sha256"
"""Written by the converter: SHA-256 of the official file."""

NUM_POSE: Final = 3 * (NUM_JOINTS - 1)
"""Numbers of a body pose: 23 rotation vectors, the pelvis not among them."""

MAX_ARRAY_BYTES: Final = 256 * 2**20  # the largest official array, 300 shape components in float64, has 50 MB

_UNREADABLE: Final = (
    OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What zipfile and numpy raise on broken archives and headers; both parse, neither runs anything."""

_REMEDY: Final = (
    "place it in the SMPL directory (SMPL_MODEL_DIR, else MOTION_DATA_DIR/body_models/smpl) and run "
    "scripts/motion/convert_smpl; its licence is yours to accept, see docs/smpl.md"
)

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PosePrior:
    """Mixture of K Gaussians over body poses, as its negative logarithm per component. float64."""

    means: Tensor
    """(K, 69) rotation vectors."""
    precisions: Tensor
    """(K, 69, 69) inverse covariances."""
    offsets: Tensor
    """(K,) constants: -log(w_k / ((2 pi)^(69/2) sqrt(det_k / min det)))."""


@dataclass(frozen=True, slots=True, eq=False)
class SmplAssets:
    """Everything that a fit reads from disk."""

    model: SmplModel
    prior: PosePrior | None
    mean_pose: Tensor
    """(72,) rotation vectors that a fit starts from, pelvis first. float64."""
    mean_betas: Tensor
    """(10,) shape that a fit starts from. float64."""
    notes: tuple[str, ...] = ()
    """What was not found and what is done instead: for the warnings of an answer."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """{name without ending: SHA-256 of the official file}, where the converter recorded it."""

    def to(self, device: str | torch.device) -> SmplAssets:
        """The same assets with all tensors on ``device``."""
        prior = self.prior
        if prior is not None:
            prior = PosePrior(prior.means.to(device), prior.precisions.to(device), prior.offsets.to(device))
        return replace(
            self,
            model=self.model.to(device),
            prior=prior,
            mean_pose=self.mean_pose.to(device),
            mean_betas=self.mean_betas.to(device),
        )


def load_smpl(directory: Path) -> SmplAssets:
    """Read model, prior and mean pose from ``directory`` (or its folder ``smpl``), on the CPU.

    Raises BadRequest for ``postprocess``, with the remedy, when the model is absent or any file is broken or of another
    layout. Without the prior a fit keeps near the mean pose instead; without the mean pose it starts from the T-pose;
    both are said in ``notes``.
    """
    path = _find(directory, MODEL_NAMES)
    if path is None:
        if _find(directory, MODEL_NAMES, ".pkl"):
            raise _refusal("the SMPL model is still in its official form (.pkl); run scripts/motion/convert_smpl")
        raise _refusal(f"needs the SMPL neutral body model, {MODEL_NAMES[0]}.pkl: {_REMEDY}")
    arrays = _read_arrays(path, MODEL_ARRAYS)
    assets = SmplAssets(
        arrays_to_model(arrays), None, torch.zeros(3 * NUM_JOINTS).double(), torch.zeros(NUM_BETAS).double()
    )
    return _add_mean(_add_prior(replace(assets, hashes=_hashes(path, arrays)), directory), directory)


def arrays_to_model(arrays: Mapping[str, npt.NDArray[Any]]) -> SmplModel:
    """Check the official arrays and make a model of them. Raises BadRequest that names the array."""
    vertices = arrays["v_template"].shape[0] if arrays["v_template"].ndim else 0
    betas = arrays["shapedirs"].shape[-1] if arrays["shapedirs"].ndim else 0
    if vertices == 0 or betas < NUM_BETAS:
        raise _refusal(f"the SMPL model has {vertices} vertices and {betas} shape components, {NUM_BETAS} are needed")
    faces = _check("f", arrays["f"], (None, 3), torch.int64)
    if faces.numel() == 0 or not 0 <= int(faces.min()) <= int(faces.max()) < vertices:
        raise _refusal("the SMPL model's array f points at vertices that are not there")
    return SmplModel(
        template=_check("v_template", arrays["v_template"], (vertices, 3)),
        shape_dirs=_check("shapedirs", arrays["shapedirs"], (vertices, 3, betas))[..., :NUM_BETAS].contiguous(),
        pose_dirs=_check("posedirs", arrays["posedirs"], (vertices, 3, 9 * (NUM_JOINTS - 1))),
        joint_regressor=_check("J_regressor", arrays["J_regressor"], (NUM_JOINTS, vertices)),
        skin_weights=_check("weights", arrays["weights"], (vertices, NUM_JOINTS)),
        faces=faces,
        parents=_parents(arrays["kintree_table"]),
    )


def _parents(table: npt.NDArray[Any]) -> tuple[int, ...]:
    """First row of the official tree; the pelvis has -1 there, or its unsigned twin."""
    _check("kintree_table", table, (2, NUM_JOINTS))
    parents = (-1, *(int(parent) for parent in table[0, 1:]))
    if not all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise _refusal("the SMPL model's kintree_table is not a tree with parents before children")
    return parents


def _add_prior(assets: SmplAssets, directory: Path) -> SmplAssets:
    path = _find(directory, (PRIOR_NAME,))
    if path is None:
        note = f"no pose prior ({PRIOR_NAME}.npz): the fit keeps near the mean pose instead"
        return replace(assets, notes=(*assets.notes, note))
    arrays = _read_arrays(path, PRIOR_ARRAYS)
    components = arrays["weights"].shape[0] if arrays["weights"].ndim else 0
    weights = _check("weights", arrays["weights"], (components,), torch.float64)
    means = _check("means", arrays["means"], (components, NUM_POSE), torch.float64)
    covariances = _check("covars", arrays["covars"], (components, NUM_POSE, NUM_POSE), torch.float64)
    factors, failed = torch.linalg.cholesky_ex(covariances)
    if components == 0 or bool((weights <= 0).any()) or bool(failed.any()):
        raise _refusal(f"the pose prior {PRIOR_NAME} is not a mixture of Gaussians")
    log_dets = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    offsets = -weights.log() + NUM_POSE / 2 * math.log(2 * math.pi) + (log_dets - log_dets.min()) / 2
    prior = PosePrior(means, torch.cholesky_inverse(factors), offsets)
    return replace(assets, prior=prior, hashes={**assets.hashes, **_hashes(path, arrays)})


def _add_mean(assets: SmplAssets, directory: Path) -> SmplAssets:
    path = _find(directory, (MEAN_NAME,))
    if path is None:
        note = f"no mean pose ({MEAN_NAME}.npz): the fit starts from the T-pose and the mean shape"
        return replace(assets, notes=(*assets.notes, note))
    arrays = _read_arrays(path, MEAN_ARRAYS)
    return replace(
        assets,
        mean_pose=_check("pose", arrays["pose"], (3 * NUM_JOINTS,), torch.float64),
        mean_betas=_check("shape", arrays["shape"], (NUM_BETAS,), torch.float64),
        hashes={**assets.hashes, **_hashes(path, arrays)},
    )


def _find(directory: Path, names: Iterable[str], ending: str = ".npz") -> Path | None:
    """The first file there is; a folder ``smpl`` is looked into, because ``smplx`` is given the folder above it."""
    candidates = (folder / f"{name}{ending}" for folder in (directory, directory / "smpl") for name in names)
    return next((path for path in candidates if path.is_file()), None)


def _read_arrays(path: Path, names: Iterable[str]) -> Arrays:
    """The named arrays of an archive, and the recorded hash if there is one. Nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            present = set(archive.namelist())
            wanted = [*names, *({HASH_ARRAY} & {name.removesuffix(".npy") for name in present})]
            missing = [name for name in wanted if f"{name}.npy" not in present]
            if missing:
                raise _refusal(f"{path.name} has no array {', '.join(missing)}: it has another layout; {_REMEDY}")
            return {name: _read_array(archive, name) for name in wanted}
    except _UNREADABLE as error:
        raise _refusal(f"{path.name} is broken or of another layout; convert the official file again") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    if archive.getinfo(f"{name}.npy").file_size > MAX_ARRAY_BYTES:
        raise ValueError(f"array {name} is too large")
    array: npt.NDArray[Any] = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    return array


def _check(
    name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """The array as a tensor, if it is of this shape (None = any size) and holds finite numbers."""
    fits = len(shape) == array.ndim and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "fiu":
        wanted = tuple("any" if size is None else size for size in shape)
        raise _refusal(f"SMPL array {name} has shape {array.shape} and type {array.dtype}, needed are numbers {wanted}")
    values = torch.from_numpy(np.array(array, dtype=np.float64)).to(dtype)
    if not bool(torch.isfinite(values).all()):
        raise _refusal(f"SMPL array {name} holds numbers that are not finite")
    return values


def _hashes(path: Path, arrays: Arrays) -> dict[str, str]:
    return {path.stem: str(arrays[HASH_ARRAY])[:64]} if HASH_ARRAY in arrays else {}


def _refusal(detail: str) -> BadRequest:
    return BadRequest(f"postprocess=smplify: {detail}", field="postprocess")
