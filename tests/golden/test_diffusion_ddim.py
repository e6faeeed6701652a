"""diffusion_ddim.npz: DDIM and shortened schedules. What a run is stands in its key, ``ddim_sec10_of_50_eta05``."""

import re

import torch

from motion_service.diffusion.samplers import sample_ddim, sample_ddpm
from motion_service.diffusion.schedule import Schedule, named_schedule, official_spacing, respace
from tests.golden.golden_checks import Replay, check_states, keys_like, recording

NAME = "diffusion_ddim.npz"


def spaced(run: re.Match[str]) -> Schedule:
    """The schedule that a key describes: 10 of 50 by whole strides ("ddim"), or spread from end to end ("sec")."""
    num_kept, num_steps = int(run["kept"]), int(run["of"] or run["kept"])
    schedule = named_schedule("cosine", num_steps)
    if num_kept == num_steps:
        return schedule
    return respace(schedule, official_spacing(num_steps, f"{num_kept}" if run["sec"] else f"ddim{num_kept}"))


def test_spacings_are_the_recorded_ones() -> None:
    numbers = Replay(NAME).numbers
    for run in keys_like(numbers, r"ddim(?P<sec>_sec)?(?P<kept>\d+)(_of_(?P<of>\d+))?/timestep_map"):
        assert spaced(run).timesteps.tolist() == numbers[run[0]].tolist(), run[0]


def test_deterministic_runs() -> None:
    replay = Replay(NAME)
    for run in keys_like(replay.numbers, r"(ddim(?P<sec>_sec)?(?P<kept>\d+)(_of_(?P<of>\d+))?/)final"):
        denoise, states = recording(replay.denoise())
        final = sample_ddim(denoise, replay.start, spaced(run), torch.randn_like)
        replay.check(run[0], final)
        check_states(replay, states, final, run[1])


def test_runs_with_fresh_noise() -> None:
    replay = Replay(NAME)
    pattern = r"ddim(?P<sec>_sec)?(?P<kept>\d+)_of_(?P<of>\d+)_eta(?P<eta>\d+)/final"
    for run in keys_like(replay.numbers, pattern):
        eta = float(f"{run['eta'][0]}.{run['eta'][1:]}")
        noise = replay.noise(f"noise_steps_{run['kept']}")
        replay.check(run[0], sample_ddim(replay.denoise(), replay.start, spaced(run), noise, eta=eta))


def test_ancestral_runs() -> None:
    replay = Replay(NAME)
    for run in keys_like(replay.numbers, r"ddpm(?P<sec>_sec)?(?P<kept>\d+)_of_(?P<of>\d+)/final"):
        noise = replay.noise(f"noise_steps_{run['kept']}")
        replay.check(run[0], sample_ddpm(replay.denoise(), replay.start, spaced(run), noise))
