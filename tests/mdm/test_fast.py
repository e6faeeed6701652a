import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.mdm.fast import FastDenoiser, has_triton, kernels_fit, supports
from motion_service.mdm.fast_rows import Seat, draw_noise
from motion_service.mdm.network import Denoiser, NetworkSpec
from tests.mdm.fast_cases import (
    HIDDEN_TEXT,
    PLAIN,
    SPEC,
    STEPS,
    TARGETED,
    answer_of,
    ask,
    clip_of,
    network_of,
    together,
)

CPU = torch.device("cpu")
CLOSE = {"atol": 2e-5, "rtol": 2e-5}
NETWORKS = {id(spec): network_of(spec) for spec in (SPEC, PLAIN, HIDDEN_TEXT, TARGETED)}


def fast_of(network: Denoiser, dtype: torch.dtype = torch.float32) -> FastDenoiser:
    return FastDenoiser(network, STEPS, device=CPU, dtype=dtype)


@pytest.mark.parametrize("spec", [SPEC, PLAIN, HIDDEN_TEXT, TARGETED])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_batch_of_anything_equals_the_denoiser_alone(spec: NetworkSpec, data: st.DataObject) -> None:
    network = NETWORKS[id(spec)]
    fast = fast_of(network)
    tokens = data.draw(st.sampled_from([1, 2, 5]), "tokens")
    count = data.draw(st.integers(1, 4), "clips")
    asked = [
        ask(
            network,
            data.draw(st.integers(0, 99), "seed"),
            data.draw(st.integers(1, 20 - spec.context_frames), "frames"),
            tokens=tokens,
            hidden=data.draw(st.integers(0, tokens - 1), "hidden tokens"),
            scale=data.draw(st.sampled_from([0.0, 1.0, 2.5, 7.5]), "scale"),
        )
        for _ in range(count)
    ]
    columns = tokens if tokens == 1 else data.draw(st.integers(tokens, 8), "columns")
    clips = [clip_of(fast, one, columns) for one in asked]
    made = together(fast, clips, [20 * slot for slot in range(count)], columns, "plain")
    for one, frames in zip(asked, made, strict=True):
        torch.testing.assert_close(frames, answer_of(network, one), **CLOSE)


def test_clips_join_and_leave_between_steps() -> None:
    network, fast = NETWORKS[id(SPEC)], fast_of(NETWORKS[id(SPEC)])
    asked = [ask(network, seed, 9 + seed, steps=steps) for seed, steps in enumerate((4, 3, 4, 2))]
    clips = [clip_of(fast, one, 4) for one in asked]
    rows = fast.new_rows(2, 40, 20, STEPS, 4)
    joins = {0: [(0, 0)], 2: [(1, 1)], 4: [(0, 2)], 5: [(1, 3)]}  # step: (slot, clip)
    ends = {4: (0, 0), 5: (1, 1), 7: (1, 3), 8: (0, 2)}
    for step in range(9):
        if step in ends:
            slot, which = ends[step]
            frames = rows.clip(20 * slot, 3 + len(asked[which].start))
            torch.testing.assert_close(frames, answer_of(network, asked[which]), **CLOSE)
            rows.leave(slot)
        for slot, which in joins.get(step, []):
            rows.join([Seat(slot, 20 * slot, clips[which])])
        fast.step(rows)
    assert rows.state.isfinite().all()


def test_whole_loop_equals_single_steps() -> None:
    network, fast = NETWORKS[id(SPEC)], fast_of(NETWORKS[id(SPEC)])
    asked = ask(network, 5, 12)
    rows = fast.new_rows(1, 15, 15, STEPS, 4)
    rows.join([Seat(0, 0, clip_of(fast, asked, 4))])
    fast.sample(rows, STEPS, masked=False)
    torch.testing.assert_close(rows.clip(0, 15), answer_of(network, asked), **CLOSE)


def test_prediction_equals_the_denoiser_with_prefix_and_mask() -> None:
    network, fast = NETWORKS[id(SPEC)], fast_of(NETWORKS[id(SPEC)])
    draw = torch.Generator().manual_seed(1)
    x_t, prefix = torch.randn(2, 9, 19, generator=draw), torch.randn(2, 3, 19, generator=draw)
    tokens, mask = torch.randn(2, 4, 10, generator=draw), torch.tensor([[True] * 4, [True, True, False, False]])
    t, frame_mask = torch.tensor([3, 0]), torch.arange(9) < torch.tensor([[9], [4]])
    memory = network.encode_text(tokens.repeat(2, 1, 1), mask.repeat(2, 1), torch.tensor([False, False, True, True]))
    both = network.denoise(x_t.repeat(2, 1, 1), t.repeat(2), memory, prefix.repeat(2, 1, 1), frame_mask.repeat(2, 1))
    scale = torch.tensor([2.0, 7.5])
    expected = both[2:] + scale[:, None, None] * (both[:2] - both[2:])
    valid = torch.nn.functional.pad(frame_mask, (3, 0), value=True)
    made = fast.predict(x_t, t, fast.prepare_text(tokens, mask), scale, prefix=prefix, valid=valid)
    torch.testing.assert_close(made, expected, **CLOSE)


def test_neighbours_change_nothing() -> None:
    network, fast = NETWORKS[id(SPEC)], fast_of(NETWORKS[id(SPEC)])
    one = clip_of(fast, ask(network, 1, 17), 4)
    others = [clip_of(fast, ask(network, seed, 10, scale=9.0), 4) for seed in (2, 3)]
    wild = others[0]._replace(start=others[0].start * 1e3)
    (beside_calm,) = together(fast, [one, others[1]], [0, 20], 4, "plain")[:1]
    (beside_wild,) = together(fast, [one, wild], [0, 20], 4, "plain")[:1]
    torch.testing.assert_close(beside_calm, beside_wild, atol=1e-6, rtol=0)


def test_noise_belongs_to_the_seed() -> None:
    start, noise = draw_noise(7, STEPS, 10, 19, CPU)
    again = draw_noise(7, STEPS, 10, 19, CPU)
    other = draw_noise(8, STEPS, 10, 19, CPU)
    assert start.equal(again[0]) and noise.equal(again[1]) and not noise.equal(other[1])
    assert noise.shape == (STEPS, 10, 19) and 0.8 < noise.std() < 1.2


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


def test_what_does_not_fit_is_refused_and_nothing_joins() -> None:
    network, fast = NETWORKS[id(SPEC)], fast_of(NETWORKS[id(SPEC)])
    rows = fast.new_rows(2, 40, 20, STEPS, 4)
    good, long = (clip_of(fast, ask(network, 1, frames), 4) for frames in (5, 18))
    with pytest.raises(ValueError, match="does not fit"):
        rows.join([Seat(0, 0, good), Seat(1, 20, long)])
    with pytest.raises(ValueError, match="starts at row 20"):
        rows.join([Seat(1, 3, good)])
    with pytest.raises(ValueError, match="1 to 4 steps"):
        rows.join([Seat(0, 0, good._replace(plan=good.plan.repeat(2, 1)))])
    assert not rows.length.any()
    with pytest.raises(ValueError, match="5 tokens, but only 4 fit"):
        fast.prepare_text(torch.zeros(1, 5, 10), torch.ones(1, 5, dtype=torch.bool), columns=4)
    with pytest.raises(ValueError, match="at most 256 rows"):
        fast.new_rows(1, 300, 300, STEPS, 4)


def test_front_is_the_same_memory() -> None:
    fast = fast_of(NETWORKS[id(SPEC)])
    rows = fast.new_rows(3, 60, 20, STEPS, 4)
    front = rows.front(1, 20)
    network = NETWORKS[id(SPEC)]
    asked = ask(network, 1, 17)
    rows.join([Seat(0, 0, clip_of(fast, asked, 4))])
    for _ in range(STEPS):
        fast.step(front)
    torch.testing.assert_close(rows.clip(0, 20), answer_of(network, asked), **CLOSE)
    assert rows.nbytes > front.nbytes > 0


def test_half_precision_stays_near() -> None:
    network = NETWORKS[id(SPEC)]
    fast = fast_of(network, torch.bfloat16)
    asked = ask(network, 2, 17)
    (made,) = together(fast, [clip_of(fast, asked, 4)], [0], 4, "plain")
    expected = answer_of(network, asked)
    assert made.dtype == torch.float32
    assert 1e-6 < (made - expected).norm() / expected.norm() < 0.1
