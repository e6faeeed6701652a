"""diffusion_skip.npz: sampling that starts from a motion, with the noisiest steps left out."""

import torch

from motion_service.diffusion.samplers import sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import named_schedule, official_spacing, respace
from tests.golden.golden_checks import Replay, keys_like
from tests.golden.golden_models import frames

NAME = "diffusion_skip.npz"


def test_runs_from_a_motion() -> None:
    replay = Replay(NAME)
    numbers, motion = replay.numbers, frames(replay.numbers["init_image"])
    whole = named_schedule("cosine", int(numbers["skip_timesteps"]) + len(numbers["noise_steps_skip"]))
    pattern = r"final_(respaced(?P<kept>\d+)_)?skip(?P<skip>\d+)_(?P<init>init|noinit)(?P<ddim>_ddim)?"
    for run in keys_like(numbers, pattern):
        spacing = official_spacing(whole.num_steps, f"ddim{run['kept']}") if run["kept"] else range(whole.num_steps)
        schedule = respace(whole, spacing).without_noisiest(int(run["skip"]))
        begin = motion if run["init"] == "init" else torch.zeros_like(motion)
        start = schedule.noised_start(begin, replay.start)
        sample = sample_ddim if run["ddim"] else sample_ddpm
        replay.check(run[0], sample(replay.denoise(), start, schedule, replay.noise("noise_steps_skip")))
