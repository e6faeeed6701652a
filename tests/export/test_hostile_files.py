"""What the readers of clips refuse: files that are broken, absurd, or of another kind. Always BadRequest, no crash."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from motion_service.errors import BadRequest
from motion_service.export.bvh import clip_to_bvh
from motion_service.export.keys import MAX_FRAMES
from motion_service.export.read import json_to_clip
from motion_service.export.read_bvh import bvh_to_clip
from motion_service.export.read_vrma import vrma_to_clip
from motion_service.export.vrm_json import encode_response
from motion_service.export.vrma import EXTENSION, clip_to_vrma
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY
from tests.export.moving import decode_glb, edit_vrma, encode_glb, make_moving

KEY = {"t": 0, "x": 0, "y": 0, "z": 0, "w": 1}
NAN = float("nan")


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[", b"[]", b"7", b'{"tracks": NaN}', b"\xff\xfe", b"[" * 5000,
        {}, {"tracks": []}, {"tracks": {"tail": [KEY]}}, {"tracks": {"head": []}}, {"tracks": {"head": "txyzw"}},
        {"tracks": {"head": [[0, 0, 0, 0, 1]]}}, {"tracks": {"head": [{**KEY, "w": None}]}},
        {"tracks": {"head": [{**KEY, "w": "1"}]}}, {"tracks": {"head": [{**KEY, "w": [1]}]}},
        {"tracks": {"head": [{**KEY, "w": 10**400}]}}, {"tracks": {"head": [{**KEY, "x": NAN}]}},
        {"tracks": {"head": [{**KEY, "w": 2}]}}, {"tracks": {"head": [{**KEY, "w": 0}]}},
        {"tracks": {"head": [KEY, KEY]}}, {"tracks": {"head": [{**KEY, "t": -1}]}},
        {"tracks": {"head": [KEY, {**KEY, "t": 1e9}]}}, {"tracks": {"head": [KEY] * (MAX_FRAMES + 1)}},
        {"tracks": {"head": [KEY]}, "fps": 0}, {"tracks": {"head": [KEY]}, "fps": "20"},
        {"tracks": {"head": [KEY]}, "fps": True}, {"tracks": {"head": [KEY]}, "fps": 1e300},
        {"tracks": {"head": [KEY]}, "fps": 10**400}, {"tracks": {"head": [KEY]}, "fps": NAN},
        {"tracks": {"head": [KEY]}, "root_position": [{"t": 0, "x": 1}]},
        {"tracks": {"head": [KEY]}, "metadata": {"rest_hips_height": 0}},
        {"tracks": {"head": [KEY]}, "metadata": {"rest_hips_height": NAN}},
        {"tracks": {"head": [KEY]}, "expressions": [1]},
        {"tracks": {"head": [KEY]}, "expressions": {"happy": [{"t": 0}]}},
        {"tracks": {"head": [KEY]}, "expressions": {str(i): [{"t": 0, "weight": 0}] for i in range(101)}},
        {"tracks": {"head": [KEY]}, "look_at": [{"t": 0, "yaw": 1}]},
    ],
)  # fmt: skip
def test_json_that_is_no_clip_is_refused(document: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        json_to_clip(document)
    assert caught.value.field == "clip" and len(caught.value.detail) < 200


ROW = {"t": 0, "x": 0, "y": 1, "z": 0}
FAR = [{**ROW, "t": i, "x": 1e18 * (-1) ** i} for i in range(4)]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tracks": {"spine": [{name: [number] for name, number in KEY.items()}]}}, "tracks.spine"),
        ({"tracks": {"spine": [dict.fromkeys(KEY, [])]}}, "tracks.spine"),
        ({"tracks": {"spine": [{**KEY, "t": True}]}}, "tracks.spine"),
        ({"root_position": [{name: [number] for name, number in ROW.items()}]}, "root_position"),
        ({"root_position": [{**ROW, "x": False}]}, "root_position"),
        ({"root_position": [{**ROW, "x": 1e300}]}, "root_position"),
        ({"root_position": [{**ROW, "x": 1e20}]}, "root_position"),
        ({"root_position": [{**ROW, "z": -1001}]}, "root_position"),
        ({"root_position": FAR}, "root_position"),
        ({"expressions": {"happy": [{"t": [0], "weight": [0.3]}]}}, "expressions.happy"),
        ({"expressions": {"happy": [{"t": [], "weight": []}]}}, "expressions.happy"),
        ({"expressions": {"happy": [{"t": 0, "weight": True}]}}, "expressions.happy"),
        ({"look_at": [{"t": [0], "yaw": [0], "pitch": [0]}]}, "look_at"),
        ({"metadata": {"rest_hips_height": 1e-30}}, "metadata.rest_hips_height"),
        ({"metadata": {"rest_hips_height": 0.0499}}, "metadata.rest_hips_height"),
        ({"metadata": {"rest_hips_height": 20.1}}, "metadata.rest_hips_height"),
        ({"metadata": {"rest_hips_height": math.inf}}, "metadata.rest_hips_height"),
    ],
)  # fmt: skip
def test_refusals_name_the_track(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest) as caught:
        json_to_clip({"tracks": {"head": [KEY]}, **fields})
    assert caught.value.field == "clip" and caught.value.detail.startswith(f"{named}: ")


BAD_NAMES = ["", "\ud800", "a\ud800", "\n", "a\0", "\x7f", "\u2028", "\u202e", "a" * 81]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_of_expressions_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="^expressions: .*1 to 80 printable") as caught:
        json_to_clip({"tracks": {"head": [KEY]}, "expressions": {name: [{"t": 0, "weight": 0}]}})
    assert caught.value.field == "clip" and caught.value.detail.isprintable() and len(caught.value.detail) < 200


@pytest.mark.parametrize("name", ["a", "a" * 80, "笑い　目", "Joy 2", "ё"])
def test_names_in_any_language_are_read(name: str) -> None:
    read = json_to_clip({"tracks": {"head": [KEY]}, "expressions": {name: [{"t": 0, "weight": 0.5}]}})
    assert read.expressions[name].tolist() == [0.5]


def test_contacts_beyond_float32_are_found_anew() -> None:
    read = json_to_clip({"tracks": {"head": [KEY]}, "metadata": {"contacts": [[1e300] * 4]}})
    assert read.contacts.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("contacts", [None, "x", [[1, 2]], [["a"] * 4], [[NAN] * 4], [1], [[0, 0, 0, 0]] * 3])
def test_contacts_that_are_no_contacts_are_found_anew(contacts: Any) -> None:
    read = json_to_clip({"tracks": {"head": [KEY]}, "metadata": {"contacts": contacts}})
    assert read.contacts.tolist() == [[1, 1, 1, 1]]


def broken(change: Callable[[dict[str, Any]], object]) -> bytes:
    return edit_vrma(make_moving(num_frames=3), change)


def animation(document: dict[str, Any]) -> Any:
    return document["animations"][0]


def speak(document: dict[str, Any], name: str) -> None:
    """An expression of this name on the moving node of the hips."""
    document["extensions"][EXTENSION]["expressions"] = {"custom": {name: dict(bones(document)["hips"])}}


def bones(document: dict[str, Any]) -> Any:
    return document["extensions"][EXTENSION]["humanoid"]["humanBones"]


HOSTILE_VRMA: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"glTF but not really, only text that is long enough",
    "cut": lambda: clip_to_vrma(make_moving(num_frames=3), MANNEQUIN_BODY)[:-40],
    "long": lambda: clip_to_vrma(make_moving(num_frames=3), MANNEQUIN_BODY) + b"\0" * 8,
    "not json": lambda: encode_glb(b"{]", b""),
    "a list": lambda: encode_glb(b"[]", b""),
    "deep": lambda: encode_glb(b"[" * 100_000, b""),
    "no extension": lambda: broken(lambda d: d.pop("extensions")),
    "no animation": lambda: broken(lambda d: d.update(animations=[])),
    "no hips": lambda: broken(lambda d: bones(d).pop("hips")),
    "bone nowhere": lambda: broken(lambda d: bones(d)["head"].update(node=99)),
    "negative bone": lambda: broken(lambda d: bones(d)["head"].update(node=-1)),
    "cycle": lambda: broken(lambda d: d["nodes"][-1].update(children=[0])),
    "nan rest": lambda: broken(lambda d: d["nodes"][0].update(translation=[0, "NaN", 0])),
    "flat hips": lambda: broken(lambda d: d["nodes"][0].update(translation=[0, 0, 0])),
    "low hips": lambda: broken(lambda d: d["nodes"][0].update(translation=[0, 0.04, 0])),
    "high hips": lambda: broken(lambda d: d["nodes"][0].update(translation=[0, 21, 0])),
    "far away": lambda: encode_places(1001.0),
    "beyond sense": lambda: encode_places(1e30),
    "nameless expression": lambda: broken(lambda d: speak(d, "")),
    "expression of control characters": lambda: broken(lambda d: speak(d, "a\n")),
    "expression of half a character": lambda: broken(lambda d: speak(d, "\ud800")),
    "zero scale": lambda: broken(lambda d: d["nodes"][0].update(scale=[0, 0, 0])),
    "sampler nowhere": lambda: broken(lambda d: animation(d)["channels"][0].update(sampler=999)),
    "accessor nowhere": lambda: broken(lambda d: animation(d)["samplers"][0].update(output=999)),
    "cubic": lambda: broken(lambda d: animation(d)["samplers"][0].update(interpolation="CUBICSPLINE")),
    "twice": lambda: broken(lambda d: animation(d)["channels"].append(animation(d)["channels"][0])),
    "vec3 rotation": lambda: broken(lambda d: animation(d)["samplers"][1].update(output=1)),
    "huge count": lambda: broken(lambda d: d["accessors"][1].update(count=2**24)),
    "beyond view": lambda: broken(lambda d: d["accessors"][-1].update(byteOffset=2**20)),
    "bad component": lambda: broken(lambda d: d["accessors"][1].update(componentType=5125)),
    "sparse": lambda: broken(lambda d: d["accessors"][1].update(sparse={"count": 1})),
    "outside data": lambda: broken(lambda d: d["buffers"][0].update(uri="file:///etc/passwd" + "a" * 4000)),
    "times not rising": lambda: broken(lambda d: d["accessors"][0].update(byteOffset=12)),
    "infinite times": lambda: encode_times(b"\0\0\0\0" + struct.pack("<f", math.inf) * 2),
    "a day": lambda: encode_times(struct.pack("<3f", 0, 1, 86400)),
    "no quaternions": lambda: broken(lambda d: [a.update(byteOffset=0) for a in d["accessors"] if a["type"] == "VEC4"]),
}  # fmt: skip


def encode_times(times: bytes) -> bytes:
    """A file of three keys at these times."""
    document, binary = decode_glb(clip_to_vrma(make_moving(num_frames=3), MANNEQUIN_BODY))
    return encode_glb(document, times + binary[12:])


def encode_places(x: float) -> bytes:
    """A file whose hips are at x throughout."""
    clip = make_moving(num_frames=3)
    return clip_to_vrma(replace(clip, hips=clip.hips + torch.tensor([x, 0.0, 0.0])), MANNEQUIN_BODY)


@pytest.mark.parametrize("name", HOSTILE_VRMA)
def test_vrma_that_is_no_clip_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        vrma_to_clip(HOSTILE_VRMA[name]())
    assert caught.value.field == "clip" and len(caught.value.detail) < 300


def bvh() -> str:
    return clip_to_bvh(make_moving(num_frames=3), MANNEQUIN_BODY)


SWAP = {"head": "leftHand", "leftHand": "head"}
ROOT_CHANNELS = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
HOSTILE_BVH: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "text": lambda: "HIERARCHY\nMOTION\nhello",
    "no joints": lambda: "HIERARCHY\nMOTION\nFrames: 1\nFrame Time: 0.05\n1 2 3\n",
    "cut": lambda: bvh()[:-200],
    "no numbers": lambda: bvh().rpartition("Frame Time: ")[0] + "Frame Time: 0.05\n",
    "word among numbers": lambda: bvh()[:-20] + "abc\n",
    "nan": lambda: bvh().rpartition(" ")[0] + " nan\n",
    "no frames": lambda: bvh().replace("Frames: 3", "Frames: 0"),
    "many frames": lambda: bvh().replace("Frames: 3", "Frames: 999999"),
    "more frames": lambda: bvh().replace("Frames: 3", "Frames: 4"),
    "no frame time": lambda: bvh().replace("0.0500000000", "0"),
    "infinite frame time": lambda: bvh().replace("0.0500000000", "1e999"),
    "foreign joint": lambda: bvh().replace("JOINT head", "JOINT Head"),
    "joint twice": lambda: bvh().replace("JOINT head", "JOINT neck"),
    "swapped joints": lambda: re.sub("JOINT (head|leftHand)", lambda m: "JOINT " + SWAP[m[1]], bvh()),
    "two offsets": lambda: bvh().replace("OFFSET", "OFFSET 0 0 0\nOFFSET", 2),
    "no offset": lambda: bvh().replace("OFFSET 0.00000 0.00000 0.00000\n", ""),
    "offset of words": lambda: bvh().replace("OFFSET 0.00000", "OFFSET up", 1),
    "infinite offset": lambda: bvh().replace("OFFSET 0.00000", "OFFSET inf", 1),
    "other order": lambda: bvh().replace("Zrotation Xrotation Yrotation", "Xrotation Yrotation Zrotation"),
    "other words": lambda: bvh().replace("HIERARCHY", "SKELETON"),
    "deep": lambda: "HIERARCHY\n" + "JOINT head\n{\n" * 5000 + "MOTION\nFrames: 1\nFrame Time: 0.05\n1\n",
    "two roots": lambda: bvh().replace("MOTION", f"ROOT jaw\n{{\nOFFSET 0 0 0\n{ROOT_CHANNELS}\n}}\nMOTION"),
    "low hips": lambda: re.sub(r"OFFSET (\S+) (\S+)", lambda m: f"OFFSET {m[1]} {float(m[2]) / 50:.6f}", bvh()),
    "high hips": lambda: re.sub(r"OFFSET (\S+) (\S+)", lambda m: f"OFFSET {m[1]} {float(m[2]) * 50:.6f}", bvh()),
    "far away": lambda: re.sub(r"(Frame Time: \S+\n)\S+", r"\g<1>100100", bvh()),
    "upside down": lambda: re.sub(r"(OFFSET \S+) -", r"\1 ", bvh()),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_BVH)
def test_bvh_that_is_no_clip_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        bvh_to_clip(HOSTILE_BVH[name]())
    assert caught.value.field == "clip" and len(caught.value.detail) < 200


def test_too_large_files_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("read", "read_vrma", "read_bvh"):
        monkeypatch.setattr(f"motion_service.export.{module}.MAX_BYTES", 1000)
    clip = make_moving(CANONICAL_BODY, 3)
    with pytest.raises(BadRequest, match="larger than"):
        json_to_clip(encode_response(clip, {}))
    with pytest.raises(BadRequest, match="larger than"):
        vrma_to_clip(clip_to_vrma(clip, CANONICAL_BODY))
    with pytest.raises(BadRequest, match="larger than"):
        bvh_to_clip(clip_to_bvh(clip, CANONICAL_BODY))
