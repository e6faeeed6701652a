"""Editing: masks that keep what they say, windows that meet the kept end, and what is kept stays the client's."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service.clips import FeatureClip, PromptPlan, Segment, TextEmbedding, VrmClip
from motion_service.edit import SEAM_FRAMES, put_in
from motion_service.engine.worker import Worker
from motion_service.export.pose import clip_to_pose
from motion_service.features.humanml3d import clip_to_features, features_to_clip, lower_body_mask
from motion_service.features.vrm_native import VRM_WIDTH, bones_to_features, heading
from motion_service.geometry.rotation import quat_angle, quat_multiply, quat_rotate, yaw_to_quat
from motion_service.humanoid import CANONICAL_BONES, VRM_PARENT
from motion_service.mdm.network import Denoiser
from motion_service.mdm_adapter.mini import DiffusionSource
from motion_service.mdm_adapter.mini_edit import (
    SEEN_AFTER,
    EditingDiffusionSource,
    gap_to_spans,
    hold_first,
    to_canonical,
    vrm_lower_body_mask,
)
from motion_service.mdm_adapter.official import MAX_FRAMES, Conditions
from motion_service.mdm_adapter.official_edit import EditingOfficialSource, plan_to_keep
from motion_service.mdm_adapter.official_source import OfficialSource
from motion_service.source import LOWER_BODY, EditingSource, EditMode, EditPlan, SourceClip, SourceRequest
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, pose_body
from motion_service.vrm.joints import vrm_to_joints
from motion_service.vrm.resample import resample_clip
from motion_service.vrm.retarget import joints_to_vrm
from tests.export.moving import make_moving, make_whole_body
from tests.fakes import MINI, with_bones
from tests.mdm.official_files import new_spec
from tests.test_mdm_adapter import LetterEncoder, checkpoint
from tests.test_sampling import LetterEncoder as TokenEncoder
from tests.test_sampling import new_sampler

MODES: list[EditMode] = ["in_between", "upper_body"]
BODIES = {"canonical": CANONICAL_BODY, "mannequin": MANNEQUIN_BODY, "whole": make_whole_body()}
WAVE = PromptPlan("a person waves", "en", (Segment("a person waves"),))


def wish(plan: PromptPlan = WAVE, seed: int = 1, **changes: Any) -> SourceRequest:
    return SourceRequest(plan, 0.0, seed, **changes)


def moved(clip: VrmClip, yaw: float, x: float, z: float) -> VrmClip:
    """The clip turned about the origin and then moved."""
    turn = yaw_to_quat(torch.tensor(yaw))
    hips = quat_multiply(turn.expand(clip.num_frames, 4), clip.rotations["hips"])
    place = quat_rotate(turn, clip.hips) + torch.tensor([x, 0.0, z])
    return dataclasses.replace(clip, rotations={**clip.rotations, "hips": hips}, hips=place)


def accelerations(clip: VrmClip) -> Tensor:
    """(T - 2,) m/s2: largest of any bone, around frames 1 to T - 2."""
    places = clip_to_pose(clip)[0]
    bends: Tensor = (places[2:] - 2 * places[1:-1] + places[:-2]).norm(dim=-1).amax(dim=1)
    return bends * clip.fps**2


def same_rotations(a: Tensor, b: Tensor) -> bool:
    """Equal digits, signs of whole quaternions aside."""
    sign = torch.where((a * b).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.equal(a, b * sign)


# --- masks and windows ------------------------------------------------------------------------------------------------


@given(st.integers(2, 400), st.floats(0, 1), st.floats(0, 1))
def test_the_gap_is_counted_as_the_official_program_does(frames: int, first: float, last: float) -> None:
    start, stop = EditPlan("in_between", first, last).gap(frames)
    assert (start, stop) == (int(first * frames), int(last * frames))
    assert EditPlan("in_between").gap(120) == (30, 90)


def test_lower_body_of_our_layout_is_what_legs_and_root_decide() -> None:
    mask = vrm_lower_body_mask()
    assert mask.shape == (VRM_WIDTH,)
    first, second = make_moving(CANONICAL_BODY, seed=1), make_moving(CANONICAL_BODY, seed=2)
    upper = [bone for bone in CANONICAL_BONES if bone not in LOWER_BODY]
    mixed = {**first.rotations, **{bone: second.rotations[bone] for bone in upper}}
    one, _ = bones_to_features(torch.stack([first.rotations[bone] for bone in CANONICAL_BONES], dim=1), first.hips)
    two, _ = bones_to_features(torch.stack([mixed[bone] for bone in CANONICAL_BONES], dim=1), first.hips)
    differs = (one - two).abs().amax(dim=0) > 1e-5
    # Rotations of the spine and places of its first joint: the joint is carried by the hips, and kept by nobody.
    assert not (differs & mask).any()
    free = {"spine": 3 + 3}  # its place and its displacement
    assert int((~differs & ~mask).sum()) == sum(free.values())


def test_official_masks_are_those_of_the_official_program() -> None:
    keep = plan_to_keep(EditPlan("in_between"), 80)
    assert keep.shape == (1, MAX_FRAMES, 263)
    assert keep[0, :20].all() and not keep[0, 20:60].any() and keep[0, 60:].all(), "frames after the end are kept"
    assert torch.equal(plan_to_keep(EditPlan("upper_body"), 80)[0], lower_body_mask().expand(MAX_FRAMES, -1))


@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 300))
def test_windows_cover_the_gap_and_the_last_sees_what_follows(start: int, gap: int, after: int) -> None:
    spans = gap_to_spans(start, start + gap, start + gap + after, 40)
    assert [frame for begin, end in spans for frame in range(begin, end)] == [*range(start, start + gap)]
    lengths = [end - begin for begin, end in spans]
    assert max(lengths) <= 40 and len(set(lengths[:-1])) <= 1
    assert spans[-1][0] + 40 - (start + gap) >= min(SEEN_AFTER, after)


def test_before_the_clip_its_first_pose_stands_still() -> None:
    clip = to_canonical(make_moving(num_frames=10))
    held = hold_first(clip, 20)
    assert held.num_frames == 30
    assert torch.equal(held.hips[20:], clip.hips) and torch.equal(held.hips[:20], clip.hips[:1].expand(20, 3))


# --- putting the new part in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", BODIES)
def test_a_clip_put_into_itself_is_itself(mode: EditMode, body: str) -> None:
    clip = make_moving(BODIES[body], num_frames=60)
    edited = put_in(clip, clip, EditPlan(mode))
    assert set(edited.rotations) == set(clip.rotations)
    for bone, track in clip.rotations.items():
        # The joins let the seam go on at a constant speed, which a moving clip does not.
        assert float(quat_angle(edited.rotations[bone], track).max()) < 0.1, bone
    assert_close(edited.hips, clip.hips, atol=0.02, rtol=0)


@settings(deadline=None, max_examples=30)
@given(
    mode=st.sampled_from(MODES),
    body=st.sampled_from(sorted(BODIES)),
    made_body=st.sampled_from(["canonical", "mannequin"]),
    fps=st.sampled_from([12.0, 20.0, 29.97, 60.0]),
    frames=st.integers(12, 90),
    place=st.tuples(st.floats(-7, 7), st.floats(-3, 3), st.floats(-3, 3)),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_what_is_kept_keeps_its_digits(
    mode: EditMode,
    body: str,
    made_body: str,
    fps: float,
    frames: int,
    place: tuple[float, float, float],
    ends: tuple[float, float],
) -> None:
    clip = make_moving(BODIES[body], frames, fps)
    plan = EditPlan(mode, min(ends), max(ends))
    start, stop = plan.gap(frames)
    assume(mode == "upper_body" or stop - start >= 2)
    made = moved(make_moving(BODIES[made_body], max(1, round(frames * 20 / fps)), seed=5), *place)
    edited = put_in(clip, made, plan)
    assert (edited.num_frames, edited.fps, edited.rest_hips_height) == (frames, fps, clip.rest_hips_height)
    folded = "upperChest" in clip.rotations and "upperChest" not in made.rotations
    own = {bone for bone in clip.rotations if not folded or "upperChest" not in (bone, VRM_PARENT[bone])}
    if mode == "upper_body":
        assert all(edited.rotations[bone] is clip.rotations[bone] for bone in LOWER_BODY)
        assert torch.equal(edited.hips, clip.hips) and torch.equal(edited.contacts, clip.contacts)
        return
    kept = [*range(start), *range(stop, frames)]
    assert torch.equal(edited.hips[kept], clip.hips[kept]) and torch.equal(edited.contacts[kept], clip.contacts[kept])
    assert all(same_rotations(edited.rotations[bone][kept], clip.rotations[bone][kept]) for bone in own)
    if folded and kept:
        whole, cut = (pose_body(MANNEQUIN_BODY, one)[1][kept] for one in (clip, edited))
        index = [MANNEQUIN_BODY.index(bone) for bone in ("neck", "leftShoulder", "rightHand")]
        assert float(quat_angle(whole[:, index], cut[:, index]).max()) < 2e-3


@pytest.mark.parametrize("mode", MODES)
def test_fingers_and_face_stay_the_clients(mode: EditMode) -> None:
    clip = make_moving(BODIES["whole"])
    clip = dataclasses.replace(clip, expressions={"happy": torch.linspace(0, 1, 60)}, gaze=torch.zeros(60, 2))
    edited = put_in(clip, make_moving(seed=5), EditPlan(mode))
    for bone in set(clip.rotations) - set(MANNEQUIN_BODY.bones):
        assert same_rotations(edited.rotations[bone], clip.rotations[bone]), bone
    assert edited.expressions == clip.expressions and edited.gaze is clip.gaze


@pytest.mark.parametrize("yaw", [0.0, 2.0, -3.1])
@pytest.mark.parametrize("body", BODIES)
def test_seams_are_no_rougher_than_the_rest(yaw: float, body: str) -> None:
    clip = make_moving(BODIES[body], num_frames=100)
    made = moved(make_moving(num_frames=100, seed=5), yaw, 3.0, -2.0)
    rough = accelerations(put_in(clip, made, EditPlan("in_between")))
    seams = [frame - 1 for seam in (25, 75) for frame in range(seam - 2, seam + 2)]
    inside = [frame for frame in range(len(rough)) if frame not in seams]
    assert float(rough[seams].max()) <= 1.5 * float(rough[inside].max())
    hard = {**clip.rotations, **{bone: torch.cat([track[:25], made.rotations[bone][25:75], track[75:]])
                                 for bone, track in clip.rotations.items() if bone in made.rotations}}  # fmt: skip
    assert float(rough.max()) < 0.1 * float(accelerations(dataclasses.replace(clip, rotations=hard)).max())


def test_new_part_is_the_sources_away_from_the_seams() -> None:
    clip, made = make_moving(CANONICAL_BODY, 100), moved(make_moving(CANONICAL_BODY, 100, seed=5), 1.0, 2.0, 3.0)
    edited = put_in(clip, made, EditPlan("in_between"))
    middle = slice(25 + SEAM_FRAMES, 75 - SEAM_FRAMES)
    for bone in set(CANONICAL_BONES) - {"hips"}:
        assert float(quat_angle(edited.rotations[bone][middle], made.rotations[bone][middle]).max()) < 1e-3, bone
    assert float((edited.hips[1:] - edited.hips[:-1]).norm(dim=-1).max()) < 0.5, "nobody is carried across the room"


@pytest.mark.parametrize("ends", [(0.0, 0.5), (0.5, 1.0), (0.0, 1.0)])
def test_a_gap_may_lie_at_an_end(ends: tuple[float, float]) -> None:
    clip, made = make_moving(num_frames=60), moved(make_moving(num_frames=60, seed=5), 2.0, 1.0, 1.0)
    edited = put_in(clip, made, EditPlan("in_between", *ends))
    start, stop = EditPlan("in_between", *ends).gap(60)
    kept = [*range(start), *range(stop, 60)]
    assert torch.equal(edited.hips[kept], clip.hips[kept])
    steps = (edited.hips[1:] - edited.hips[:-1]).norm(dim=-1)
    assert float(steps.max()) < 0.3
    if ends == (0.0, 1.0):
        assert_close(edited.hips[0], clip.hips[0])
        turned = heading(edited.rotations["hips"][:1]) - heading(clip.rotations["hips"][:1])
        assert float(turned.abs()) < 1e-4


# --- joints -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES)
def test_joints_of_bones_are_the_inverse_of_retargeting(body: str) -> None:
    clip = make_moving(BODIES[body], widest=0.4)
    back = joints_to_vrm(vrm_to_joints(clip))
    assert back.rest_hips_height == MANNEQUIN_BODY.hips_height
    orientation, returned = (pose_body(MANNEQUIN_BODY, one)[1] for one in (clip, back))
    for bone in ("hips", "upperChest"):
        joint = MANNEQUIN_BODY.index(bone)
        assert float(quat_angle(orientation[:, joint], returned[:, joint]).max()) < 2e-3, bone
    scale = back.rest_hips_height / clip.rest_hips_height
    steps = (back.hips - back.hips[:1]) - (clip.hips - clip.hips[:1]) * scale
    assert float(steps.abs().max()) < 0.02
    again = vrm_to_joints(back).positions
    assert_close(
        again - again[:, :1], (vrm_to_joints(clip).positions - vrm_to_joints(clip).positions[:, :1]), atol=0.05, rtol=0
    )


def test_a_clip_survives_the_features_of_the_official_models() -> None:
    clip = make_moving(CANONICAL_BODY, widest=0.3)
    features = clip_to_features(vrm_to_joints(clip))
    assert features.features.shape == (60, 263)
    back = put_in(clip, joints_to_vrm(features_to_clip(features)), EditPlan("in_between"))
    middle = slice(15 + SEAM_FRAMES, 45 - SEAM_FRAMES)
    assert float((back.hips[middle] - clip.hips[middle]).norm(dim=-1).max()) < 0.02
    turn = quat_angle(back.rotations["hips"], clip.rotations["hips"])
    assert float(turn[middle].max()) < 0.01


# --- sources ----------------------------------------------------------------------------------------------------------


def run_edit(new_source: Any, *edits: tuple[SourceRequest, VrmClip, EditPlan]) -> list[SourceClip]:
    async def scenario() -> list[SourceClip]:
        worker = Worker()
        worker.start()
        try:
            source = new_source(worker)
            assert isinstance(source, EditingSource)
            return [await source.edit(*one) for one in edits]
        finally:
            await worker.stop()

    return asyncio.run(scenario())


def tiny_mini(worker: Worker) -> EditingDiffusionSource:
    return EditingDiffusionSource(checkpoint(), LetterEncoder(), worker)


class OneToken(TokenEncoder):
    """As CLIP: every text is one token."""

    def _embed(self, text: str) -> TextEmbedding:
        whole = super()._embed(text)
        return TextEmbedding(whole.tokens[:1], whole.mask[:1], self.name)


def tiny_official(kind: Any) -> Any:
    torch.manual_seed(0)
    spec = new_spec(kind)
    encoder = (OneToken if kind == "mdm-encoder" else TokenEncoder)(spec.text_width)
    sampler = new_sampler(Denoiser(spec).eval(), encoder)
    return lambda worker: EditingOfficialSource(kind, sampler, worker)


TINY = {"mini": tiny_mini, "mdm": tiny_official("mdm"), "mdm-encoder": tiny_official("mdm-encoder")}


def test_only_sources_that_can_edit_say_so() -> None:
    worker = Worker()
    assert not isinstance(DiffusionSource(checkpoint(), LetterEncoder(), worker), EditingSource)
    spec = new_spec("dip")
    dip = OfficialSource("dip", new_sampler(Denoiser(spec).eval(), TokenEncoder(768)), worker)
    assert not isinstance(dip, EditingSource)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("mode", MODES)
def test_same_seed_same_edit_and_the_length_of_the_clip(name: str, mode: EditMode) -> None:
    clip, plan = make_moving(num_frames=90, fps=30.0), EditPlan(mode)
    first, again, other = run_edit(TINY[name], *((wish(seed=seed), clip, plan) for seed in (3, 3, 4)))
    assert (first.generator, first.clip.fps, first.clip.num_frames) == (name, 20.0, 60)
    assert set(first.timings_ms) == {"queue", "text", "sample", "decode"}
    assert all(torch.equal(first.clip.rotations[bone], again.clip.rotations[bone]) for bone in first.clip.rotations)
    assert not torch.equal(first.clip.rotations["leftUpperArm"], other.clip.rotations["leftUpperArm"])


@pytest.mark.parametrize("name", TINY)
def test_guidance_zero_ignores_the_text_and_one_does_not(name: str) -> None:
    clip, plan, nothing = make_moving(), EditPlan("in_between"), PromptPlan("", "en", ())
    blind, unread, read = run_edit(
        TINY[name],
        (wish(nothing, guidance=0.0), clip, plan),
        (wish(guidance=0.0), clip, plan),
        (wish(guidance=4.0), clip, plan),
    )
    assert_close(blind.clip.hips, unread.clip.hips)
    assert not torch.equal(read.clip.hips, blind.clip.hips)
    assert (blind.guidance, read.guidance) == (0.0, 4.0)
    assert not [warning for warning in blind.warnings if "knows no action" in warning]


@pytest.mark.parametrize("frames", [2, 7, 40, 130])
def test_mini_keeps_root_and_legs(frames: int) -> None:
    clip = make_moving(CANONICAL_BODY, frames)
    (made,) = run_edit(tiny_mini, (wish(), clip, EditPlan("upper_body")))
    for bone in LOWER_BODY:
        assert float(quat_angle(made.clip.rotations[bone], clip.rotations[bone]).max()) < 1e-3, bone
    assert_close(made.clip.hips, clip.hips, atol=1e-3, rtol=0)
    assert frames < 7 or float(quat_angle(made.clip.rotations["head"], clip.rotations["head"]).max()) > 0.1


@pytest.mark.parametrize(
    ("frames", "ends"), [(40, (0.25, 0.75)), (200, (0.1, 0.9)), (60, (0.0, 0.5)), (60, (0.5, 1.0))]
)
def test_mini_keeps_the_frames_around_the_gap(frames: int, ends: tuple[float, float]) -> None:
    clip, plan = make_moving(CANONICAL_BODY, frames), EditPlan("in_between", *ends)
    (made,) = run_edit(tiny_mini, (wish(), clip, plan))
    start, stop = plan.gap(frames)
    kept = [*range(start), *range(stop, frames)]
    for bone in set(CANONICAL_BONES) - {"hips"}:
        assert float(quat_angle(made.clip.rotations[bone], clip.rotations[bone])[kept].max()) < 1e-3, bone
    assert_close(made.clip.hips[:start], clip.hips[:start], atol=1e-3, rtol=0)
    assert not torch.allclose(made.clip.hips[start:stop], clip.hips[start:stop], atol=1e-2)


def test_the_official_edit_is_inpainting_of_padded_features(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, Conditions, Tensor]] = []
    spec = new_spec("mdm")
    sampler = new_sampler(Denoiser(spec).eval(), TokenEncoder(spec.text_width))
    own = sampler.sample

    def sample(texts: Any, num_frames: int, run: Any, conditions: Conditions) -> Tensor:
        made = own(texts, num_frames, run, conditions)
        seen.append((num_frames, conditions, made))
        return made

    monkeypatch.setattr(sampler, "sample", sample)
    clip, plan = make_moving(num_frames=80), EditPlan("in_between")
    (made,) = run_edit(lambda worker: EditingOfficialSource("mdm", sampler, worker), (wish(), clip, plan))
    ((frames, conditions, sampled),) = seen
    assert conditions.keep is not None and conditions.motion is not None and conditions.frame_mask is not None
    assert (frames, int(conditions.frame_mask.sum())) == (MAX_FRAMES, 80)
    assert torch.equal(conditions.keep, plan_to_keep(plan, 80))
    known = clip_to_features(vrm_to_joints(clip)).features
    assert_close(conditions.motion[0, :80], sampler.normalise(known))
    assert not conditions.motion[0, 80:].any()
    assert torch.equal(sampled[conditions.keep], conditions.motion[conditions.keep]), "kept to the last digit"
    features = FeatureClip(sampler.to_features(sampled[0, :80]), "humanml3d", 20.0)
    assert_close(made.clip.hips, joints_to_vrm(features_to_clip(features)).hips)


@pytest.mark.skipif(not (MINI / "model.safetensors").is_file(), reason="models/motion/mini has no weights")
def test_edits_of_the_shipped_model_have_smooth_seams() -> None:
    from motion_service.mdm.checkpoint import load_checkpoint
    from motion_service.text_encoder import UseEncoder

    def new_source(worker: Worker) -> EditingDiffusionSource:
        return EditingDiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)

    async def walk() -> VrmClip:
        worker = Worker()
        worker.start()
        try:
            walking = PromptPlan("a person walks forward", "en", (Segment("a person walks forward"),))
            return with_bones(await new_source(worker).generate(SourceRequest(walking, 5.0, 1))).clip
        finally:
            await worker.stop()

    clip = asyncio.run(walk())
    between, upper = run_edit(
        new_source, (wish(seed=2), clip, EditPlan("in_between")), (wish(seed=2), clip, EditPlan("upper_body"))
    )
    rough = accelerations(put_in(clip, between.clip, EditPlan("in_between")))
    seams = [frame - 1 for seam in (25, 75) for frame in range(seam - 2, seam + 2)]
    inside = [frame for frame in range(len(rough)) if frame not in seams]
    assert float(rough[seams].max()) <= 1.5 * float(rough[inside].max())
    waved = put_in(clip, upper.clip, EditPlan("upper_body"))
    hands = CANONICAL_BONES.index("rightHand")
    lift = clip_to_pose(waved)[0][:, hands, 1].max() - clip_to_pose(clip)[0][:, hands, 1].max()
    assert float(lift) > 0.3, "the hand goes up to wave while the legs walk on"


def test_a_sparse_clip_of_another_rate_and_size_can_be_edited() -> None:
    """Only hips and one arm have tracks, at 60 fps, on a body half as high."""
    whole = make_moving(num_frames=180, fps=60.0)
    body = Body({bone: (x / 2, y / 2, z / 2) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    rotations = {bone: whole.rotations[bone] for bone in ("hips", "rightUpperArm")}
    clip = dataclasses.replace(whole, rotations=rotations, hips=whole.hips / 2, rest_hips_height=body.hips_height)
    (made,) = run_edit(tiny_mini, (wish(), clip, EditPlan("in_between")))
    edited = put_in(clip, made.clip, EditPlan("in_between"))
    assert set(edited.rotations) == set(CANONICAL_BONES)
    assert torch.equal(edited.hips[:45], clip.hips[:45])
    known = resample_clip(clip, 20.0)
    assert_close(made.clip.hips[:15] / 2, known.hips[:15], atol=1e-3, rtol=0)
    assert_close(edited.rotations["head"][0], torch.tensor([0.0, 0.0, 0.0, 1.0]))
