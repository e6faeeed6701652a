"""Bodies, and clips folded onto them: what the body has keeps its orientation in the world."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.geometry.rotation import normalize, quat_angle, quat_identity, quat_multiply
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_PARENTS, VRM_PARENT, VRM_REQUIRED
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body, fold_bones, pose_body
from tests.vrm.avatar_files import FULL

FRAMES = 4
OPTIONAL = sorted(set(VRM_PARENT) - VRM_REQUIRED)
SUBSETS = st.sets(st.sampled_from(OPTIONAL))


def make_clip(bones: set[str], seed: int = 0) -> VrmClip:
    generator = torch.Generator().manual_seed(seed)
    ordered = [bone for bone in VRM_PARENT if bone in bones]
    tracks = normalize(torch.randn(len(ordered), FRAMES, 4, generator=generator))
    hips = torch.randn(FRAMES, 3, generator=generator) + torch.tensor([0.0, 1.0, 0.0])
    return VrmClip(dict(zip(ordered, tracks, strict=True)), hips, torch.ones(FRAMES, 4), 20.0, 0.95)


def world_turn(clip: VrmClip, bone: str) -> torch.Tensor:
    """(T, 4): all rotations from the hips down to the bone, missing ones being the identity."""
    turn, up = quat_identity(clip.num_frames), bone
    while up is not None:
        turn = quat_multiply(clip.rotations.get(up, quat_identity(clip.num_frames)), turn)
        up = VRM_PARENT[up]
    return turn


@settings(max_examples=40, deadline=None)
@given(animated=SUBSETS, kept=SUBSETS)
def test_kept_bones_keep_their_orientation_in_the_world(animated: set[str], kept: set[str]) -> None:
    clip = make_clip(VRM_REQUIRED | animated)
    folded = fold_bones(clip, VRM_REQUIRED | kept)
    assert VRM_REQUIRED <= set(folded.rotations) <= VRM_REQUIRED | kept
    for bone in VRM_REQUIRED | kept:
        assert float(quat_angle(world_turn(clip, bone), world_turn(folded, bone)).max()) < 2e-3, bone
    assert_close(folded.hips, clip.hips)


def test_a_bone_without_a_track_takes_what_is_folded_above_it() -> None:
    clip = make_clip({"hips", "spine", "chest", "upperChest"})
    folded = fold_bones(clip, ["hips", "spine", "neck", "head"])
    assert list(folded.rotations) == ["hips", "spine", "neck"]  # the head hangs on the neck and needs none
    assert float(quat_angle(world_turn(clip, "head"), world_turn(folded, "head")).max()) < 2e-3


def test_folding_is_idempotent_and_all_bones_is_no_change() -> None:
    clip = make_clip(set(VRM_PARENT))
    same = fold_bones(clip, VRM_PARENT)
    assert all(float(quat_angle(same.rotations[bone], clip.rotations[bone]).max()) < 2e-3 for bone in VRM_PARENT)
    once = fold_bones(clip, CANONICAL_BONES)
    twice = fold_bones(once, CANONICAL_BONES)
    for bone in CANONICAL_BONES:
        assert_close(twice.rotations[bone], once.rotations[bone])


def test_folded_tracks_are_unit_and_steady() -> None:
    folded = fold_bones(make_clip(set(VRM_PARENT), seed=5), VRM_REQUIRED)
    for track in folded.rotations.values():
        assert_close(torch.linalg.vector_norm(track, dim=-1), torch.ones(FRAMES))
        assert float(track[0, 3]) >= 0 and bool(((track[1:] * track[:-1]).sum(-1) >= 0).all())


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_a_body_of_another_size_moves_alike(scale: float) -> None:
    """Same proportions: every bone is where the small one is, times the scale."""
    large = Body({bone: (x * scale, y * scale, z * scale) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    clip = make_clip(set(CANONICAL_BONES))
    before, turns = pose_body(CANONICAL_BODY, clip_to_body(clip, CANONICAL_BODY))
    scaled = clip_to_body(clip, large)
    after, same_turns = pose_body(large, scaled)
    assert scaled.rest_hips_height == large.hips_height == pytest.approx(0.95 * scale)
    assert_close(after, before * scale, atol=1e-5, rtol=1e-4)
    assert_close(same_turns, turns)
    back = clip_to_body(scaled, CANONICAL_BODY)
    assert_close(back.hips, clip.hips, atol=1e-5, rtol=0)


def test_rest_clip_gives_rest_places() -> None:
    for body in (CANONICAL_BODY, MANNEQUIN_BODY, Body(FULL)):
        hips = torch.tensor([body.rest["hips"]])
        clip = VrmClip({"hips": quat_identity(1)}, hips, torch.ones(1, 4), 20.0, body.hips_height)
        places, turns = pose_body(body, clip)
        assert_close(places[0], torch.tensor(list(body.rest.values())))
        assert_close(turns[0], quat_identity(len(body.bones)))


def test_mannequin_with_folded_upper_chest_stands_like_the_canonical_body() -> None:
    """Limbs of both bodies point the same way in every frame, which is what folding is for."""
    clip = make_clip({*CANONICAL_BONES, "upperChest"}, seed=7)
    full, _ = pose_body(MANNEQUIN_BODY, clip_to_body(clip, MANNEQUIN_BODY))
    less, _ = pose_body(CANONICAL_BODY, clip_to_body(clip, CANONICAL_BODY))
    for upper, lower in [("leftUpperArm", "leftLowerArm"), ("neck", "head"), ("rightLowerLeg", "rightFoot")]:
        along = [
            places[:, body.index(lower)] - places[:, body.index(upper)]
            for body, places in ((MANNEQUIN_BODY, full), (CANONICAL_BODY, less))
        ]
        assert_close(along[1], along[0], atol=1e-4, rtol=0)


def test_parents_are_the_nearest_bones_that_are_there() -> None:
    assert CANONICAL_BODY.bones[0] == "hips" and set(CANONICAL_BODY.bones) == set(CANONICAL_BONES)
    parents = {
        bone: None if up < 0 else CANONICAL_BODY.bones[up]
        for bone, up in zip(CANONICAL_BODY.bones, CANONICAL_BODY.parents, strict=True)
    }
    named = [None if up < 0 else CANONICAL_BONES[up] for up in CANONICAL_PARENTS]
    assert parents == dict(zip(CANONICAL_BONES, named, strict=True))
    bare = Body({bone: place for bone, place in FULL.items() if bone in VRM_REQUIRED})
    assert bare.bones[bare.parents[bare.index("leftUpperArm")]] == "spine"
    assert all(up < i for i, up in enumerate(bare.parents))


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"spine": (0.0, 1.0, 0.0)},
        {"hips": (0.0, 1.0, 0.0), "tail": (0.0, 1.0, 0.0)},
        {"hips": (0.0, 0.0, 0.0)},
        {"hips": (0.0, -1.0, 0.0)},
        {"hips": (0.0, math.nan, 0.0)},
        {"hips": (0.0, 1.0, 0.0), "spine": (math.inf, 1.0, 0.0)},
    ],
)
def test_impossible_bodies_are_refused(rest: dict[str, tuple[float, float, float]]) -> None:
    with pytest.raises(BadRequest) as refused:
        Body(rest)
    assert refused.value.field == "avatar"
