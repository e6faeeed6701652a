# mypy: ignore-errors
"""Triton kernels of one denoising step. :mod:`kernels_few` and :mod:`kernels_many` say which run when.

Rows of all seated clips lie one after the other: SEATS (B, 4) says slot, first row and rows of each (0 = empty),
PACKED (R, 2) slot and frame of each row. State, plan, progress and text of a clip are found by its slot. The
unconditional half lies behind the conditional one: row r of it is row R + r.

*LayerNorm folded forward* (few rows): a kernel writes its sum before the norm, and the next one, a product with
W * scale, corrects by mean and deviation after the product: LN(y) W' = ((y - mean) / dev * scale + shift) W'.
*Programmatic dependent launch* (``EARLY``): a kernel may start while the one before it still runs. It first loads what
nobody writes during a graph (weights, tables, texts), then waits for the kernel before it.

They run on the CPU under TRITON_INTERPRET=1, in float32, which is how tests compare them with plain PyTorch.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from motion_service.mdm.kernels_noise import noise_tile, now_of


@triton.jit
def _await(EARLY: tl.constexpr):
    """Wait for the results of the kernel before. EARLY = 1: let the next one start loading now, 2: at _release."""
    if EARLY == 1:
        gdc_launch_dependents()
    if EARLY > 0:
        gdc_wait()


@triton.jit
def _release(EARLY: tl.constexpr):
    """Most is done: let the next kernel start, so that it is there when the rest ends."""
    if EARLY == 2:
        gdc_launch_dependents()


@triton.jit
def _moments(y, D: tl.constexpr):
    """Mean and 1 / deviation of the rows of y (BM, D) float32, eps as in torch."""
    mean = tl.sum(y, 1) / D
    variance = tl.sum(y * y, 1) / D - mean * mean
    return mean, tl.rsqrt(tl.maximum(variance, 0.0) + 1e-5)


@triton.jit
def _normed(y, NORM, columns, D: tl.constexpr):
    """LayerNorm of y (BM, D) float32; NORM (2, D) holds scale and shift."""
    mean = tl.sum(y, 1) / D
    y = y - mean[:, None]
    variance = tl.sum(y * y, 1) / D
    scale = tl.load(NORM + columns).to(tl.float32)
    shift = tl.load(NORM + D + columns).to(tl.float32)
    return y * tl.rsqrt(variance + 1e-5)[:, None] * scale[None, :] + shift[None, :]


# --- few rows: products with everything around them folded in ---------------------------------------------------------


@triton.jit(do_not_specialize=["R", "DEPTH"])
def embed_kernel(
    STATE, W, PLACED, PACKED, QKV, H, R, DEPTH,
    P: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Frames of STATE -> queries, keys, values of the first layer (R, 3D) and its residual (R, D), by one product.

    W (4D, P) is the frame embedding, through the first layer and as it is; PLACED (positions, 4D) float32 likewise.
    """
    tiles: tl.constexpr = 4 * D // BN
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    r = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    inside = r < R
    k1 = tl.arange(0, K1)
    w1 = tl.load(W + n[None, :] * P + k1[:, None], mask=(k1 < P)[:, None], other=0.0)
    if K2 > 0:
        k2 = K1 + tl.arange(0, K2)
        w2 = tl.load(W + n[None, :] * P + k2[:, None], mask=(k2 < P)[:, None], other=0.0)
    position = tl.load(PACKED + r * 2 + 1, mask=inside, other=0)
    frame = STATE + (tl.load(PACKED + r * 2, mask=inside, other=0) * DEPTH + position)[:, None] * P
    placed = tl.load(PLACED + position[:, None] * (4 * D) + n[None, :])
    _await(EARLY)
    a1 = tl.load(frame + k1[None, :], mask=inside[:, None] & (k1 < P)[None, :], other=0.0)
    if K2 > 0:
        a2 = tl.load(frame + k2[None, :], mask=inside[:, None] & (k2 < P)[None, :], other=0.0)
        placed = tl.dot(a2.to(w2.dtype), w2, placed, input_precision="ieee")
    out = tl.dot(a1.to(w1.dtype), w1, placed, input_precision="ieee")
    if (tl.program_id(0) % tiles) * BN < 3 * D:
        tl.store(QKV + r[:, None] * (3 * D) + n[None, :], out.to(QKV.dtype.element_ty), mask=inside[:, None])
    else:
        tl.store(H + r[:, None] * D + (n - 3 * D)[None, :], out.to(H.dtype.element_ty), mask=inside[:, None])


@triton.jit(do_not_specialize=["R"])
def product_kernel(
    A, W, SUMS, BIAS, Y, MOMENTS, NORM, OUT, R,
    N: tl.constexpr, K: tl.constexpr, NORMED: tl.constexpr, GELU: tl.constexpr, RESIDUAL: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """OUT (R, N) = act(A @ W^T + b), W (N, K), b float32 if NORMED, else as W.

    NORMED: LN(A): scale is in W, shift in BIAS, SUMS (N,) are the rows' sums of W; MOMENTS (R, 2) of A are kept for the
    residual that comes later. RESIDUAL: 1 = plus Y (R, N), 2 = plus LN(Y) by its kept moments.
    """
    tiles: tl.constexpr = N // BN
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    r = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    k = tl.arange(0, K)
    inside = r < R
    w = tl.load(W + n[None, :] * K + k[:, None])
    bias = tl.load(BIAS + n).to(tl.float32)
    if NORMED:
        sums = tl.load(SUMS + n)
    if RESIDUAL == 2:
        scale = tl.load(NORM + n).to(tl.float32)
        bias += tl.load(NORM + N + n).to(tl.float32)
    _await(EARLY)
    a = tl.load(A + r[:, None] * K + k[None, :], mask=inside[:, None], other=0.0)
    if RESIDUAL > 0:
        y = tl.load(Y + r[:, None] * N + n[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
    if RESIDUAL == 2:
        mean = tl.load(MOMENTS + r * 2, mask=inside, other=0.0)
        rate = tl.load(MOMENTS + r * 2 + 1, mask=inside, other=0.0)
        y = (y - mean[:, None]) * rate[:, None] * scale[None, :]
    out = tl.dot(a, w, input_precision="ieee")
    if NORMED:
        mean, rate = _moments(a.to(tl.float32), K)
        if tl.program_id(0) % tiles == 0:
            tl.store(MOMENTS + r * 2, mean, mask=inside)
            tl.store(MOMENTS + r * 2 + 1, rate, mask=inside)
        out = (out - mean[:, None] * sums[None, :]) * rate[:, None]
    out += bias[None, :]
    if GELU:
        out = 0.5 * out * (1.0 + tl.erf(out * 0.7071067811865476))
    if RESIDUAL > 0:
        out += y
    tl.store(OUT + r[:, None] * N + n[None, :], out.to(OUT.dtype.element_ty), mask=inside[:, None])


@triton.jit(do_not_specialize=["R", "AHEAD", "STEPS", "LONGEST", "DEPTH"])
def last_kernel(
    Y, W, SUMS, BIAS, STATE, SEATS, PLAN, PROGRESS, SEED, R, AHEAD, STEPS, LONGEST, DEPTH,
    C: tl.constexpr, F: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Last norm and projection of both halves, guidance, and the posterior: x_t -> x_{t-1} in STATE."""
    tiles: tl.constexpr = (F + BN - 1) // BN
    blocks = tl.cdiv(LONGEST - C, BM)
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    b = tl.program_id(0) // tiles // blocks
    t = C + (tl.program_id(0) // tiles % blocks) * BM + tl.arange(0, BM)
    slot = tl.load(SEATS + b * 4)
    inside = t < tl.load(SEATS + b * 4 + 2)
    r = tl.load(SEATS + b * 4 + 1) + t
    k = tl.arange(0, D)
    wanted = n < F
    w = tl.load(W + n[None, :] * D + k[:, None], mask=wanted[None, :], other=0.0)
    sums = tl.load(SUMS + n, mask=wanted, other=0.0)
    bias = tl.load(BIAS + n, mask=wanted, other=0.0)
    done, plan = now_of(PLAN, PROGRESS, slot, AHEAD, STEPS)
    coef_x0 = tl.load(plan + 1)
    coef_xt = tl.load(plan + 2)
    sigma = tl.load(plan + 3)
    guidance = tl.load(plan + 4)
    both = inside[:, None] & wanted[None, :]
    seed = tl.load(SEED + slot).to(tl.uint64, bitcast=True)
    noise = noise_tile(seed, done + 1, t - C, (tl.program_id(0) % tiles) * BN, BM, BN)
    state = STATE + (slot * DEPTH + t)[:, None] * P + n[None, :]
    _await(EARLY)
    y1 = tl.load(Y + r[:, None] * D + k[None, :], mask=inside[:, None], other=0.0)
    y2 = tl.load(Y + (R + r)[:, None] * D + k[None, :], mask=inside[:, None], other=0.0)
    x = tl.load(state, mask=both, other=0.0)
    out1 = tl.dot(y1, w, input_precision="ieee")
    out2 = tl.dot(y2, w, input_precision="ieee")
    mean1, rate1 = _moments(y1.to(tl.float32), D)
    mean2, rate2 = _moments(y2.to(tl.float32), D)
    out1 = (out1 - mean1[:, None] * sums[None, :]) * rate1[:, None]
    out2 = (out2 - mean2[:, None] * sums[None, :]) * rate2[:, None]
    x0 = out2 + guidance * (out1 - out2) + bias[None, :]
    x = coef_x0 * x0 + coef_xt * x + sigma * noise
    tl.store(state, x, mask=both)


# --- attention --------------------------------------------------------------------------------------------------------


@triton.jit
def _attend(
    CLIP, t, d, length, SCALE, D: tl.constexpr, DH: tl.constexpr, BQ: tl.constexpr, BK: tl.constexpr, LOOP: tl.constexpr
):  # fmt: skip
    """Frames t (BQ,) of a clip, whose rows (length, 3D) begin at CLIP, look at all of it; columns d of one head."""
    tk = tl.arange(0, BK)
    q = tl.load(CLIP + t[:, None] * (3 * D) + d[None, :], mask=(t < length)[:, None], other=0.0)
    if LOOP:
        peak = tl.full((BQ,), -1e9, tl.float32)
        total = tl.zeros((BQ,), tl.float32)
        out = tl.zeros((BQ, DH), tl.float32)
        for begin in range(0, length, BK):
            seen = begin + tk < length
            at = (begin + tk) * (3 * D)
            keys = tl.load(CLIP + D + at[None, :] + d[:, None], mask=seen[None, :], other=0.0)
            values = tl.load(CLIP + 2 * D + at[:, None] + d[None, :], mask=seen[:, None], other=0.0)
            scores = tl.where(seen[None, :], tl.dot(q, keys, input_precision="ieee") * SCALE, -1e9)
            higher = tl.maximum(peak, tl.max(scores, 1))
            scores = tl.exp2(scores - higher[:, None])
            fade = tl.exp2(peak - higher)
            total = total * fade + tl.sum(scores, 1)
            out = tl.dot(scores.to(values.dtype), values, out * fade[:, None], input_precision="ieee")
            peak = higher
    else:
        seen = tk < length
        keys = tl.load(CLIP + D + tk[None, :] * (3 * D) + d[:, None], mask=seen[None, :], other=0.0)
        values = tl.load(CLIP + 2 * D + tk[:, None] * (3 * D) + d[None, :], mask=seen[:, None], other=0.0)
        scores = tl.where(seen[None, :], tl.dot(q, keys, input_precision="ieee") * SCALE, -1e9)
        scores = tl.exp2(scores - tl.max(scores, 1)[:, None])
        total = tl.sum(scores, 1)
        out = tl.dot(scores.to(values.dtype), values, input_precision="ieee")
    return out / total[:, None]


@triton.jit(do_not_specialize=["B", "R"])
def attention_kernel(
    QKV, OUT, SEATS, B, R, SCALE,
    H: tl.constexpr, DH: tl.constexpr, BQ: tl.constexpr, BK: tl.constexpr, LOOP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Self attention of each clip within itself, (R, 3D) -> (R, D). SCALE is log2(e) / sqrt(DH).

    One block of BK keys holds the longest clip, or (LOOP) blocks follow each other, softmax carried along.
    """
    D: tl.constexpr = H * DH
    s = tl.program_id(2)
    start = tl.program_id(0) * BQ
    seat = SEATS + (s % B) * 4
    length = tl.load(seat + 2)
    if start < length:
        t = start + tl.arange(0, BQ)
        d = tl.program_id(1) * DH + tl.arange(0, DH)
        row = tl.load(seat + 1) + (s // B) * R
        _await(EARLY)
        out = _attend(QKV + row.to(tl.int64) * (3 * D), t, d, length, SCALE, D, DH, BQ, BK, LOOP)
        _release(EARLY)
        to = OUT + (row + t)[:, None].to(tl.int64) * D + d[None, :]
        tl.store(to, out.to(OUT.dtype.element_ty), mask=(t < length)[:, None])
    else:
        _await(EARLY)


@triton.jit
def by_head(scores, BM: tl.constexpr, H: tl.constexpr, L: tl.constexpr):
    """Softmax over the tokens of each head, (BM, H * L)."""
    scores = tl.reshape(scores, (BM, H, L))
    scores = tl.exp(scores - tl.max(scores, 2)[:, :, None])
    return tl.reshape(scores / tl.sum(scores, 2)[:, :, None], (BM, H * L))


@triton.jit
def scores_of(y, keys, SUMS, BIAS, text, mean, rate, HL: tl.constexpr):
    """Scores (BM, HL) of rows before LN1, whose moments are given: keys (D, HL) of an entry have taken it in."""
    at = text * HL + tl.arange(0, HL)
    scores = tl.dot(y.to(keys.dtype), keys, input_precision="ieee")
    return (scores - mean[:, None] * tl.load(SUMS + at)[None, :]) * rate[:, None] + tl.load(BIAS + at)[None, :]


@triton.jit
def peak_and_total(scores, peak, total, BM: tl.constexpr, H: tl.constexpr, L: tl.constexpr):
    """Softmax by head carried on over one more entry of a text: (BM, H) each."""
    scores = tl.reshape(scores, (BM, H, L))
    higher = tl.maximum(peak, tl.max(scores, 2))
    return higher, total * tl.exp(peak - higher) + tl.sum(tl.exp(scores - higher[:, :, None]), 2)


@triton.jit
def shares_of(scores, peak, total, BM: tl.constexpr, H: tl.constexpr, L: tl.constexpr):
    """What one entry has of the softmax by head over a whole text, (BM, H * L)."""
    scores = tl.exp(tl.reshape(scores, (BM, H, L)) - peak[:, :, None]) / total[:, :, None]
    return tl.reshape(scores, (BM, H * L))


@triton.jit
def _add_long_text(
    out, y, mean, rate, ENTRIES, count, KEYS, SUMS, BIAS, VALUES, LAYER, LAYERS, k, n,
    BM: tl.constexpr, H: tl.constexpr, L: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Attention to a text of several entries: over all of them for the softmax, and again for what it weighs."""
    m = tl.arange(0, H * L)
    peak, total = tl.full((BM, H), -1e9, tl.float32), tl.zeros((BM, H), tl.float32)
    for i in tl.range(0, count, num_stages=1):
        text = tl.load(ENTRIES + i) * LAYERS + LAYER
        keys = tl.load(KEYS + (text * (H * L)).to(tl.int64) * D + m[None, :] * D + k[:, None])
        scores = scores_of(y, keys, SUMS, BIAS, text, mean, rate, H * L)
        peak, total = peak_and_total(scores, peak, total, BM, H, L)
    for i in tl.range(0, count, num_stages=1):
        text = tl.load(ENTRIES + i) * LAYERS + LAYER
        at = (text * (H * L)).to(tl.int64) * D
        keys = tl.load(KEYS + at + m[None, :] * D + k[:, None])
        values = tl.load(VALUES + at + m[:, None] * D + n[None, :])
        scores = scores_of(y, keys, SUMS, BIAS, text, mean, rate, H * L)
        out = tl.dot(shares_of(scores, peak, total, BM, H, L).to(values.dtype), values, out, input_precision="ieee")
    return out


@triton.jit
def _whole_and_part(Y, row, inside, k, n, D: tl.constexpr, BN: tl.constexpr):
    """Rows (BM, D) float32, and their columns n."""
    y = tl.load(Y + row[:, None] * D + k[None, :], mask=inside[:, None], other=0.0)
    part = y
    if BN < D:
        part = tl.load(Y + row[:, None] * D + n[None, :], mask=inside[:, None], other=0.0)
    return y.to(tl.float32), part.to(tl.float32)


@triton.jit(do_not_specialize=["B", "R", "LONGEST", "AHEAD", "STEPS", "LAYER", "LAYERS"])
def cross_kernel(
    Y, OUT, NORM1, NORM2, TIMES, SHIFT, KEYS, SUMS, BIAS, VALUES, SEATS, ENTRY, PLAN, PROGRESS,
    B, R, LONGEST, AHEAD, STEPS, LAYER, LAYERS, SHARED: tl.constexpr,
    D: tl.constexpr, H: tl.constexpr, L: tl.constexpr, MOST: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """LN1 of Y, then cross attention, OUT (2R, D): a text in the conditional half, a vector of the noise level in both.

    SHARED: both halves read the same rows of Y. H * L columns of scores; L = 0: no text needs attention. Keys have
    taken in LN1, see ``fold_text``. ENTRY (slots, 1 + MOST): of how many entries a clip's text is, and which. D is
    split over BN columns; where it is not, LN2 follows.
    """
    tiles: tl.constexpr = D // BN
    blocks = tl.cdiv(LONGEST, BM)
    s = tl.program_id(0) // tiles // blocks
    b = s % B
    half = s // B
    start = (tl.program_id(0) // tiles % blocks) * BM
    length = tl.load(SEATS + b * 4 + 2)
    if start < length:
        t = start + tl.arange(0, BM)
        inside = t < length
        k = tl.arange(0, D)
        n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
        to = tl.load(SEATS + b * 4 + 1) + half * R + t
        row = to - half * R if SHARED else to
        slot = tl.load(SEATS + b * 4)
        entry = ENTRY + slot * (1 + MOST)
        text = tl.load(entry + 1) * LAYERS + LAYER
        _, plan = now_of(PLAN, PROGRESS, slot, AHEAD, STEPS)
        level = tl.load(plan).to(tl.int32) * LAYERS + LAYER
        vector = tl.load(TIMES + (level * 2 + half) * D + n) + tl.load(SHIFT + (text * 2 + half) * D + n)
        scale = tl.load(NORM1 + n).to(tl.float32)
        out = tl.zeros((BM, BN), tl.float32) + (vector + tl.load(NORM1 + D + n).to(tl.float32))[None, :]
        if L > 0 and half == 0:
            m = tl.arange(0, H * L)
            keys = tl.load(KEYS + (text * (H * L)).to(tl.int64) * D + m[None, :] * D + k[:, None])
            values = tl.load(VALUES + (text * (H * L)).to(tl.int64) * D + m[:, None] * D + n[None, :])
            count = tl.load(entry) if MOST > 1 else 1
            _await(EARLY)
            y, part = _whole_and_part(Y, row, inside, k, n, D, BN)
            mean, rate = _moments(y, D)
            if count == 1:
                shares = by_head(scores_of(y, keys, SUMS, BIAS, text, mean, rate, H * L), BM, H, L)
                out = tl.dot(shares.to(values.dtype), values, out, input_precision="ieee")
            else:
                out = _add_long_text(
                    out, y, mean, rate, entry + 1, count, KEYS, SUMS, BIAS, VALUES, LAYER, LAYERS, k, n, BM, H, L, D
                )
        else:
            _await(EARLY)
            y, part = _whole_and_part(Y, row, inside, k, n, D, BN)
            mean, rate = _moments(y, D)
        out += (part - mean[:, None]) * rate[:, None] * scale[None, :]
        if BN == D:
            out = _normed(out, NORM2, k, D)
        _release(EARLY)
        tl.store(OUT + to[:, None] * D + n[None, :], out.to(OUT.dtype.element_ty), mask=inside[:, None])
    else:
        _await(EARLY)
