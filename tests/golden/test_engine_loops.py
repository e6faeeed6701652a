"""The engine in float32 makes the runs of the official program: the same noise, clips of other lengths beside."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.diffusion.schedule import named_schedule
from motion_service.mdm.fast import FastDenoiser
from motion_service.mdm.fast_pool import Start, new_plan
from motion_service.mdm_adapter.clip_work import schedule_to_steps
from tests.golden.golden_checks import LOOP, Replay
from tests.golden.golden_models import conditions, frames, text

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]
    ),
]


def noise_of(start: Tensor, steps: Tensor, row: int, num_frames: int) -> Callable[[int], Tensor]:
    """The recorded noise of one clip, as a pool asks for it."""
    return lambda k: (start if k == 0 else steps[k - 1])[row, :num_frames]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["diffusion_loop_dec_bert.npz", "diffusion_loop_dip.npz"])
@torch.inference_mode()
def test_recorded_noise(name: str, device: str) -> None:
    replay = Replay(name)
    numbers, model = replay.numbers, replay.model
    schedule = named_schedule("cosine", int(numbers["steps"]))
    start, steps = replay.start, frames(numbers["noise_steps"])
    batch, longest = start.shape[:2]
    told = conditions(numbers)
    prefix, mask = told["prefix"], told["frame_mask"]
    assert mask is not None
    lengths = mask.expand(batch, longest).sum(1).tolist()
    tokens, text_mask = text(numbers)
    context = model.spec.context_frames

    fast = FastDenoiser(
        model, schedule.num_steps, device=device, dtype=torch.float32, positions=context + longest, kernels=False
    )
    pool = fast.new_pool(batch, context + longest, schedule.num_steps, batch, tokens.shape[1])
    stage = pool.text_stage(batch)
    stage.fill(range(batch), list(tokens.expand(batch, -1, -1)), list(text_mask.expand(batch, -1)))
    stage.fold()
    plans = [(step.t, step.coef_x0, step.coef_xt, step.sigma) for step in schedule_to_steps(schedule)]
    pool.begin(
        [
            Start(
                *(row, (row,), lengths[row], 0, new_plan(plans, float(numbers["in/scale"][row]))),
                prefix=None if prefix is None else prefix[row],
                draw=noise_of(start, steps, row, lengths[row]),
            )
            for row in range(batch)
        ]
    )
    front = pool.front(batch, batch * (context + longest), context + longest)
    front.seat([(row, context + lengths[row]) for row in reversed(range(batch))])
    for _ in range(schedule.num_steps):
        front.draw()
        fast.step(front)
    made, expected = pool.read(range(batch), longest).cpu(), frames(numbers["final"])
    for row, length in enumerate(lengths):
        assert_close(made[row, :length], expected[row, :length], atol=LOOP, rtol=0)
