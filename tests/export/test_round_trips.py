"""File -> clip -> the same file, and files of other programs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from motion_service.clips import VrmClip
from motion_service.export.bvh import clip_to_bvh
from motion_service.export.keys import MAX_BYTES, MAX_FRAMES
from motion_service.export.read import json_to_clip
from motion_service.export.read_bvh import bvh_to_clip
from motion_service.export.read_vrma import vrma_to_clip
from motion_service.export.vrm_json import encode_response
from motion_service.export.vrma import clip_to_vrma
from motion_service.geometry.rotation import quat_angle
from motion_service.vrm.avatar import HIPS_RANGE
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body
from motion_service.vrm.convention import boost_safe, to_vrm0
from tests.export.moving import decode_glb, edit_vrma, encode_glb, make_moving, make_whole_body

BODIES = {"canonical": CANONICAL_BODY, "mannequin": MANNEQUIN_BODY, "whole": make_whole_body()}


def lively(clip: VrmClip) -> VrmClip:
    phase = torch.arange(clip.num_frames) / 10
    gaze = torch.stack([0.4 * torch.sin(phase), 0.2 * torch.cos(phase)], dim=1)
    return replace(clip, expressions={"happy": torch.sin(phase).abs(), "smug": torch.cos(phase).abs()}, gaze=gaze)


def head_of(clip: VrmClip, target: str = "vrm1") -> dict[str, Any]:
    """The fields that every answer has and a reader uses."""
    facts = {"target": target, "rest_hips_height": clip.rest_hips_height, "contacts": clip.contacts.tolist()}
    return {"fps": clip.fps, "metadata": facts}


def worst_angle(a: VrmClip, b: VrmClip) -> float:
    """Largest angle between the same bones of two clips, degrees."""
    assert set(a.rotations) == set(b.rotations)
    return math.degrees(max(float(quat_angle(a.rotations[bone], b.rotations[bone]).max()) for bone in a.rotations))


# --- the same file again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "fps"), [(1, 20.0), (60, 20.0), (61, 29.97), (600, 120.0)])
def test_json_comes_back_byte_for_byte(frames: int, fps: float) -> None:
    clip = lively(make_moving(num_frames=frames, fps=fps))
    data = encode_response(clip, head_of(clip))
    read = json_to_clip(data)
    assert encode_response(read, head_of(read)) == data
    assert worst_angle(read, clip) < 2e-3 and (read.hips - clip.hips).abs().max() < 1e-5
    assert torch.equal(read.contacts, clip.contacts)


@pytest.mark.parametrize("target", ["vrm1", "vrm0"])
def test_json_for_any_viewer_comes_back_byte_for_byte(target: str) -> None:
    """Tracks in the axes of VRM 0.x and with signs turned for the boosting viewer."""
    clip = make_moving(widest=0.05)
    wire = boost_safe(to_vrm0(clip) if target == "vrm0" else clip)
    data = encode_response(wire, head_of(clip, target))
    assert b'"w":-0.9' in data
    read = json_to_clip(data)
    assert worst_angle(read, clip) < 2e-3
    assert encode_response(to_vrm0(read) if target == "vrm0" else read, head_of(read, target)) == data


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(("frames", "fps"), [(1, 30.0), (60, 20.0), (61, 29.97), (601, 119.88)])
def test_vrma_comes_back_byte_for_byte(name: str, frames: int, fps: float) -> None:
    body = BODIES[name]
    clip = replace(lively(make_moving(body, frames, fps)), gaze=None)
    data = clip_to_vrma(clip, body, "a")
    read = vrma_to_clip(data)
    assert clip_to_vrma(read, body, "a") == data
    assert read.fps == fps and torch.equal(read.hips, clip.hips)
    assert all(torch.equal(read.rotations[bone], clip.rotations[bone]) for bone in read.rotations)
    assert set(clip.rotations) - set(read.rotations) <= {"leftEye", "rightEye"}


def test_gaze_of_vrma_comes_back_within_a_millionth() -> None:
    """It goes through a quaternion, whose float32 does not hold every digit of an angle."""
    clip = lively(make_moving())
    read = vrma_to_clip(clip_to_vrma(clip, MANNEQUIN_BODY))
    assert clip.gaze is not None and read.gaze is not None
    assert (read.gaze - clip.gaze).abs().max() < 1e-6
    assert all(torch.equal(read.expressions[name], track) for name, track in clip.expressions.items())


@pytest.mark.parametrize("name", BODIES)
def test_bvh_comes_back_within_a_hundred_thousandth(name: str) -> None:
    body = BODIES[name]
    clip = make_moving(body)
    text = clip_to_bvh(clip, body)
    read = bvh_to_clip(text)
    again = clip_to_bvh(read, body)
    assert worst_angle(read, clip) < 1e-3 and (read.hips - clip.hips).abs().max() < 1e-6
    assert (read.fps, read.num_frames) == (clip.fps, clip.num_frames)
    assert read.rest_hips_height == pytest.approx(clip.rest_hips_height, abs=1e-7)
    head, tail = text.partition("MOTION")[0], np.array(text.rpartition("Frame Time: ")[2].split(), dtype=float)
    assert again.startswith(head)
    assert np.abs(tail - np.array(again.rpartition("Frame Time: ")[2].split(), dtype=float)).max() < 3e-5


def test_contacts_are_found_anew_where_a_file_has_none() -> None:
    clip = make_moving(CANONICAL_BODY, widest=0.0)
    still = replace(clip, hips=torch.tensor([[0.0, 0.95, 0.0]]).repeat(60, 1))
    still = replace(
        still, rotations={bone: q * 0 + torch.tensor([0.0, 0, 0, 1]) for bone, q in still.rotations.items()}
    )
    for read in (vrma_to_clip(clip_to_vrma(still, CANONICAL_BODY)), bvh_to_clip(clip_to_bvh(still, CANONICAL_BODY))):
        assert torch.equal(read.contacts, torch.ones(60, 4))
    lifted = replace(still, hips=still.hips + torch.tensor([0.0, 0.2, 0.0]))
    assert not vrma_to_clip(clip_to_vrma(lifted, CANONICAL_BODY)).contacts.any()


@pytest.mark.parametrize(("frames", "fps"), [(14_400, 120.0), (7193, 59.94), (2400, 20.0), (3597, 29.97)])
def test_the_longest_answers_can_be_read(frames: int, fps: float) -> None:
    """Times in files are rounded: 119.99167 s times 120 is more than 14,399."""
    clip = make_moving(CANONICAL_BODY, frames, fps)
    few = replace(clip, rotations={bone: clip.rotations[bone] for bone in ("hips", "spine")})
    own, bare = head_of(few), {"metadata": {"contacts": few.contacts.tolist()}}
    reads = [json_to_clip(encode_response(few, head)) for head in (own, bare)]
    reads.append(vrma_to_clip(clip_to_vrma(clip, CANONICAL_BODY)))
    body = Body({bone: CANONICAL_BODY.rest[bone] for bone in ("hips", "spine", "leftUpperLeg")})
    reads.append(bvh_to_clip(clip_to_bvh(few, body)))
    for read in reads:
        assert (read.num_frames, read.fps) == (frames, fps)
        assert all(quat_angle(read.rotations[bone], track).max() < 1e-3 for bone, track in few.rotations.items())
    assert all(torch.equal(read.contacts, few.contacts) for read in reads[:2])


def test_the_longest_answer_of_all_bones_is_not_too_large() -> None:
    clip = lively(make_moving(BODIES["whole"], 144, 120.0))
    assert len(encode_response(clip, head_of(clip))) * (MAX_FRAMES / 144) < MAX_BYTES


@pytest.mark.parametrize("height", HIPS_RANGE)
def test_clips_of_the_smallest_and_the_tallest_avatar_can_be_read(height: float) -> None:
    scale = height / CANONICAL_BODY.hips_height
    rest = {bone: (x * scale, y * scale, z * scale) for bone, (x, y, z) in CANONICAL_BODY.rest.items()}
    body = Body({**rest, "hips": (0.0, height, rest["hips"][2])})
    clip = make_moving(num_frames=10)
    walk = clip.hips + torch.linspace(0, 600, 10)[:, None] * torch.tensor([0.0, 0.0, 1.0])  # 120 s at 5 m/s
    clip = clip_to_body(replace(clip, hips=walk), body)
    files = json_to_clip(encode_response(clip, head_of(clip))), vrma_to_clip(clip_to_vrma(clip, body))
    for read in (*files, bvh_to_clip(clip_to_bvh(clip, body))):
        assert read.rest_hips_height == pytest.approx(height, abs=1e-5)
        assert (read.hips - clip.hips).abs().max() < 1e-2


# --- files of others ------------------------------------------------------------------------------------------------


def turn_rest(data: bytes, seed: int = 3) -> bytes:
    """The same animation on a skeleton whose bones rest in any orientation, in centimetres below a scaling parent."""
    document, binary = decode_glb(data)
    nodes, blob = document["nodes"], bytearray(binary)
    rng = np.random.default_rng(seed)
    world = {index: Rotation.from_quat(rng.normal(size=4)) for index in range(len(nodes))}
    root = Rotation.from_euler("Y", 90, degrees=True)
    parents = {child: index for index, node in enumerate(nodes) for child in node.get("children", [])}
    for index, node in enumerate(nodes):
        above = world[parents[index]] if index in parents else root
        scale = 1.0 if index in parents else 100.0
        node["rotation"] = (above.inv() * world[index]).as_quat().tolist()
        node["translation"] = (
            above.inv().apply(node["translation"]) * scale * (100 if index in parents else 1)
        ).tolist()
    animation = document["animations"][0]
    for channel in animation["channels"]:
        index = channel["target"]["node"]
        accessor = document["accessors"][animation["samplers"][channel["sampler"]]["output"]]
        above = world[parents[index]] if index in parents else root
        width = 4 if accessor["type"] == "VEC4" else 3
        place = slice(accessor["byteOffset"], accessor["byteOffset"] + 4 * width * accessor["count"])
        values = np.frombuffer(bytes(blob[place]), "<f4").reshape(-1, width).astype(float)
        if width == 4:  # local = P^-1 * normalised * W
            values = (above.inv() * Rotation.from_quat(values) * world[index]).as_quat()
        else:
            values = above.inv().apply(values) * 100
        blob[place] = values.astype("<f4").tobytes()
    document["scenes"][0]["nodes"] = [len(nodes)]
    nodes.append({"name": "root", "rotation": root.as_quat().tolist(), "scale": [0.01] * 3, "children": [0]})
    return encode_glb(document, bytes(blob))


def test_vrma_with_any_rest_rotations_and_centimetres_is_the_same_motion() -> None:
    clip = make_moving()
    read = vrma_to_clip(turn_rest(clip_to_vrma(clip, MANNEQUIN_BODY)))
    assert worst_angle(read, clip) < 1e-3
    assert (read.hips - clip.hips).abs().max() < 1e-5 and read.rest_hips_height == pytest.approx(0.95)


def test_vrma_with_uneven_keys_is_resampled_by_slerp() -> None:
    clip = make_moving(num_frames=31, fps=30.0)
    times = np.cumsum(np.r_[0, np.random.default_rng(1).uniform(0.02, 0.05, 30)])

    def change(document: dict[str, Any]) -> None:
        document["accessors"][0]["byteOffset"] = len(decode_glb(clip_to_vrma(clip, MANNEQUIN_BODY))[1])

    data = edit_vrma(clip, change, times.astype("<f4").tobytes())
    read, coarse = vrma_to_clip(data), vrma_to_clip(data, fps=12.5)
    assert (read.fps, coarse.fps) == (30, 12.5)
    for made in (read, coarse):
        assert made.num_frames == round(times[-1] * made.fps) + 1
        clock = np.minimum(np.arange(made.num_frames) / made.fps, times[-1])
        truth = Slerp(times, Rotation.from_quat(clip.rotations["leftHand"].numpy()))(clock)
        off = (truth.inv() * Rotation.from_quat(made.rotations["leftHand"].numpy())).magnitude()
        assert off.max() < 1e-4
        hips = np.stack([np.interp(clock, times, clip.hips[:, axis].numpy()) for axis in range(3)], axis=1)
        assert np.abs(made.hips.numpy() - hips).max() < 1e-5


def test_vrma_with_steps_holds_each_key() -> None:
    clip = make_moving(num_frames=11, fps=10.0)

    def change(document: dict[str, Any]) -> None:
        for sampler in document["animations"][0]["samplers"]:
            sampler["interpolation"] = "STEP"

    read = vrma_to_clip(edit_vrma(clip, change), fps=40)
    held = clip.rotations["head"].repeat_interleave(4, dim=0)[: read.num_frames]
    assert read.num_frames == 41 and quat_angle(read.rotations["head"], held).max() < 1e-3


def test_vrma_with_rotations_in_short_integers() -> None:
    clip = make_moving()
    shorts = (clip.rotations["head"].numpy() * 32767).round().astype("<i2").tobytes()

    def change(document: dict[str, Any]) -> None:
        node = next(i for i, n in enumerate(document["nodes"]) if n["name"] == "head")
        animation = document["animations"][0]
        channel = next(c for c in animation["channels"] if c["target"]["node"] == node)
        accessor = document["accessors"][animation["samplers"][channel["sampler"]]["output"]]
        accessor |= {"componentType": 5122, "normalized": True}
        accessor["byteOffset"] = document["buffers"][0]["byteLength"] - len(shorts)

    assert worst_angle(vrma_to_clip(edit_vrma(clip, change, shorts)), clip) < 0.01


def test_json_from_elsewhere_may_have_keys_at_any_times() -> None:
    rows = [{"t": t, "x": 0, "y": math.sin(t / 4), "z": 0, "w": math.cos(t / 4)} for t in (0, 0.3, 1.0)]
    read = json_to_clip({"tracks": {"head": rows}, "rootPosition": [{"t": 0, "x": 1, "y": 2, "z": 3}]})
    assert (read.num_frames, read.fps) == (31, 30)
    angles = 2 * torch.atan2(read.rotations["head"][:, 1], read.rotations["head"][:, 3])
    assert (angles - torch.arange(31) / 60).abs().max() < 1e-5
    assert read.hips.tolist() == [[1, 2, 3]] * 31 and read.rest_hips_height == 0.95
    assert set(read.rotations) == {"hips", "head"}
