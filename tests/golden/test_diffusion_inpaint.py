"""diffusion_inpaint.npz: parts of a motion are kept, the rest is generated."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from motion_service.diffusion.samplers import inpainted, sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import Schedule, named_schedule, official_spacing, respace
from tests.golden.golden_checks import Replay
from tests.golden.golden_files import loop_steps
from tests.golden.golden_models import frames

NAME = "diffusion_inpaint.npz"


def schedule_of(replay: Replay | SimpleNamespace) -> Schedule:
    """The file names only the steps kept of the whole schedule."""
    num_steps = loop_steps(replay.numbers["model_file"]) or 50
    return respace(named_schedule("cosine", num_steps), official_spacing(num_steps, replay.numbers["respace"]))


def test_the_whole_schedule_is_that_of_the_loop_of_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTION_GOLDEN_DIR", str(tmp_path))
    replay = SimpleNamespace(numbers={"model_file": "model_b.npz", "respace": "ddim10"})
    assert schedule_of(replay).timesteps.tolist() == list(range(0, 50, 5))
    for letter, steps in (("a", 30), ("b", 1000)):
        np.savez(tmp_path / f"diffusion_loop_{letter}.npz", model_file=f"model_{letter}.npz", steps=steps)
    assert schedule_of(replay).timesteps.tolist() == list(range(0, 1000, 100))


@pytest.mark.parametrize("part", ["in_between", "upper_body"])
def test_kept_parts_stay_and_the_rest_matches(part: str) -> None:
    replay = Replay(NAME)
    keep, motion = frames(replay.numbers[f"{part}_mask"]), frames(replay.numbers["inpainted_motion"])
    for key, guidance in (("final_text", None), ("final_uncond_scale0", 0.0)):
        denoise = inpainted(replay.denoise(guidance), keep, motion)
        got = sample_ddpm(denoise, replay.start, schedule_of(replay), replay.noise())
        replay.check(f"{part}/{key}", got)
        assert torch.equal(got[keep], motion[keep])
        assert torch.equal(got[keep], frames(replay.numbers[f"{part}/{key}"])[keep])


def test_ddim_keeps_parts_too() -> None:
    replay = Replay(NAME)
    keep, motion = frames(replay.numbers["in_between_mask"]), frames(replay.numbers["inpainted_motion"])
    got = sample_ddim(
        inpainted(replay.denoise(), keep, motion), replay.start, schedule_of(replay), replay.noise(), eta=1.0
    )
    assert torch.equal(got[keep], motion[keep])
    assert float((got - motion)[~keep].abs().max()) > 0.1
