"""A body that talks, listens, thinks and idles: smooth, planted, never still, the same however it is planned."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from motion_service.clips import VrmClip
from motion_service.features.vrm_native import canonical_fk
from motion_service.geometry.rotation import quat_angle, quat_multiply, quat_rotate
from motion_service.humanoid import CANONICAL_BONES, CONTACT_BONES
from motion_service.quality import clip_to_canonical
from motion_service.speak.arms import FOREARM, MAX_BEND, SIDES, UPPER_ARM, wrist_to_arm
from motion_service.speak.enact import enact
from motion_service.speak.performance import Performance
from motion_service.speak.phrases import text_to_spoken
from motion_service.speak.score import REST
from motion_service.speak.states import STATES
from motion_service.speak.style import STYLES
from motion_service.speak_schemas import Emotion, State
from motion_service.vrm.stage import neutral_pose

FPS = 20.0
REPLY = "こんにちは、今日はいい天気ですね。散歩に行きましょうか。"
Array = npt.NDArray[np.float64]

CHANGES = st.lists(
    st.tuples(st.sampled_from(["speak", "interrupt", *STATES]), st.floats(0.1, 3.0), st.sampled_from([*STYLES])),
    min_size=1,
    max_size=6,
)


def perform(changes: list[tuple[str, float, Emotion]], seed: int) -> tuple[Performance, float]:
    """A performance with changes so many seconds after each other, and when it is over."""
    performance, time = Performance(seed).change("idle", 0.0), 0.0
    for kind, wait, emotion in changes:
        time += wait
        if kind == "speak":
            performance, _ = performance.speak(text_to_spoken(REPLY, 2.5), time, emotion=emotion)
        elif kind == "interrupt":
            performance = performance.interrupt(time)
        else:
            performance = performance.change(kind, time, emotion)  # type: ignore[arg-type]
    return performance, time + 4.0


def show(performance: Performance, seconds: float) -> VrmClip:
    times = np.arange(0, seconds, 1 / FPS)
    pose, count = neutral_pose(), len(times)
    local = torch.stack([pose.rotations[bone][0] for bone in CANONICAL_BONES])[None].expand(count, -1, -1)
    channels = performance.until(seconds + 1).channels(times)
    turned, hips = enact(channels, CANONICAL_BONES, local, pose.hips.expand(count, 3))
    tracks = dict(zip(CANONICAL_BONES, turned.unbind(1), strict=True))
    return VrmClip(tracks, hips, torch.ones(count, 4), FPS, pose.rest_hips_height)


@settings(deadline=None, max_examples=25)
@given(CHANGES, st.integers(0, 2**32))
def test_no_change_makes_a_jump_and_feet_stay(changes: list[tuple[str, float, Emotion]], seed: int) -> None:
    clip = show(*perform(changes, seed))
    local, hips = clip_to_canonical(clip)
    speeds = torch.rad2deg(quat_angle(local[1:], local[:-1])).amax(0) * FPS
    limits = {"head": 142, "neck": 140, "chest": 81, "spine": 52, "hips": 161}
    for bone, limit in limits.items():
        assert float(speeds[CANONICAL_BONES.index(bone)]) < limit
    assert float(speeds.max()) < 1074
    places, _ = canonical_fk(local, hips)
    feet = places[:, [CANONICAL_BONES.index(bone) for bone in CONTACT_BONES]]
    assert float((feet - feet[0]).abs().max()) < 2e-3


@settings(deadline=None, max_examples=25)
@given(CHANGES, st.integers(0, 2**32), st.lists(st.floats(0, 20), max_size=3))
def test_what_is_done_does_not_depend_on_how_far_it_was_planned(
    changes: list[tuple[str, float, Emotion]], seed: int, ahead: list[float]
) -> None:
    performance, end = perform(changes, seed)
    times = np.arange(0, end + 20, 0.1)
    straight = performance.until(times[-1]).channels(times)
    stepwise = performance
    for time in sorted(ahead):
        stepwise = stepwise.until(time)
    again = stepwise.until(times[-1]).channels(times)
    last = times > times[-1] - 15  # older strokes may be forgotten
    for channel in REST:
        np.testing.assert_allclose(again[channel][last], straight[channel][last], atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(STATES), st.floats(0.5, 6.0))
def test_a_change_leaves_what_was_before(state: State, at: float) -> None:
    performance = Performance(3).change("idle", 0.0).until(12.0)
    times = np.arange(0, at, 0.05)
    before, after = performance.channels(times), performance.change(state, at).until(at).channels(times)
    for channel in REST:
        np.testing.assert_allclose(after[channel], before[channel], atol=1e-9)


@pytest.mark.parametrize("kind", ["interrupt", "end"])
def test_hands_are_down_soon_after(kind: str) -> None:
    for seed in range(20):
        performance, _ = Performance(seed).change("idle", 0.0).speak(text_to_spoken(REPLY, 4.0), 1.0)
        stop, within = (2.6, 0.3) if kind == "interrupt" else (5.0, 0.4)
        if kind == "interrupt":
            performance = performance.interrupt(stop)
        reach = performance.until(9.0).channels(np.array([stop + within]))
        assert all(abs(float(reach[f"{side}_reach"][0])) < 1e-6 for side in SIDES)
        assert abs(float(reach["voice"][0])) < 0.11


@pytest.mark.parametrize("state", STATES)
def test_no_state_stands_still_or_repeats(state: State) -> None:
    clip = show(Performance(5).change(state, 0.0), 90.0)
    local, _ = clip_to_canonical(clip)
    steps = torch.rad2deg(quat_angle(local[1:], local[:-1])).amax(-1)
    assert float(steps.unfold(0, 20, 1).sum(-1).min()) > 0.5
    rows = torch.rad2deg(2 * local[..., :3] * torch.sign(local[..., 3:])).flatten(1)[::4]
    segments = rows.unfold(0, 25, 1).flatten(1)
    distance = torch.cdist(segments, segments) / math.sqrt(25 * len(CANONICAL_BONES))
    number = torch.arange(len(segments))
    distance[(number[:, None] - number).abs() < 25] = math.inf
    assert float(distance.min()) > 0.3


def test_every_beat_that_is_told_is_moved() -> None:
    times = np.arange(0, 4.2, 0.01)
    for seed in range(20):
        performance, beats = Performance(seed).speak(text_to_spoken(REPLY, 4.0), 0.0)
        track = performance.until(6.0).score.at(times)["head_pitch"]
        lowest = times[find_peaks(track, prominence=0.3)[0]]
        assert all(np.abs(lowest - beat.time).min() < 0.05 for beat in beats if beat.time < 3.9)


def test_hands_are_raised_for_a_good_part_of_what_is_said() -> None:
    shares = []
    for seed in range(20):
        performance, _ = Performance(seed).speak(text_to_spoken(REPLY, 4.0), 0.0)
        channels = performance.until(6.0).channels(np.arange(0, 4.0, 0.05))
        up = [(channels[f"{side}_reach"] > 0.8) & (channels[f"{side}_up"] > -0.08) for side in SIDES]
        shares.append(float((up[0] | up[1]).mean()))
    assert np.mean(shares) > 0.3


@settings(deadline=None)
@given(st.tuples(*[st.floats(-0.6, 0.6)] * 3), st.sampled_from(SIDES))
def test_wrists_get_where_they_can_within_the_limits_of_the_elbow(place: tuple[float, float, float], side: str) -> None:
    wrist = torch.tensor([place])
    if float(wrist.norm()) < 0.05:
        return
    arm = wrist_to_arm(side, wrist, torch.zeros(1), torch.zeros(1))  # type: ignore[arg-type]
    sign = 1.0 if side == "left" else -1.0
    elbow = quat_rotate(arm.upper, torch.tensor([[sign * UPPER_ARM, 0.0, 0.0]]))
    reached = elbow + quat_rotate(quat_multiply(arm.upper, arm.lower), torch.tensor([[sign * FOREARM, 0.0, 0.0]]))
    wanted = wrist * torch.tensor([sign, 1.0, 1.0])
    near = math.sqrt(UPPER_ARM**2 + FOREARM**2 + 2 * UPPER_ARM * FOREARM * math.cos(MAX_BEND))
    length = min(max(float(wrist.norm()), near), 0.999 * (UPPER_ARM + FOREARM))
    torch.testing.assert_close(reached, wanted / wanted.norm() * length, atol=2e-3, rtol=0)
    assert 2 * math.acos(min(1.0, abs(float(arm.lower[0, 3])))) <= MAX_BEND + 1e-3


def test_only_bones_that_are_there_are_moved() -> None:
    performance, _ = Performance(1).speak(text_to_spoken(REPLY, 3.0), 0.0)
    times = np.arange(0, 3, 0.05)
    local = torch.zeros(len(times), 2, 4)
    local[..., 3] = 1
    turned, hips = enact(performance.until(4).channels(times), ("hips", "rightFoot"), local, torch.zeros(len(times), 3))
    torch.testing.assert_close(turned, local)
    torch.testing.assert_close(hips, torch.zeros(len(times), 3))
