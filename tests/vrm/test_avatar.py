"""Avatars of every make come out as the same facts: VRM 1.0 and 0.x, any rest rotation, any root, any set of bones."""

from __future__ import annotations

import hashlib
import io
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from motion_service.config import Config
from motion_service.errors import BadRequest, MotionError, NotFound, StorageFailed
from motion_service.humanoid import VRM_PARENT, VRM_REQUIRED
from motion_service.main import load_defaults
from motion_service.vrm.avatar import MAX_EXPRESSIONS, Avatar, read_avatar
from motion_service.vrm.body import MANNEQUIN_BODY, Body
from motion_service.vrm.extension import PRESETS, PRESETS_0X
from motion_service.vrm.shelf import AvatarShelf
from tests.vrm.avatar_files import FULL, MANNEQUIN, MANNEQUINS, any_rotations, make_avatar, make_document, pack, without

VERSIONS = pytest.mark.parametrize("version", ["1.0", "0.x"])


def assert_same_body(got: Body, expected: Body) -> None:
    assert got.bones == expected.bones
    np.testing.assert_allclose(list(got.rest.values()), list(expected.rest.values()), atol=2e-6)


@VERSIONS
def test_shipped_mannequins(version: str) -> None:
    data = MANNEQUINS[version].read_bytes()
    avatar = read_avatar(data)
    assert_same_body(avatar.body, MANNEQUIN_BODY)
    assert (avatar.vrm_version, avatar.name, avatar.warnings) == (version, "Mannequin", ())
    assert avatar.id == hashlib.sha256(data).hexdigest()[:32]
    assert avatar.rest_pose.t_pose and avatar.rest_pose.largest_rotation_deg == avatar.rest_pose.arms_off_deg == 0
    assert (avatar.hips_height, avatar.expressions, avatar.has_look_at) == (0.95, (), False)
    assert set(avatar.bones) | set(avatar.missing_optional) == set(VRM_PARENT)
    assert not set(avatar.bones) & set(avatar.missing_optional)


def test_a_file_and_its_bytes_are_read_alike() -> None:
    path = MANNEQUINS["1.0"]
    with path.open("rb") as file:
        assert read_avatar(file) == read_avatar(path.read_bytes())


class _Dribble(io.BytesIO):
    """Gives at most seven bytes at a time, as a socket may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(7 if size is None or size < 0 else min(size, 7))


def test_short_reads_do_no_harm() -> None:
    data = make_avatar()
    assert read_avatar(_Dribble(data)) == read_avatar(data)


@VERSIONS
@pytest.mark.parametrize("as_matrix", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_rest_rotations_do_not_move_the_body(version: str, as_matrix: bool, seed: int) -> None:
    turns = any_rotations(FULL, seed)
    avatar = read_avatar(make_avatar(version=version, places=FULL, turns=turns, as_matrix=as_matrix))
    assert_same_body(avatar.body, Body(FULL))
    largest = max(2 * math.degrees(math.acos(min(1.0, abs(turn[3])))) for turn in turns.values())
    assert avatar.rest_pose.largest_rotation_deg == pytest.approx(largest, abs=0.02)


@VERSIONS
@pytest.mark.parametrize(
    "root",
    [{"scale": 0.01}, {"scale": 100.0}, {"translation": [0.3, 0.2, -5.0]}, {"scale": 0.5, "translation": [1, 2, 3]}],
    ids=str,
)
def test_roots_do_not_move_the_body(version: str, root: dict[str, Any]) -> None:
    turns = any_rotations(MANNEQUIN, 9)
    avatar = read_avatar(make_avatar(version=version, turns=turns, root=root))
    assert_same_body(avatar.body, MANNEQUIN_BODY)


@VERSIONS
def test_a_scaled_root_scales_the_body(version: str) -> None:
    """Halved by its root: what counts is where the bones are in the world."""
    document = make_document(version=version, root={"scale": 1.0})
    document["nodes"][-1] |= {"scale": [0.5, 0.5, 0.5], "translation": [0, 0, 0]}
    halved = Body({bone: (x / 2, y / 2, z / 2) for bone, (x, y, z) in MANNEQUIN.items()})
    assert_same_body(read_avatar(pack(document)).body, halved)


@VERSIONS
@pytest.mark.parametrize(
    "missing",
    [
        ("upperChest",),
        ("leftToes", "rightToes"),
        ("leftShoulder", "rightShoulder"),
        ("chest", "upperChest", "neck"),
        tuple(set(MANNEQUIN) - VRM_REQUIRED),
    ],
)
def test_optional_bones_may_lack(version: str, missing: tuple[str, ...]) -> None:
    places = without(*missing)
    avatar = read_avatar(make_avatar(version=version, places=places))
    assert_same_body(avatar.body, Body(places))
    assert set(missing) <= set(avatar.missing_optional)
    assert any("chest and neck" in warning for warning in avatar.warnings) == (version == "0.x" and "neck" in missing)


@VERSIONS
def test_fingers_and_eyes_have_vrm_1_names(version: str) -> None:
    avatar = read_avatar(make_avatar(version=version, places=FULL))
    assert avatar.bones == tuple(VRM_PARENT) and avatar.missing_optional == ()
    assert_same_body(avatar.body, Body(FULL))
    assert avatar.has_look_at


def test_thumbs_of_the_beta() -> None:
    document = make_document(places=FULL)
    bones = document["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]
    for side in ("left", "right"):
        bones[f"{side}ThumbIntermediate"] = bones.pop(f"{side}ThumbProximal")
        bones[f"{side}ThumbProximal"] = bones.pop(f"{side}ThumbMetacarpal")
    assert_same_body(read_avatar(pack(document)).body, Body(FULL))


def test_nodes_between_bones_and_broken_nodes_elsewhere() -> None:
    """A twist bone between two bones is fine, and so is a hidden accessory of size zero."""
    document = make_document()
    nodes = document["nodes"]
    chest = next(node for node in nodes if node["name"] == "chest")
    between = {"name": "between", "translation": [0, 0, 0], "children": chest["children"]}
    chest["children"] = [len(nodes), len(nodes) + 1]
    nodes += [between, {"name": "hidden", "scale": [0, 0, 0], "translation": [0, 1e6, 0]}]
    assert_same_body(read_avatar(pack(document)).body, MANNEQUIN_BODY)


def test_null_is_the_same_as_nothing() -> None:
    document = make_document(version="0.x")
    document["nodes"][-1] |= dict.fromkeys(["children", "matrix", "translation", "rotation", "scale"])
    document["extensions"]["VRM"]["meta"] = {"title": None}
    document["extensions"]["VRM"]["blendShapeMaster"] = None
    assert read_avatar(pack(document)).name == ""


def test_what_old_exporters_write() -> None:
    """An empty uri beside the data, a sparse accessor on view -1, nodes without mesh or skin at -1."""
    document = make_document(version="0.x")
    document["buffers"] = [{"byteLength": 61, "uri": ""}]
    document["bufferViews"] = [{"buffer": 0, "byteOffset": 1, "byteLength": 60}]
    document["accessors"] = [{"bufferView": -1, "componentType": 5126, "count": 9, "type": "VEC3"}]
    document["nodes"][3] |= {"mesh": -1, "skin": -1, "children": document["nodes"][3]["children"]}
    assert_same_body(read_avatar(pack(document, b"\0" * 61)).body, MANNEQUIN_BODY)


def test_expressions_of_vrm_1() -> None:
    document = make_document()
    document["extensions"]["VRMC_vrm"]["expressions"] = {
        "preset": {"happy": {}, "blink": {}, "aa": {}, "nonsense": {}},
        "custom": {"ジト目": {}, "": {}, "a\u202eb": {}, "x" * 81: {}, "happy": {}},
    }
    avatar = read_avatar(pack(document))
    assert avatar.expressions == ("happy", "blink", "aa", "ジト目")
    assert not avatar.has_look_at


def test_expressions_of_vrm_0_get_their_new_names() -> None:
    document = make_document(version="0.x")
    groups = [{"name": f"group {old}", "presetName": old} for old in PRESETS_0X]
    groups += [{"name": "Surprised", "presetName": "unknown"}, {"name": "Wink"}, {"presetName": "unknown"}]
    groups += [{"name": "joy again", "presetName": "Joy"}]
    document["extensions"]["VRM"]["blendShapeMaster"] = {"blendShapeGroups": groups}
    avatar = read_avatar(pack(document))
    assert avatar.expressions == (*PRESETS_0X.values(), "surprised", "Surprised", "Wink")
    assert avatar.own_names == {"surprised": "Surprised"}
    assert set(PRESETS_0X.values()) < PRESETS and avatar.has_look_at


@pytest.mark.parametrize(
    ("named", "looks"), [({}, False), ({"lookUp": {}}, True), ({"lookLeft": {}, "aa": {}}, True), ({"aa": {}}, False)]
)
def test_eyes_may_be_moved_by_expressions(named: dict[str, Any], looks: bool) -> None:
    document = make_document()
    document["extensions"]["VRMC_vrm"]["expressions"] = {"preset": named}
    assert read_avatar(pack(document)).has_look_at is looks


def test_many_expressions_are_cut() -> None:
    document = make_document()
    document["extensions"]["VRMC_vrm"]["expressions"] = {"custom": {f"e{i}": {} for i in range(MAX_EXPRESSIONS + 9)}}
    assert len(read_avatar(pack(document)).expressions) == MAX_EXPRESSIONS


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("  Alicia \t Solid\n", "Alicia Solid"),
        ("a\x00b\x1b[31m\u202ec", "a b [31m c"),
        ("ア" * 500, "ア" * 80),
        ("", ""),
    ],
)
def test_titles_become_one_clean_line(title: str, name: str) -> None:
    for version, field in (("1.0", "name"), ("0.x", "title")):
        document = make_document(version=version)
        extension = next(iter(document["extensions"].values()))
        extension["meta"] = {field: title}
        assert read_avatar(pack(document)).name == name


def pose_arms(degrees: float) -> dict[str, Any]:
    """The mannequin with its arms lowered."""
    places, (c, s) = dict(MANNEQUIN), (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        top = places[f"{side}UpperArm"]
        for bone in (f"{side}LowerArm", f"{side}Hand"):
            reach = abs(places[bone][0] - top[0])
            places[bone] = (top[0] + sign * reach * c, top[1] - reach * s, top[2])
    return places


@VERSIONS
@pytest.mark.parametrize(("degrees", "t_pose"), [(0, True), (19, True), (21, False), (45, False), (90, False)])
def test_a_pose_is_told(version: str, degrees: float, t_pose: bool) -> None:
    avatar = read_avatar(make_avatar(version=version, places=pose_arms(degrees)))
    assert avatar.rest_pose.arms_off_deg == pytest.approx(degrees, abs=0.01)
    assert avatar.rest_pose.t_pose is t_pose
    assert any("T-pose" in warning for warning in avatar.warnings) is not t_pose


def test_a_figure_that_faces_backwards_is_told() -> None:
    """A VRM 1.0 file whose left arm is at -X: its T-pose is 180 degrees off."""
    turned = {bone: (-x, y, -z) for bone, (x, y, z) in MANNEQUIN.items()}
    assert read_avatar(make_avatar(places=turned)).rest_pose.arms_off_deg == pytest.approx(180)


@pytest.mark.parametrize(("lift", "told"), [(-0.3, True), (0.0, False), (0.02, False), (0.5, True)])
def test_a_figure_that_floats_is_told(lift: float, told: bool) -> None:
    places = {bone: (x, y + lift, z) for bone, (x, y, z) in MANNEQUIN.items()}
    assert any("floor" in warning for warning in read_avatar(make_avatar(places=places)).warnings) is told


def test_other_oddities_are_told() -> None:
    document = make_document(places=without("chest"))
    document["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]["tail"] = {"node": 0}
    warnings = " ".join(read_avatar(pack(document)).warnings)
    assert "upperChest needs a chest" in warnings and "does not know" in warnings


def test_vrm_1_wins_when_a_file_is_both() -> None:
    document = make_document()
    document["extensions"]["VRM"] = make_document(version="0.x")["extensions"]["VRM"]
    assert read_avatar(pack(document)).vrm_version == "1.0"


# --- files of other makers -------------------------------------------------------------------------------------------


def bones_of(document: dict[str, Any]) -> Any:
    return next(iter(document["extensions"].values()))["humanoid"]["humanBones"]


UNASSIGNED: list[dict[str, Any]] = [{}, {"node": None}, {"node": -1}, {"node": -1.0}]


@VERSIONS
@pytest.mark.parametrize("entry", UNASSIGNED, ids=str)
def test_a_bone_without_a_node_is_not_assigned(version: str, entry: dict[str, Any]) -> None:
    document = make_document(version=version)
    if version == "0.x":
        bones_of(document).append({"bone": "jaw", **entry})
    else:
        bones_of(document)["jaw"] = entry
    avatar = read_avatar(pack(document))
    assert_same_body(avatar.body, MANNEQUIN_BODY)
    assert "jaw" in avatar.missing_optional and avatar.warnings == ()


def test_a_bone_that_is_null_is_not_assigned() -> None:
    document = make_document()
    bones_of(document)["jaw"] = None
    assert read_avatar(pack(document)).warnings == ()


@VERSIONS
@pytest.mark.parametrize("bone", ["hips", "head", "leftHand"])
@pytest.mark.parametrize("entry", UNASSIGNED, ids=str)
def test_a_required_bone_must_be_assigned(version: str, bone: str, entry: dict[str, Any]) -> None:
    document = make_document(version=version)
    if version == "0.x":
        bones = bones_of(document)
        bones[:] = [{"bone": bone, **entry} if old["bone"] == bone else old for old in bones]
    else:
        bones_of(document)[bone] = entry
    with pytest.raises(BadRequest, match=f"lacks {bone}: assign"):
        read_avatar(pack(document))


@VERSIONS
def test_a_whole_number_may_be_written_with_a_point(version: str) -> None:
    document = make_document(version=version)
    for node in document["nodes"]:
        if "children" in node:
            node["children"] = [float(child) for child in node["children"]]
    bones = bones_of(document)
    for entry in bones if version == "0.x" else bones.values():
        entry["node"] = float(entry["node"])
    avatar = read_avatar(pack(document))
    assert_same_body(avatar.body, MANNEQUIN_BODY)
    assert avatar.warnings == ()


@VERSIONS
@pytest.mark.parametrize(
    ("bone", "node", "warning"),
    [
        ("jaw", list(FULL).index("head"), "jaw: each shares its node"),
        ("leftEye", list(FULL).index("hips"), "leftEye: each shares its node"),
        ("leftEye", len(FULL), "leftEye: each does not hang under head"),
        ("leftShoulder", len(FULL), "leftShoulder: each does not hang under upperChest"),
        ("jaw", 9999, "jaw: each is on a node that is not there"),
        ("jaw", 1.5, "jaw: each is on a node that is not there"),
        ("jaw", "head", "jaw: each is on a node that is not there"),
        ("jaw", True, "jaw: each is on a node that is not there"),
    ],
)
def test_an_optional_bone_that_is_wrong_is_left_out(version: str, bone: str, node: object, warning: str) -> None:
    document = make_document(version=version, places=FULL)
    bones = bones_of(document)
    if version == "0.x":
        bones.sort(key=lambda entry: entry["bone"] != bone)  # its place in the list says nothing
        bones[0]["node"] = node
    else:
        bones[bone]["node"] = node
    avatar = read_avatar(pack(document))
    assert_same_body(avatar.body, Body({name: place for name, place in FULL.items() if name != bone}))
    assert any(warning in told for told in avatar.warnings)


@VERSIONS
def test_an_optional_bone_beside_the_way_to_a_required_one_is_left_out(version: str) -> None:
    """A chest that hangs under the spine as it should, but holds neither arms nor head."""
    document = make_document(version=version, places=without("upperChest", "neck", "leftShoulder", "rightShoulder"))
    bones, nodes = bones_of(document), document["nodes"]
    next(node for node in nodes if node["name"] == "spine")["children"].append(len(nodes))
    nodes.append({"name": "aside"})
    entry = next(entry for entry in bones if entry["bone"] == "chest") if version == "0.x" else bones["chest"]
    entry["node"] = len(nodes) - 1
    avatar = read_avatar(pack(document))
    assert "chest" in avatar.missing_optional and {"head", "leftHand"} <= set(avatar.bones)
    assert any("left out: chest" in told for told in avatar.warnings)


def test_of_a_bone_that_is_named_twice_the_first_counts() -> None:
    document = make_document(version="0.x", places=FULL)
    bones_of(document).append({"bone": "jaw", "node": len(FULL)})
    avatar = read_avatar(pack(document))
    assert_same_body(avatar.body, Body(FULL))
    assert any("jaw: each is named twice" in told for told in avatar.warnings)
    bones_of(document)[-1] = {"bone": "hips", "node": 0}  # twice the same is no doubt
    assert read_avatar(pack(document)).warnings == ()


@pytest.mark.parametrize("title", [5, 1.5, True, ["a"], {"a": 1}])
def test_a_title_that_is_no_text_is_ignored(title: object) -> None:
    for version, name in (("1.0", "name"), ("0.x", "title")):
        document = make_document(version=version)
        next(iter(document["extensions"].values()))["meta"] = {name: title}
        assert read_avatar(pack(document)).name == ""


@pytest.mark.parametrize(
    ("groups", "expressions", "own_names"),
    [
        ([("SURPRISED", "unknown")], ("surprised", "SURPRISED"), {"surprised": "SURPRISED"}),
        ([("Happy", None), ("Blink", "")], ("happy", "blink", "Happy", "Blink"), {"happy": "Happy", "blink": "Blink"}),
        ([("Happy", "unknown"), ("Joy", "joy")], ("happy", "Happy"), {}),
        ([("sad", "unknown")], ("sad",), {"sad": "sad"}),
        ([("Aa", "unknown"), ("Wink", "unknown")], ("Aa", "Wink"), {}),
    ],
)
def test_groups_that_bear_the_name_of_a_preset_are_taken_for_it(
    groups: list[tuple[str, str | None]], expressions: tuple[str, ...], own_names: dict[str, str]
) -> None:
    document = make_document(version="0.x")
    entries = [{"name": name, "presetName": preset} for name, preset in groups]
    document["extensions"]["VRM"]["blendShapeMaster"] = {"blendShapeGroups": entries}
    avatar = read_avatar(pack(document))
    assert (avatar.expressions, avatar.own_names) == (expressions, own_names)


# --- shelf ----------------------------------------------------------------------------------------------------------


def avatar_named(title: str) -> Avatar:
    document = make_document(places=FULL)
    document["extensions"]["VRMC_vrm"]["meta"]["name"] = title
    return read_avatar(pack(document))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "avatars"


def test_shelf_gives_back_what_was_put(directory: Path) -> None:
    avatar = avatar_named("a")
    for shelf in (AvatarShelf(directory), AvatarShelf(None)):
        with pytest.raises(NotFound, match="/v1/avatars"):
            shelf.get(avatar.id)
        assert shelf.put(avatar) is True
        assert shelf.put(avatar) is False
        assert shelf.get(avatar.id) == avatar
    assert [path.name for path in directory.iterdir()] == [f"{avatar.id}.json"]


def test_a_restart_keeps_ids(directory: Path) -> None:
    avatar = avatar_named("a")
    AvatarShelf(directory).put(avatar)
    again = AvatarShelf(directory)
    assert again.get(avatar.id) == avatar
    assert AvatarShelf(directory).put(avatar) is False


def test_the_oldest_go(directory: Path) -> None:
    avatars = [avatar_named(str(i)) for i in range(5)]
    for shelf in (AvatarShelf(directory, max_avatars=3), AvatarShelf(None, max_avatars=3)):
        for avatar in avatars:
            shelf.put(avatar)
        for gone in avatars[:2]:
            with pytest.raises(NotFound):
                shelf.get(gone.id)
        assert [shelf.get(kept.id).name for kept in avatars[2:]] == ["2", "3", "4"]
    assert len(list(directory.iterdir())) == 3


def test_a_pinned_avatar_stays(directory: Path) -> None:
    """The server's default is put once, at start, and must outlive any number of uploads."""
    default, *others = [avatar_named(str(i)) for i in range(6)]
    for shelf in (AvatarShelf(directory, max_avatars=2), AvatarShelf(None, max_avatars=2)):
        shelf.put(default, pinned=True)
        for avatar in others:
            shelf.put(avatar)
        assert shelf.get(default.id) == default
        assert [shelf.get(kept.id) for kept in others[-2:]] == others[-2:]
        with pytest.raises(NotFound):
            shelf.get(others[-3].id)
    assert (directory / f"{default.id}.json").is_file() and len(list(directory.iterdir())) == 3


def test_the_default_avatar_is_pinned(directory: Path) -> None:
    shelf = AvatarShelf(directory, max_avatars=1)
    defaults = load_defaults(Config(MOTION_DEFAULT_AVATAR=MANNEQUINS["1.0"]), shelf)
    for title in "abc":
        shelf.put(avatar_named(title))
    assert defaults.avatar is not None and shelf.get(defaults.avatar).name == "Mannequin"


def test_what_is_used_is_not_old(directory: Path) -> None:
    used, unused, new = [avatar_named(title) for title in ("used", "unused", "new")]
    shelf = AvatarShelf(directory, max_avatars=2)
    shelf.put(used)
    shelf.put(unused)
    shelf.get(used.id)
    AvatarShelf(directory, max_avatars=2).put(new)  # after a restart: only the files can tell
    again = AvatarShelf(directory, max_avatars=2)
    assert again.get(used.id) == used and again.get(new.id) == new
    with pytest.raises(NotFound):
        again.get(unused.id)


def test_nobody_waits_for_the_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, known, slow = AvatarShelf(directory), avatar_named("known"), avatar_named("slow")
    shelf.put(known)
    syncing, synced = threading.Event(), threading.Event()

    def fsync(file: int) -> None:
        syncing.set()
        assert synced.wait(20)

    monkeypatch.setattr(os, "fsync", fsync)
    with ThreadPoolExecutor(2) as threads:
        upload = threads.submit(shelf.put, slow)
        try:
            assert syncing.wait(10)
            assert threads.submit(shelf.get, known.id).result(10) == known
            assert not upload.done()
        finally:
            synced.set()
        assert upload.result(20) is True


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b'{"id": 1}', b"\xff\xfe", b"[" * 10_000, "another", "no hips"],
    ids=["empty", "half", "null", "other", "no UTF-8", "deep", "another id", "no hips"],
)
def test_a_spoilt_file_is_as_good_as_none(directory: Path, content: bytes | str) -> None:
    avatar = avatar_named("a")
    AvatarShelf(directory).put(avatar)
    file = directory / f"{avatar.id}.json"
    if content == "another":
        content = file.read_bytes().replace(avatar.id.encode(), b"0" * 32)
    elif content == "no hips":
        content = file.read_bytes().replace(b'"hips"', b'"tail"')
    assert isinstance(content, bytes)
    file.write_bytes(content)
    shelf = AvatarShelf(directory)
    with pytest.raises(NotFound, match="upload it again") as lost:
        shelf.get(avatar.id)
    assert lost.value.__cause__ is not None
    assert shelf.put(avatar) is False and AvatarShelf(directory).get(avatar.id) == avatar, "uploading it again mends it"


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "secret", "A" * 32, "0" * 31, "0" * 33, "/etc/passwd"])
def test_no_other_file_can_be_read(directory: Path, name: str) -> None:
    directory.mkdir(parents=True)
    whole = TypeAdapter(Avatar).dump_json(avatar_named("a"))
    for place in (directory / "secret.json", directory.parent / "secret.json"):
        place.write_bytes(whole)
    with pytest.raises(NotFound):
        AvatarShelf(directory).get(name)


def test_a_disk_that_refuses_is_told_without_a_path(directory: Path) -> None:
    directory.parent.mkdir(parents=True)
    directory.write_text("a file where the directory should be")
    with pytest.raises(StorageFailed) as refused:
        AvatarShelf(directory).put(avatar_named("a"))
    assert isinstance(refused.value, MotionError) and str(directory) not in refused.value.detail
