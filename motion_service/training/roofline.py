"""What a device that nobody here has would take, from what another one took: bytes and operations of each batch.

A batch takes at least its operations at the rate of the matrix units, or its bytes at the rate of the memory. What a
measured device took beyond the larger of the two (launches, dependent kernels, small products) is added unchanged to
the other's. It is an estimate that nobody has checked; :data:`NOTE` says so wherever it goes.

Bytes: the float16 weights once a step, and the activations of a layer where they do not fit into the cache. The count
of operations is that of the folded network (docs/engine-notes.md): 348 GFLOP for a clip of 100 frames, 41 for a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from motion_service.mdm.network import NetworkSpec
from motion_service.mdm.published import ARGS, Kind, new_spec

NOTE: Final = "predicted"
TEXT_COLUMNS: Final = 16
_FLOATS_A_ROW: Final = 24
"""Widths read and written by the kernels of a layer for one row: qkv 4, attention 4, projection 3, cross 2, ff 7,
norms 4."""


@dataclass(frozen=True, slots=True)
class Device:
    """Rates that were seen with float16 or bfloat16 products and large copies, not those of a data sheet."""

    name: str
    tflop_s: float
    gb_s: float
    cache_mb: float
    source: str


H100: Final = Device("NVIDIA H100 80GB HBM3", 753, 2990, 50, "measured with torch, 2026-11-22")
H200: Final = Device("NVIDIA H200", 788, 4300, 60, "measured with torch, 2026-10-28")
GB10: Final = Device(
    "NVIDIA GB10 (DGX Spark)",
    92.3,
    218,
    24,
    "measured by others: github.com/huggingface/kernels/pull/283 (48 SMs, bfloat16 product 92.3 TFLOP/s, copy 218 GB/s;"
    " memory 273 GB/s by NVIDIA's product page)",
)
MEASURED: Final = {device.name: device for device in (H100, H200)}


@dataclass(frozen=True, slots=True)
class Work:
    """Clips that are denoised together."""

    spec: NetworkSpec
    steps: int
    frames: int
    """Of a clip or window, without its prefix."""
    batch: int

    @property
    def rows(self) -> int:
        """Of both halves of guidance."""
        return 2 * self.batch * (self.frames + self.spec.context_frames)

    @property
    def gflop(self) -> float:
        """Of all steps, folded: texts are keys and values already, layer 0 attends once for both halves."""
        spec, length = self.spec, self.frames + self.spec.context_frames
        attending = 8 * spec.width**2 + 4 * length * spec.width  # query, key, value, projection; scores, sums
        cross = 4 * spec.width * spec.heads * TEXT_COLUMNS / 2  # the half with text only
        forward = 4 * spec.width * spec.feedforward
        layers = spec.layers * (attending + cross + forward) - attending / 2
        ends = 2 * 2 * spec.features * spec.width / 2  # in and out, once for both halves
        return self.steps * self.rows * (layers + ends) / 1e9

    def gigabytes(self, cache_mb: float) -> float:
        """Read and written by all steps."""
        spec = self.spec
        weights = spec.layers * (4 * spec.width**2 + 2 * spec.width * spec.feedforward) + 2 * spec.features * spec.width
        widest = 2 * self.rows * 4 * spec.width  # bytes of queries, keys, values and their input
        streamed = 2 * self.rows * spec.layers * _FLOATS_A_ROW * spec.width if widest > 1e6 * cache_mb else 0
        return self.steps * (2 * weights + streamed) / 1e9

    def bound_ms(self, device: Device) -> float:
        """The larger of the two times."""
        return max(self.gflop / device.tflop_s, 1000 * self.gigabytes(device.cache_mb) / device.gb_s)


_SIZES: Final[Mapping[Kind, Sequence[tuple[int, int]]]] = {
    "mdm": ((100, 1), (100, 8), (100, 64), (196, 1)),
    "dip": ((40, 1), (40, 64), (40, 256)),
}
"""Frames and clips of the cases of bench_engine."""
WORKS: Final = {
    f"{kind} {frames} frames b{batch}": Work(new_spec(kind), ARGS[kind]["diffusion_steps"], frames, batch)
    for kind, sizes in _SIZES.items()
    for frames, batch in sizes
}
"""By the case of a row of bench_engine."""


HTTP_CASES: Final = {"mdm 5 s": "mdm 100 frames b1", "dip 2 s": "dip 40 frames b1"}
"""Cases of bench_latency whose time on the GPU is that of a case of bench_engine."""


def predict(rows: Sequence[Mapping[str, Any]], measured: Device, device: Device = GB10) -> list[dict[str, Any]]:
    """Rows of bench_engine for another device: the bound, and the bound plus what ``measured`` took beyond its own."""
    made = []
    for row in rows:
        if (work := WORKS.get(row["case"])) is None or "ms" not in row:
            continue
        bound, beyond = work.bound_ms(device), max(0.0, row["ms"]["median"] - work.bound_ms(measured))
        made.append(_new_row(row["case"], bound + beyond, row["ms"]["median"]) | {"bound_ms": round(bound, 2)})
    return made


def predict_latency(rows: Sequence[Mapping[str, Any]], predicted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of bench_latency for the device of ``predicted``: its GPU's time instead of the measured one's, and the rest
    of a request as on the measured machine, whose processor is another."""
    by_case = {row["case"]: row for row in predicted}
    return [
        _new_row(row["case"], row["p50_ms"] + engine["predicted_ms"] - engine["measured_ms"], row["p50_ms"])
        for row in rows
        if (engine := by_case.get(HTTP_CASES.get(row["case"], ""))) is not None
    ]


def _new_row(case: str, predicted_ms: float, measured_ms: float) -> dict[str, Any]:
    told = {"case": case, "predicted_ms": round(predicted_ms, 2), "measured_ms": measured_ms}
    return {**told, "targets": [], "reference": None, "ratio": None}
