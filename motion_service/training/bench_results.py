"""What a benchmark says in the end: rows with targets and references, facts of the machine, a file in docs/benchmarks.

A row is JSON: ``case``, numbers by name, ``targets`` (which number, its limit, whether it was met), ``reference`` (the
official code's number for the same work, null where there is none) and ``ratio`` (how many times as good ours is).
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from motion_service.training.run_facts import ROOT, run_facts

DIRECTORY: Final = ROOT / "docs" / "benchmarks"
_NOT_A_NAME: Final = re.compile(
    r"\b(nvidia|geforce|tesla|amd|intel|processor|cpu|core|\d+gb|hbm\d\w*|pcie|sxm\d*)\b|\(\w+\)|@.*"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a row is held to."""

    field: str
    """Name of the number in the row."""
    limit: float
    at_least: bool = False
    """False: at most."""

    def judge(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As JSON, with ``met``."""
        value = row[self.field]
        met = value is not None and (value >= self.limit if self.at_least else value <= self.limit)
        return asdict(self) | {"met": met}


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that ``percent`` of at least two ``values`` do not exceed, interpolated between neighbours."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def summary_ms(times: Sequence[float]) -> dict[str, float | int | None]:
    """p50, p95, p99 and number of times in milliseconds; null for fewer than two."""
    points = (50, 95, 99)
    found = {f"p{p}_ms": round(percentile(times, p), 2) if len(times) > 1 else None for p in points}
    return {**found, "n": len(times)}


def new_row(
    case: str,
    numbers: Mapping[str, Any],
    *,
    targets: Sequence[Target] = (),
    reference: float | None = None,
    ratio: float | None = None,
) -> dict[str, Any]:
    """One row of a result."""
    row = {"case": case, **numbers}
    return row | {"targets": [target.judge(row) for target in targets], "reference": reference, "ratio": ratio}


def new_result(
    benchmark: str, rows: Sequence[Mapping[str, Any]], *, on_cpu: bool = False, **more: Any
) -> dict[str, Any]:
    """The whole of a benchmark, ready for its last line. ``on_cpu``: a GPU that is there had no part in it."""
    facts = run_facts()
    if on_cpu:
        facts["machine"]["gpu"] = None
    return facts | {"benchmark": benchmark, "device": device_name(facts), **more, "rows": list(rows)}


def device_name(facts: Mapping[str, Any]) -> str:
    """What was measured, for people."""
    machine = facts["machine"]
    return str(machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores")


def device_slug(facts: Mapping[str, Any]) -> str:
    """The same in a file's name: h100, gb10, rtx-4090, cpu-epyc-7763-2."""
    machine = facts["machine"]
    name = _NOT_A_NAME.sub(" ", str(machine["gpu"] or machine["cpu"]).lower())
    words = re.findall(r"[a-z0-9]+", name) or ["unknown"]
    return "-".join(words if machine["gpu"] else ["cpu", *words, str(machine["cores"])])


def write_result(result: Mapping[str, Any], place: Path | None = None) -> Path:
    """Write ``<benchmark>-<device>.json`` into docs/benchmarks, or the file ``place``."""
    path = place or DIRECTORY / f"{result['benchmark']}-{device_slug(result)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
