from pathlib import Path

import numpy as np
import pytest
import torch

from motion_service.diffusion.schedule import Schedule, evenly_spaced, named_schedule, respace

GOLDENS = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens" / "diffusion_schedules.npz"
needs_goldens = pytest.mark.skipif(not GOLDENS.is_file(), reason="the goldens are not beside this checkout")

OFFICIAL = {
    "betas": "betas",
    "alphas_cumprod": "alpha_bar",
    "alphas_cumprod_prev": "alpha_bar_prev",
    "posterior_mean_coef1": "posterior_coef_x0",
    "posterior_mean_coef2": "posterior_coef_xt",
    "posterior_variance": "posterior_variance",
    "timestep_map": "timesteps",
}


@needs_goldens
@pytest.mark.parametrize(
    ("key", "schedule"),
    [
        ("cosine50", named_schedule("cosine", 50)),
        ("cosine10", named_schedule("cosine", 10)),
        ("cosine1000", named_schedule("cosine", 1000)),
        ("linear1000", named_schedule("linear", 1000)),
        ("cosine50_ddim10", respace(named_schedule("cosine", 50), range(0, 50, 5))),
        ("cosine50_sec10", respace(named_schedule("cosine", 50), evenly_spaced(50, 10))),
        ("cosine1000_sec50", respace(named_schedule("cosine", 1000), evenly_spaced(1000, 50))),
        ("cosine10_sec5", respace(named_schedule("cosine", 10), evenly_spaced(10, 5))),
    ],
)
def test_tables_match_reference(key: str, schedule: Schedule) -> None:
    with np.load(GOLDENS, allow_pickle=False) as golden:
        for official, ours in OFFICIAL.items():
            np.testing.assert_allclose(
                getattr(schedule, ours).numpy(), golden[f"sched/{key}/{official}"], rtol=1e-12, atol=0, err_msg=official
            )


@needs_goldens
def test_spacing_matches_reference() -> None:
    with np.load(GOLDENS, allow_pickle=False) as golden:
        for total, kept in ((50, 10), (1000, 50), (50, 7)):
            assert evenly_spaced(total, kept) == golden[f"space/{total}_{kept}"].tolist()


@needs_goldens
def test_add_noise_matches_reference() -> None:
    with np.load(GOLDENS, allow_pickle=False) as golden:
        x0, eps, t, x_t = (torch.from_numpy(golden[f"q/{key}"]) for key in ("x0", "noise", "t", "x_t"))
    got = named_schedule("cosine", 50).add_noise(x0[:, :, 0], t, eps[:, :, 0])
    torch.testing.assert_close(got, x_t[:, :, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("num_kept", [1, 2, 7, 30])
def test_last_step_taken_returns_x0_without_noise(name: str, num_kept: int) -> None:
    *_, last = respace(named_schedule(name, 30), evenly_spaced(30, num_kept)).descending()
    assert (last.index, last.sigma) == (0, 0.0)
    assert last.coef_x0 == pytest.approx(1.0)
    assert last.coef_xt == pytest.approx(0.0)


def test_respaced_schedule_keeps_noise_levels_and_tells_the_network_its_own_t() -> None:
    full = named_schedule("cosine", 10)
    short = respace(full, [2, 5, 9])
    torch.testing.assert_close(short.alpha_bar, full.alpha_bar[[2, 5, 9]], rtol=1e-12, atol=0)
    assert [step.t for step in short.descending()] == [9, 5, 2]


@pytest.mark.parametrize("num_kept", range(1, 11))
def test_evenly_spaced_is_ascending_and_starts_from_pure_noise(num_kept: int) -> None:
    kept = evenly_spaced(10, num_kept)
    assert len(set(kept)) == num_kept
    assert kept == sorted(kept)
    assert kept[-1] == 9


def test_unknown_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="cosine, linear"):
        named_schedule("sine", 10)
    with pytest.raises(ValueError, match="at least 1"):
        named_schedule("cosine", 0)
    with pytest.raises(ValueError, match="take more"):
        named_schedule("linear", 10)
    with pytest.raises(ValueError, match="1 to 10"):
        evenly_spaced(10, 11)
