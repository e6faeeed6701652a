"""Batches through the worker equal each clip alone in the plain network, whoever comes and goes beside it."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.diffusion.samplers import sample_ddpm
from motion_service.diffusion.schedule import named_schedule
from motion_service.engine.costs import CostTable
from motion_service.engine.graphs import Graphs
from motion_service.engine.run import Priority
from motion_service.engine.worker import Worker
from motion_service.mdm.fast import FastDenoiser
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm_adapter.clip_work import ClipWork, Urgency, sample_clip, schedule_to_steps, window_seed
from motion_service.mdm_adapter.pooled import PooledResident, Sizes
from motion_service.mdm_adapter.residents import target_on_cpu
from motion_service.mdm_adapter.stepwise import StepwiseResident, fast_condition, plain_condition

CLIPS = NetworkSpec(
    features=11, width=32, layers=3, heads=2, feedforward=48, text_width=6, mask_frames=True, dropout=0.0
)
WINDOWS = NetworkSpec(
    features=11, width=32, layers=2, heads=2, feedforward=48, text_width=6, context_frames=5, predict_frames=10,
    target_encoder="multi", dropout=0.0,
)  # fmt: skip
SCHEDULE = named_schedule("cosine", 6)
CLOSE = {"atol": 3e-5, "rtol": 3e-5}


def network_of(spec: NetworkSpec) -> Denoiser:
    torch.manual_seed(3)
    return Denoiser(spec).eval().requires_grad_(False)


def pooled(network: Denoiser, **changes: Any) -> PooledResident:
    spec = network.spec
    lengths = (15,) if spec.context_frames else (8, 16, 24)
    sizes = Sizes(lengths, (1, 2, 4), SCHEDULE.num_steps, changes.pop("columns", 4))

    def new_fast(kernels: bool) -> FastDenoiser:
        return FastDenoiser(network, SCHEDULE.num_steps, device="cpu", dtype=torch.float32, positions=lengths[-1])

    return PooledResident(new_fast, target_on_cpu(network), sizes, Graphs("cpu"), "net")


def work_of(network: Denoiser, drawn: random.Random, num_texts: int = 99) -> ClipWork:
    spec = network.spec
    which = drawn.randrange(num_texts)
    generator = torch.Generator().manual_seed(which)
    num_tokens = 1 + which % 4
    text = TextEmbedding(
        torch.randn(num_tokens, 6, generator=generator), torch.ones(num_tokens, dtype=torch.bool), "test"
    )
    taken = drawn.choice([SCHEDULE, SCHEDULE.without_noisiest(2)])
    prefix = torch.randn(5, 11, generator=generator) if spec.context_frames else None
    target = None
    if spec.target_encoder and drawn.random() < 0.5:
        asked = torch.zeros(8, dtype=torch.bool)
        asked[drawn.randrange(8)] = True
        target = (torch.randn(8, 3, generator=generator) * asked[:, None], asked)
    frames = 10 if spec.context_frames else drawn.randint(1, 24)
    steps = schedule_to_steps(taken, deterministic=drawn.random() < 0.3)
    return ClipWork(text, steps, drawn.choice([0.0, 1.0, 2.5]), frames, drawn.randrange(2**63), prefix, target)


@torch.inference_mode()
def alone(network: Denoiser, work: ClipWork, noise: Tensor | None = None) -> Tensor:
    """(T, F) by the plain network, on ``noise`` (1 + S, T, F) or what the seed gives on a CPU."""
    if noise is None:
        generator = torch.Generator().manual_seed(work.seed)
        noise = torch.stack([torch.randn(work.frames, 11, generator=generator) for _ in range(1 + len(work.steps))])
    target = None if work.target is None else network.encode_target(*(part[None] for part in work.target))
    denoise = conditioned(
        *(network, work.text.tokens[None], work.text.mask[None], work.guidance),
        prefix=None if work.prefix is None else work.prefix[None],
        frame_mask=torch.ones(1, work.frames, dtype=torch.bool),
        target=target,
    )
    x = noise[:1]
    for step, drawn in zip(work.steps, noise[1:], strict=True):
        x0 = denoise(x, torch.full((1,), step.t))
        x = step.coef_x0 * x0 + step.coef_xt * x + step.sigma * drawn
    return x[0]


def run_all(resident: Any, coroutines: Any) -> list[Any]:
    async def scenario() -> list[Any]:
        costs = CostTable([(10, 1.0), (1000, 1.1)])  # wide batches are cheap, as on a GPU
        worker = Worker(costs=costs)
        worker.start()
        worker.add_model("net", resident)
        try:
            tasks: Sequence[Coroutine[Any, Any, Any]] = coroutines(worker)
            return list(await asyncio.wait_for(asyncio.gather(*tasks), 60))
        finally:
            await worker.stop()
            assert resident.facts()["in_flight"] == 0
            assert worker.stats.clip_steps > worker.stats.batch_steps or isinstance(resident, StepwiseResident)

    return asyncio.run(scenario())


@pytest.mark.parametrize("spec", [CLIPS, WINDOWS], ids=["clips", "windows"])
@pytest.mark.parametrize("seed", range(3))
def test_clips_that_come_and_go_equal_each_alone(spec: NetworkSpec, seed: int) -> None:
    network, drawn = network_of(spec), random.Random(seed)
    resident = pooled(network)
    works = [work_of(network, drawn) for _ in range(20)]

    async def one(worker: Worker, work: ClipWork) -> Tensor:
        await asyncio.sleep(drawn.random() / 50)
        made, waited = await sample_clip(worker, "net", work, Urgency(Priority(drawn.randrange(3))))
        assert waited >= 0
        return made

    made = run_all(resident, lambda worker: [one(worker, work) for work in works])
    for frames, work in zip(made, works, strict=True):
        torch.testing.assert_close(frames, alone(network, work), **CLOSE)


def test_cancelled_clips_leave_the_others_as_they_are() -> None:
    network, drawn = network_of(CLIPS), random.Random(5)
    resident = pooled(network)
    works = [work_of(network, drawn) for _ in range(24)]

    async def one(worker: Worker, number: int, work: ClipWork) -> Tensor | None:
        task = asyncio.create_task(sample_clip(worker, "net", work))
        if number % 3 == 0:
            await asyncio.sleep(drawn.random() / 100)
            task.cancel()
        try:
            return (await task)[0]
        except asyncio.CancelledError:
            return None

    made = run_all(resident, lambda worker: [one(worker, i, work) for i, work in enumerate(works)])
    assert sum(frames is not None for frames in made) >= 16
    for frames, work in zip(made, works, strict=True):
        if frames is not None:
            torch.testing.assert_close(frames, alone(network, work), **CLOSE)


def test_the_table_of_texts_is_used_again_and_again() -> None:
    network, drawn = network_of(WINDOWS), random.Random(6)
    works = [work_of(network, drawn, num_texts=40) for _ in range(60)]
    made = run_all(pooled(network), lambda worker: [sample_clip(worker, "net", work) for work in works])
    for (frames, _), work in zip(made, works, strict=True):
        torch.testing.assert_close(frames, alone(network, work), **CLOSE)


@pytest.mark.parametrize("condition", [fast_condition, plain_condition])
def test_one_clip_at_a_time_gives_the_same(condition: Any) -> None:
    network, drawn = network_of(WINDOWS), random.Random(7)
    if condition is fast_condition:
        made_of = fast_condition(FastDenoiser(network, 6, device="cpu", dtype=torch.float32), network)
    else:
        made_of = plain_condition(network, "cpu")
    works = [work_of(network, drawn) for _ in range(8)]
    resident = StepwiseResident(made_of, 11, 15, "cpu")
    made = run_all(resident, lambda worker: [sample_clip(worker, "net", work) for work in works])
    for (frames, _), work in zip(made, works, strict=True):
        torch.testing.assert_close(frames, alone(network, work), **CLOSE)


def test_it_equals_the_sampler_of_one_process() -> None:
    """The same numbers as :func:`sample_ddpm`, which the goldens of the official program hold."""
    network, drawn = network_of(CLIPS), random.Random(8)
    work = work_of(network, drawn)
    work = ClipWork(work.text, schedule_to_steps(SCHEDULE), work.guidance, work.frames, work.seed)
    generator = torch.Generator().manual_seed(work.seed)
    denoise = conditioned(network, work.text.tokens[None], work.text.mask[None], work.guidance)
    start = torch.randn(1, work.frames, 11, generator=generator)
    with torch.inference_mode():
        expected = sample_ddpm(denoise, start, SCHEDULE, lambda x: torch.randn(x.shape, generator=generator))
    torch.testing.assert_close(alone(network, work), expected[0], **CLOSE)


def test_warm_up_learns_costs_and_leaves_nothing_behind() -> None:
    network = network_of(CLIPS)
    resident, costs = pooled(network), CostTable([(10, 1000.0)])
    resident.prepare(costs)
    assert all(costs.step_ms("net", length, width) < 900 for length in (8, 16, 24) for width in (1, 2, 4))
    assert resident.facts()["in_flight"] == 0
    work = work_of(network, random.Random(9))
    ((frames, _),) = run_all_alone(resident, work)
    torch.testing.assert_close(frames, alone(network, work), **CLOSE)


def run_all_alone(resident: PooledResident, work: ClipWork) -> list[Any]:
    async def scenario() -> list[Any]:
        worker = Worker()
        worker.start()
        worker.add_model("net", resident)
        try:
            return [await sample_clip(worker, "net", work)]
        finally:
            await worker.stop()

    return asyncio.run(scenario())


def test_windows_have_seeds_of_their_own() -> None:
    seeds = {window_seed(seed, index) for seed in (0, 1, 2**31, 2**63 - 1) for index in range(50)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)
    assert window_seed(7, 3) == window_seed(7, 3) and isinstance(window_seed(7, 3), int)
    assert np.int64(max(seeds)) > 0


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("spec", [CLIPS, WINDOWS], ids=["clips", "windows"])
def test_a_gpu_makes_the_same_clips(spec: NetworkSpec, graphs: bool, dtype: torch.dtype) -> None:
    """Own kernels in half precision, plain PyTorch in float32; each clip on the noise that its seed gives there."""
    network, drawn = network_of(replace(spec, width=64, heads=4, feedforward=128)), random.Random(1)
    lengths = (15,) if spec.context_frames else (8, 16, 24)
    resident = PooledResident(
        lambda kernels: FastDenoiser(network, 6, device="cuda", dtype=dtype, positions=lengths[-1]),
        target_on_cpu(network),
        Sizes(lengths, (1, 2, 4, 8), SCHEDULE.num_steps, 4),
        Graphs("cuda", enabled=graphs),
        "net",
    )
    resident.prepare(CostTable([(10, 1.0)]))
    assert resident.facts()["engine"] == ("kernels" if dtype == torch.float16 else "plain"), resident.facts()
    works = [work_of(network, drawn) for _ in range(40)]
    made = run_all(resident, lambda worker: [sample_clip(worker, "net", work) for work in works])
    for (frames, _), work in zip(made, works, strict=True):
        noise = resident._pool.noise(work.seed, work.frames, len(work.steps)).cpu()
        difference = (frames - alone(network, work, noise)).norm() / frames.norm()
        assert difference < (0.02 if dtype == torch.float16 else 1e-4)


def test_batches_stay_narrower_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    network, drawn = network_of(CLIPS), random.Random(11)
    resident = pooled(network)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    time_shape = resident._time

    def refuse(length: int, width: int, costs: CostTable) -> None:
        if width == 4 and length < 24:
            raise torch.OutOfMemoryError("full")
        time_shape(length, width, costs)

    monkeypatch.setattr(resident, "_time", refuse)
    resident.prepare(CostTable([(10, 1.0)]))
    assert resident.limits.batches == (1, 2)
    works = [work_of(network, drawn) for _ in range(8)]
    made = run_all(resident, lambda worker: [sample_clip(worker, "net", work) for work in works])
    for (frames, _), work in zip(made, works, strict=True):
        torch.testing.assert_close(frames, alone(network, work), **CLOSE)
