"""The mannequin avatar: the files are what the script writes, and they say what the humanoid tables say."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pygltflib
import pytest

from motion_service.humanoid import CANONICAL_BONES, CANONICAL_REST, UPPER_CHEST_REST, VRM_PARENT, VRM_REQUIRED

ROOT = Path(__file__).resolve().parents[1]
FILES = {1: "mannequin.vrm", 0: "mannequin_vrm0.vrm"}
TURN = np.array([-1.0, 1.0, -1.0])
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
DTYPES = {5126: "<f4", 5123: "<u2", 5121: "u1"}


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "scripts/motion/make_mannequin"), run_name="make_mannequin"))


def load(vrm: int) -> pygltflib.GLTF2:
    return pygltflib.GLTF2().load_binary(str(ROOT / "motion_service/web/avatars" / FILES[vrm]))


def accessor(gltf: pygltflib.GLTF2, index: int) -> npt.NDArray[np.float64]:
    entry = gltf.accessors[index]
    view = gltf.bufferViews[entry.bufferView]
    width = WIDTHS[entry.type]
    data = np.frombuffer(gltf.binary_blob(), DTYPES[entry.componentType], entry.count * width, view.byteOffset)
    return data.reshape(-1, width).astype(np.float64)


def world_places(gltf: pygltflib.GLTF2) -> dict[str, npt.NDArray[np.float64]]:
    """Rest world positions by walking the node tree; no node may turn or scale."""
    places = {}

    def walk(index: int, origin: npt.NDArray[np.float64]) -> None:
        node = gltf.nodes[index]
        assert node.rotation is None and node.scale is None and node.matrix is None
        places[node.name] = origin + np.array(node.translation or (0, 0, 0))
        for child in node.children or []:
            walk(child, places[node.name])

    for root in gltf.scenes[gltf.scene].nodes:
        walk(root, np.zeros(3))
    return places


def human_bones(gltf: pygltflib.GLTF2, vrm: int) -> dict[str, str]:
    """{VRM bone: node name}"""
    if vrm == 1:
        entries = gltf.extensions["VRMC_vrm"]["humanoid"]["humanBones"]
        return {bone: gltf.nodes[entry["node"]].name for bone, entry in entries.items()}
    return {e["bone"]: gltf.nodes[e["node"]].name for e in gltf.extensions["VRM"]["humanoid"]["humanBones"]}


@pytest.mark.parametrize("vrm", FILES)
def test_committed_file_equals_what_the_script_writes(script: SimpleNamespace, vrm: int) -> None:
    written = script.mannequin_to_glb(vrm)
    assert written == script.mannequin_to_glb(vrm)
    assert (ROOT / "motion_service/web/avatars" / FILES[vrm]).read_bytes() == written
    assert len(written) < 150_000


@pytest.mark.parametrize("vrm", FILES)
def test_bones_are_mapped_by_name(vrm: int) -> None:
    gltf = load(vrm)
    bones = human_bones(gltf, vrm)
    assert set(bones) == {*CANONICAL_BONES, "upperChest"} >= VRM_REQUIRED
    assert all(bone == node for bone, node in bones.items())
    assert gltf.extensionsUsed == ["VRMC_vrm" if vrm else "VRM"]
    parents = {gltf.nodes[child].name: node.name for node in gltf.nodes for child in node.children or []}
    assert {bone: parents.get(bone) for bone in bones} == {bone: VRM_PARENT[bone] for bone in bones}


@pytest.mark.parametrize("vrm", FILES)
def test_rest_pose_equals_humanoid_tables(vrm: int) -> None:
    places = world_places(load(vrm))
    expected = {**dict(zip(CANONICAL_BONES, CANONICAL_REST, strict=True)), "upperChest": UPPER_CHEST_REST}
    for bone, place in expected.items():
        np.testing.assert_allclose(places[bone], np.array(place) * (1 if vrm else TURN), atol=1e-6)


@pytest.mark.parametrize("vrm", FILES)
def test_inverse_bind_matrices_undo_the_rest_pose(vrm: int) -> None:
    gltf = load(vrm)
    places = world_places(gltf)
    skin = gltf.skins[0]
    inverse = accessor(gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)  # column-major
    for joint, matrix in zip(skin.joints, inverse, strict=True):
        rest = np.eye(4)
        rest[:3, 3] = places[gltf.nodes[joint].name]
        np.testing.assert_allclose(matrix @ rest, np.eye(4), atol=1e-6)


@pytest.mark.parametrize("vrm", FILES)
def test_mesh_is_closed_and_shows_its_outside(vrm: int) -> None:
    gltf = load(vrm)
    primitive = gltf.meshes[0].primitives[0]
    points, normals = accessor(gltf, primitive.attributes.POSITION), accessor(gltf, primitive.attributes.NORMAL)
    triangles = accessor(gltf, primitive.indices).astype(int).reshape(-1, 3)
    joints = accessor(gltf, primitive.attributes.JOINTS_0)[:, 0]
    weights = accessor(gltf, primitive.attributes.WEIGHTS_0)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    face = np.cross(b - a, c - a)
    assert ((face * normals[triangles].mean(axis=1)).sum(axis=1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    assert set(joints) == set(range(22)) and (weights.sum(axis=1) == 255).all()
    assert -0.005 < points[:, 1].min() <= 0.001  # soles on the floor


def test_left_is_blue_and_right_is_red_and_the_nose_is_in_front() -> None:
    for vrm, facing in ((1, 1.0), (0, TURN)):
        gltf = load(vrm)
        attributes = gltf.meshes[0].primitives[0].attributes
        points, colours = accessor(gltf, attributes.POSITION) * facing, accessor(gltf, attributes.COLOR_0)[:, :3]
        red, blue = colours[:, 0] > 2 * colours[:, 2], colours[:, 2] > 2 * colours[:, 0]
        assert (points[blue, 0] > -0.02).all() and (points[red, 0] < 0.02).all()  # shoulders begin inside the chest
        assert blue.sum() == red.sum() > 500
        face = (colours.max(axis=1) < 80) & (points[:, 1] > 1.5)
        assert face.any() and (points[face, 2] > 0.05).all()


def test_twin_is_the_same_body_turned_half_around() -> None:
    new, old = load(1), load(0)
    places = [accessor(gltf, gltf.meshes[0].primitives[0].attributes.POSITION) for gltf in (new, old)]
    np.testing.assert_allclose(places[1], places[0] * TURN, atol=1e-6)


def test_licences_are_free() -> None:
    meta = load(1).extensions["VRMC_vrm"]["meta"]
    assert meta["licenseUrl"] == "https://vrm.dev/licenses/1.0/"  # readers refuse any other
    assert "publicdomain/zero" in meta["otherLicenseUrl"] and meta["allowRedistribution"]
    assert load(0).extensions["VRM"]["meta"]["licenseName"] == "CC0"
