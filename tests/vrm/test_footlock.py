"""The foot lock: feet that stand are held, nothing else is touched, and bones keep their lengths."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service.clips import JointClip, PromptPlan, Segment, VrmClip
from motion_service.engine.worker import Worker
from motion_service.geometry.rotation import quat_angle, quat_multiply, quat_rotate, rotvec_to_quat, yaw_to_quat
from motion_service.humanoid import CONTACT_BONES
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.mini import DiffusionSource
from motion_service.placeholder import plan_to_placeholder
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import SourceRequest
from motion_service.text_encoder import UseEncoder
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body, pose_body
from motion_service.vrm.footlock import MAX_MOVE, FootLock, lock_feet
from motion_service.vrm.lowpass import smooth
from motion_service.vrm.resample import resample_clip
from motion_service.vrm.retarget import joints_to_vrm
from motion_service.vrm.two_bone import MAX_REACH
from tests.fakes import MINI, with_bones
from tests.vrm.by_tensors import turn_leg

GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens" / "representation.npz"
PROMPTS = ("a person walks forward", "a person waves with the right hand", "お辞儀をする")
LEG = ("UpperLeg", "LowerLeg", "Foot")


def drift(clip: VrmClip, amount: float = 0.12, seed: int = 1) -> VrmClip:
    """The clip with hips that wander slowly by a few centimetres, which makes its feet slide."""
    noise = torch.randn(clip.num_frames, 3, generator=torch.Generator().manual_seed(seed))
    wander = smooth(noise, 0.3 * clip.fps) * math.sqrt(clip.fps / 20) * torch.tensor([amount, 0.0, amount])
    return replace(clip, hips=clip.hips + wander)


def standing(seconds: float = 4.0, seed: int = 0) -> VrmClip:
    return plan_to_placeholder(PromptPlan("stands", "en", (Segment("stands"),)), seconds, seed)


def child_body() -> Body:
    """Six tenths of the canonical body with shorter thighs and shanks, without toes and neck."""
    shorter = {"UpperLeg": 0.08, "LowerLeg": 0.05}
    rest = {}
    for bone, (x, y, z) in CANONICAL_BODY.rest.items():
        if not bone.endswith(("Toes", "neck")):
            drop = next((less for name, less in shorter.items() if bone.endswith(name)), 0.0)
            rest[bone] = (0.6 * x, 0.6 * y - drop, 0.6 * z)
    return Body(rest)


def place(clip: VrmClip, body: Body, *bones: str) -> Tensor:
    """World positions (T, n, 3)."""
    return pose_body(body, clip)[0][:, [body.index(bone) for bone in bones]]


def worst_jerk(clip: VrmClip, lock: FootLock, body: Body) -> float:
    """Largest third difference of knees, ankles and toes within five frames of where a foot is caught or let go."""
    jerk = torch.linalg.vector_norm(torch.diff(pose_body(body, clip)[0], n=3, dim=0), dim=-1) * clip.fps**3
    worst = 0.0
    for span in lock.spans:
        bones = [body.index(span.side + bone) for bone in ("LowerLeg", "Foot", "Toes") if span.side + bone in body.rest]
        for edge in {span.start, span.stop} - {0, clip.num_frames}:
            near = jerk[max(0, edge - 5) : edge + 4, bones]
            worst = max(worst, float(near.max()) if near.numel() else 0.0)
    return worst


@pytest.fixture(scope="module")
def walked() -> dict[str, VrmClip]:
    """Clips of the shipped model, 3 s each."""

    async def generate() -> dict[str, VrmClip]:
        worker = Worker()
        worker.start()
        try:
            source = DiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)
            plans = {prompt: SourceRequest(prompt_to_plan(prompt), 3.0, seed=3) for prompt in PROMPTS}
            return {prompt: with_bones(await source.generate(request)).clip for prompt, request in plans.items()}
        finally:
            await worker.stop()

    return asyncio.run(generate())


CASES = [(prompt, fps, slides) for prompt in PROMPTS for fps in (20.0, 60.0) for slides in (False, True)]


# --- what the lock promises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompt", "fps", "slides"), CASES)
def test_skate_is_halved_without_moving_ankles_far(walked, prompt: str, fps: float, slides: bool) -> None:
    clip = resample_clip(walked[prompt], fps)
    clip = drift(clip) if slides else clip
    lock = lock_feet(clip, CANONICAL_BODY)
    assert lock.spans and lock.skate_before > 0.5
    assert lock.skate_after <= 0.5 * lock.skate_before
    ankles = ("leftFoot", "rightFoot")
    moved = (place(lock.clip, CANONICAL_BODY, *ankles) - place(clip, CANONICAL_BODY, *ankles)).norm(dim=-1).max()
    assert 0.001 < moved <= MAX_MOVE + 1e-4
    assert lock.moved_cm == pytest.approx(100 * float(moved), abs=1e-3)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_no_jump_where_a_foot_is_caught_or_let_go(walked, prompt: str) -> None:
    clip = walked[prompt]
    lock = lock_feet(clip, CANONICAL_BODY)
    assert worst_jerk(lock.clip, lock, CANONICAL_BODY) <= 1.3 * worst_jerk(clip, lock, CANONICAL_BODY) + 1e-3
    for bone, track in lock.clip.rotations.items():
        assert float((track[1:] * track[:-1]).sum(-1).min()) > 0, bone


@pytest.mark.parametrize(
    "body", [CANONICAL_BODY, MANNEQUIN_BODY, child_body()], ids=["canonical", "mannequin", "child"]
)
def test_bones_keep_their_length_feet_their_turn_and_the_rest_its_numbers(walked, body: Body) -> None:
    clip = drift(clip_to_body(walked[PROMPTS[0]], body))
    lock = lock_feet(clip, body)
    assert lock.skate_after < 0.5 * lock.skate_before
    (old, old_world), (new, new_world) = pose_body(body, clip), pose_body(body, lock.clip)
    for side in ("left", "right"):
        hip, knee, ankle = (body.index(side + bone) for bone in LEG)
        for a, b in ((hip, knee), (knee, ankle)):
            assert_close((new[:, a] - new[:, b]).norm(dim=-1), (old[:, a] - old[:, b]).norm(dim=-1), atol=1e-5, rtol=0)
        assert float(quat_angle(old_world[:, ankle], new_world[:, ankle]).max()) < 2e-3
    legs = {side + bone for side in ("left", "right") for bone in LEG}
    assert set(lock.clip.rotations) == set(clip.rotations)
    for bone in set(clip.rotations) - legs:
        assert lock.clip.rotations[bone] is clip.rotations[bone]
    assert lock.clip.hips is clip.hips and lock.clip.contacts is clip.contacts


def test_frames_far_from_contact_keep_their_numbers(walked) -> None:
    clip = walked[PROMPTS[0]]
    free = torch.zeros(clip.num_frames, 1)
    free[10:25] = 1.0
    up = torch.zeros(clip.num_frames, 3)
    up[32:, 1] = 0.1  # feet that sink are lifted wherever they do
    clip = replace(clip, contacts=clip.contacts * free, hips=clip.hips + up)
    lock = lock_feet(clip, CANONICAL_BODY)
    assert lock.spans
    for side in ("left", "right"):
        for bone in LEG:
            assert torch.equal(lock.clip.rotations[side + bone][40:], clip.rotations[side + bone][40:])


def test_a_sliding_stance_is_pinned_at_its_middle() -> None:
    clip = standing()
    still = place(clip, CANONICAL_BODY, *CONTACT_BONES)
    glide = 0.02 * torch.linspace(-1, 1, clip.num_frames)
    clip = replace(clip, hips=clip.hips + torch.stack([glide, 0 * glide, glide], dim=-1))
    lock = lock_feet(clip, CANONICAL_BODY)
    feet = place(lock.clip, CANONICAL_BODY, *CONTACT_BONES)
    assert float((feet - still).norm(dim=-1).max()) < 0.002
    assert lock.skate_after < 0.1 * lock.skate_before


@pytest.mark.parametrize(("height", "left_over"), [(-0.03, 0.0), (-0.01, 0.0), (0.008, 0.0), (0.03, 0.02)])
def test_sunken_feet_are_lifted_and_hovering_ones_lowered_by_a_centimetre(height: float, left_over: float) -> None:
    clip = standing()
    if height > 0:  # knees bent, so that the legs reach
        low = replace(clip, hips=clip.hips - torch.tensor([0.0, 0.03, 0.0]))
        clip = lock_feet(low, CANONICAL_BODY).clip
    clip = replace(clip, hips=clip.hips + torch.tensor([0.0, height, 0.0]))
    feet = place(lock_feet(clip, CANONICAL_BODY).clip, CANONICAL_BODY, *CONTACT_BONES)
    above = feet[..., 1] - torch.tensor([CANONICAL_BODY.rest[bone][1] for bone in CONTACT_BONES])
    assert float((above - left_over).abs().max()) < 0.002


def test_a_foot_that_sinks_while_it_travels_is_lifted_but_not_held() -> None:
    clip = standing()
    run = torch.linspace(0, 4, clip.num_frames)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    clip = replace(clip, hips=clip.hips + run + torch.tensor([0.0, -0.04, 0.0]))
    lock = lock_feet(clip, CANONICAL_BODY)
    before, after = (place(case, CANONICAL_BODY, *CONTACT_BONES) for case in (clip, lock.clip))
    assert not lock.spans
    assert_close((after - before)[..., 1], torch.full(after.shape[:2], 0.04**2 / 0.05), atol=2e-3, rtol=0)
    assert_close(after[..., [0, 2]], before[..., [0, 2]], atol=1e-3, rtol=0)


@pytest.mark.parametrize("scale", [0.25, 0.5])
def test_the_lock_of_a_smaller_body_is_the_smaller_lock(scale: float) -> None:
    """Everything is in proportion: how far an ankle moves, how far it is pushed down, how soft the floor is."""
    small = Body({bone: (scale * x, scale * y, scale * z) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    for height in (-0.02, 0.0, 0.03):
        clip = drift(standing(), amount=0.5)
        clip = replace(clip, hips=clip.hips + torch.tensor([0.0, height, 0.0]))
        whole, lock = lock_feet(clip, CANONICAL_BODY), lock_feet(clip_to_body(clip, small), small)
        assert lock.moved_cm == pytest.approx(scale * whole.moved_cm, rel=0.02)
        assert lock.moved_cm <= 100 * scale * MAX_MOVE + 0.01
        expected = scale * place(whole.clip, CANONICAL_BODY, *CONTACT_BONES)
        assert_close(place(lock.clip, small, *CONTACT_BONES), expected, atol=2e-3 * scale, rtol=0)


def test_no_body_is_moved_further_for_being_tall() -> None:
    tall = Body({bone: (3 * x, 3 * y, 3 * z) for bone, (x, y, z) in CANONICAL_BODY.rest.items()})
    lock = lock_feet(clip_to_body(drift(standing(), amount=0.5), tall), tall)
    assert 3 < lock.moved_cm <= 100 * MAX_MOVE + 0.01


def test_a_clip_that_stops_standing_ends_in_the_pose_it_ended_in() -> None:
    clip = drift(standing())
    contacts = clip.contacts.clone()
    contacts[-8:] = 0
    clip = replace(clip, contacts=contacts)
    lock = lock_feet(clip, CANONICAL_BODY)
    assert lock.moved_cm > 1
    for bone, track in clip.rotations.items():
        assert float(quat_angle(track[-1:], lock.clip.rotations[bone][-1:])) < 1e-4


def test_labels_are_only_a_hint() -> None:
    """A foot that travels or hangs in the air is not pinned, whatever its label says."""
    clip = standing()
    run = torch.linspace(0, 4, clip.num_frames)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    high = torch.tensor([0.0, 0.3, 0.0])
    for away in (run, high):
        lock = lock_feet(replace(clip, hips=clip.hips + away), CANONICAL_BODY)
        assert not lock.spans and lock.moved_cm == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_short_clips_and_clips_without_legs_or_contact_pass(frames: int) -> None:
    clip = standing()
    short = replace(
        clip,
        rotations={bone: track[:frames] for bone, track in clip.rotations.items()},
        hips=clip.hips[:frames],
        contacts=clip.contacts[:frames],
    )
    assert lock_feet(short, CANONICAL_BODY).clip.num_frames == frames
    airborne = replace(short, contacts=torch.zeros(frames, 4))
    assert lock_feet(airborne, CANONICAL_BODY) == FootLock(airborne, 0.0, 0.0)
    legless = replace(short, rotations={"hips": short.rotations["hips"]})
    assert lock_feet(legless, CANONICAL_BODY).clip is legless
    trunk = Body({"hips": (0.0, 0.9, 0.0), "spine": (0.0, 1.0, 0.0), "head": (0.0, 1.4, 0.0)})
    assert lock_feet(short, trunk).clip is short


def test_one_leg_is_enough() -> None:
    clip = drift(standing())
    left = {bone: track for bone, track in clip.rotations.items() if bone != "rightLowerLeg"}
    lock = lock_feet(replace(clip, rotations=left), CANONICAL_BODY)
    assert {span.side for span in lock.spans} == {"left"} and lock.skate_after < 0.5 * lock.skate_before


def test_turning_the_whole_clip_turns_the_locked_clip(walked) -> None:
    clip = drift(walked[PROMPTS[0]])
    yaw = yaw_to_quat(torch.tensor(math.pi / 2))  # a quarter turn keeps medians per axis
    turned = replace(
        clip,
        hips=quat_rotate(yaw, clip.hips),
        rotations=clip.rotations | {"hips": quat_multiply(yaw, clip.rotations["hips"])},
    )
    first, second = lock_feet(clip, CANONICAL_BODY), lock_feet(turned, CANONICAL_BODY)
    feet = quat_rotate(yaw, place(first.clip, CANONICAL_BODY, *CONTACT_BONES))
    assert_close(place(second.clip, CANONICAL_BODY, *CONTACT_BONES), feet, atol=1e-3, rtol=0)
    assert second.skate_after == pytest.approx(first.skate_after, rel=0.02)


def test_real_joints_after_the_retarget() -> None:
    if not GOLDEN.is_file():
        pytest.skip("the reference joints of ../shared/goldens are not here")
    with np.load(GOLDEN) as golden:
        contacts = torch.tensor(golden["A/h3d/features"][:, 259:263])
        positions = torch.tensor(golden["A/h3d/global_positions"][: len(contacts)])
    clip = joints_to_vrm(JointClip(positions.float(), contacts.float(), 20.0))
    for case in (clip, drift(clip)):
        lock = lock_feet(case, MANNEQUIN_BODY)
        assert lock.skate_after <= 0.5 * lock.skate_before
        assert 0 < lock.moved_cm <= 100 * MAX_MOVE + 0.01
        assert worst_jerk(lock.clip, lock, MANNEQUIN_BODY) <= 1.3 * worst_jerk(case, lock, MANNEQUIN_BODY)


# --- the two bones ---------------------------------------------------------------------------------------------------

ANGLES = st.floats(-1.2, 1.2)
STEPS = st.floats(-0.15, 0.15)


def bent_leg(swing: tuple[float, float, float], knee: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hip, knee, ankle and hinge of a leg of 0.42 and 0.38 m, turned by ``swing`` and flexed by ``knee`` rad."""
    thigh = rotvec_to_quat(torch.tensor(swing, dtype=torch.float64))
    hinge = quat_rotate(thigh, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    down = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    flexed = quat_rotate(rotvec_to_quat(torch.tensor([knee, 0.0, 0.0], dtype=torch.float64)), down)
    hip = torch.tensor([0.1, 0.9, 0.0], dtype=torch.float64)
    middle = hip + 0.42 * quat_rotate(thigh, down)
    return hip, middle, middle + 0.38 * quat_rotate(thigh, flexed), hinge


@settings(max_examples=200, deadline=None)
@given(swing=st.tuples(ANGLES, ANGLES, ANGLES), knee=st.floats(0.0, 2.2), step=st.tuples(STEPS, STEPS, STEPS))
def test_the_ankle_gets_where_it_is_asked_and_a_stretched_leg_stays_short_of_it(swing, knee: float, step) -> None:
    hip, middle, ankle, hinge = bent_leg(swing, knee)
    target = ankle + torch.tensor(step, dtype=torch.float64)
    turn = turn_leg(hip, middle, ankle, target, hinge)
    new_knee = hip + quat_rotate(turn.thigh, middle - hip)
    reached = new_knee + quat_rotate(turn.shank, ankle - middle)
    wanted, before, after = (float((point - hip).norm()) for point in (target, ankle, reached))
    on_line = hip + (target - hip) * after / wanted
    assert float((reached - on_line).norm()) < 1e-6
    assert float((reached - turn.ankle).norm()) < 1e-6
    if wanted <= before:
        assert after == pytest.approx(wanted, abs=2e-3)
    else:
        assert before - 2e-3 < after < min(wanted, max(MAX_REACH * 0.8, before)) + 2e-3
        assert after - before > 0.7 * min(wanted - before, MAX_REACH * 0.8 - before) - 2e-3
    normal = torch.linalg.cross(new_knee - hip, reached - new_knee)
    assert float((normal * quat_rotate(turn.thigh, hinge)).sum()) > -2e-3, "a knee never bends the wrong way"


@settings(max_examples=50, deadline=None)
@given(swing=st.tuples(ANGLES, ANGLES, ANGLES), knee=st.floats(-0.3, 2.2))
def test_an_ankle_that_stays_turns_nothing(swing, knee: float) -> None:
    hip, middle, ankle, hinge = bent_leg(swing, knee)
    turn = turn_leg(hip, middle, ankle, ankle, hinge)
    for q in (turn.thigh, turn.shank):
        assert float(q[..., :3].norm()) < 1e-6


def test_a_knee_that_is_bent_the_wrong_way_is_not_bent_further() -> None:
    hip, middle, ankle, hinge = bent_leg((0.0, 0.0, 0.0), -0.3)
    turn = turn_leg(hip, middle, ankle, ankle + 0.05 * (hip - ankle), hinge)
    for q in (turn.thigh, turn.shank):
        assert float(q[..., :3].norm()) < 1e-6


# --- smoothing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 7, 80])
def test_smoothing_keeps_lines_and_ends_and_calms_noise(frames: int) -> None:
    line = torch.linspace(0, 3, frames)[:, None] * torch.tensor([1.0, -2.0]) + 5
    assert_close(smooth(line, 4.0), line, atol=1e-5, rtol=0)
    noise = torch.randn(frames, 2, 3, generator=torch.Generator().manual_seed(0))
    calm = smooth(noise, 4.0)
    assert_close(calm[[0, -1]], noise[[0, -1]], atol=1e-5, rtol=0)
    assert frames < 80 or float(torch.diff(calm, dim=0).std()) < 0.2 * float(torch.diff(noise, dim=0).std())
