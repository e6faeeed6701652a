"""Own kernels against the Denoiser: in Triton's interpreter on the CPU, as they are on a GPU."""

import dataclasses
import importlib.util
import os

import numpy as np
import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton comes with torch's CUDA build only", allow_module_level=True)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

from motion_service.mdm.fast import Engine, FastDenoiser
from motion_service.mdm.fast_pool import Pool
from tests.mdm.fast_cases import (
    PLAIN,
    SPEC,
    STEPS,
    TARGETED,
    answer_of,
    ask,
    begin,
    network_of,
    pool_of,
    step,
    together,
)

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EXACT = {"atol": 2e-5, "rtol": 2e-5} if DEVICE.type == "cpu" else {"atol": 2e-3, "rtol": 2e-3}
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, of rows that no clip has


def fast_of(spec: object, dtype: torch.dtype = torch.float32) -> FastDenoiser:
    return FastDenoiser(network_of(spec), STEPS, device=DEVICE, dtype=dtype, kernels=True)  # type: ignore[arg-type]


def use_tiles(fast: FastDenoiser, engine: Engine, tiles: str) -> None:
    """Step with these tiles, for any number of rows."""
    from motion_service.mdm import kernels_few, kernels_many
    from motion_service.mdm.kernels_launch import Tile

    if engine == "few":
        chosen = getattr(kernels_few, tiles)
        chosen = dataclasses.replace(chosen, cross=chosen.cross._replace(columns=chosen.cross.columns and 16))
        fast._few = kernels_few.FewRows(fast.weights, fast.folds, 60, early=fast.early, tiles=chosen)
    else:
        chosen = dataclasses.replace(getattr(kernels_many, tiles), attention=Tile(16, 16, 4))  # keys in two blocks
        chosen = dataclasses.replace(chosen, cross=chosen.cross._replace(columns=chosen.cross.columns and 32))
        fast._many = kernels_many.ManyRows(fast.weights, fast.folds, early=fast.early, tiles=chosen)


def philox_normal(seed: int, step: int, frames: int, features: int) -> np.ndarray:
    """The definition of the noise, in numpy: Philox-4x32-10 (Salmon et al. 2011), then Box-Muller. (T, F)"""
    wide = np.uint64(2**32)
    quads = (features + 3) // 4
    counter = [np.zeros((frames, quads), dtype=np.uint64) for _ in range(4)]
    counter[0] += np.arange(quads, dtype=np.uint64)
    counter[1] += np.arange(frames, dtype=np.uint64)[:, None]
    counter[2] += np.uint64(step)
    keys = [seed % 2**32, seed // 2**32]
    for _ in range(10):
        high_low = [
            divmod(np.uint64(factor) * c, wide) for factor, c in ((0xD2511F53, counter[0]), (0xCD9E8D57, counter[2]))
        ]
        (high0, low0), (high1, low1) = high_low
        key0, key1 = (np.uint64(key) for key in keys)
        counter = [high1 ^ counter[1] ^ key0, low1, high0 ^ counter[3] ^ key1, low0]
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    signed = [c.astype(np.uint32).view(np.int32).astype(np.float64) for c in counter]
    uniform = [np.where(c < 0, -c - 1, c) * 4.6566127342e-10 for c in signed]
    made = []
    for u1, u2 in (uniform[:2], uniform[2:]):
        radius = np.sqrt(-2 * np.log(np.maximum(u1, 1e-7)))
        made += [radius * np.cos(2 * np.pi * u2), radius * np.sin(2 * np.pi * u2)]
    return np.stack(made, axis=-1).reshape(frames, -1)[:, :features]


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 5, 2**63 - 1])
def test_noise_is_philox_by_seed_step_frame_and_feature(seed: int) -> None:
    noise = pool_of(fast_of(SPEC), 1, 4).noise(seed, 11, 2).cpu().numpy()
    for step_number, made in enumerate(noise):
        np.testing.assert_allclose(made, philox_normal(seed, step_number, 11, 19), atol=1e-4)


def test_noise_is_normal() -> None:
    noise = pool_of(fast_of(SPEC), 1, 4).noise(3, 40, 30)
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert torch.corrcoef(noise.reshape(31, -1)).fill_diagonal_(0).abs().max() < 0.2
    assert noise.unique().numel() > 0.99 * noise.numel()


@pytest.mark.parametrize("engine", ["few", "many"])
@pytest.mark.parametrize(
    ("spec", "tokens"), [(SPEC, 1), (PLAIN, 4), (TARGETED, 4)], ids=["one-token", "clip", "target"]
)
def test_mixed_clips_with_pauses_equal_the_denoiser(spec: object, tokens: int, engine: Engine) -> None:
    """Clips of other length, text, scale and number of steps, one of them of a single frame; company changes."""
    fast = fast_of(spec)
    pool = pool_of(fast, 5, tokens)
    network = network_of(spec)  # type: ignore[arg-type]
    steps = (STEPS, 2, STEPS)
    asked = {
        slot: ask(network, slot, frames, tokens=tokens, hidden=min(i, tokens - 1), scale=2.5 + i, steps=steps[i])
        for i, (slot, frames) in enumerate({4: 14, 0: 1, 2: 17}.items())
    }
    begin(pool, list(asked.values()), list(asked))
    for seated in ([0], [2, 0, 4], [4, 2], [2], [4, 2], [4]):
        before = pool.state.clone()
        step(fast, pool, {slot: asked[slot] for slot in seated}, engine)
        for slot in set(range(5)) - set(seated):
            assert pool.state[slot].equal(before[slot]), "who is paused stays"
    for slot, one in asked.items():
        torch.testing.assert_close(pool.read([slot], one.frames)[0].cpu(), answer_of(network, pool, one), **EXACT)


@pytest.mark.parametrize("spec", [SPEC, TARGETED], ids=["clip", "target"])
@pytest.mark.parametrize(
    ("engine", "tiles"),
    [("few", "UP_TO_80_ROWS"), ("few", "MORE_ROWS"), ("many", "UP_TO_4096_ROWS"), ("many", "MORE_ROWS")],
)
def test_long_texts_share_a_batch_with_short_ones(spec: object, engine: Engine, tiles: str) -> None:
    """Texts of one to three entries, the last of them full, half full, or hidden in part."""
    fast = fast_of(spec)
    network = network_of(spec)  # type: ignore[arg-type]
    use_tiles(fast, engine, tiles)
    pool = pool_of(fast, 4, 4)
    asked = [
        ask(network, seed, frames, tokens=tokens, hidden=hidden)
        for seed, (frames, tokens, hidden) in enumerate([(14, 8, 0), (17, 3, 0), (9, 10, 1), (1, 5, 0)])
    ]
    for one, frames in zip(asked, together(fast, pool, asked, engine), strict=True):
        torch.testing.assert_close(frames.cpu(), answer_of(network, pool, one), **EXACT)


@pytest.mark.parametrize("engine", ["few", "many"])
def test_several_steps_at_once_are_the_same_and_end_with_the_plan(engine: Engine) -> None:
    fast = fast_of(SPEC)
    network = network_of(SPEC)
    asked = [ask(network, 1, 9), ask(network, 2, 6, steps=3)]
    pools = [pool_of(fast, 2, 4), pool_of(fast, 2, 4)]
    for pool in pools:
        begin(pool, asked, [0, 1])
    for _ in range(STEPS):
        step(fast, pools[0], dict(enumerate(asked)), engine)
    step(fast, pools[1], dict(enumerate(asked)), engine, count=STEPS)
    assert pools[0].state[:2].equal(pools[1].state[:2]) and pools[0].progress[:2].equal(pools[1].progress[:2])


@pytest.mark.parametrize(
    ("engine", "tiles"),
    [
        ("few", "UP_TO_80_ROWS"),
        ("few", "MORE_ROWS"),
        ("few", "FROM_150_ROWS"),
        ("few", "LITTLE_MEMORY"),
        ("many", "UP_TO_4096_ROWS"),
        ("many", "LITTLE_MEMORY"),
        ("many", "MORE_ROWS"),
    ],
)
def test_tiles_change_nothing(engine: Engine, tiles: str) -> None:
    """Norms that go along or are folded forward, rows whole or in pieces, a tile a program or several."""
    fast = fast_of(SPEC)
    network = network_of(SPEC)
    use_tiles(fast, engine, tiles)
    pool = pool_of(fast, 2, 4)
    asked = [ask(network, 1, 17), ask(network, 2, 8)]
    for one, frames in zip(asked, together(fast, pool, asked, engine), strict=True):
        torch.testing.assert_close(frames.cpu(), answer_of(network, pool, one), **EXACT)


def test_engines_make_the_same_noise_in_any_pool() -> None:
    """Begun in other pools, slots and company, stepped by other kernels: the start to the bit, the end but rounding."""
    fast = fast_of(SPEC)
    network = network_of(SPEC)
    one, other = ask(network, 11, 13), ask(network, 12, 17)
    small, large = pool_of(fast, 1, 4), fast.new_pool(6, 40, 9, 6, 4)
    begin(small, [one], [0])
    begin(large, [other, one], [1, 5])
    assert small.read([0], 13).equal(large.read([5], 13))
    for _ in range(STEPS):
        step(fast, small, {0: one}, "few")
        step(fast, large, {1: other, 5: one}, "many")
    torch.testing.assert_close(small.read([0], 13), large.read([1, 5], 13)[1:], **EXACT)


def test_given_noise_is_refused() -> None:
    pool: Pool = pool_of(fast_of(SPEC), 1, 4)
    start = ask(network_of(SPEC), 1, 5).start(0, (0,))
    with pytest.raises(ValueError, match="needs plain PyTorch"):
        pool.begin([start._replace(draw=lambda k: torch.zeros(5, 19))])


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("engine", ["few", "many"])
def test_half_precision_on_the_gpu(engine: Engine) -> None:
    fast = fast_of(SPEC, torch.float16)
    network = network_of(SPEC)
    pool = pool_of(fast, 3, 4)
    asked = [ask(network, seed, frames) for seed, frames in enumerate((14, 1, 17))]
    for one, frames in zip(asked, together(fast, pool, asked, engine), strict=True):
        expected = answer_of(network, pool, one)
        assert (frames.cpu() - expected).norm() / expected.norm() < 0.02


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs an NVIDIA GPU")
def test_plain_steps_in_a_graph_on_the_gpu() -> None:
    """A graph takes whoever is seated, in any company, and texts folded by another graph."""
    network = network_of(SPEC)
    fast = FastDenoiser(network, STEPS, device="cuda", dtype=torch.float32, kernels=False)
    pool = pool_of(fast, 3, 4)
    front = pool.front(2, 40, 20)
    fast.step(front)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fast.step(front)
    asked = [ask(network, seed, frames) for seed, frames in enumerate((14, 1, 17))]
    begin(pool, asked, [0, 1, 2])
    for seated in ([0, 1], [2, 0], [1, 2], [0, 1], [1, 2], [0, 2]):
        front.seat([(slot, 3 + asked[slot].frames) for slot in seated])
        front.draw()
        graph.replay()
    for slot, one in enumerate(asked):
        torch.testing.assert_close(pool.read([slot], one.frames)[0].cpu(), answer_of(network, pool, one), **EXACT)
