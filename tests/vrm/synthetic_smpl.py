"""A body model in SMPL's file layout, made of numbers of our own: blobs of vertices around 24 joints of a figure.

Nothing in it comes from SMPL but names, shapes and the tree of joints.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

Arrays = dict[str, npt.NDArray[Any]]

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

HALF = {  # pelvis, spine, head and the left side, m; the right side is the mirror image
    0: (0.0, -0.22, 0.03), 1: (0.06, -0.31, 0.02), 3: (0.0, -0.11, 0.0), 4: (0.1, -0.69, 0.01), 6: (0.0, 0.03, 0.0),
    7: (0.09, -1.09, -0.02), 9: (0.0, 0.08, 0.03), 10: (0.11, -1.15, 0.1), 12: (0.0, 0.29, 0.0),
    13: (0.08, 0.2, 0.0), 15: (0.0, 0.35, 0.05), 16: (0.17, 0.23, -0.01), 18: (0.43, 0.22, -0.03),
    20: (0.68, 0.22, -0.03), 22: (0.76, 0.22, -0.03),
}  # fmt: skip
MIRROR = {1: 2, 4: 5, 7: 8, 10: 11, 13: 14, 16: 17, 18: 19, 20: 21, 22: 23}
REST = np.zeros((24, 3))
for _joint, (_x, _y, _z) in HALF.items():
    REST[_joint] = _x, _y, _z
    if _joint in MIRROR:
        REST[MIRROR[_joint]] = -_x, _y, _z


def model_arrays(num_vertices: int = 200, num_betas: int = 10, seed: int = 0) -> Arrays:
    """The arrays of a model file, J_regressor dense. Vertex v hangs on joint v % 24, a little on its parent."""
    random = np.random.default_rng(seed)
    owner = np.arange(num_vertices) % 24
    parent = np.maximum(np.array(PARENTS)[owner], 0)
    share = random.uniform(0.0, 0.3, num_vertices)
    weights = np.zeros((num_vertices, 24))
    weights[np.arange(num_vertices), owner] += 1 - share
    weights[np.arange(num_vertices), parent] += share
    regressor = (owner == np.arange(24)[:, None]) / np.bincount(owner, minlength=24)[:, None]
    blobs = random.normal(0, 0.03, (num_vertices, 3))
    blobs -= (regressor @ blobs)[owner]  # the joint is the middle of its vertices
    shapedirs = 0.015 * REST[owner][..., None] * random.normal(0, 1, (1, 3, num_betas))
    return {
        "v_template": REST[owner] + blobs,
        "shapedirs": shapedirs + random.normal(0, 1e-3, (num_vertices, 3, num_betas)),
        "posedirs": random.normal(0, 1e-3, (num_vertices, 3, 207)),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)], dtype=np.uint32),
        "f": random.integers(0, num_vertices, (2 * num_vertices - 4, 3)).astype(np.uint32),
    }


def prior_arrays(components: int = 8, seed: int = 1) -> Arrays:
    """A wide mixture around relaxed poses."""
    random = np.random.default_rng(seed)
    mixing = random.normal(0, 0.06, (components, 69, 69))
    weights = random.uniform(0.5, 1.5, components)
    return {
        "means": random.normal(0, 0.1, (components, 69)),
        "covars": mixing @ mixing.transpose(0, 2, 1) + 0.05 * np.eye(69),
        "weights": weights / weights.sum(),
    }


def mean_arrays(seed: int = 2) -> Arrays:
    """Arms a little down, and the pelvis turned, as in the official file."""
    pose = np.random.default_rng(seed).normal(0, 0.05, 72)
    pose[[50, 53]] = -0.6, 0.6
    pose[:3] = 0.4, 0.3, 0.2
    return {"pose": pose, "shape": np.full(10, 0.2)}


def write_smpl(directory: Path, *, prior: bool = True, mean: bool = True, num_vertices: int = 200) -> Path:
    """A directory as the converter leaves it."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "SMPL_NEUTRAL.npz", **model_arrays(num_vertices), source_sha256=np.array("ab" * 32))
    if prior:
        np.savez(directory / "gmm_08.npz", **prior_arrays())
    if mean:
        np.savez(directory / "neutral_smpl_mean_params.npz", **mean_arrays())
    return directory


def dancing(frames: int, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Rotation vectors (T, 24, 3) and translations (T, 3): joints bend as people's do, the body turns right round."""
    random = np.random.default_rng(seed)
    time = np.arange(frames) / 20
    rotvecs = 0.15 * np.sin(time[:, None, None] * random.uniform(1, 4, (24, 3)) + random.uniform(0, 6, (24, 3)))
    bend = 0.6 + 0.5 * np.sin(2.0 * time[:, None] + random.uniform(0, 6, 4))
    rotvecs[:, [4, 5], 0] = bend[:, :2]  # knees
    rotvecs[:, 18, 1], rotvecs[:, 19, 1] = -bend[:, 2], bend[:, 3]  # elbows
    rotvecs[:, 16, 2], rotvecs[:, 17, 2] = -0.9, 0.9  # arms down
    rotvecs[:, 0] = [0.0, 1.0, 0.0] * (np.pi * np.sin(0.7 * time))[:, None]
    transl = np.stack([np.sin(time), 1.1 + 0.05 * np.cos(3 * time), 0.8 * time], axis=1)
    return torch.tensor(rotvecs).float(), torch.tensor(transl).float()


# --- the official files: pickles written by Python 2, with scipy and chumpy objects -----------------------------------


class _Python2Pickler(pickle._Pickler):
    """Writes arrays' bytes as the strings of Python 2."""

    dispatch = dict(pickle._Pickler.dispatch)

    def _save_bytes(self, data: bytes) -> None:
        if self.proto == 0:
            quoted = "".join(f"\\x{byte:02x}" for byte in data)
            self.write(f"S'{quoted}'\n".encode())
        else:
            self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = _save_bytes


def python2_pickle(value: object, protocol: int = 2) -> bytes:
    """The value as Python 2 would have pickled it, module names of old numpy and scipy included."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol, fix_imports=True).dump(value)
    data = buffer.getvalue()
    for new, old in ((b"numpy._core", b"numpy.core"), (b"scipy.sparse._csc", b"scipy.sparse.csc")):
        data = data.replace(new, old)
    return data


def official_model(arrays: Arrays, monkeypatch: pytest.MonkeyPatch, *, select: bool = False) -> dict[str, object]:
    """The arrays as the official file holds them: sparse regressor, chumpy around the shape directions."""
    sparse = pytest.importorskip("scipy.sparse")
    chumpy = {name: ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    plain = type("Ch", (), {"__module__": "chumpy.ch"})
    picked = type("Select", (), {"__module__": "chumpy.reordering"})
    chumpy["chumpy.ch"].Ch, chumpy["chumpy.reordering"].Select = plain, picked  # type: ignore[attr-defined]
    for name, module in chumpy.items():
        monkeypatch.setitem(sys.modules, name, module)
    directions = plain()
    directions.__dict__ = {"x": arrays["shapedirs"], "_dirty_vars": set(), "_parents": None, "_cache": None}
    if select:
        whole, directions = directions, picked()
        indices = np.arange(arrays["shapedirs"].size)
        directions.__dict__ = {"a": whole, "idxs": indices, "preferred_shape": arrays["shapedirs"].shape}
    return {
        **arrays,
        "shapedirs": directions,
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "J": REST,
    }
