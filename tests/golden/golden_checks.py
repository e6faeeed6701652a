"""What is checked alike for several goldens. Tolerances: README of the goldens."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.diffusion.samplers import (
    Denoise,
    Noise,
    official_noise,
    same_for_all,
    sample_ddpm,
)
from motion_service.diffusion.schedule import named_schedule
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.network import Denoiser
from tests.golden.golden_files import golden
from tests.golden.golden_models import conditions, frames, network, scale, text

FORWARD = 1e-5
GUIDED = 2e-5
LOOP = 1e-4


def predict(model: Denoiser, numbers: dict[str, Any], case: int, **changes: Any) -> Tensor:
    """x0 for one row of timesteps; ``changes`` are conditions or ``guidance``."""
    told = conditions(numbers) | changes
    denoise = conditioned(model, *text(numbers), told.pop("guidance", 1.0), **told)
    return denoise(frames(numbers["in/x"]), numbers["in/timesteps"][case])


def check_forward(name: str, out: str, guidance: Callable[[dict[str, Any]], Any], atol: float) -> None:
    """Every ``out_<out>_<case>`` of the file, with frames masked and not."""
    numbers = golden(name)
    found = [match for key in numbers if (match := re.fullmatch(rf"(masked|nomask)/out_{out}_(\d+)", key))]
    assert {match[1] for match in found} == {"masked", "nomask"}
    for match in found:
        model = network(numbers, mask_frames=match[1] == "masked")
        got = predict(model, numbers, int(match[2]), guidance=guidance(numbers))
        assert_close(got, frames(numbers[match[0]]), atol=atol, rtol=0, msg=lambda text, key=match[0]: f"{key}: {text}")


def check_predictions(name: str) -> None:
    """Conditional and unconditional predictions."""
    check_forward(name, "cond", lambda numbers: 1.0, FORWARD)
    check_forward(name, "uncond", lambda numbers: 0.0, FORWARD)


def check_guidance(name: str) -> None:
    """Guided predictions, each sample with its own scale."""
    check_forward(name, "cfg", scale, GUIDED)


def check_masks_that_hide_nothing(name: str) -> None:
    """A mask of one column and a mask without a hidden frame do the same as no masking."""
    numbers = golden(name)
    case = len(numbers["in/timesteps"]) - 1
    model = network(numbers, mask_frames=True)
    mask = numbers["in/mask"][:, 0, 0]
    for harmless in (mask[:, :1], torch.ones_like(mask), None):
        got = predict(model, numbers, case, frame_mask=harmless)
        assert_close(got, frames(numbers[f"nomask/out_cond_{case}"]), atol=FORWARD, rtol=0)


def check_one_text_serves_all(name: str) -> None:
    """A text batch of one, the first prompt, with a batch of several samples."""
    numbers = golden(name)
    tokens, mask = text(numbers)
    model = network(numbers, mask_frames=True)
    memory = model.encode_text(tokens[:1], mask[:1], torch.tensor([False]))
    got = model.denoise(frames(numbers["in/x"]), numbers["in/timesteps"][-1], memory, **conditions(numbers))
    assert_close(got, frames(numbers["bcast/out_cond"]), atol=FORWARD, rtol=0)


class Replay:
    """One loop golden: sampling with its noise, its text and the model it names."""

    def __init__(self, name: str) -> None:
        self.numbers = golden(name)
        self.model = network(golden(self.numbers["model_file"]), mask_frames=True)

    def denoise(self, guidance: Any = None) -> Denoise:
        """The predictions of the model; guided by the scale of the file if not told otherwise."""
        guidance = scale(self.numbers) if guidance is None else guidance
        return conditioned(self.model, *text(self.numbers), guidance, **conditions(self.numbers))

    @property
    def start(self) -> Tensor:
        return frames(self.numbers["noise_init"])

    def noise(self, key: str = "noise_steps") -> Noise:
        """The recorded noise, from the first step."""
        steps = iter(frames(self.numbers[key]))
        return lambda x: next(steps)

    def check(self, key: str, got: Tensor, atol: float = LOOP) -> None:
        expected = frames(self.numbers[key])
        assert_close(got, expected, atol=atol, rtol=0, msg=lambda text: f"{key}: {text}")


def recording(denoise: Denoise) -> tuple[Denoise, list[Tensor]]:
    """``denoise`` and the states that it will have been given."""
    states: list[Tensor] = []

    def listening(x_t: Tensor, t: Tensor) -> Tensor:
        states.append(x_t)
        return denoise(x_t, t)

    return listening, states


def check_states(replay: Replay, states: list[Tensor], final: Tensor, start: str = "") -> None:
    """``xt`` holds the states after the iterations in ``xt_iter_index``; iteration 0 is the first."""
    after = [*states[1:], final]
    got = torch.stack([after[i] for i in replay.numbers[f"{start}xt_iter_index"].tolist()])
    replay.check(f"{start}xt", got)


def check_loop(name: str) -> None:
    """Guided ancestral sampling and its variants, with recorded noise."""
    replay = Replay(name)
    schedule = named_schedule("cosine", int(replay.numbers["steps"]))
    denoise, states = recording(replay.denoise())
    final = sample_ddpm(denoise, replay.start, schedule, replay.noise())
    replay.check("final", final)
    check_states(replay, states, final)
    replay.check("final_noguidance", sample_ddpm(replay.denoise(1.0), replay.start, schedule, replay.noise()))
    large = sample_ddpm(replay.denoise(), replay.start, schedule, replay.noise(), variance="large")
    replay.check("final_sigma_large", large)
    if "final_const_noise" in replay.numbers:
        same = sample_ddpm(replay.denoise(), replay.start, schedule, same_for_all(replay.noise()))
        replay.check("final_const_noise", same)


def check_seed_10(name: str) -> None:
    """Nothing recorded: the numbers the official program draws for seed 10."""
    replay = Replay(name)
    generator = torch.Generator().manual_seed(10)
    start, noise = official_noise(generator, tuple(replay.start.shape))
    first = replay.numbers["seed10_first_randn_flat256"]
    assert_close(start.transpose(1, 2).flatten()[: len(first)], first, atol=1e-6, rtol=0)
    schedule = named_schedule("cosine", int(replay.numbers["steps"]))
    replay.check("final_seed10_cpu", sample_ddpm(replay.denoise(), start, schedule, noise))


def keys_like(numbers: dict[str, Any], pattern: str) -> Iterator[re.Match[str]]:
    """Matches of the keys that fit; at least one."""
    found = [match for key in numbers if (match := re.fullmatch(pattern, key))]
    assert found, f"no key like {pattern}"
    return itertools.chain(found)
