"""Streams that are fitted together come out as each alone does, whoever else is there and however they are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.geometry.planes import to_planes, to_tensor
from motion_service.live_frames import Floats, LiveFrames, clip_to_frames
from motion_service.vrm.avatar import Avatar, RestPose
from motion_service.vrm.body import CANONICAL_BODY, Body, clip_to_body, fold_bones
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.live_figure import new_figure
from motion_service.vrm.live_fit import FittedMotion, NextWindow, extend_all, open_fit
from tests.fakes import make_wave

FPS = 20.0
HEIGHT = CANONICAL_BODY.hips_height
PREFIX = 5
HISTORY = 1000


def walk(seed: int) -> LiveFrames:
    """80 frames of an arm that waves above legs that slide, turn and rise, contacts on and off."""
    draw = np.random.default_rng(seed)
    wave = make_wave(4.0, seed)
    time = torch.arange(wave.num_frames) / FPS
    hips = wave.hips.clone()
    hips[:, 0] += float(draw.uniform(-0.5, 0.5)) * time
    hips[:, 1] += 0.02 * torch.sin(5 * time)
    contacts = torch.from_numpy((draw.random((wave.num_frames, 4)) < 0.7).astype(np.float32))
    return clip_to_frames(clip_to_body(replace(wave, hips=hips, contacts=contacts), CANONICAL_BODY))


def avatar(scale: float, lacks: tuple[str, ...], expressions: tuple[str, ...], has_gaze: bool) -> Avatar:
    rest = {bone: place for bone, place in CANONICAL_BODY.rest.items() if bone not in lacks}
    body = Body({bone: (scale * x, scale * y, scale * z) for bone, (x, y, z) in rest.items()})
    return Avatar("0" * 32, "", "1.0", body, expressions, has_gaze, RestPose(0.0, 0.0, True), ())


LACKS = [(), ("chest",), ("leftShoulder", "neck"), ("leftToes",), ("leftFoot", "leftToes"), ("rightFoot",)]
avatars = st.builds(
    avatar,
    st.floats(0.3, 2.0),
    st.sampled_from(LACKS),
    st.sampled_from([(), ("happy", "blink"), ("blinkLeft", "blinkRight", "sad")]),
    st.booleans(),
)
fittings = st.builds(
    Fitting,
    avatar=st.none() | avatars,
    fold=st.booleans(),
    foot_lock=st.booleans(),
    root=st.sampled_from(["free", "bounded", "in_place"]),
    expressions=st.booleans(),
    seed=st.integers(0, 2**53),
)
moods = st.sampled_from([None, "happy", "sad"])
streams = st.tuples(fittings, st.integers(0, 3), st.sampled_from([1, 2, 7, 20]), moods)


def opened(fitting: Fitting, seed: int, frame: int = 0) -> FittedMotion:
    return open_fit(walk(seed).part(0, PREFIX), HEIGHT, FPS, fitting, frame)


def nexts(motions: list[FittedMotion], parts: list[LiveFrames], moods: list[str | None]) -> list[NextWindow]:
    return [NextWindow(*window, HISTORY) for window in zip(motions, parts, moods, strict=True)]


def numbers(motion: FittedMotion) -> Floats:
    """All that is known of a motion; what was never remembered counts as 0."""
    return np.nan_to_num(np.concatenate([motion.frames.block, motion.memory], axis=1))


@settings(max_examples=40, deadline=None)
@given(st.lists(streams, min_size=1, max_size=12))
def test_each_as_alone(group: list[tuple[Fitting, int, int, str | None]]) -> None:
    together = [opened(fitting, seed) for fitting, seed, _, _ in group]
    alone = list(together)
    for turn in range(2):
        parts = [walk(seed).part(PREFIX + turn * n, PREFIX + turn * n + n) for _, seed, n, _ in group]
        moods = [mood for *_, mood in group]
        together = extend_all(nexts(together, parts, moods))
        alone = [extend_all([window])[0] for window in nexts(alone, parts, moods)]
    for one, other in zip(together, alone, strict=True):
        assert (one.frame, one.frames.layout) == (other.frame, other.frames.layout)
        np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(fittings, st.integers(0, 3), st.lists(st.integers(1, 59), max_size=4, unique=True), st.integers(0, 5000))
def test_frames_do_not_depend_on_the_cuts(fitting: Fitting, seed: int, cuts: list[int], frame: int) -> None:
    start, motion = opened(fitting, seed, frame), walk(seed).part(PREFIX, PREFIX + 60)
    (whole,) = extend_all([NextWindow(start, motion, "happy", HISTORY)])
    pieces = start
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        (pieces,) = extend_all([NextWindow(pieces, motion.part(a, b), "happy", HISTORY)])
    np.testing.assert_allclose(pieces.frames.block, whole.frames.block, atol=1e-4, rtol=0)
    again = whole.rewind(frame + 17)
    (remade,) = extend_all([NextWindow(again, motion.part(17, 60), "happy", HISTORY)])
    np.testing.assert_allclose(remade.frames.block, whole.frames.block, atol=1e-4, rtol=0)


@settings(max_examples=40, deadline=None)
@given(fittings, st.integers(0, 3))
def test_bones_are_folded_as_in_clips(fitting: Fitting, seed: int) -> None:
    frames = walk(seed)
    figure = new_figure(fitting, frames.bones, HEIGHT, FPS)
    clip = fold_bones(frames.to_clip(FPS, HEIGHT), fitting.body.bones)
    assert figure.kind.bones == tuple(clip.rotations)
    folded = to_tensor(figure.kind.fold(to_planes(frames.rotations.transpose(0, 1)))).transpose(0, 1)
    same = (folded * torch.stack([*clip.rotations.values()], dim=1)).sum(-1).abs()
    torch.testing.assert_close(same, torch.ones_like(same))


def test_history_is_as_long_as_asked_for() -> None:
    motion = opened(Fitting(), 1)
    (longer,) = extend_all([NextWindow(motion, walk(1).part(PREFIX, 45), None, 12)])
    assert (len(longer.frames), len(longer.memory), longer.frame) == (12, 12, 40)
    (whole,) = extend_all([NextWindow(motion, walk(1).part(PREFIX, 45), None, HISTORY)])
    assert np.array_equal(longer.frames.block, whole.frames.block[-12:])
