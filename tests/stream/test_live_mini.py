"""The real model as a live source: windows join, places continue, any frame can be gone on from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.engine.worker import Worker
from motion_service.errors import NonFiniteOutput
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.cues import plan_to_cues
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.mdm_adapter.mini import read_cues
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import LiveOrder, LiveSource, LiveState, LiveText, LiveWindow, extend_state
from motion_service.stream_begin import Beginnings
from motion_service.stream_reel import NextFrames, Reel, extend_reels, new_extender, open_reel
from motion_service.text_encoder import UseEncoder
from motion_service.timeline import read_plan
from motion_service.vrm.body import CANONICAL_BODY, pose_body
from motion_service.vrm.fitting import Fitting
from motion_service.vrm.footlock import lock_feet
from motion_service.vrm.stage import BOUND, neutral_pose
from tests.fakes import MINI

ORDER = LiveOrder(seed=5, steps=4)
HISTORY = 10_000
EXTENDER = new_extender()


@pytest.fixture(scope="module")
def mini() -> Iterator[LiveDiffusionSource]:
    worker = Worker()
    worker.start()
    yield LiveDiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)
    asyncio.run(worker.stop())


async def text(mini: LiveDiffusionSource, prompt: str) -> LiveText:
    return (await read_plan(mini, prompt_to_plan(prompt), 1))[0]


async def roll(mini: LiveDiffusionSource, fitting: Fitting, windows: int = 8) -> tuple[Reel, list[int]]:
    """Windows of changing texts, every other one cut; and where they begin."""
    reel, starts = open_reel(mini, fitting), []
    prompts = ["a person walks forward", "a person waves", "a person turns left", "a person stands idle"]
    for i in range(windows):
        starts.append(reel.made)
        asked = await text(mini, prompts[i % len(prompts)])
        reel = await reel.advance(mini, asked, 40, ORDER, HISTORY, EXTENDER)
        if i % 2:
            reel = reel.rewind(reel.made - 23)
    return reel, starts


def fitted_clip(reel: Reel) -> VrmClip:
    return reel.take(0, reel.made, 20.0).to_clip(20.0, CANONICAL_BODY.hips_height)


def accelerations(clip: VrmClip) -> Tensor:
    """(T - 2,) of the fastest bone, m/s^2."""
    positions, _ = pose_body(CANONICAL_BODY, clip)
    return (positions[2:] - 2 * positions[1:-1] + positions[:-2]).norm(dim=-1).amax(-1) * 400


async def test_it_is_a_live_source(mini: LiveDiffusionSource) -> None:
    assert isinstance(mini, LiveSource)
    assert (mini.name, mini.fps, mini.window_frames, mini.context_frames) == ("mini", 20.0, 40, 20)


@pytest.mark.parametrize("root", ["free", "bounded", "in_place"])
async def test_windows_join_without_a_seam(mini: LiveDiffusionSource, root: str) -> None:
    reel, starts = await roll(mini, Fitting(root=root))  # type: ignore[arg-type]
    clip = fitted_clip(reel)
    bend = accelerations(clip)
    at_seams = torch.tensor([bool({frame, frame + 1} & {*starts}) for frame in range(1, len(bend) + 1)])
    assert float(bend[at_seams].max()) <= 1.5 * float(bend[~at_seams].max())
    steps = clip.hips.diff(dim=0).norm(dim=-1)
    assert float(steps.max()) < 0.25, "the figure jumps"
    farthest = float(clip.hips[:, [0, 2]].norm(dim=-1).max())
    assert farthest > 1 if root == "free" else farthest <= BOUND + 1e-4


async def test_feet_are_held_across_windows(mini: LiveDiffusionSource) -> None:
    loose, locked = [fitted_clip((await roll(mini, Fitting(foot_lock=lock)))[0]) for lock in (False, True)]
    before, after = (lock_feet(clip, CANONICAL_BODY).skate_before for clip in (loose, locked))
    assert after <= 0.6 * before
    assert float(accelerations(locked).max()) <= 1.15 * float(accelerations(loose).max())


async def test_going_back_gives_what_was_there(mini: LiveDiffusionSource) -> None:
    """Rewinding and making the same window again is as if it had never happened."""
    walk = await text(mini, "a person walks forward")
    reel = await open_reel(mini, Fitting()).advance(mini, walk, 40, ORDER, HISTORY, EXTENDER)
    first = await reel.advance(mini, walk, 40, ORDER, HISTORY, EXTENDER)
    again = await first.rewind(40).advance(mini, walk, 40, ORDER, HISTORY, EXTENDER)
    assert torch.equal(first.fitted.frames.rotations, again.fitted.frames.rotations)
    assert torch.equal(first.fitted.frames.hips, again.fitted.frames.hips)
    cut = await reel.rewind(33).advance(mini, walk, 7, ORDER, HISTORY, EXTENDER)
    assert cut.made == 40 and torch.equal(cut.fitted.frames.hips[:-7], reel.fitted.frames.hips[:-7])


async def test_it_starts_in_the_pose_of_the_avatar(mini: LiveDiffusionSource) -> None:
    walk = await text(mini, "a person walks forward")
    walked = await open_reel(mini, Fitting()).advance(mini, walk, 40, ORDER, HISTORY, EXTENDER)
    pose = fitted_clip(walked)
    idle = await text(mini, "a person stands idle")
    reel = await open_reel(mini, Fitting(), pose).advance(mini, idle, 40, ORDER, HISTORY, EXTENDER)
    joined = torch.cat([pose.hips, fitted_clip(reel).hips])
    steps = joined.diff(dim=0)[:, [0, 2]]
    assert float((steps[39] - steps[38]).norm()) < 0.03, "place and speed go on"
    assert float((fitted_clip(reel).rotations["leftUpperLeg"][0] - pose.rotations["leftUpperLeg"][-1]).norm()) < 0.1


async def test_stop_ends_in_a_neutral_stance(mini: LiveDiffusionSource) -> None:
    walk, idle = await text(mini, "a person walks forward"), await text(mini, "a person stands idle")
    reel = await open_reel(mini, Fitting(foot_lock=False)).advance(mini, walk, 40, ORDER, HISTORY, EXTENDER)
    reel = await reel.advance(mini, idle, 40, ORDER, HISTORY, EXTENDER, settle=True)
    clip, neutral = fitted_clip(reel), neutral_pose()
    for bone in ("leftUpperArm", "rightLowerArm", "leftUpperLeg", "head"):
        assert abs(float((clip.rotations[bone][-1] * neutral.rotations[bone][0]).sum())) > 0.9995
    assert float(clip.hips[-1, [0, 2]].norm()) > 0.5, "where it is, not at the origin"


async def test_idle_is_never_frozen(mini: LiveDiffusionSource) -> None:
    idle = await text(mini, "a person stands idle")
    reel = open_reel(mini, Fitting())
    for _ in range(4):
        reel = await reel.advance(mini, idle, 40, ORDER, HISTORY, EXTENDER)
    positions, _ = pose_body(CANONICAL_BODY, fitted_clip(reel))
    moved = positions.unfold(0, 20, 5)  # (n, J, 3, a second)
    assert float((moved.amax(-1) - moved.amin(-1)).norm(dim=-1).amax(-1).min()) > 0.001


async def test_windows_are_decoded_together_as_alone(mini: LiveDiffusionSource) -> None:
    """Of any states and lengths; one that is no motion fails by itself."""
    walk = await text(mini, "a person walks forward")
    start = mini.open(None)
    made = await mini.sample(start, walk, ORDER)
    walked = extend_state(mini, LiveWindow(start, made, 40, HISTORY))
    windows = [LiveWindow(state, made, n, HISTORY) for state in (start, walked) for n in (40, 7, 1, 40)]
    broken = LiveWindow(start, made * torch.nan, 40, HISTORY)
    *together, failed = mini.extend_all([*windows, broken])
    assert isinstance(failed, NonFiniteOutput)
    for window, state in zip(windows, together, strict=True):
        alone = extend_state(mini, window)
        assert isinstance(state, LiveState) and state.frame == window.state.frame + window.num_frames
        for one, other in ((state.rows, alone.rows), (state.places, alone.places)):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        np.testing.assert_allclose(state.frames.block, alone.frames.block, atol=1e-5, rtol=0)


async def test_what_is_remembered_of_a_plan_reads_as_at_first(mini: LiveDiffusionSource) -> None:
    for prompt in ("a person waves", "歩いてから、お辞儀をする", "walks angrily", "qwertz"):
        plan, checkpoint = prompt_to_plan(prompt), load_checkpoint(MINI)
        cues = plan_to_cues(plan, max(1, len(plan.segments)) * mini.window_frames, mini.fps, checkpoint.reader.actions)
        for seed in range(12):
            fresh = read_cues(cues, UseEncoder(), checkpoint.reader, torch.Generator().manual_seed(seed))
            remembered = await mini.read(plan, seed)
            assert len(remembered) == len(fresh)
            for one, other in zip(remembered, fresh, strict=True):
                assert torch.equal(one.embedding.tokens, other.embedding.tokens)


async def test_what_streams_share_shows_in_none(mini: LiveDiffusionSource) -> None:
    beginnings, asked = Beginnings(), await text(mini, "a person waves")
    for seed, still in ((1, frozenset[str]()), (2, frozenset[str]()), (2, frozenset({"breathing"})), (3, frozenset())):
        fitting = Fitting(expressions=True, seed=seed, still=still)
        shared, own = beginnings.stand(mini, fitting), open_reel(mini, fitting)
        rows = await mini.sample(own.state, asked, ORDER)
        window = LiveWindow(own.state, rows, 40, HISTORY)
        made = extend_reels([NextFrames(mini, reel, window, None, HISTORY) for reel in (shared, own)])
        first, second = (reel.take(0, 40, 20.0).block for reel in made if isinstance(reel, Reel))
        np.testing.assert_array_equal(first, second)
