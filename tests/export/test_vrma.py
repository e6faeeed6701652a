"""VRMA files, read back by pygltflib and judged by the Khronos validator."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.export.vrma import EXTENSION, clip_to_vrma, gaze_to_quat, quat_to_gaze
from motion_service.humanoid import VRM_REQUIRED
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body, pose_body
from tests.browser.installed import HERE, demand_node_modules
from tests.export.moving import make_moving, make_whole_body

WHOLE_BODY = make_whole_body()


def lively(body: Body, num_frames: int = 60) -> VrmClip:
    """A clip with every kind of track."""
    phase = torch.arange(num_frames) / 10
    expressions = {name: torch.sin(phase + i).abs() for i, name in enumerate(["happy", "blink", "smug", "lookUp"])}
    gaze = torch.stack([0.4 * torch.sin(phase), 0.2 * torch.cos(phase)], dim=1)
    return replace(make_moving(body, num_frames), expressions=expressions, gaze=gaze)


class Read:
    """A file through pygltflib."""

    def __init__(self, data: bytes) -> None:
        self.gltf = GLTF2.load_from_bytes(data)
        self.extension: dict[str, Any] = self.gltf.extensions[EXTENSION]
        self.animation = self.gltf.animations[0]
        self.names = [node.name for node in self.gltf.nodes]

    def numbers(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        accessor = self.gltf.accessors[index]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
        blob = self.gltf.binary_blob()
        return np.frombuffer(blob, "<f4", accessor.count * width, accessor.byteOffset).reshape(-1, width).copy()

    def track(self, node: int, path: str) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        channels = [c for c in self.animation.channels if (c.target.node, c.target.path) == (node, path)]
        assert len(channels) <= 1
        return self.numbers(self.animation.samplers[channels[0].sampler].output) if channels else None

    def world(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """{node: (T, 3)} places by walking the nodes, as any glTF player does."""
        places: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}

        def walk(index: int, turn: Rotation | None, place: Any) -> None:
            node = self.gltf.nodes[index]
            shift = self.track(index, "translation")
            shift = np.array([node.translation or [0, 0, 0]]) if shift is None else shift
            place = place + (shift if turn is None else turn.apply(shift))
            spin = self.track(index, "rotation")
            local = Rotation.from_quat(np.array([[0, 0, 0, 1]]) if spin is None else spin)
            places[node.name] = place
            for child in node.children or []:
                walk(child, local if turn is None else turn * local, place)

        for root in self.gltf.scenes[0].nodes:
            walk(root, None, 0.0)
        return places


@pytest.mark.parametrize("body", [CANONICAL_BODY, MANNEQUIN_BODY, WHOLE_BODY], ids=["canonical", "mannequin", "whole"])
def test_a_plain_gltf_player_puts_every_bone_where_our_kinematics_do(body: Body) -> None:
    clip = make_moving(body)
    clip = replace(clip, rotations={b: q for b, q in clip.rotations.items() if not b.endswith("Eye")})
    read = Read(clip_to_vrma(clip, body))
    expected, _ = pose_body(body, clip)
    places = read.world()
    worst = max(float(np.abs(places[bone] - expected[:, i].numpy()).max()) for i, bone in enumerate(body.bones))
    assert worst < 5e-6


def test_rest_is_a_t_pose_of_bone_names_and_translations_with_the_hips_as_root() -> None:
    read = Read(clip_to_vrma(make_moving(), MANNEQUIN_BODY, "手を振る"))
    assert tuple(read.names) == MANNEQUIN_BODY.bones and read.gltf.scenes[0].nodes == [0]
    assert all(node.rotation is None and node.scale is None and node.matrix is None for node in read.gltf.nodes)
    assert read.gltf.nodes[0].translation == pytest.approx(MANNEQUIN_BODY.rest["hips"])
    assert read.animation.name == "手を振る" and read.extension["specVersion"] == "1.0"
    assert read.gltf.extensionsUsed == [EXTENSION]
    times = read.gltf.accessors[0]
    assert {sampler.input for sampler in read.animation.samplers} == {0}
    assert (times.type, times.min, times.max) == ("SCALAR", [0.0], [pytest.approx(59 / 20)])
    assert {sampler.interpolation for sampler in read.animation.samplers} == {"LINEAR"}


def test_every_required_bone_is_named_even_without_a_track() -> None:
    clip = make_moving()
    read = Read(clip_to_vrma(replace(clip, rotations={"hips": clip.rotations["hips"]}), MANNEQUIN_BODY))
    assert set(read.extension["humanoid"]["humanBones"]) == set(MANNEQUIN_BODY.bones) >= VRM_REQUIRED
    assert [channel.target.path for channel in read.animation.channels] == ["translation", "rotation"]
    lame = Body({bone: place for bone, place in MANNEQUIN_BODY.rest.items() if not bone.startswith("leftFoot")})
    with pytest.raises(BadRequest, match="leftFoot"):
        clip_to_vrma(clip, lame)


def test_a_clip_for_another_body_is_fitted() -> None:
    small = Body({bone: (x / 2, y / 2, z / 2) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    clip = make_moving(MANNEQUIN_BODY)
    fitted = clip_to_body(clip, small)
    assert clip_to_vrma(clip, small) == clip_to_vrma(fitted, small)
    hips = Read(clip_to_vrma(clip, small)).track(0, "translation")
    assert hips is not None and np.abs(hips - clip.hips.numpy() / 2).max() < 1e-6


def test_expressions_are_places_of_nodes_and_the_four_looks_are_left_out() -> None:
    clip = lively(MANNEQUIN_BODY)
    read = Read(clip_to_vrma(clip, MANNEQUIN_BODY))
    expressions = read.extension["expressions"]
    assert (set(expressions["preset"]), set(expressions["custom"])) == ({"happy", "blink"}, {"smug"})
    for name, ref in {**expressions["preset"], **expressions["custom"]}.items():
        place = read.track(ref["node"], "translation")
        assert place is not None and not place[:, 1:].any()
        assert np.array_equal(place[:, 0], clip.expressions[name].numpy())
    assert not any("look" in name for name in read.names[:-1])


def test_gaze_is_yaw_then_pitch_of_the_look_at_node_and_eyes_are_no_bones() -> None:
    clip = lively(WHOLE_BODY)
    assert clip.gaze is not None
    read = Read(clip_to_vrma(clip, WHOLE_BODY))
    quats = read.track(read.extension["lookAt"]["node"], "rotation")
    assert quats is not None
    extrinsic = Rotation.from_quat(quats).as_euler("zxy")  # small letters: about fixed axes, Z first
    assert np.abs(extrinsic[:, [2, 1]] - clip.gaze.numpy()).max() < 1e-6
    assert read.extension["lookAt"]["offsetFromHeadBone"] == pytest.approx([0, 0.06, 0.09])
    assert len(read.extension["humanoid"]["humanBones"]) == 53
    assert all(read.track(read.names.index(eye), "rotation") is None for eye in ("leftEye", "rightEye"))
    assert (quat_to_gaze(gaze_to_quat(clip.gaze)) - clip.gaze).abs().max() < 1e-6


def test_looking_left_and_down_is_positive() -> None:
    forward = Rotation.from_quat(gaze_to_quat(torch.tensor([[0.3, 0.2]])).numpy()).apply([[0.0, 0.0, 1.0]])[0]
    assert forward[0] > 0.2 and forward[1] < -0.1


def test_same_input_same_bytes() -> None:
    clip = lively(MANNEQUIN_BODY)
    assert clip_to_vrma(clip, MANNEQUIN_BODY, "a") == clip_to_vrma(clip, MANNEQUIN_BODY, "a")


def test_khronos_validator_finds_no_errors_and_no_warnings(tmp_path: Path) -> None:
    demand_node_modules()
    files = {
        "canonical": clip_to_vrma(make_moving(CANONICAL_BODY), CANONICAL_BODY),
        "lively": clip_to_vrma(lively(MANNEQUIN_BODY), MANNEQUIN_BODY, "手を振る"),
        "whole": clip_to_vrma(lively(WHOLE_BODY, 7), WHOLE_BODY),
        "one_frame": clip_to_vrma(lively(MANNEQUIN_BODY, 1), MANNEQUIN_BODY),
        "fast": clip_to_vrma(make_moving(num_frames=601, fps=119.88), MANNEQUIN_BODY),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.glb").write_bytes(data)
    paths = [str(tmp_path / f"{name}.glb") for name in files]
    command = ["node", str(HERE / "validate.mjs"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    reports = dict(zip(files, json.loads(done.stdout), strict=True))
    for name, report in reports.items():
        issues = report["issues"]
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), (name, issues["messages"])
    assert {report["info"]["animationCount"] for report in reports.values()} == {1}
