"""The msgpack answer, read back as a client reads it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgpack
import numpy as np
import pytest
import torch

from motion_service.export.binary import clip_to_blocks, decode_binary, encode_binary
from motion_service.export.vrm_json import encode_response
from tests.export.moving import make_moving

HEAD = {"job_id": "a", "fps": 20.0, "metadata": {"prompt": "手を振る", "contacts": [[0.0, 1.0, 0.5, 0.25]]}}


def test_every_number_arrives_as_it_was() -> None:
    clip = make_moving()
    clip = replace(clip, rotations={**clip.rotations, "head": -clip.rotations["head"]})
    answer = decode_binary(encode_binary(clip, HEAD))
    assert {name: answer[name] for name in HEAD} == HEAD
    assert list(answer["tracks"]) == list(clip.rotations)
    for bone, track in clip.rotations.items():
        assert np.array_equal(answer["tracks"][bone], track.numpy())
    assert np.array_equal(answer["root_position"], clip.hips.numpy())
    assert not {"expressions", "look_at"} & answer.keys()


def test_any_msgpack_reader_finds_blocks_as_the_layout_says() -> None:
    clip = make_moving(num_frames=3)
    raw = msgpack.unpackb(encode_binary(clip, HEAD))
    assert raw["layout"]["dtype"].startswith("float32 little-endian")
    assert raw["layout"]["tracks"] == ["x", "y", "z", "w"] and raw["layout"]["root_position"] == ["x", "y", "z"]
    block = raw["tracks"]["leftHand"]
    assert isinstance(block, bytes) and len(block) == 3 * 4 * 4
    assert np.frombuffer(block, "<f4")[4:8].tolist() == clip.rotations["leftHand"][1].tolist()


def test_optional_tracks_and_repetitions() -> None:
    clip, other = make_moving(num_frames=5), make_moving(num_frames=4, seed=2)
    clip = replace(clip, expressions={"happy": torch.linspace(0, 1, 5)}, gaze=torch.rand(5, 2))
    clips = [{"seed": 1, **clip_to_blocks(clip)}, {"seed": 2, **clip_to_blocks(other)}]
    answer = decode_binary(encode_binary(clip, {**HEAD, "clips": clips}))
    assert answer["expressions"]["happy"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert answer["look_at"].shape == (5, 2)
    assert [entry["seed"] for entry in answer["clips"]] == [1, 2]
    assert np.array_equal(answer["clips"][1]["root_position"], other.hips.numpy())


def test_smaller_than_json() -> None:
    clip = make_moving(num_frames=100)
    assert len(encode_binary(clip, HEAD)) < len(encode_response(clip, HEAD)) / 3


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"{}", b"\x80", b"\x81\xa6tracks\x01", b"\xdf\xff\xff\xff\xff", b"\x93\x01"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_binary(data)


def test_decoding_needs_no_torch() -> None:
    code = "import sys\nsys.modules['torch'] = None\nimport motion_service.export.binary"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
