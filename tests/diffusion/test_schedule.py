import math

import pytest
import torch

from motion_service.diffusion.schedule import Schedule, evenly_spaced, named_schedule, official_spacing, respace


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


@pytest.mark.parametrize(("num_steps", "num_kept"), [(50, 10), (1000, 50), (50, 7), (10, 5), (10, 10)])
def test_one_section_of_the_official_spacing_is_spread_from_end_to_end(num_steps: int, num_kept: int) -> None:
    assert official_spacing(num_steps, [num_kept]) == evenly_spaced(num_steps, num_kept)


def test_official_spacing_by_whole_strides_starts_clean_and_may_miss_the_noisiest() -> None:
    assert official_spacing(50, "ddim10") == list(range(0, 50, 5))
    assert official_spacing(10, "ddim10") == list(range(10))


def test_sections_are_spaced_one_by_one_and_the_first_are_longer() -> None:
    kept = official_spacing(11, " 2, 1,3")
    assert kept == [0, 3, 4, 8, 9, 10]
    assert kept == official_spacing(11, [2, 1, 3])


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ("ddim7", "no whole stride"),
        ("ddim", "like 'ddim10'"),
        ("5,x", "like 'ddim10'"),
        ("", "like 'ddim10'"),
        ([], "at least one step"),
        ([3, 0], "at least one step"),
        ([3, 9], "a section of 5"),
    ],
)
def test_impossible_spacings_are_refused(spacing: str | list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        official_spacing(10, spacing)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_large_variance_adds_more_noise_than_small(name: str) -> None:
    schedule = named_schedule(name, 30)
    small, large = ([step.sigma for step in schedule.descending(kind)] for kind in ("small", "large"))
    assert all(a < b for a, b in zip(small[:-2], large[:-2], strict=True))
    assert small[-1] == large[-1] == 0.0
    assert small[-2] == pytest.approx(math.sqrt(schedule.posterior_variance[1]), rel=1e-6)


def test_ddim_with_full_eta_adds_as_much_noise_as_ancestral_sampling() -> None:
    schedule = named_schedule("cosine", 30)
    for ddim, ddpm in zip(schedule.descending_ddim(1.0), schedule.descending(), strict=True):
        assert (ddim.index, ddim.t) == (ddpm.index, ddpm.t)
        for column in ("coef_x0", "coef_xt", "sigma"):
            assert getattr(ddim, column) == pytest.approx(getattr(ddpm, column), abs=2e-4)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_impossible_eta_is_refused(eta: float) -> None:
    with pytest.raises(ValueError, match="eta"):
        named_schedule("cosine", 10).descending_ddim(eta)


def test_skipped_steps_are_the_noisiest_and_the_others_stay_the_same() -> None:
    schedule = named_schedule("cosine", 10)
    assert list(schedule.without_noisiest(4).descending()) == list(schedule.descending())[4:]
    assert list(schedule.without_noisiest(4).descending_ddim()) == list(schedule.descending_ddim())[4:]
    assert torch.equal(schedule.without_noisiest(0).betas, schedule.betas)
    for count in (-1, 10):
        with pytest.raises(ValueError, match="0 to 9"):
            schedule.without_noisiest(count)


def test_a_start_from_a_motion_has_the_noise_of_the_first_step() -> None:
    schedule: Schedule = named_schedule("cosine", 10).without_noisiest(4)
    x0, eps = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    expected = schedule.add_noise(x0, torch.tensor([5, 5]), eps)
    assert torch.equal(schedule.noised_start(x0, eps), expected)
