# mypy: ignore-errors
"""Triton kernels of the clips themselves: noise, how a clip begins, how its steps are counted.

Noise is Philox-4x32-10 (Salmon et al. 2011) and Box-Muller: the key is the clip's seed, the counter is (feature // 4,
frame, step, 0) and gives four features. Step 0 is the start, k the noise that step k adds. So it depends on nothing
else: not on slots, seats, sizes of tiles, or company.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def normal_numbers(seed, step, frame, quad):
    """Four standard normal numbers for each of broadcast (frame, quad): (.., 2, 2), to be reshaped. Seed uint64."""
    c1 = frame + quad * 0
    c0 = quad + frame * 0
    u0, u1, u2, u3 = tl.philox(seed, c0, c1, step + c0 * 0, c0 * 0)
    n0, n1 = tl.pair_uniform_to_normal(tl.uint_to_uniform_float(u0), tl.uint_to_uniform_float(u1))
    n2, n3 = tl.pair_uniform_to_normal(tl.uint_to_uniform_float(u2), tl.uint_to_uniform_float(u3))
    return tl.join(tl.join(n0, n2), tl.join(n1, n3))


@triton.jit
def noise_tile(seed, step, frame, first_feature, BM: tl.constexpr, BN: tl.constexpr):
    """Noise of frames (BM,) and features from a multiple of 4 on, (BM, BN)."""
    quad = first_feature // 4 + tl.arange(0, BN // 4)
    return tl.reshape(normal_numbers(seed, step, frame[:, None], quad[None, :]), (BM, BN))


@triton.jit
def now_of(PLAN, PROGRESS, slot, AHEAD, STEPS):
    """How many steps a clip has done, and its row of PLAN. AHEAD: steps of this graph before this one."""
    done = tl.minimum(tl.load(PROGRESS + slot) + AHEAD, STEPS)
    return done, PLAN + (slot * (STEPS + 1) + done) * 5


@triton.jit
def begin_kernel(
    RECORDS, STATE, PLAN, PROGRESS, SEED, ENTRY, RECORD, DEPTH,
    NUMBERS: tl.constexpr, NUMBERS_UP: tl.constexpr, MOST: tl.constexpr,
    C: tl.constexpr, F: tl.constexpr, P: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """A record each (see Pool): prefix and start noise into STATE, the rest into its tables.

    NUMBERS: of a plan; MOST: entries of a text.
    """
    record = RECORDS + tl.program_id(0) * RECORD
    slot = tl.load(record)
    low = tl.load(record + 4).to(tl.uint32, bitcast=True).to(tl.uint64)
    high = tl.load(record + 5).to(tl.uint32, bitcast=True).to(tl.uint64)
    seed = low | (high << 32)
    if tl.program_id(1) == 0:
        tl.store(PROGRESS + slot, 0)
        for i in tl.static_range(1 + MOST):
            tl.store(ENTRY + slot * (1 + MOST) + i, tl.load(record + (1 if i == 0 else 5 + i)))
        tl.store(SEED + slot, seed.to(tl.int64, bitcast=True))
        i = tl.arange(0, NUMBERS_UP)
        plan = tl.load(record + 6 + MOST + i, mask=i < NUMBERS, other=0)
        tl.store(PLAN + slot * NUMBERS + i, plan.to(tl.float32, bitcast=True), mask=i < NUMBERS)
    t = tl.program_id(1) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    x = noise_tile(seed, 0, t - C, 0, BM, BN)
    if C > 0:
        before = (t < C)[:, None] & (n < F)[None, :]
        prefix = tl.load(record + 6 + MOST + NUMBERS + t[:, None] * F + n[None, :], mask=before, other=0)
        x = tl.where((t < C)[:, None], prefix.to(tl.float32, bitcast=True), x)
    inside = (t < tl.load(record + 2))[:, None] & (n < F)[None, :]
    tl.store(STATE + (slot * DEPTH + t)[:, None] * P + n[None, :], x, mask=inside)


@triton.jit
def noise_kernel(OUT, SEEDS, T, F: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """OUT (1 + S, T, F): all noise of the seed at SEEDS."""
    t = tl.program_id(1) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    x = noise_tile(tl.load(SEEDS).to(tl.uint64, bitcast=True), tl.program_id(0), t, 0, BM, BN)
    inside = (t < T)[:, None] & (n < F)[None, :]
    tl.store(OUT + (tl.program_id(0) * T + t)[:, None] * F + n[None, :], x, mask=inside)


@triton.jit(do_not_specialize=["B", "NUM", "STEPS"])
def count_kernel(SEATS, PROGRESS, B, NUM, STEPS, BLOCK: tl.constexpr):
    """Seated clips have done NUM steps more."""
    seat = tl.arange(0, BLOCK)
    seated = tl.load(SEATS + seat * 4 + 2, mask=seat < B, other=0) > 0
    slot = tl.load(SEATS + seat * 4, mask=seated, other=0)
    done = tl.load(PROGRESS + slot, mask=seated, other=0) + NUM
    tl.store(PROGRESS + slot, tl.minimum(done, STEPS), mask=seated)
