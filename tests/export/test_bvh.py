"""BVH files, read back by bvhio."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion_service.clips import VrmClip
from motion_service.export.bvh import clip_to_bvh, quat_to_zxy
from motion_service.geometry.rotation import euler_to_quat, normalize, quat_angle, rotvec_to_quat
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, pose_body
from tests.export.moving import make_moving, make_whole_body

with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)  # bvhio imports PyGLM by its old name
    import bvhio

BODIES = {"canonical": CANONICAL_BODY, "mannequin": MANNEQUIN_BODY, "whole": make_whole_body()}


def read_places(path: Path, frames: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """{joint: (T, 3)} in metres."""
    root = bvhio.readAsHierarchy(str(path))
    places: dict[str, list[list[float]]] = {}
    for frame in range(frames):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            places.setdefault(joint.Name, []).append([value / 100 for value in joint.PositionWorld])
    return {name: np.array(rows) for name, rows in places.items()}


def worst_place(clip: VrmClip, body: Body, path: Path) -> float:
    path.write_text(clip_to_bvh(clip, body), encoding="ascii")
    places = read_places(path, clip.num_frames)
    expected, _ = pose_body(body, clip)
    assert set(places) == set(body.bones)
    return max(float(np.abs(places[bone] - expected[:, i].numpy()).max()) for i, bone in enumerate(body.bones))


@pytest.mark.parametrize("name", BODIES)
def test_bvhio_puts_every_bone_where_our_kinematics_do(name: str, tmp_path: Path) -> None:
    body = BODIES[name]
    assert worst_place(make_moving(body, 12, fps=4.0), body, tmp_path / "a.bvh") < 1e-5


def test_limbs_at_a_right_angle_about_x_survive(tmp_path: Path) -> None:
    """Sitting: the thighs' middle angle is 90 degrees, where Z and Y turn about the same axis."""
    clip = make_moving(num_frames=9)
    turns = [[-math.pi / 2 + d, 0.0, 0.0] for d in (-1e-3, -1e-5, -1e-7, 0, 0, 0, 1e-7, 1e-5, 1e-3)]
    thigh = rotvec_to_quat(torch.tensor(turns))
    clip = replace(clip, rotations={**clip.rotations, "leftUpperLeg": thigh, "rightUpperLeg": -thigh})
    assert worst_place(clip, MANNEQUIN_BODY, tmp_path / "a.bvh") < 1e-5


def test_angles_agree_with_scipy_and_invert() -> None:
    q = normalize(torch.randn(500, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    angles = quat_to_zxy(q)
    assert np.abs(angles.numpy() - Rotation.from_quat(q.numpy()).as_euler("ZXY")).max() < 1e-9
    assert quat_angle(euler_to_quat(angles, "ZXY"), q).max() < 1e-7


def test_skeleton_is_a_t_pose_in_centimetres_with_its_tips_on_the_floor() -> None:
    text = clip_to_bvh(make_moving(), MANNEQUIN_BODY)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[1:4] == ["ROOT hips", "{", "OFFSET 0.00000 0.00000 0.00000"]
    assert lines[4] == "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    assert lines.count("CHANNELS 3 Zrotation Xrotation Yrotation") == 21 and lines.count("End Site") == 5
    toes = lines[lines.index("JOINT leftToes") :]
    x, y, z = map(float, toes[toes.index("End Site") + 2].split()[1:])
    assert (x, y) == (0, -3) and z > 0
    assert "-0.00000" not in text and "Frames: 60" in lines and "Frame Time: 0.0500000000" in lines


def test_whole_turns_do_not_jump() -> None:
    """A figure that spins: programs that interpolate angles must not see +180 become -180."""
    clip = make_moving(CANONICAL_BODY, 80, widest=0.2)
    spin = rotvec_to_quat(torch.linspace(0, 12, 80)[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    text = clip_to_bvh(replace(clip, rotations={**clip.rotations, "hips": spin}), CANONICAL_BODY)
    rows = np.array([line.split() for line in text.partition("Frame Time")[2].splitlines()[1:]], dtype=float)
    assert np.abs(np.diff(rows[:, 3:], axis=0)).max() < 40
    assert rows[-1, 5] == pytest.approx(math.degrees(12), abs=1e-3)
