"""diffusion_inpaint.npz: parts of a motion are kept, the rest is generated."""

import pytest
import torch

from motion_service.diffusion.samplers import inpainted, sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import Schedule, named_schedule, official_spacing, respace
from tests.golden.golden_checks import Replay
from tests.golden.golden_models import frames

NAME = "diffusion_inpaint.npz"
NUM_STEPS = 50
"""Of the whole schedule; the file names only the steps kept of it."""


def schedule_of(replay: Replay) -> Schedule:
    return respace(named_schedule("cosine", NUM_STEPS), official_spacing(NUM_STEPS, replay.numbers["respace"]))


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
