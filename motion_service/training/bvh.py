"""Reads BVH files: hierarchy, offsets and motion as world transforms. Knows nothing of any particular skeleton.

Format: https://research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff/BVH.html. Lengths keep the file's unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.geometry.rotation import euler_to_quat, quat_multiply, quat_rotate


@dataclass(frozen=True, slots=True)
class Bvh:
    """One BVH file. J joints, without end sites."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    """(J, 3) from the parent, the file's unit."""
    end_offsets: dict[str, tuple[float, float, float]]
    """{leaf joint: offset of its end site}."""
    channels: tuple[tuple[str, ...], ...]
    """Per joint, e.g. ("Xposition", ..., "Zrotation", "Xrotation", "Yrotation")."""
    motion: Tensor
    """(T, C) one row a frame, degrees and the file's unit."""
    fps: float

    def local_transforms(self) -> tuple[Tensor, Tensor]:
        """Local rotations (T, J, 4) xyzw and translations (T, J, 3). Position channels replace the OFFSET."""
        frames, joints = self.motion.shape[0], len(self.names)
        translations = self.offsets.expand(frames, joints, 3).clone()
        rotations = torch.zeros(frames, joints, 4)
        column = 0
        for joint, names in enumerate(self.channels):
            values = {name: self.motion[:, column + i] for i, name in enumerate(names)}
            column += len(names)
            order = "".join(name[0] for name in names if name.endswith("rotation"))
            angles = torch.stack([values[f"{axis}rotation"] for axis in order], dim=-1)
            rotations[:, joint] = euler_to_quat(torch.deg2rad(angles), order)
            for i, axis in enumerate("XYZ"):
                if f"{axis}position" in values:
                    translations[:, joint, i] = values[f"{axis}position"]
        return rotations, translations

    def world_transforms(self) -> tuple[Tensor, Tensor]:
        """World rotations (T, J, 4) xyzw and positions (T, J, 3)."""
        local, translations = self.local_transforms()
        world: list[Tensor] = []
        positions: list[Tensor] = []
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                world.append(local[:, joint])
                positions.append(translations[:, joint])
            else:
                world.append(quat_multiply(world[parent], local[:, joint]))
                positions.append(positions[parent] + quat_rotate(world[parent], translations[:, joint]))
        return torch.stack(world, dim=1), torch.stack(positions, dim=1)


def read_bvh(path: Path) -> Bvh:
    """Parse one file. Raises :class:`BadRequest` when it is not a BVH file."""
    hierarchy, found, motion = path.read_text(encoding="ascii", errors="replace").partition("MOTION")
    if not found:
        raise BadRequest(f"{path.name}: no MOTION section, this is not a BVH file")
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    ends: dict[str, tuple[float, float, float]] = {}
    stack: list[int] = []
    in_end = False
    for words in (line.split() for line in hierarchy.splitlines()):
        if not words:
            continue
        if words[0] in ("ROOT", "JOINT"):
            parents.append(stack[-1] if stack else -1)
            stack.append(len(names))
            names.append(words[1])
        elif words[0] == "End":
            in_end = True
        elif words[0] == "OFFSET":
            offset = [float(word) for word in words[1:4]]
            if in_end:
                ends[names[stack[-1]]] = (offset[0], offset[1], offset[2])
            else:
                offsets.append(offset)
        elif words[0] == "CHANNELS":
            channels.append(tuple(words[2:]))
        elif words[0] == "}":
            if in_end:
                in_end = False
            else:
                stack.pop()
    head, _, rows = motion.strip().partition("Frame Time:")
    seconds, _, numbers = rows.strip().partition("\n")
    table = np.array(numbers.split(), dtype=np.float32).reshape(int(head.split(":")[1]), -1)
    return Bvh(
        tuple(names),
        tuple(parents),
        torch.tensor(offsets),
        ends,
        tuple(channels),
        torch.from_numpy(table),
        1 / float(seconds),
    )
