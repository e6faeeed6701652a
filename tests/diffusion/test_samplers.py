from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from motion_service.diffusion.samplers import (
    guided,
    inpainted,
    official_noise,
    same_for_all,
    sample_ddim,
    sample_ddpm,
)
from motion_service.diffusion.schedule import Step, evenly_spaced, named_schedule, respace

SCHEDULE = named_schedule("cosine", 10)


def randn_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("sample", [sample_ddpm, sample_ddim])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_samplers_end_at_what_the_network_says_is_clean(sample: Callable[..., Tensor], steps: int) -> None:
    clean = torch.randn(2, 5, 3)
    schedule = respace(SCHEDULE, evenly_spaced(10, steps))
    got = sample(lambda x, t: clean, torch.randn(2, 5, 3), schedule, randn_like)
    torch.testing.assert_close(got, clean, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eta", [None, 0.0, 0.5, 1.0])
def test_the_true_denoiser_of_a_gaussian_gives_its_spread(eta: float | None) -> None:
    spread = 0.5

    def best_guess(x_t: Tensor, t: Tensor) -> Tensor:  # E[x0 | x_t] for x0 ~ N(0, spread^2)
        alpha_bar = schedule.alpha_bar[t][:, None, None].float()
        return alpha_bar.sqrt() * spread**2 / (alpha_bar * spread**2 + 1 - alpha_bar) * x_t

    schedule = named_schedule("cosine", 200)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4000, 1, 1, generator=generator)
    sample = sample_ddpm if eta is None else partial(sample_ddim, eta=eta)
    got = sample(best_guess, start, schedule, lambda x: torch.randn(x.shape, generator=generator))
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


def test_ddim_without_eta_does_not_listen_to_noise_but_draws_it() -> None:
    calls: list[int] = []

    def noise(x: Tensor) -> Tensor:
        calls.append(1)
        return torch.randn_like(x)

    start = torch.randn(2, 4, 3)
    a, b = (sample_ddim(lambda x, t: x.tanh(), start, SCHEDULE, noise) for _ in range(2))
    assert torch.equal(a, b)
    assert len(calls) == 20


@pytest.mark.parametrize("sample", [sample_ddpm, sample_ddim])
def test_kept_entries_come_out_unchanged(sample: Callable[..., Tensor]) -> None:
    keep, motion = torch.rand(2, 5, 3) < 0.5, torch.randn(2, 5, 3)
    got = sample(inpainted(lambda x, t: x / 2, keep, motion), torch.randn(2, 5, 3), SCHEDULE, randn_like)
    assert torch.equal(got[keep], motion[keep])
    assert not torch.equal(got, motion)


def test_same_noise_for_all_is_the_first_sample_of_a_whole_draw() -> None:
    drawn = torch.randn(3, 4, 5)
    got = same_for_all(lambda x: drawn)(torch.empty(3, 4, 5))
    assert torch.equal(got, drawn[:1].expand(3, -1, -1))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_official_noise_is_what_a_permuted_network_output_makes_of_the_seed(batch: int) -> None:
    """The official loop in small: states (B, F, 1, T), the network's answer a view of (T, B, F)."""
    num_frames, features = 6, 11
    start, noise = official_noise(torch.Generator().manual_seed(10), (batch, num_frames, features))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(10)
        state = torch.randn(batch, features, 1, num_frames)
        assert torch.equal(start, state[:, :, 0].transpose(1, 2))
        for _ in range(3):
            drawn = torch.randn_like(state)
            assert torch.equal(noise(start), drawn[:, :, 0].transpose(1, 2))
            output = torch.zeros(num_frames, batch, features)[..., None].permute(1, 2, 3, 0)
            state = output * 0.5 + state * 0.5 + drawn


def test_official_noise_begins_anew_for_each_window() -> None:
    generator = torch.Generator().manual_seed(10)
    windows = [official_noise(generator, (2, 4, 9)) for _ in range(2)]
    assert not torch.equal(windows[0][0], windows[1][0])
