"""Reads skeletal animations of a glTF binary as world transforms of named nodes. Knows nothing of any particular rig.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (animations: LINEAR and STEP samplers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pygltflib import GLTF2
from torch import Tensor

from motion_service.geometry.rotation import normalize, quat_multiply, quat_rotate, quat_slerp

_WIDTH: Mapping[str, int] = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True, slots=True)
class GltfAnimation:
    """One animation sampled at a fixed rate."""

    name: str
    rotations: Mapping[str, Tensor]
    """{node: (T, 4)} xyzw, world."""
    positions: Mapping[str, Tensor]
    """{node: (T, 3)} world, m."""
    fps: float


def read_gltf_animations(path: Path, fps: float) -> list[GltfAnimation]:
    """All animations of a ``.glb``, in file order, sampled every 1/fps seconds."""
    gltf = GLTF2().load_binary(str(path))
    blob = gltf.binary_blob()
    parents = {child: index for index, node in enumerate(gltf.nodes) for child in node.children or []}
    return [_sample(gltf, blob, animation, parents, fps) for animation in gltf.animations]


def _numbers(gltf: GLTF2, blob: bytes, accessor_index: int) -> NDArray[np.float32]:
    accessor = gltf.accessors[accessor_index]
    view = gltf.bufferViews[accessor.bufferView]
    width = _WIDTH[accessor.type]
    start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
    return np.frombuffer(blob, "<f4", accessor.count * width, start).reshape(-1, width).copy()


def _sample(gltf: GLTF2, blob: bytes, animation: object, parents: Mapping[int, int], fps: float) -> GltfAnimation:
    samplers, channels = animation.samplers, animation.channels  # type: ignore[attr-defined]
    times = [_numbers(gltf, blob, sampler.input)[:, 0] for sampler in samplers]
    begin, end = min(t[0] for t in times), max(t[-1] for t in times)
    frames = max(1, int((end - begin) * fps) + 1)
    clock = torch.from_numpy(begin + np.arange(frames, dtype=np.float32) / fps)
    tracks: dict[tuple[int, str], Tensor] = {}
    for channel in channels:
        if channel.target.path in ("rotation", "translation"):
            keys = torch.from_numpy(_numbers(gltf, blob, samplers[channel.sampler].output))
            tracks[channel.target.node, channel.target.path] = _at(
                clock, torch.from_numpy(times[channel.sampler]), keys
            )
    rotations: dict[int, Tensor] = {}
    positions: dict[int, Tensor] = {}

    def place(index: int) -> None:
        node = gltf.nodes[index]
        turn = tracks.get((index, "rotation"))
        if turn is None:
            turn = torch.tensor(node.rotation or [0.0, 0.0, 0.0, 1.0]).expand(frames, 4)
        shift = tracks.get((index, "translation"))
        if shift is None:
            shift = torch.tensor(node.translation or [0.0, 0.0, 0.0]).expand(frames, 3)
        parent = parents.get(index)
        if parent is None:
            rotations[index], positions[index] = normalize(turn), shift
            return
        if parent not in rotations:
            place(parent)
        rotations[index] = normalize(quat_multiply(rotations[parent], turn))
        positions[index] = positions[parent] + quat_rotate(rotations[parent], shift)

    for index in range(len(gltf.nodes)):
        if index not in rotations:
            place(index)
    names = {index: node.name for index, node in enumerate(gltf.nodes)}
    return GltfAnimation(
        animation.name,  # type: ignore[attr-defined]
        {names[i]: q for i, q in rotations.items()},
        {names[i]: p for i, p in positions.items()},
        fps,
    )


def _at(clock: Tensor, times: Tensor, keys: Tensor) -> Tensor:
    """Key values at the clock's instants: slerp for rotations (width 4), linear for the rest."""
    right = torch.searchsorted(times, clock).clamp(1, max(1, len(times) - 1)).clamp(max=len(times) - 1)
    left = (right - 1).clamp(min=0)
    span = (times[right] - times[left]).clamp(min=1e-6)
    amount = ((clock - times[left]) / span).clamp(0, 1)[:, None]
    if keys.shape[1] == 4:
        return quat_slerp(keys[left], keys[right], amount)
    return keys[left] * (1 - amount) + keys[right] * amount
