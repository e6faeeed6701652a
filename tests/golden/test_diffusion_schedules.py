"""diffusion_schedules.npz: every table of a schedule, spacings, single formulas. What is which stands in the keys."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.diffusion.schedule import Schedule, Step, named_schedule, official_spacing, respace
from tests.golden.golden_checks import keys_like
from tests.golden.golden_files import golden
from tests.golden.golden_models import frames

NAME = "diffusion_schedules.npz"

TABLES: dict[str, Callable[[Schedule], Tensor]] = {
    "betas": lambda s: s.betas,
    "alphas_cumprod": lambda s: s.alpha_bar,
    "alphas_cumprod_prev": lambda s: s.alpha_bar_prev,
    "alphas_cumprod_next": lambda s: torch.cat([s.alpha_bar[1:], torch.zeros(1)]),
    "sqrt_alphas_cumprod": lambda s: s.alpha_bar.sqrt(),
    "sqrt_one_minus_alphas_cumprod": lambda s: (1 - s.alpha_bar).sqrt(),
    "log_one_minus_alphas_cumprod": lambda s: (1 - s.alpha_bar).log(),
    "sqrt_recip_alphas_cumprod": lambda s: (1 / s.alpha_bar).sqrt(),
    "sqrt_recipm1_alphas_cumprod": lambda s: (1 / s.alpha_bar - 1).sqrt(),
    "posterior_variance": lambda s: s.posterior_variance,
    "posterior_log_variance_clipped": lambda s: s.log_variance("small"),
    "posterior_mean_coef1": lambda s: s.posterior_coef_x0,
    "posterior_mean_coef2": lambda s: s.posterior_coef_xt,
    "fixed_large_variance": lambda s: s.fixed_large_variance,
    "timestep_map": lambda s: s.timesteps,
}


def schedule_of(run: re.Match[str]) -> Schedule:
    """``cosine50_ddim10`` -> the cosine schedule of 50 steps, 10 of them."""
    schedule = named_schedule(run["name"], int(run["steps"]))
    if not run["kept"]:
        return schedule
    spacing = f"ddim{run['kept']}" if run["way"] == "ddim" else run["kept"]
    return respace(schedule, official_spacing(schedule.num_steps, spacing))


def test_tables() -> None:
    numbers = golden(NAME)
    seen = set()
    for run in keys_like(
        numbers, r"sched/(?P<name>[a-z]+)(?P<steps>\d+)(_(?P<way>ddim|sec)(?P<kept>\d+))?/(?P<table>\w+)"
    ):
        got = TABLES[run["table"]](schedule_of(run))
        assert_close(got, numbers[run[0]], rtol=1e-12, atol=0, msg=lambda text, key=run[0]: f"{key}: {text}")
        seen.add(run["table"])
    assert seen == set(TABLES)


def test_spacings() -> None:
    numbers = golden(NAME)
    for run in keys_like(numbers, r"space/(?P<steps>\d+)_(?P<spacing>[\w-]+)"):
        spacing = run["spacing"].replace("-", ",")
        assert official_spacing(int(run["steps"]), spacing) == numbers[run[0]].tolist(), run[0]
        if not spacing.startswith("ddim"):
            listed = [int(count) for count in spacing.split(",")]
            assert official_spacing(int(run["steps"]), listed) == numbers[run[0]].tolist(), run[0]


def formulas() -> tuple[dict[str, Any], Schedule, list[Step]]:
    """The arrays under ``q/``, their schedule (cosine, 50 steps) and its steps by index."""
    numbers = {key.removeprefix("q/"): value for key, value in golden(NAME).items() if key.startswith("q/")}
    schedule = named_schedule("cosine", 50)
    return numbers, schedule, sorted(schedule.descending(), key=lambda step: step.index)


def test_noising() -> None:
    q, schedule, _ = formulas()
    got = schedule.add_noise(frames(q["x0"]), q["t"], frames(q["noise"]))
    assert_close(got, frames(q["x_t"]), atol=1e-6, rtol=0)


def test_posterior() -> None:
    q, schedule, steps = formulas()
    for row, t in enumerate(q["t"].tolist()):
        mean = steps[t].coef_x0 * q["x0"][row] + steps[t].coef_xt * q["x_t"][row]
        assert_close(mean, q["posterior_mean"][row], atol=1e-6, rtol=0)
        for key, table in (("variance", schedule.posterior_variance), ("log_variance", schedule.log_variance())):
            expected = q[f"posterior_{key}"][row]
            assert_close(table[t].float().expand_as(expected), expected, atol=1e-6, rtol=1e-6)


def test_noise_told_from_a_prediction() -> None:
    """With x0 and eps of a step, DDIM without noise lands where noising x0 with that eps lands."""
    q, schedule, _ = formulas()
    steps = sorted(schedule.descending_ddim(), key=lambda step: step.index)
    for row, t in enumerate(q["t"].tolist()):
        got = steps[t].coef_x0 * q["x0"][row] + steps[t].coef_xt * q["x_t"][row]
        clean = schedule.alpha_bar_prev[t].float()
        expected = clean.sqrt() * q["x0"][row] + (1 - clean).sqrt() * q["eps_from_xstart"][row]
        assert_close(got, expected, atol=1e-5, rtol=0)
