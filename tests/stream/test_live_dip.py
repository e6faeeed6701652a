"""dip as a live source, on random weights: windows join, any pose can be gone on from."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from motion_service.config import Config
from motion_service.engine.worker import Worker
from motion_service.loading import load_sources
from motion_service.mdm import trust
from motion_service.mdm.published import DIRECTORIES
from motion_service.mdm_adapter.live_official import LiveOfficialSource, carry_over
from motion_service.prompt.plan import prompt_to_plan
from motion_service.source import LiveOrder, LiveSource, LiveWindow, extend_state, join_clips, slice_clip
from motion_service.stream_reel import new_extender, open_reel
from motion_service.timeline import read_plan
from motion_service.vrm.body import MANNEQUIN_BODY, clip_to_body, pose_body
from motion_service.vrm.fitting import Fitting
from tests.fakes import make_wave
from tests.mdm.official_files import write_checkpoint_files, write_distilbert

ORDER = LiveOrder(seed=5)


@pytest.fixture(scope="module")
def dip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveOfficialSource]:
    root = tmp_path_factory.mktemp("assets")
    worker = Worker()
    worker.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "user_directory", lambda: root / "trust")
        write_checkpoint_files(root / "dip" / DIRECTORIES["dip-target"], "dip-target", trust=True)
        write_distilbert(root / "text" / "distilbert")
        folder = root / "data" / "dataset" / "HumanML3D"
        folder.mkdir(parents=True)
        mean, std = np.zeros(263, np.float32), np.full(263, 0.02, np.float32)
        mean[3], mean[4:67] = 0.9, _standing()
        np.save(folder / "Mean.npy", mean)
        np.save(folder / "Std.npy", std)
        for name, value in {"CHECKPOINT_DIR": root, "MOTION_DATA_DIR": root / "data", "DATA_ROOT": root}.items():
            patch.setenv(name, str(value))
        source = load_sources(Config(device="cpu"), worker)["dip"]
    assert isinstance(source, LiveOfficialSource) and isinstance(source, LiveSource)
    yield source
    asyncio.run(worker.stop())


def _standing() -> np.ndarray:
    """Joints 1 to 21 of a standing figure, so that small noise about them is a body."""
    from motion_service.features.humanml3d import POSITIONS
    from motion_service.features.prefixes import load_prefixes

    return load_prefixes()["stand"][0, POSITIONS].numpy()


@pytest.mark.parametrize("root", ["free", "in_place"])
async def test_windows_join_without_a_seam(dip: LiveOfficialSource, root: str) -> None:
    text = (await read_plan(dip, prompt_to_plan("a person waves"), 1))[0]
    reel, starts = open_reel(dip, Fitting(fold=False, root=root)), []  # type: ignore[arg-type]
    for i in range(5):
        starts.append(reel.made)
        reel = await reel.advance(dip, text, 40, ORDER, 10_000, new_extender())
        reel = reel.rewind(reel.made - 13) if i % 2 else reel
    clip = reel.take(0, reel.made, 20.0).to_clip(20.0, MANNEQUIN_BODY.hips_height)
    positions, _ = pose_body(MANNEQUIN_BODY, clip)
    bend = (positions[2:] - 2 * positions[1:-1] + positions[:-2]).norm(dim=-1).amax(-1)
    seams = torch.tensor([bool({frame, frame + 1} & {*starts}) for frame in range(1, len(bend) + 1)])
    assert float(bend[seams].max()) <= 1.5 * float(bend[~seams].max())


async def test_it_starts_in_the_pose_of_the_avatar(dip: LiveOfficialSource) -> None:
    """Place, heading and pose of the first frame are those that the pose ends with."""
    text = (await read_plan(dip, prompt_to_plan("a person stands"), 1))[0]
    wave = make_wave(1.5, 3)
    turn = torch.tensor([0.0, math.sin(0.5), 0.0, math.cos(0.5)]).expand(wave.num_frames, -1)
    pose = replace(wave, rotations={**wave.rotations, "hips": turn}, hips=wave.hips + torch.tensor([2.0, 0.0, -1.0]))
    start = dip.open(pose)
    state = extend_state(dip, LiveWindow(start, await dip.sample(start, text, ORDER), 40, 1000))
    last, first = clip_to_body(pose, MANNEQUIN_BODY), state.newest(40)
    assert float((first.hips[0] - last.hips[-1]).norm()) < 0.1
    for bone in ("hips", "rightUpperArm", "leftUpperLeg"):
        assert abs(float((first.rotations[bone][0] * last.rotations[bone][-1]).sum())) > 0.99


async def test_a_window_is_the_same_as_a_job_of_its_own(
    dip: LiveOfficialSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is how the official program's code makes it."""
    text = (await read_plan(dip, prompt_to_plan("a person waves"), 1))[0]
    start = dip.open(None)
    together = await dip.sample(start, text, ORDER)
    monkeypatch.setattr(dip, "_models", None)
    alone = await dip.sample(start, text, ORDER)
    assert together.shape == (dip.window_frames, 263)
    assert torch.allclose(together, alone, atol=1e-3)


def test_what_differs_dies_away() -> None:
    """The same motion decoded with another roll, height and place goes over from what was played."""
    wave = make_wave(3.0, 2)
    roll = torch.tensor([math.sin(0.2), 0.0, 0.0, math.cos(0.2)])
    from motion_service.geometry.rotation import quat_multiply

    other = {**wave.rotations, "rightUpperArm": quat_multiply(roll, wave.rotations["rightUpperArm"])}
    decoded = replace(wave, rotations=other, hips=wave.hips + torch.tensor([0.0, 0.03, 5.0]))
    joined = carry_over(slice_clip(wave, 19, 20), decoded, 20)
    steps = join_clips(slice_clip(wave, 19, 20), joined)
    assert float(steps.hips.diff(dim=0).norm(dim=-1).max()) < 0.006, "no jump"
    assert float((joined.rotations["rightUpperArm"][-1] - other["rightUpperArm"][-1]).norm()) < 1e-5
    assert torch.allclose(joined.hips[:, [0, 2]], wave.hips[20:, [0, 2]], atol=1e-6), "place goes on"
