# mypy: ignore-errors
"""Triton kernels for many rows: large products with everything else in the epilogue, and cross attention.

*LayerNorm folded forward* as in kernels.py, but a program sees only a part of a row: whoever writes a sum before a norm
keeps the sums of each part of its rows and of their squares (PARTS), and whoever reads it adds them up.
"""

from __future__ import annotations

import triton
import triton.language as tl

from motion_service.mdm.kernels import _await, _release, by_head, peak_and_total, shares_of
from motion_service.mdm.kernels_noise import now_of


@triton.jit
def _gelu(x, EXACT: tl.constexpr):
    """By erf, or by a tanh, which is cheaper and makes no measurable difference in half precision."""
    if EXACT:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    u = x * (1.0 + 0.044715 * x * x)
    return x / (1.0 + tl.exp2(u * -2.3022081985))  # 2 * sqrt(2 / pi) * log2(e)


@triton.jit
def _moments_of(PARTS, r, inside, D: tl.constexpr, NUM: tl.constexpr):
    """Mean and 1 / deviation of rows (BM,) from the sums of their NUM parts, eps as in torch."""
    total = tl.zeros(r.shape, tl.float32)
    squares = tl.zeros(r.shape, tl.float32)
    for i in tl.static_range(NUM):
        total += tl.load(PARTS + (r * NUM + i) * 2, mask=inside, other=0.0)
        squares += tl.load(PARTS + (r * NUM + i) * 2 + 1, mask=inside, other=0.0)
    return _moments_from(total, squares, D)


@triton.jit
def _moments_from(total, squares, D: tl.constexpr):
    mean = total / D
    return mean, tl.rsqrt(tl.maximum(squares / D - mean * mean, 0.0) + 1e-5)


@triton.jit
def _tile(A, W, m, n, K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    out = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        out = tl.dot(A.load([m * BM, k]), W.load([n * BN, k]).T, out, input_precision="ieee")
    return out


@triton.jit
def _finish_piece(
    out, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, m, n,
    N: tl.constexpr, D: tl.constexpr, NORMED: tl.constexpr, GELU: tl.constexpr, EXACT: tl.constexpr,
    RESIDUAL: tl.constexpr, PLACE: tl.constexpr, KEEP: tl.constexpr, NUM: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """What follows the product of a piece (BM, BN), the n-th of its rows; see :func:`product_kernel`."""
    r = m * BM + tl.arange(0, BM)
    c = n * BN + tl.arange(0, BN)
    inside = r < R
    if NORMED or RESIDUAL == 2:
        mean, rate = _moments_of(PARTS, r, inside, D, NUM)
    if NORMED:
        out = (out - mean[:, None] * tl.load(SUMS + c)[None, :]) * rate[:, None]
    if PLACE:
        position = tl.load(PACKED + r * 2 + 1, mask=inside, other=0)
        out += tl.load(PLACED + position[:, None] * PLACE + c[None, :])
    else:
        out += tl.load(BIAS + c).to(tl.float32)[None, :]
    if GELU:
        out = _gelu(out, EXACT)
    if RESIDUAL > 0:
        y = Y.load([m * BM, n * BN]).to(tl.float32)
        if RESIDUAL == 2:
            y = (y - mean[:, None]) * rate[:, None] * tl.load(NORM + c).to(tl.float32)[None, :]
            y += tl.load(NORM + N + c).to(tl.float32)[None, :]
        out += y
    OUT.store([m * BM, n * BN], out.to(OUT.dtype))
    if KEEP:
        parts = OUT_PARTS + (r * (N // BN) + n) * 2
        tl.store(parts, tl.sum(out, 1), mask=inside)
        tl.store(parts + 1, tl.sum(out * out, 1), mask=inside)


@triton.jit
def _finish_tile(
    out, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, m, n,
    N: tl.constexpr, D: tl.constexpr, NORMED: tl.constexpr, GELU: tl.constexpr, EXACT: tl.constexpr,
    RESIDUAL: tl.constexpr, PLACE: tl.constexpr, KEEP: tl.constexpr, NUM: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """The same of a tile: whole, or one half after the other, which needs less room."""
    if PIECES == 2:
        left, right = tl.split(tl.permute(tl.reshape(out, (BM, 2, BN // 2)), (0, 2, 1)))
        _finish_piece(
            left, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, m, n * 2,
            N, D, NORMED, GELU, EXACT, RESIDUAL, PLACE, KEEP, NUM, BM, BN // 2,
        )  # fmt: skip
        _finish_piece(
            right, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, m, n * 2 + 1,
            N, D, NORMED, GELU, EXACT, RESIDUAL, PLACE, KEEP, NUM, BM, BN // 2,
        )  # fmt: skip
    else:
        _finish_piece(
            out, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, m, n,
            N, D, NORMED, GELU, EXACT, RESIDUAL, PLACE, KEEP, NUM, BM, BN,
        )  # fmt: skip


@triton.jit(do_not_specialize=["R"])
def product_kernel(
    A, W, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R,
    N: tl.constexpr, K: tl.constexpr, NORMED: tl.constexpr, GELU: tl.constexpr, EXACT: tl.constexpr,
    RESIDUAL: tl.constexpr, PLACE: tl.constexpr, KEEP: tl.constexpr, NUM: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PIECES: tl.constexpr, LOOP: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """OUT (R, N) = act(A @ W^T + b); A (R, K), W (N, K), Y and OUT are descriptors of tiles.

    NORMED: LN(A), its scale in W, its shift in b, SUMS (N,) the rows' sums of W. PLACE: b is a row of PLACED, so many
    columns apart, by the positions in PACKED. RESIDUAL: 1 = plus Y (R, N), 2 = plus LN(Y) by NORM. PARTS (R, NUM, 2)
    are of the D columns of A or Y. KEEP: OUT_PARTS of OUT. LOOP: few programs take one tile after the other.
    """
    columns: tl.constexpr = N // BN
    _await(EARLY)
    if LOOP:
        for i in tl.range(tl.program_id(0), tl.cdiv(R, BM) * columns, tl.num_programs(0), flatten=True):
            out = _tile(A, W, i // columns, i % columns, K, BM, BN, BK)
            _finish_tile(
                out, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, i // columns, i % columns,
                N, D, NORMED, GELU, EXACT, RESIDUAL, PLACE, KEEP, NUM, BM, BN, PIECES,
            )  # fmt: skip
        _release(EARLY)
    else:
        m, n = tl.program_id(0) // columns, tl.program_id(0) % columns
        out = _tile(A, W, m, n, K, BM, BN, BK)
        _release(EARLY)
        _finish_tile(
            out, BIAS, SUMS, PARTS, Y, NORM, PLACED, PACKED, OUT, OUT_PARTS, R, m, n,
            N, D, NORMED, GELU, EXACT, RESIDUAL, PLACE, KEEP, NUM, BM, BN, PIECES,
        )  # fmt: skip


@triton.jit
def _shares(
    scores, Y, row, inside, mean, rate, MORE, ENTRY, count, KEYS, SUMS, BIAS, LAYER, LAYERS,
    D: tl.constexpr, H: tl.constexpr, L: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Shares (BM, H * L) of a text's first entry, by products (BM, H * L) with its keys; of the others into MORE."""
    text = tl.load(ENTRY + 1) * LAYERS + LAYER
    m = tl.arange(0, H * L)
    scores = (scores - mean[:, None] * tl.load(SUMS + text * (H * L) + m)[None, :]) * rate[:, None]
    scores += tl.load(BIAS + text * (H * L) + m)[None, :]
    shares = by_head(scores, BM, H, L)
    if count > 1:
        shares = _shares_of_long_text(
            scores, Y, row, inside, mean, rate, MORE, ENTRY, count, KEYS, SUMS, BIAS, LAYER, LAYERS, D, H, L, BM, BC
        )
    return shares


@triton.jit
def _shares_of_long_text(
    scores, Y, row, inside, mean, rate, MORE, ENTRY, count, KEYS, SUMS, BIAS, LAYER, LAYERS,
    D: tl.constexpr, H: tl.constexpr, L: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The same, where scores of the first entry are given."""
    m = tl.arange(0, H * L)
    peak, total = tl.full((BM, H), -1e9, tl.float32), tl.zeros((BM, H), tl.float32)
    peak, total = peak_and_total(scores, peak, total, BM, H, L)
    for i in tl.range(1, count, num_stages=1):
        text = tl.load(ENTRY + 1 + i) * LAYERS + LAYER
        keys_at = (text * (H * L)).to(tl.int64) * D
        other = tl.zeros((BM, H * L), tl.float32)
        for c in tl.range(0, D, BC, num_stages=1):
            n = c + tl.arange(0, BC)
            y = tl.load(Y + row[:, None] * D + n[None, :], mask=inside[:, None], other=0.0)
            keys = tl.load(KEYS + keys_at + m[None, :] * D + n[:, None])
            other = tl.dot(y, keys, other, input_precision="ieee")
        other = (other - mean[:, None] * tl.load(SUMS + text * (H * L) + m)[None, :]) * rate[:, None]
        other += tl.load(BIAS + text * (H * L) + m)[None, :]
        peak, total = peak_and_total(other, peak, total, BM, H, L)
        tl.store(MORE + i * (H * L), other, mask=inside[:, None])
    tl.debug_barrier()
    for i in tl.range(1, count, num_stages=1):
        other = tl.load(MORE + i * (H * L), mask=inside[:, None], other=0.0)
        tl.store(MORE + i * (H * L), shares_of(other, peak, total, BM, H, L), mask=inside[:, None])
    tl.debug_barrier()
    return shares_of(scores, peak, total, BM, H, L)


@triton.jit
def _scores_and_moments(
    Y, row, inside, KEYS, D: tl.constexpr, HL: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Products (BM, HL) of rows with keys, nothing for HL = 0, and the moments of the rows."""
    m = tl.arange(0, HL if HL > 0 else 16)
    scores = tl.zeros((BM, HL if HL > 0 else 16), tl.float32)
    total, squares = tl.zeros((BM, BC), tl.float32), tl.zeros((BM, BC), tl.float32)
    for c in range(0, D, BC):
        n = c + tl.arange(0, BC)
        y = tl.load(Y + row[:, None] * D + n[None, :], mask=inside[:, None], other=0.0)
        if HL > 0:
            scores = tl.dot(y, tl.load(KEYS + m[None, :] * D + n[:, None]), scores, input_precision="ieee")
        y = y.to(tl.float32)
        total += y
        squares += y * y
    mean, rate = _moments_from(tl.sum(total, 1), tl.sum(squares, 1), D)
    return scores, mean, rate


@triton.jit
def _add_later(y, MORE, inside, ENTRY, count, VALUES, LAYER, LAYERS, n, m, D: tl.constexpr, HL: tl.constexpr):
    """What the other entries of a long text add to columns n."""
    for i in tl.range(1, count, num_stages=1):
        at = ((tl.load(ENTRY + 1 + i) * LAYERS + LAYER) * HL).to(tl.int64) * D
        values = tl.load(VALUES + at + m[:, None] * D + n[None, :])
        shares = tl.load(MORE + i * HL, mask=inside[:, None], other=0.0)
        y = tl.dot(shares.to(values.dtype), values, y, input_precision="ieee")
    return y


@triton.jit(do_not_specialize=["B", "R", "LONGEST", "AHEAD", "STEPS", "LAYER", "LAYERS"])
def cross_kernel(
    Y, OUT, OUT_PARTS, NORM, TIMES, SHIFT, KEYS, SUMS, BIAS, VALUES, SCORES, SEATS, ENTRY, PLAN, PROGRESS,
    B, R, LONGEST, AHEAD, STEPS, LAYER, LAYERS, HALF: tl.constexpr, SHARED: tl.constexpr,
    D: tl.constexpr, H: tl.constexpr, L: tl.constexpr, MOST: tl.constexpr,
    BM: tl.constexpr, BC: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """LN1 and cross attention of one half (1 = unconditional) as in kernels.py, but out comes the sum before LN2.

    Rows pass in pieces of BC columns, twice (the second time from the cache): so keys and values need little room, and
    many programs share an SM. OUT_PARTS (2R, 1, 2) of OUT. SCORES (R, MOST, H * L): room for those of long texts.
    """
    blocks = tl.cdiv(LONGEST, BM)
    b = tl.program_id(0) // blocks
    start = (tl.program_id(0) % blocks) * BM
    length = tl.load(SEATS + b * 4 + 2)
    if start < length:
        t = start + tl.arange(0, BM)
        inside = t < length
        to = tl.load(SEATS + b * 4 + 1) + HALF * R + t
        row = to - HALF * R if SHARED else to
        slot = tl.load(SEATS + b * 4)
        entry = ENTRY + slot * (1 + MOST)
        text = tl.load(entry + 1) * LAYERS + LAYER
        _, plan = now_of(PLAN, PROGRESS, slot, AHEAD, STEPS)
        level = tl.load(plan).to(tl.int32) * LAYERS + LAYER
        m = tl.arange(0, H * L if L > 0 else 16)
        keys_at = (text * (H * L)).to(tl.int64) * D
        _await(EARLY)
        scores, mean, rate = _scores_and_moments(Y, row, inside, KEYS + keys_at, D, H * L, BM, BC)
        if L > 0:
            count = tl.load(entry) if MOST > 1 else 1
            more = SCORES + to[:, None] * (MOST * H * L) + m[None, :]
            shares = _shares(
                scores, Y, row, inside, mean, rate, more, entry, count, KEYS, SUMS, BIAS, LAYER, LAYERS, D, H, L, BM, BC
            ).to(VALUES.dtype.element_ty)
        total, squares = tl.zeros((BM, BC), tl.float32), tl.zeros((BM, BC), tl.float32)
        for c in range(0, D, BC):
            n = c + tl.arange(0, BC)
            vector = tl.load(TIMES + (level * 2 + HALF) * D + n) + tl.load(SHIFT + (text * 2 + HALF) * D + n)
            vector += tl.load(NORM + D + n).to(tl.float32)
            y = tl.load(Y + row[:, None] * D + n[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
            y = (y - mean[:, None]) * rate[:, None] * tl.load(NORM + n).to(tl.float32)[None, :] + vector[None, :]
            if L > 0:
                values = tl.load(VALUES + keys_at + m[:, None] * D + n[None, :])
                y = tl.dot(shares, values, y, input_precision="ieee")
                y = _add_later(y, more, inside, entry, count, VALUES, LAYER, LAYERS, n, m, D, H * L)
            tl.store(OUT + to[:, None] * D + n[None, :], y.to(OUT.dtype.element_ty), mask=inside[:, None])
            total += y
            squares += y * y
        _release(EARLY)
        tl.store(OUT_PARTS + to * 2, tl.sum(total, 1), mask=inside)
        tl.store(OUT_PARTS + to * 2 + 1, tl.sum(squares, 1), mask=inside)
    else:
        _await(EARLY)
