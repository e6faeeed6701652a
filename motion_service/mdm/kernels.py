# mypy: ignore-errors
"""Triton kernels of one denoising step. :mod:`kernels_few` and :mod:`kernels_many` say which run when.

Rows of all clips lie one after the other; ``FIRST`` and ``LENGTH`` (B,) say where a clip is, 0 rows = a free slot. The
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


@triton.jit
def _await(EARLY: tl.constexpr):
    """Let the next kernel start loading, and wait for the results of the one before."""
    if EARLY:
        gdc_launch_dependents()
        gdc_wait()


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


@triton.jit
def embed_kernel(
    HALF, W, PLACED, POSITION, QKV, H, R,
    P: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Frames (R, P) -> queries, keys, values of the first layer (R, 3D) and its residual (R, D), by one product.

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
    position = tl.load(POSITION + r, mask=inside, other=0)
    placed = tl.load(PLACED + position[:, None] * (4 * D) + n[None, :])
    _await(EARLY)
    a1 = tl.load(HALF + r[:, None] * P + k1[None, :], mask=inside[:, None] & (k1 < P)[None, :], other=0.0)
    if K2 > 0:
        a2 = tl.load(HALF + r[:, None] * P + k2[None, :], mask=inside[:, None] & (k2 < P)[None, :], other=0.0)
        placed = tl.dot(a2, w2, placed, input_precision="ieee")
    out = tl.dot(a1, w1, placed, input_precision="ieee")
    if (tl.program_id(0) % tiles) * BN < 3 * D:
        tl.store(QKV + r[:, None] * (3 * D) + n[None, :], out.to(QKV.dtype.element_ty), mask=inside[:, None])
    else:
        tl.store(H + r[:, None] * D + (n - 3 * D)[None, :], out.to(H.dtype.element_ty), mask=inside[:, None])


@triton.jit
def normed_product_kernel(
    Y, W, SUMS, BIAS, OUT, MOMENTS, R,
    N: tl.constexpr, K: tl.constexpr, GELU: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """OUT (R, N) = act(LN(Y) @ W^T + b): scale is in W (N, K), shift in BIAS (N,), SUMS (N,) are the rows' sums of W.

    Moments (R, 2) of Y are kept for the residual that comes later.
    """
    tiles: tl.constexpr = N // BN
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    r = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    k = tl.arange(0, K)
    inside = r < R
    w = tl.load(W + n[None, :] * K + k[:, None])
    sums = tl.load(SUMS + n)
    bias = tl.load(BIAS + n)
    _await(EARLY)
    y = tl.load(Y + r[:, None] * K + k[None, :], mask=inside[:, None], other=0.0)
    out = tl.dot(y, w, input_precision="ieee")
    mean, rate = _moments(y.to(tl.float32), K)
    if tl.program_id(0) % tiles == 0:
        tl.store(MOMENTS + r * 2, mean, mask=inside)
        tl.store(MOMENTS + r * 2 + 1, rate, mask=inside)
    out = (out - mean[:, None] * sums[None, :]) * rate[:, None] + bias[None, :]
    if GELU:
        out = 0.5 * out * (1.0 + tl.erf(out * 0.7071067811865476))
    tl.store(OUT + r[:, None] * N + n[None, :], out.to(OUT.dtype.element_ty), mask=inside[:, None])


@triton.jit
def residual_product_kernel(
    A, W, BIAS, Y, MOMENTS, NORM, OUT, R,
    N: tl.constexpr, K: tl.constexpr, NORMED: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """OUT (R, N) = residual + A @ W^T + b; the residual is LN(Y) by its kept moments (NORMED), or Y itself."""
    tiles: tl.constexpr = N // BN
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    r = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    k = tl.arange(0, K)
    inside = r < R
    w = tl.load(W + n[None, :] * K + k[:, None])
    bias = tl.load(BIAS + n).to(tl.float32)
    if NORMED:
        scale = tl.load(NORM + n).to(tl.float32)
        bias += tl.load(NORM + N + n).to(tl.float32)
    _await(EARLY)
    a = tl.load(A + r[:, None] * K + k[None, :], mask=inside[:, None], other=0.0)
    y = tl.load(Y + r[:, None] * N + n[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
    if NORMED:
        mean = tl.load(MOMENTS + r * 2, mask=inside, other=0.0)
        rate = tl.load(MOMENTS + r * 2 + 1, mask=inside, other=0.0)
        y = (y - mean[:, None]) * rate[:, None] * scale[None, :]
    out = tl.dot(a, w, input_precision="ieee") + bias[None, :] + y
    tl.store(OUT + r[:, None] * N + n[None, :], out.to(OUT.dtype.element_ty), mask=inside[:, None])


@triton.jit
def last_kernel(
    Y, W, SUMS, BIAS, STATE, HALF, NOISE, FIRST, LENGTH, PLAN, PROGRESS, R, NOISE_STEP, STEPS, LONGEST,
    C: tl.constexpr, F: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Last norm and projection of both halves, guidance, and the posterior: x_t -> x_{t-1} in STATE and HALF."""
    tiles: tl.constexpr = (F + BN - 1) // BN
    blocks = tl.cdiv(LONGEST - C, BM)
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    b = tl.program_id(0) // tiles // blocks
    t = C + (tl.program_id(0) // tiles % blocks) * BM + tl.arange(0, BM)
    inside = t < tl.load(LENGTH + b)
    r = tl.load(FIRST + b) + t
    k = tl.arange(0, D)
    wanted = n < F
    w = tl.load(W + n[None, :] * D + k[:, None], mask=wanted[None, :], other=0.0)
    sums = tl.load(SUMS + n, mask=wanted, other=0.0)
    bias = tl.load(BIAS + n, mask=wanted, other=0.0)
    progress = tl.load(PROGRESS + b)
    plan = PLAN + (b * STEPS + progress) * 5
    coef_x0 = tl.load(plan + 1)
    coef_xt = tl.load(plan + 2)
    sigma = tl.load(plan + 3)
    guidance = tl.load(plan + 4)
    both = inside[:, None] & wanted[None, :]
    noise_at = progress.to(tl.int64) * NOISE_STEP + r[:, None] * F + n[None, :]
    noise = tl.load(NOISE + noise_at, mask=both, other=0.0)
    _await(EARLY)
    y1 = tl.load(Y + r[:, None] * D + k[None, :], mask=inside[:, None], other=0.0)
    y2 = tl.load(Y + (R + r)[:, None] * D + k[None, :], mask=inside[:, None], other=0.0)
    x = tl.load(STATE + r[:, None] * P + n[None, :], mask=both, other=0.0)
    out1 = tl.dot(y1, w, input_precision="ieee")
    out2 = tl.dot(y2, w, input_precision="ieee")
    mean1, rate1 = _moments(y1.to(tl.float32), D)
    mean2, rate2 = _moments(y2.to(tl.float32), D)
    out1 = (out1 - mean1[:, None] * sums[None, :]) * rate1[:, None]
    out2 = (out2 - mean2[:, None] * sums[None, :]) * rate2[:, None]
    x0 = out2 + guidance * (out1 - out2) + bias[None, :]
    x = coef_x0 * x0 + coef_xt * x + sigma * noise
    tl.store(STATE + r[:, None] * P + n[None, :], x, mask=both)
    tl.store(HALF + r[:, None] * P + n[None, :], x.to(HALF.dtype.element_ty), mask=both)


# --- attention --------------------------------------------------------------------------------------------------------


@triton.jit
def attention_kernel(
    QKV, OUT, FIRST, LENGTH, B, R, SCALE,
    H: tl.constexpr, DH: tl.constexpr, BQ: tl.constexpr, BK: tl.constexpr, LOOP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Self attention of each clip within itself, (R, 3D) -> (R, D). SCALE is log2(e) / sqrt(DH).

    One block of BK keys holds the longest clip, or (LOOP) blocks follow each other, softmax carried along.
    """
    D: tl.constexpr = H * DH
    s = tl.program_id(2)
    h = tl.program_id(1)
    start = tl.program_id(0) * BQ
    length = tl.load(LENGTH + s % B)
    if start < length:
        tq = start + tl.arange(0, BQ)
        tk = tl.arange(0, BK)
        d = h * DH + tl.arange(0, DH)
        row = tl.load(FIRST + s % B) + (s // B) * R
        base = QKV + row.to(tl.int64) * (3 * D)
        _await(EARLY)
        q = tl.load(base + tq[:, None] * (3 * D) + d[None, :], mask=(tq < length)[:, None], other=0.0)
        if LOOP:
            peak = tl.full((BQ,), -1e9, tl.float32)
            total = tl.zeros((BQ,), tl.float32)
            out = tl.zeros((BQ, DH), tl.float32)
            for begin in range(0, length, BK):
                seen = begin + tk < length
                at = (begin + tk) * (3 * D)
                keys = tl.load(base + D + at[None, :] + d[:, None], mask=seen[None, :], other=0.0)
                values = tl.load(base + 2 * D + at[:, None] + d[None, :], mask=seen[:, None], other=0.0)
                scores = tl.where(seen[None, :], tl.dot(q, keys, input_precision="ieee") * SCALE, -1e9)
                higher = tl.maximum(peak, tl.max(scores, 1))
                scores = tl.exp2(scores - higher[:, None])
                fade = tl.exp2(peak - higher)
                total = total * fade + tl.sum(scores, 1)
                out = tl.dot(scores.to(values.dtype), values, out * fade[:, None], input_precision="ieee")
                peak = higher
        else:
            seen = tk < length
            keys = tl.load(base + D + tk[None, :] * (3 * D) + d[:, None], mask=seen[None, :], other=0.0)
            values = tl.load(base + 2 * D + tk[:, None] * (3 * D) + d[None, :], mask=seen[:, None], other=0.0)
            scores = tl.where(seen[None, :], tl.dot(q, keys, input_precision="ieee") * SCALE, -1e9)
            scores = tl.exp2(scores - tl.max(scores, 1)[:, None])
            total = tl.sum(scores, 1)
            out = tl.dot(scores.to(values.dtype), values, input_precision="ieee")
        out = out / total[:, None]
        to = OUT + (row + tq)[:, None].to(tl.int64) * D + d[None, :]
        tl.store(to, out.to(OUT.dtype.element_ty), mask=(tq < length)[:, None])
    else:
        _await(EARLY)


@triton.jit
def _sums(Y, ADD, row, inside, k, n, D: tl.constexpr, CLOSE: tl.constexpr):
    """Whole rows of a sum in float32, and their columns n (with CLOSE all)."""
    y = tl.load(Y + row[:, None] * D + k[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
    if CLOSE:
        y += tl.load(ADD + row[:, None] * D + k[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
        part = y
    else:
        part = tl.load(Y + row[:, None] * D + n[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
    return y, part


@triton.jit
def cross_kernel(
    Y, ADD, OUT, NORM1, NORM2, TIMES, SHIFT, KEYS, BIAS, VALUES, FIRST, LENGTH, PLAN, PROGRESS,
    B, R, LONGEST, STEPS, LAYER, LAYERS, SHARED: tl.constexpr,
    D: tl.constexpr, H: tl.constexpr, L: tl.constexpr, CLOSE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """LN1, then cross attention: to a text in the conditional half, a vector of the noise level in both.

    Y (rows, D) is the sum before LN1, or (CLOSE) Y + ADD is, and LN2 follows (BN = D). SHARED: both halves read the
    same rows of Y. H * L columns of scores; L = 0: no text needs attention. D is split over BN columns.
    """
    tiles: tl.constexpr = D // BN
    blocks = tl.cdiv(LONGEST, BM)
    s = tl.program_id(0) // tiles // blocks
    b = s % B
    half = s // B
    start = (tl.program_id(0) // tiles % blocks) * BM
    length = tl.load(LENGTH + b)
    if start < length:
        t = start + tl.arange(0, BM)
        inside = t < length
        k = tl.arange(0, D)
        tile_start = (tl.program_id(0) % tiles) * BN
        n = tile_start + tl.arange(0, BN)
        to = tl.load(FIRST + b) + half * R + t
        row = to - half * R if SHARED else to
        level = tl.load(PLAN + (b * STEPS + tl.load(PROGRESS + b)) * 5).to(tl.int32)
        vector = tl.load(TIMES + ((level * LAYERS + LAYER) * 2 + half) * D + n)
        vector += tl.load(SHIFT + ((b * LAYERS + LAYER) * 2 + half) * D + n)
        scale = tl.load(NORM1 + n).to(tl.float32)
        vector += tl.load(NORM1 + D + n).to(tl.float32)
        if L > 0 and half == 0:
            m = tl.arange(0, H * L)
            at = (b * LAYERS + LAYER) * (H * L)
            keys = tl.load(KEYS + at.to(tl.int64) * D + m[None, :] * D + k[:, None])
            values = tl.load(VALUES + at.to(tl.int64) * D + m[:, None] * D + n[None, :])
            bias = tl.load(BIAS + at + m)
            whole_scale = tl.load(NORM1 + k).to(tl.float32)
            whole_shift = tl.load(NORM1 + D + k).to(tl.float32)
            _await(EARLY)
            y, part = _sums(Y, ADD, row, inside, k, n, D, CLOSE)
            mean, rate = _moments(y, D)
            query = (y - mean[:, None]) * rate[:, None] * whole_scale[None, :] + whole_shift[None, :]
            scores = tl.dot(query.to(keys.dtype), keys, input_precision="ieee") + bias[None, :]
            by_head = tl.reshape(scores, (BM, H, L))
            by_head = tl.exp(by_head - tl.max(by_head, 2)[:, :, None])
            by_head = by_head / tl.sum(by_head, 2)[:, :, None]
            shares = tl.reshape(by_head, (BM, H * L)).to(values.dtype)
            out = tl.dot(shares, values, input_precision="ieee")
            out += (part - mean[:, None]) * rate[:, None] * scale[None, :] + vector[None, :]
        else:
            _await(EARLY)
            y, part = _sums(Y, ADD, row, inside, k, n, D, CLOSE)
            mean, rate = _moments(y, D)
            out = (part - mean[:, None]) * rate[:, None] * scale[None, :] + vector[None, :]
        if CLOSE:
            out = _normed(out, NORM2, k, D)
        tl.store(OUT + to[:, None] * D + n[None, :], out.to(OUT.dtype.element_ty), mask=inside[:, None])
    else:
        _await(EARLY)


# --- many rows: what stands between the library's products ------------------------------------------------------------


@triton.jit
def add_norm_kernel(Y, ADD, NORM, OUT, R, D: tl.constexpr, BM: tl.constexpr):
    """OUT (R, D) = LN(Y + ADD)"""
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    k = tl.arange(0, D)
    at = r[:, None] * D + k[None, :]
    inside = (r < R)[:, None]
    y = tl.load(Y + at, mask=inside, other=0.0).to(tl.float32)
    y += tl.load(ADD + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(OUT + at, _normed(y, NORM, k, D).to(OUT.dtype.element_ty), mask=inside)


@triton.jit
def add_norm_guide_kernel(
    Y, ADD, NORM, OUT, OWNER, PLAN, PROGRESS, R, STEPS, D: tl.constexpr, BM: tl.constexpr
):  # fmt: skip
    """The same of both halves, then guidance: OUT (R, D) is what the last projection reads."""
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    k = tl.arange(0, D)
    at = r[:, None] * D + k[None, :]
    inside = (r < R)[:, None]
    behind = at + R * D
    y = tl.load(Y + at, mask=inside, other=0.0).to(tl.float32)
    y += tl.load(ADD + at, mask=inside, other=0.0).to(tl.float32)
    with_text = _normed(y, NORM, k, D)
    y = tl.load(Y + behind, mask=inside, other=0.0).to(tl.float32)
    y += tl.load(ADD + behind, mask=inside, other=0.0).to(tl.float32)
    without = _normed(y, NORM, k, D)
    b = tl.load(OWNER + r, mask=r < R, other=0)
    guidance = tl.load(PLAN + (b * STEPS + tl.load(PROGRESS + b)) * 5 + 4)
    out = without + guidance[:, None] * (with_text - without)
    tl.store(OUT + at, out.to(OUT.dtype.element_ty), mask=inside)


@triton.jit
def posterior_kernel(
    X0, STATE, HALF, NOISE, OWNER, POSITION, PLAN, PROGRESS, R, NOISE_STEP, STEPS,
    C: tl.constexpr, F: tl.constexpr, P: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """x_t -> x_{t-1} in STATE and HALF from predictions X0 (R, P); rows of a prefix stay."""
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    new = (r < R) & (tl.load(POSITION + r, mask=r < R, other=0) >= C)
    b = tl.load(OWNER + r, mask=r < R, other=0)
    progress = tl.load(PROGRESS + b)
    plan = PLAN + (b * STEPS + progress) * 5
    both = new[:, None] & (n < F)[None, :]
    at = r[:, None] * P + n[None, :]
    noise_at = progress.to(tl.int64)[:, None] * NOISE_STEP + r[:, None] * F + n[None, :]
    x0 = tl.load(X0 + at, mask=both, other=0.0).to(tl.float32)
    x = tl.load(STATE + at, mask=both, other=0.0)
    noise = tl.load(NOISE + noise_at, mask=both, other=0.0)
    x = tl.load(plan + 1)[:, None] * x0 + tl.load(plan + 2)[:, None] * x + tl.load(plan + 3)[:, None] * noise
    tl.store(STATE + at, x, mask=both)
    tl.store(HALF + at, x.to(HALF.dtype.element_ty), mask=both)
