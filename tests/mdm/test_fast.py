import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.mdm.fast import FastDenoiser, has_triton, kernels_fit, supports
from motion_service.mdm.fast_pool import Pool
from motion_service.mdm.network import Denoiser, NetworkSpec
from tests.mdm.fast_cases import (
    HIDDEN_TEXT,
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

CPU = torch.device("cpu")
CLOSE = {"atol": 2e-5, "rtol": 2e-5}
NETWORKS = {id(spec): network_of(spec) for spec in (SPEC, PLAIN, HIDDEN_TEXT, TARGETED)}
NETWORK = NETWORKS[id(SPEC)]


def fast_of(network: Denoiser, dtype: torch.dtype = torch.float32) -> FastDenoiser:
    return FastDenoiser(network, STEPS, device=CPU, dtype=dtype)


@pytest.mark.parametrize("spec", [SPEC, PLAIN, HIDDEN_TEXT, TARGETED])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_company_in_any_order_with_pauses_equals_the_denoiser_alone(spec: NetworkSpec, data: st.DataObject) -> None:
    network = NETWORKS[id(spec)]
    fast = fast_of(network)
    tokens = data.draw(st.sampled_from([1, 2, 5]), "tokens")
    count = data.draw(st.integers(1, 4), "clips")
    asked = {
        slot: ask(
            network,
            data.draw(st.integers(0, 2**63 - 1), "seed"),
            data.draw(st.integers(1, 20 - spec.context_frames), "frames"),
            tokens=data.draw(st.integers(1, tokens), "tokens of this"),
            scale=data.draw(st.sampled_from([0.0, 1.0, 2.5, 7.5]), "scale"),
            steps=data.draw(st.integers(1, STEPS), "steps"),
        )
        for slot in data.draw(st.permutations(range(5)), "slots")[:count]
    }
    pool = pool_of(fast, 5, tokens)
    begin(pool, list(asked.values()), list(asked))
    turns = [slot for slot, one in asked.items() for _ in range(one.steps)]
    turns = data.draw(st.permutations(turns), "turns")
    while turns:
        seated = dict.fromkeys(turns[: data.draw(st.integers(1, len(turns)), "seats")])
        step(fast, pool, {slot: asked[slot] for slot in seated}, "plain")
        for slot in seated:
            turns.remove(slot)
    for slot, one in asked.items():
        torch.testing.assert_close(pool.read([slot], one.frames)[0], answer_of(network, pool, one), **CLOSE)


def test_clips_begin_where_others_ended() -> None:
    fast = fast_of(NETWORK)
    pool = pool_of(fast, 2, 4)
    first, second, beside = ask(NETWORK, 1, 17), ask(NETWORK, 2, 5, scale=5.0), ask(NETWORK, 3, 9)
    begin(pool, [first, beside], [0, 1])
    for _ in range(STEPS):
        step(fast, pool, {0: first}, "plain")
    begin(pool, [second], [0])
    for _ in range(STEPS):
        step(fast, pool, {1: beside, 0: second}, "plain")
    made = pool.read([1, 0], 9)
    torch.testing.assert_close(made[0], answer_of(NETWORK, pool, beside), **CLOSE)
    torch.testing.assert_close(made[1, :5], answer_of(NETWORK, pool, second), **CLOSE)


def test_who_is_not_seated_stays_to_the_bit_and_so_does_who_has_ended() -> None:
    fast = fast_of(NETWORK)
    pool = pool_of(fast, 3, 4)
    asked = [ask(NETWORK, 1, 12), ask(NETWORK, 2, 17), ask(NETWORK, 3, 6, steps=1)]
    begin(pool, asked, [0, 1, 2])
    step(fast, pool, {2: asked[2]}, "plain")
    before = pool.state.clone()
    step(fast, pool, {0: asked[0], 2: asked[2]}, "plain")
    assert pool.state[1].equal(before[1]) and pool.state[2].equal(before[2])
    assert not pool.state[0].equal(before[0])
    assert pool.state[0, : pool.context].equal(before[0, : pool.context]), "the prefix stays"


def test_a_front_without_clips_changes_nothing() -> None:
    fast = fast_of(NETWORK)
    pool = pool_of(fast, 2, 4)
    begin(pool, [ask(NETWORK, 1, 12)], [0])
    before = pool.state[:2].clone(), pool.progress[:2].clone()
    fast.step(pool.front(2, 40, 20))
    assert pool.state[:2].equal(before[0]) and pool.progress[:2].equal(before[1])


def test_prediction_equals_the_denoiser_with_prefix_and_mask() -> None:
    fast = fast_of(NETWORK)
    draw = torch.Generator().manual_seed(1)
    x_t, prefix = torch.randn(2, 9, 19, generator=draw), torch.randn(2, 3, 19, generator=draw)
    tokens, mask = torch.randn(2, 4, 10, generator=draw), torch.tensor([[True] * 4, [True, True, False, False]])
    t, frame_mask = torch.tensor([3, 0]), torch.arange(9) < torch.tensor([[9], [4]])
    memory = NETWORK.encode_text(tokens.repeat(2, 1, 1), mask.repeat(2, 1), torch.tensor([False, False, True, True]))
    both = NETWORK.denoise(x_t.repeat(2, 1, 1), t.repeat(2), memory, prefix.repeat(2, 1, 1), frame_mask.repeat(2, 1))
    scale = torch.tensor([2.0, 7.5])
    expected = both[2:] + scale[:, None, None] * (both[:2] - both[2:])
    valid = torch.nn.functional.pad(frame_mask, (3, 0), value=True)
    made = fast.predict(x_t, t, fast.prepare_text(tokens, mask), scale, prefix=prefix, valid=valid)
    torch.testing.assert_close(made, expected, **CLOSE)


def test_noise_belongs_to_the_seed() -> None:
    pool = pool_of(fast_of(NETWORK), 1, 4)
    noise, other = pool.noise(7, 10, STEPS), pool.noise(8, 10, STEPS)
    assert noise.equal(pool.noise(7, 10, STEPS)) and not noise.equal(other)
    assert noise.shape == (1 + STEPS, 10, 19) and 0.8 < noise.std() < 1.2


def test_given_noise_replaces_the_seeds() -> None:
    fast = fast_of(NETWORK)
    pool = pool_of(fast, 2, 4)
    asked = ask(NETWORK, 1, 9)
    begin(pool, [asked], [0])
    given_noise = pool.noise(asked.seed, 9, STEPS)
    pool.begin([asked.start(1, (pool.texts - 1,))._replace(seed=5, draw=lambda k: given_noise[k])])
    for _ in range(STEPS):
        step(fast, pool, {0: asked, 1: asked}, "plain")
    assert pool.state[0].equal(pool.state[1])


def test_texts_of_a_partly_filled_stage_touch_no_other_entry() -> None:
    fast = fast_of(NETWORKS[id(TARGETED)])
    pool = fast.new_pool(1, 20, STEPS, 4, 3)
    stage = pool.text_stage(2)
    tokens = [torch.randn(length, 10) for length in (3, 2, 1)]
    masks = [torch.ones(len(text), dtype=torch.bool) for text in tokens]
    target = torch.randn(3, 64)
    for entries, which in (([3, 0], [0, 1]), ([2], [2])):
        stage.fill(entries, [tokens[i] for i in which], [masks[i] for i in which], target[which])
        stage.fold()
        for entry, i in zip(entries, which, strict=True):
            padded = torch.nn.functional.pad(tokens[i], (0, 0, 0, 3 - len(tokens[i])))
            wanted = fast.prepare_text(padded[None], padded[None].any(2), target[i : i + 1])
            for made, expected in zip(pool.text, wanted, strict=True):
                torch.testing.assert_close(made[entry], expected[0], **CLOSE)
    assert not pool.text.keys[1].any() and pool.text.keys[3].any()


def test_only_decoders_of_text_plus_time_are_supported() -> None:
    assert supports(SPEC) and supports(TARGETED)
    for change in ({"arch": "trans_enc"}, {"emb_trans_dec": True}, {"text_policy": "concat"}, {"text_width": 0}):
        spec = dataclasses.replace(SPEC, **change)
        assert not supports(spec)
        with pytest.raises(ValueError, match="no fast path"):
            FastDenoiser(Denoiser(spec), STEPS, device=CPU, dtype=torch.float32)


def test_kernels_take_official_sizes_and_nothing_odd() -> None:
    official = NetworkSpec(features=263, width=512, layers=8, heads=4, feedforward=1024, text_width=768)
    assert kernels_fit(official) and kernels_fit(dataclasses.replace(official, width=256))
    assert not kernels_fit(dataclasses.replace(official, width=480))
    assert not has_triton(CPU)


GOOD = ask(NETWORK, 1, 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda pool: pool.begin([GOOD.start(0, (0,)), GOOD.start(0, (0,))]), "one a clip"),
        (lambda pool: pool.begin([GOOD.start(2, (0,))]), "slots are 0 to 1"),
        (lambda pool: pool.begin([GOOD.start(0, (0,)), GOOD.start(1, (4,))]), "texts are entries 0 to 3"),
        (lambda pool: pool.begin([GOOD.start(0, (0,))._replace(frames=18)]), "1 to 17 frames"),
        (lambda pool: pool.begin([GOOD.start(0, (0,))._replace(plan=GOOD.start(0, (0,)).plan[:0])]), "1 to 4 steps"),
        (lambda pool: pool.begin([GOOD.start(0, (0,))._replace(prefix=None)]), "needs a prefix"),
        (lambda pool: pool.front(3, 60, 20), "2 slots of 20 rows"),
        (lambda pool: pool.front(1, 20, 20).seat([(0, 8), (1, 8)]), "2 clips of 16 rows do not fit"),
        (lambda pool: pool.front(2, 40, 20).seat([(0, 3)]), "4 to 20 rows"),
        (lambda pool: pool.front(2, 40, 20).seat([(0, 8), (0, 8)]), "each once"),
        (lambda pool: pool.text_stage(1).fill([0, 1], [], []), "only 1 fit"),
        (lambda pool: pool.text_stage(1).fill([4], [GOOD.tokens[0]], [GOOD.mask[0]]), "entries are 0 to 3"),
        (lambda pool: pool.text_stage(1).fill([0], [torch.zeros(5, 10)], [torch.ones(5)]), "5 tokens, but only 4"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(wrong: Callable[[Pool], object], message: str) -> None:
    pool = pool_of(fast_of(NETWORK), 2, 4)
    with pytest.raises(ValueError, match=message):
        wrong(pool)
    assert not pool.state.any() and not pool.text.shift.any()


def test_more_than_there_is_room_for_is_refused() -> None:
    fast = fast_of(NETWORK)
    with pytest.raises(ValueError, match="5 tokens, but only 4 fit"):
        fast.prepare_text(torch.zeros(1, 5, 10), torch.ones(1, 5, dtype=torch.bool), columns=4)
    with pytest.raises(ValueError, match="at most 256 rows"):
        fast.new_pool(1, 300, STEPS, 1, 4)
    with pytest.raises(ValueError, match="one at a time"):
        fast.step(pool_of(fast, 1, 4).front(1, 20, 20), count=2)


def test_memory_is_counted() -> None:
    fast = fast_of(NETWORK)
    pool = pool_of(fast, 2, 4)
    assert pool.nbytes > 2 * 20 * 24 * 4 and pool_of(fast, 4, 4).nbytes > 1.5 * pool.nbytes
    assert fast.nbytes >= sum(p.nbytes for p in NETWORK.seqTransDecoder.parameters()) / 2
    assert pool.front(2, 40, 20).nbytes and pool.text_stage(2).nbytes


def test_half_precision_stays_near() -> None:
    fast = fast_of(NETWORK, torch.bfloat16)
    pool = pool_of(fast, 1, 4)
    asked = ask(NETWORK, 2, 17)
    (made,) = together(fast, pool, [asked], "plain")
    expected = answer_of(NETWORK, pool, asked)
    assert made.dtype == torch.float32
    assert 1e-6 < (made - expected).norm() / expected.norm() < 0.1
