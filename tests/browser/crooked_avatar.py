"""An avatar as many are: its bones rest in whatever orientation the artist left them in, and it has no upperChest."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from tests.export.moving import decode_glb, encode_glb


def make_crooked(mannequin: bytes, seed: int = 5) -> bytes:
    """The VRM 1.0 mannequin with the same figure, every bone's rest turned at random, upperChest a mere node."""
    document, binary = decode_glb(mannequin)
    nodes, blob = document["nodes"], bytearray(binary)
    skin = document["skins"][0]
    joints: list[int] = skin["joints"]
    quats = np.random.default_rng(seed).normal(size=(len(joints), 4))
    turns = {joint: Rotation.from_quat(quat) for joint, quat in zip(joints, quats, strict=True)}
    parents = {child: index for index in joints for child in nodes[index].get("children", [])}
    places: dict[int, np.ndarray] = {}  # type: ignore[type-arg]
    for joint in joints:  # parents first
        above = turns[parents[joint]] if joint in parents else Rotation.identity()
        offset = np.array(nodes[joint]["translation"])
        places[joint] = offset + (places[parents[joint]] if joint in parents else 0)
        nodes[joint] |= {
            "translation": above.inv().apply(offset).tolist(),
            "rotation": (above.inv() * turns[joint]).as_quat().tolist(),
        }
    matrices = np.tile(np.eye(4), (len(joints), 1, 1))
    for row, joint in enumerate(joints):
        matrices[row, :3, :3] = turns[joint].as_matrix()
        matrices[row, :3, 3] = places[joint]
    columns = np.linalg.inv(matrices).transpose(0, 2, 1).astype("<f4").tobytes()  # glTF: column after column
    view = document["bufferViews"][document["accessors"][skin["inverseBindMatrices"]]["bufferView"]]
    blob[view["byteOffset"] : view["byteOffset"] + len(columns)] = columns
    del document["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]["upperChest"]
    return encode_glb(document, bytes(blob))
