# mypy: ignore-errors
"""Triton kernels of what stands before the first and behind the last layer when there are many rows."""

from __future__ import annotations

import triton
import triton.language as tl

from motion_service.mdm.kernels import _await, _normed, _release
from motion_service.mdm.kernels_noise import normal_numbers, now_of


@triton.jit
def gather_kernel(STATE, PACKED, OUT, R, DEPTH, P: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    """Frames of the seated clips, OUT (R, P) as the network reads them; four features a lane."""
    quad = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    r = quad // (P // 4)
    n = ((quad % (P // 4)) * 4)[:, None] + tl.arange(0, 4)[None, :]
    inside = (r < R)[:, None] & (n < P)
    clip = tl.load(PACKED + r * 2, mask=r < R, other=0) * DEPTH + tl.load(PACKED + r * 2 + 1, mask=r < R, other=0)
    _await(EARLY)
    x = tl.load(STATE + clip[:, None] * P + n, mask=inside, other=0.0)
    _release(EARLY)
    tl.store(OUT + r[:, None] * P + n, x.to(OUT.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["R", "AHEAD", "STEPS"])
def norm_guide_kernel(
    Y, NORM, OUT, PACKED, PLAN, PROGRESS, R, AHEAD, STEPS, D: tl.constexpr, BM: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """The last LayerNorm of both halves (2R, D), then guidance: OUT (R, D) is what the last projection reads."""
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    k = tl.arange(0, D)
    at = r[:, None] * D + k[None, :]
    inside = (r < R)[:, None]
    behind = at + R * D
    _, plan = now_of(PLAN, PROGRESS, tl.load(PACKED + r * 2, mask=r < R, other=0), AHEAD, STEPS)
    guidance = tl.load(plan + 4)
    _await(EARLY)
    y = tl.load(Y + at, mask=inside, other=0.0).to(tl.float32)
    with_text = _normed(y, NORM, k, D)
    y = tl.load(Y + behind, mask=inside, other=0.0).to(tl.float32)
    _release(EARLY)
    without = _normed(y, NORM, k, D)
    out = without + guidance[:, None] * (with_text - without)
    tl.store(OUT + at, out.to(OUT.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["R", "AHEAD", "STEPS", "DEPTH"])
def posterior_kernel(
    X0, STATE, PACKED, PLAN, PROGRESS, SEED, R, AHEAD, STEPS, DEPTH,
    C: tl.constexpr, F: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x_t -> x_{t-1} in STATE from predictions X0 (R, P), four features a lane; rows of a prefix stay."""
    quad = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    r = quad // (P // 4)
    quad = quad % (P // 4)
    slot = tl.load(PACKED + r * 2, mask=r < R, other=0)
    t = tl.load(PACKED + r * 2 + 1, mask=r < R, other=0)
    done, plan = now_of(PLAN, PROGRESS, slot, AHEAD, STEPS)
    seed = tl.load(SEED + slot).to(tl.uint64, bitcast=True)
    noise = tl.reshape(normal_numbers(seed, done + 1, t - C, quad), (BLOCK, 4))
    n = (quad * 4)[:, None] + tl.arange(0, 4)[None, :]
    both = ((r < R) & (t >= C))[:, None] & (n < F)
    state = STATE + (slot * DEPTH + t)[:, None] * P + n
    x0 = tl.load(X0 + r[:, None] * P + n, mask=both, other=0.0).to(tl.float32)
    x = tl.load(state, mask=both, other=0.0)
    x = tl.load(plan + 1)[:, None] * x0 + tl.load(plan + 2)[:, None] * x + tl.load(plan + 3)[:, None] * noise
    tl.store(state, x, mask=both)
