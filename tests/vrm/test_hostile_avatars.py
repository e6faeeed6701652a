"""Whatever is in a file that calls itself an avatar, the answer is a 4xx that says what is wrong, in bounded memory."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motion_service.errors import MotionError
from motion_service.vrm.avatar import Avatar, read_avatar
from motion_service.vrm.glb import MAX_FILE, MAX_JSON
from motion_service.vrm.gltf import MAX_DEPTH, MAX_NODES
from tests.vrm.avatar_files import MANNEQUIN, MANNEQUINS, Json, any_rotations, make_avatar, make_document, pack, without

ROOT = Path(__file__).resolve().parents[2]
MAX_GROWTH = 200  # MB
GOOD = make_avatar()


def edited(edit: Callable[[Json], object], version: str = "1.0") -> bytes:
    document = make_document(version=version)
    edit(document)
    return pack(document)


def node(bone: str, **values: Any) -> bytes:
    """The mannequin with something strange at one bone."""
    return edited(lambda document: document["nodes"][list(MANNEQUIN).index(bone)].update(values))


def bones(edit: Callable[[Any], object], version: str = "1.0") -> bytes:
    """The mannequin with another list of bones."""
    return edited(lambda document: edit(next(iter(document["extensions"].values()))["humanoid"]["humanBones"]), version)


def with_json(name: str, text: str) -> bytes:
    """The mannequin with one more field of the document, as it stands."""
    return pack(json.dumps(make_document())[:-1].encode() + f', "{name}": {text}}}'.encode())


def chain(length: int, first: int = 0) -> list[Json]:
    """Nodes that each hang under the one before."""
    return [*({"children": [first + i + 1]} for i in range(length - 1)), {}]


def with_chain(length: int) -> bytes:
    """The mannequin beside a chain of nodes."""
    return edited(lambda document: document["nodes"].extend(chain(length, len(document["nodes"]))))


VIEW = {"buffer": 0, "byteLength": 64}
ACCESSOR = {"bufferView": 0, "componentType": 5126, "count": 1, "type": "VEC3"}


def sizes(buffer: Json, view: Json | None = None, accessor: Json | None = None) -> bytes:
    """The mannequin with 64 bytes of data and claims about them."""
    document = make_document()
    document["buffers"] = [{"byteLength": 64} | buffer]
    document["bufferViews"] = [VIEW | (view or {})]
    document["accessors"] = [ACCESSOR | (accessor or {})]
    return pack(document, b"\0" * 64)


CONTAINERS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "three bytes": lambda: GOOD[:3],
    "magic only": lambda: GOOD[:4],
    "half a header": lambda: GOOD[:9],
    "header only": lambda: GOOD[:12],
    "half a chunk header": lambda: GOOD[:17],
    "cut before the JSON": lambda: GOOD[:20],
    "cut in the JSON": lambda: GOOD[: len(GOOD) // 2],
    "cut before its last byte": lambda: GOOD[:-1],
    "cut in the binary": lambda: pack(make_document(), b"\0" * 999)[:-500],
    "one byte more": lambda: GOOD + b"\0",
    "another file after it": lambda: GOOD + GOOD,
    "wrong magic": lambda: b"GLTF" + GOOD[4:],
    "a zip": lambda: b"PK\x03\x04" + b"\0" * 100,
    "a text": lambda: b"hello, this is an avatar, really",
    "glTF as text": lambda: json.dumps(make_document()).encode(),
    "version 0": lambda: pack(make_document(), version=0),
    "version 1": lambda: pack(make_document(), version=1),
    "version 2^32-1": lambda: pack(make_document(), version=2**32 - 1),
    "length 0": lambda: pack(make_document(), length=0),
    "length 11": lambda: pack(make_document(), length=11),
    "length 12": lambda: pack(make_document(), length=12),
    "length 15": lambda: pack(make_document(), length=15),
    "length too short": lambda: pack(make_document(), length=len(GOOD) - 4),
    "length too long": lambda: pack(make_document(), length=len(GOOD) + 4),
    "length over the limit": lambda: pack(make_document(), length=MAX_FILE + 1),
    "length 4 GiB": lambda: pack(make_document(), length=2**32 - 1),
    "JSON length 0": lambda: pack(make_document(), json_length=0),
    "JSON length too short": lambda: pack(make_document(), json_length=8),
    "JSON length 4 GiB": lambda: pack(make_document(), json_length=2**32 - 1),
    "JSON of 16 MiB that is not there": lambda: pack(make_document(), json_length=MAX_JSON, length=MAX_JSON + 20),
    "JSON too long": lambda: pack(b'{"a": "' + b"x" * MAX_JSON + b'"}'),
    "binary chunk first": lambda: GOOD[:16] + b"BIN\0" + GOOD[20:],
    "a million chunks": lambda: (
        struct.pack("<4sII", b"glTF", 2, 8_000_012 + len(GOOD) - 12) + GOOD[12:] + b"\0\0\0\0BIN\0" * 1_000_000
    ),
}

DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: pack(b"this is not JSON"),
    "empty JSON": lambda: pack(b""),
    "zero bytes": lambda: pack(b"\0" * 64),
    "a list": lambda: pack(b"[]"),
    "null": lambda: pack(b"null"),
    "a number": lambda: pack(b"1e3"),
    "a string": lambda: pack(b'"avatar"'),
    "two objects": lambda: pack(b"{}{}"),
    "half an object": lambda: pack(b'{"nodes": ['),
    "bad UTF-8": lambda: pack(b'{"nodes": "\xff\xfe"}'),
    "UTF-16": lambda: pack(json.dumps(make_document()).encode("utf-16")),
    "half a surrogate pair": lambda: with_json("x", '"\\ud800"'),
    "half a surrogate pair as name": lambda: edited(
        lambda document: document["extensions"]["VRMC_vrm"]["meta"].update(name="\ud800")
    ),
    "nothing in it": lambda: pack(b"{}"),
    "no extension": lambda: edited(lambda document: document.pop("extensions")),
    "another extension": lambda: edited(lambda document: document.update(extensions={"VRMC_vrm_animation": {}})),
    "extensions a list": lambda: edited(lambda document: document.update(extensions=[])),
    "extension a text": lambda: edited(lambda document: document.update(extensions={"VRMC_vrm": "1.0"})),
    "extension empty": lambda: edited(lambda document: document.update(extensions={"VRMC_vrm": {}})),
    "extension 0.x empty": lambda: edited(lambda document: document.update(extensions={"VRM": {}})),
    "VRM 2.0": lambda: edited(lambda document: document["extensions"]["VRMC_vrm"].update(specVersion="2.0")),
    "version a number": lambda: edited(lambda document: document["extensions"]["VRMC_vrm"].update(specVersion=1.0)),
    "meta a list": lambda: edited(lambda document: document["extensions"]["VRMC_vrm"].update(meta=["a"])),
    "expressions a list": lambda: edited(lambda document: document["extensions"]["VRMC_vrm"].update(expressions=[1])),
    "1e999": lambda: with_json("x", "1e999"),
    "NaN": lambda: with_json("x", "NaN"),
    "Infinity": lambda: with_json("x", "-Infinity"),
    "5,000 digits": lambda: with_json("x", "1" * 5000),
    "JSON nested 10,000 deep": lambda: with_json("x", "[" * 10_000 + "]" * 10_000),
    "JSON nested and open": lambda: with_json("x", '{"a":' * 500_000),
    "a bomb of lists": lambda: with_json("x", "[" + "[]," * (5 * 2**20) + "[]]"),
    "a bomb of objects": lambda: with_json("x", "[" + '{"a":1},' * (2**21 - 999) + "1]"),
    "a bomb of numbers": lambda: with_json("x", "[" + "1," * (2**23 - 9999) + "1]"),
    "10^6 nodes": lambda: pack(json.dumps(make_document() | {"nodes": [{}] * 10**6}, separators=(",", ":")).encode()),
    "too many nodes": lambda: edited(lambda document: document["nodes"].extend({} for _ in range(MAX_NODES))),
    "10^5 wrong nodes": lambda: edited(lambda document: document.update(nodes=[1] * 10**5)),
    "10^5 wrong bones": lambda: bones(lambda entries: entries.update({f"b{i}": 0 for i in range(10**5)})),
    "10^5 bones of 0.x": lambda: bones(lambda entries: entries.extend([{"bone": "hips", "node": 0}] * 10**5), "0.x"),
    "10^5 children": lambda: node("head", children=[10**9] * 10**5),
}

NODES: dict[str, Callable[[], bytes]] = {
    "no nodes": lambda: edited(lambda document: document.pop("nodes")),
    "nodes an object": lambda: edited(lambda document: document.update(nodes={})),
    "nodes null": lambda: edited(lambda document: document.update(nodes=None)),
    "a node null": lambda: edited(lambda document: document["nodes"].append(None)),
    "its own child": lambda: node("hips", children=[0]),
    "its own grandchild": lambda: node("leftHand", children=[list(MANNEQUIN).index("leftUpperArm")]),
    "a cycle aside": lambda: edited(
        lambda document: document["nodes"].extend([{"children": [24]}, {"children": [23]}])
    ),
    "two parents": lambda: edited(lambda document: document["nodes"].append({"children": [1]})),
    "the same child twice": lambda: edited(lambda document: document["nodes"][-1].update(children=[0, 0])),
    "a child that is not there": lambda: node("head", children=[999]),
    "a child -1": lambda: node("head", children=[-1]),
    "a child 1.5": lambda: node("head", children=[1.5]),
    "a child as text": lambda: node("head", children=["5"]),
    "a child true": lambda: node("head", children=[True]),
    "children a number": lambda: node("head", children=3),
    "nested too deep": lambda: with_chain(MAX_DEPTH + 1),
    "a chain of all nodes": lambda: edited(lambda document: document.update(nodes=chain(MAX_NODES))),
    "translation of two": lambda: node("spine", translation=[0, 1]),
    "translation as text": lambda: node("spine", translation=["0", "1", "0"]),
    "translation huge": lambda: node("spine", translation=[0, 1e5, 0]),
    "translation 1e308": lambda: node("spine", translation=[0, 1e308, 0]),
    "translation null inside": lambda: node("spine", translation=[0, None, 0]),
    "rotation zero": lambda: node("spine", rotation=[0, 0, 0, 0]),
    "rotation of length 3": lambda: node("spine", rotation=[0, 3, 0, 0]),
    "rotation of three": lambda: node("spine", rotation=[0, 0, 1]),
    "scale zero": lambda: node("spine", scale=[1, 0, 1]),
    "scale negative": lambda: node("spine", scale=[-1, 1, 1]),
    "scale 1e300": lambda: node("spine", scale=[1e300] * 3),
    "scale 1e-300": lambda: node("spine", scale=[1e-300] * 3),
    "scales that multiply": lambda: edited(
        lambda document: [entry.update(scale=[1e5] * 3) for entry in document["nodes"]] and None
    ),
    "matrix of zeros": lambda: node("spine", matrix=[0] * 16),
    "matrix that mirrors": lambda: node("spine", matrix=[-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0.1, 0, 1]),
    "matrix with perspective": lambda: node("spine", matrix=[1, 0, 0, 9, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0.1, 0, 1]),
    "matrix of nine": lambda: node("spine", matrix=[1, 0, 0, 0, 1, 0, 0, 0, 1]),
    "matrix of 1e308": lambda: node("spine", matrix=[1e308] * 16),
    "hips in the floor": lambda: node("hips", translation=[0, 0, 0]),
    "hips under the floor": lambda: node("hips", translation=[0, -1, 0]),
    "hips as high as a house": lambda: node("hips", translation=[0, 95, 0]),
    "legs of no length": lambda: node("leftLowerLeg", translation=[0, 0, 0]),
}

HUMANOIDS: dict[str, Callable[[], bytes]] = {
    "no bones": lambda: bones(lambda entries: entries.clear()),
    "no hips": lambda: bones(lambda entries: entries.pop("hips")),
    "no left hand": lambda: bones(lambda entries: entries.pop("leftHand")),
    "no hips in 0.x": lambda: bones(lambda entries: entries.pop(0), "0.x"),
    "a bone on a missing node": lambda: bones(lambda entries: entries["head"].update(node=9999)),
    "a bone on node -1": lambda: bones(lambda entries: entries["head"].update(node=-1)),
    "a bone on node -1 in 0.x": lambda: bones(lambda entries: entries[5].update(node=-1), "0.x"),
    "a bone on node 2^63": lambda: bones(lambda entries: entries["head"].update(node=2**63)),
    "a bone on node 1.5": lambda: bones(lambda entries: entries["head"].update(node=1.5)),
    "a bone on a text": lambda: bones(lambda entries: entries["head"].update(node="head")),
    "a bone that is a list": lambda: bones(lambda entries: entries.update(head=[1])),
    "a bone without a node": lambda: bones(lambda entries: entries.update(head={})),
    "bones as a list in 1.0": lambda: edited(
        lambda document: document["extensions"]["VRMC_vrm"]["humanoid"].update(humanBones=[])
    ),
    "bones as an object in 0.x": lambda: edited(
        lambda document: document["extensions"]["VRM"]["humanoid"].update(humanBones={}), "0.x"
    ),
    "a bone twice in 0.x": lambda: bones(lambda entries: entries.append({"bone": "hips", "node": 22}), "0.x"),
    "a bone without a name": lambda: bones(lambda entries: entries.append({"node": 22}), "0.x"),
    "two bones on one node": lambda: bones(lambda entries: entries["leftHand"].update(node=0)),
    "head above the hips": lambda: bones(
        lambda entries: entries.update(head=entries["hips"], hips=entries["head"]),
    ),
    "arm on the other arm": lambda: bones(
        lambda entries: entries.update(leftHand=entries["rightHand"], rightHand=entries["leftHand"])
    ),
    "hand that hangs nowhere": lambda: bones(lambda entries: entries["leftHand"].update(node=22)),
}

SIZES: dict[str, Callable[[], bytes]] = {
    "a buffer of 10^12 bytes": lambda: sizes({"byteLength": 10**12}),
    "a buffer longer than its data": lambda: sizes({"byteLength": 65}),
    "a buffer of -1 bytes": lambda: sizes({"byteLength": -1}),
    "a buffer of 1e30 bytes": lambda: sizes({"byteLength": 1e30}),
    "a buffer in a short text": lambda: sizes(
        {"byteLength": 10**6, "uri": "data:application/octet-stream;base64,AAAA"}
    ),
    "a buffer in another file": lambda: sizes({"byteLength": 10**6, "uri": "file:///etc/passwd"}),
    "a buffer without data": lambda: pack(make_document() | {"buffers": [{"byteLength": 64}]}),
    "a view beyond its buffer": lambda: sizes({}, {"byteOffset": 1}),
    "a view of no buffer": lambda: sizes({}, {"buffer": 1}),
    "a view of buffer -1": lambda: sizes({}, {"buffer": -1}),
    "an accessor of 2^31 elements": lambda: sizes({}, {}, {"count": 2**31}),
    "an accessor beyond its view": lambda: sizes({}, {}, {"count": 6}),
    "an accessor of no view": lambda: sizes({}, {}, {"bufferView": 7}),
    "an accessor of type 7": lambda: sizes({}, {}, {"componentType": 7}),
    "an accessor of type VEC9": lambda: sizes({}, {}, {"type": "VEC9"}),
    "an empty accessor of 2^31": lambda: sizes({}, {}, {"bufferView": None, "count": 2**31}),
}

HOSTILE = {**CONTAINERS, **DOCUMENTS, **NODES, **HUMANOIDS, **SIZES}
LEAKS = re.compile(r"/work|/home|/tmp|/usr|/etc|\.py\b|0x[0-9a-f]|Traceback|pydantic|Error\b")


def assert_refused(read: Callable[[], Avatar]) -> None:
    with pytest.raises(MotionError) as refused:
        read()
    error = refused.value
    assert 400 <= error.status < 500 and error.field == "avatar"
    assert 25 <= len(error.detail) <= 300 and error.detail.isprintable(), error.detail
    assert not LEAKS.search(error.detail), error.detail
    assert ": " in error.detail or "; " in error.detail, "it says what to do"


def test_there_are_many_and_the_frame_around_them_is_good() -> None:
    assert len(HOSTILE) == sum(map(len, (CONTAINERS, DOCUMENTS, NODES, HUMANOIDS, SIZES))) >= 30
    assert read_avatar(GOOD).bones and read_avatar(sizes({})).bones
    assert read_avatar(pack(make_document(), b"\0" * 999)).bones and read_avatar(with_json("x", "1e9")).bones


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name: str) -> None:
    data = HOSTILE[name]()
    assert_refused(lambda: read_avatar(io.BytesIO(data)))


def test_limits_can_be_reached() -> None:
    deep = with_chain(MAX_DEPTH)
    many = edited(lambda document: document["nodes"].extend({} for _ in range(MAX_NODES - len(document["nodes"]))))
    assert read_avatar(deep).bones and read_avatar(many).bones


@pytest.mark.parametrize("version", MANNEQUINS)
def test_cut_off_anywhere(version: str) -> None:
    data = MANNEQUINS[version].read_bytes()
    for length in [*range(64), *range(64, len(data), 1499)]:
        assert_refused(lambda length=length: read_avatar(data[:length]))  # type: ignore[misc]


def test_any_bytes_changed() -> None:
    """An avatar or a refusal, never anything else."""
    dice = random.Random(1)
    refused = 0
    for _ in range(400):
        data = bytearray(GOOD)
        for _ in range(dice.choice([1, 1, 2, 8])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            read_avatar(bytes(data))
        except MotionError as error:
            assert 400 <= error.status < 500
            refused += 1
    assert refused > 100


EVIL: list[Any] = [None, True, -1, 0, 1.5, 2**31, 2**63, 1e308, -1e-308, "", "0", "\x00", [], [[]], {}, {"node": 0}]


def places_of(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a document."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places_of(value[key])]]


@pytest.mark.parametrize("version", ["1.0", "0.x"])
def test_anything_anywhere_in_the_document(version: str) -> None:
    """Every kind of value in random places of the JSON: an avatar or a refusal, never anything else."""
    dice = random.Random(2)
    document = make_document(version=version, places=without("upperChest"), turns=any_rotations(MANNEQUIN, 1))
    for _ in range(400):
        spoilt = copy.deepcopy(document)
        container, key = dice.choice(places_of(spoilt))
        container[key] = dice.choice(EVIL)
        try:
            avatar = read_avatar(pack(spoilt))
        except MotionError as error:
            assert 400 <= error.status < 500 and not LEAKS.search(error.detail), error.detail
        else:
            assert 0.05 <= avatar.hips_height <= 20


HEAVIEST = [
    "a bomb of lists", "a bomb of objects", "a bomb of numbers", "10^6 nodes", "too many nodes", "10^5 wrong nodes",
    "10^5 wrong bones", "10^5 children", "JSON too long", "JSON nested and open", "a million chunks",
    "a chain of all nodes", "JSON of 16 MiB that is not there",
]  # fmt: skip

BOMBS: dict[str, Callable[[], str]] = {
    "399,000 objects in objects": lambda: "[" + ",".join(['{"abcdefgh":' * 950 + "1" + "}" * 950] * 419) + "]",
    "wide text": lambda: '"😀' + "a" * (MAX_JSON - 8000) + '"',
    "many wide texts": lambda: "[" + ",".join(['"😀' + "a" * 34 + '"'] * 390_000) + "]",
}
"""Just under the limits, so they are parsed in full and the avatar is read."""

_MEASURE = r"""
import re, sys
from motion_service.errors import MotionError
from motion_service.vrm.avatar import read_avatar
def peak():
    with open("/proc/self/status") as status:  # ru_maxrss would begin with that of the parent process
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) // 1024
def read(path):
    with open(path, "rb") as file:
        try:
            read_avatar(file)
        except MotionError:
            pass
good, *hostile = sys.argv[1:]
read(good)
before = peak()
for path in hostile:
    read(path)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory as Linux tells it")
def test_memory_stays_small(tmp_path: Path) -> None:
    """The peak of a process that reads the heaviest files one after the other, over that of reading a good one."""
    files = {"good": GOOD, **{name: HOSTILE[name]() for name in HEAVIEST}}
    files |= {name: with_json("x", text()) for name, text in BOMBS.items()}
    paths = [tmp_path / str(i) for i in range(len(files))]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert 1 <= int(done.stdout) < MAX_GROWTH
    for name in BOMBS:
        assert read_avatar(files[name]).bones, "it reaches the parser"
