"""The JSON of a clip: shape, times, accuracy, repeatable bytes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import orjson
import pytest
import torch

from motion_service.clips import VrmClip
from motion_service.export.vrm_json import clip_to_fragments, encode_response
from motion_service.geometry.rotation import normalize
from motion_service.humanoid import CANONICAL_BONES


def clip(num_frames: int = 40, fps: float = 20.0, scale: float = 1.0) -> VrmClip:
    generator = torch.Generator().manual_seed(num_frames)
    tracks = normalize(torch.randn(21, num_frames, 4, generator=generator)) * scale
    hips = torch.randn(num_frames, 3, generator=generator)
    return VrmClip(dict(zip(CANONICAL_BONES, tracks, strict=True)), hips, torch.zeros(num_frames, 4), fps, 0.95)


def decode(made: VrmClip, **head: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(encode_response(made, head))
    return answer


def test_head_stands_before_the_tracks_and_both_spellings_of_the_root_agree() -> None:
    answer = decode(clip(), job_id="a", metadata={"prompt": "手を振る", "steps": 10})
    assert list(answer) == ["job_id", "metadata", "tracks", "root_position", "rootPosition"]
    assert answer["metadata"] == {"prompt": "手を振る", "steps": 10}
    assert answer["root_position"] == answer["rootPosition"]
    assert list(answer["tracks"]) == list(CANONICAL_BONES)


@pytest.mark.parametrize(("num_frames", "fps"), [(1, 20.0), (2, 30.0), (400, 20.0), (3000, 120.0), (50, 29.97)])
def test_every_frame_is_there_with_its_time_and_values(num_frames: int, fps: float) -> None:
    made = clip(num_frames, fps)
    answer = decode(made)
    times = [i / fps for i in range(num_frames)]
    for bone, track in made.rotations.items():
        rows = answer["tracks"][bone]
        assert [list(row) for row in rows] == [["t", "x", "y", "z", "w"]] * num_frames
        assert [row["t"] for row in rows] == pytest.approx(times, abs=1e-5)
        values = torch.tensor([[row[key] for key in "xyzw"] for row in rows], dtype=torch.float64)
        assert (values - track).abs().max() < 1e-5
        assert (values.norm(dim=-1) - 1).abs().max() < 1e-4
    root = torch.tensor([[row[key] for key in "xyz"] for row in answer["rootPosition"]])
    assert (root - made.hips).abs().max() < 1e-5
    stamps = [row["t"] for row in answer["rootPosition"]]
    assert all(a < b for a, b in zip(stamps, stamps[1:], strict=False))


def test_nearly_unit_quaternions_leave_as_unit_ones() -> None:
    answer = decode(clip(scale=1.0009))
    norms = [math.hypot(*(row[key] for key in "xyzw")) for track in answer["tracks"].values() for row in track]
    assert max(abs(norm - 1) for norm in norms) < 1e-4


def test_numbers_are_short_and_bytes_repeat() -> None:
    made = clip()
    data = encode_response(made, {"a": 1})
    assert data == encode_response(made, {"a": 1})
    assert b"-0.0}" not in data and b"-0.0," not in data
    numbers = [v for row in json.loads(data)["tracks"]["head"] for v in row.values()]
    assert all(abs(number * 1e5 - round(number * 1e5)) < 1e-6 for number in numbers)
    assert len(data) < 40 * 22 * 70


def test_optional_tracks_stand_beside_the_others_when_the_clip_has_them() -> None:
    made = clip(4, 10.0)
    gaze = torch.tensor([[0.1, -0.2]]).repeat(4, 1)
    made = replace(made, expressions={"happy": torch.tensor([0, 0.5, 1, 0.25])}, gaze=gaze)
    answer = decode(made)
    assert list(answer) == ["tracks", "root_position", "rootPosition", "expressions", "look_at"]
    weights = zip((0.0, 0.1, 0.2, 0.3), (0.0, 0.5, 1.0, 0.25), strict=True)
    assert answer["expressions"] == {"happy": [{"t": t, "weight": weight} for t, weight in weights]}
    assert answer["look_at"][1] == {"t": 0.1, "yaw": 0.1, "pitch": -0.2}


def test_signs_of_quaternions_leave_as_they_came() -> None:
    """The compatibility switch sends whole tracks negated."""
    made = clip()
    turned = replace(made, rotations={bone: -track for bone, track in made.rotations.items()})
    for bone, rows in decode(turned)["tracks"].items():
        values = torch.tensor([[row[key] for key in "xyzw"] for row in rows])
        assert (values + made.rotations[bone]).abs().max() < 1e-5


def test_fragments_fit_anywhere_in_an_answer() -> None:
    first, second = clip(3), clip(4)
    data = orjson.dumps({"clips": [clip_to_fragments(first), {"seed": 2, **clip_to_fragments(second)}]})
    assert [len(entry["rootPosition"]) for entry in json.loads(data)["clips"]] == [3, 4]
    assert json.loads(data)["clips"][0] == decode(first)
