import pytest
import torch
from torch import Tensor

from motion_service.diffusion.samplers import guided, sample_ddpm
from motion_service.diffusion.schedule import Step, evenly_spaced, named_schedule, respace

SCHEDULE = named_schedule("cosine", 10)


def randn_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_ddpm_ends_at_what_the_network_says_is_clean(steps: int) -> None:
    clean = torch.randn(2, 5, 3)
    schedule = respace(SCHEDULE, evenly_spaced(10, steps))
    got = sample_ddpm(lambda x, t: clean, torch.randn(2, 5, 3), schedule, randn_like)
    torch.testing.assert_close(got, clean, atol=1e-6, rtol=0)


def test_ddpm_with_the_true_denoiser_of_a_gaussian_keeps_its_spread() -> None:
    spread = 0.5

    def best_guess(x_t: Tensor, t: Tensor) -> Tensor:  # E[x0 | x_t] for x0 ~ N(0, spread^2)
        alpha_bar = schedule.alpha_bar[t][:, None, None].float()
        return alpha_bar.sqrt() * spread**2 / (alpha_bar * spread**2 + 1 - alpha_bar) * x_t

    schedule = named_schedule("cosine", 200)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4000, 1, 1, generator=generator)
    got = sample_ddpm(best_guess, start, schedule, lambda x: torch.randn(x.shape, generator=generator))
    assert float(got.std()) == pytest.approx(spread, abs=0.03)


def test_steps_are_told_in_order_with_the_prediction() -> None:
    heard: list[tuple[int, float]] = []
    told: list[int] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        heard.append((int(t[0]), float(x.mean())))
        assert t.shape == (2,)
        return torch.zeros_like(x)

    def on_step(step: Step, x0: Tensor) -> None:
        told.append(step.t)
        assert bool((x0 == 0).all())

    sample_ddpm(denoise, torch.ones(2, 4, 3), SCHEDULE, torch.zeros_like, on_step)
    assert [t for t, _ in heard] == told == list(range(9, -1, -1))


def test_listener_may_stop_the_sampler() -> None:
    def on_step(step: Step, x0: Tensor) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sample_ddpm(lambda x, t: x, torch.ones(1, 2, 2), SCHEDULE, torch.zeros_like, on_step)


def test_guidance_runs_both_halves_in_one_pass() -> None:
    calls: list[int] = []

    def pair(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        assert torch.equal(x[:2], x[2:])
        assert t.tolist() == [3, 5, 3, 5]
        return torch.cat([torch.full((2, 4, 3), 10.0), torch.full((2, 4, 3), 4.0)])

    x, t = torch.randn(2, 4, 3), torch.tensor([3, 5])
    for scale, expected in ((0.0, 4.0), (1.0, 10.0), (2.5, 19.0)):
        assert bool((guided(pair, scale)(x, t) == expected).all())
    per_sample = guided(pair, torch.tensor([0.0, 1.0])[:, None, None])(x, t)
    assert per_sample[:, 0, 0].tolist() == [4.0, 10.0]
    assert calls == [4] * 4
