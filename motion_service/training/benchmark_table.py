"""docs/benchmarks/*.json -> the table of speeds in README.md and README.ja.md, between two marks.

Every row of every file, as it was measured: targets that were missed say so. A prediction (``status``) is shown until
there is a measurement of the same device, which is told by the file's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

Language = Literal["en", "ja"]
Row = Mapping[str, Any]

BEGIN: Final = "<!-- speed table: written by scripts/motion/benchmark_table -->"
END: Final = "<!-- end of speed table -->"
_ORDER: Final = ("latency", "throughput", "contention", "reference", "engine")
_HEADS: Final[Mapping[Language, tuple[str, ...]]] = {
    "en": ("measured by", "case", "machine", "result", "target", "official code (ratio)", "date"),
    "ja": ("測定", "条件", "マシン", "結果", "目標", "公式コード(比)", "日付"),
}
_JAPANESE: Final = (
    (r"requests/s", "リクエスト/秒"),
    (r"frames/s", "フレーム/秒"),
    (r"(\d+) frames", r"\1 フレーム"),
    (r"(\d+) to (\d+)", r"\1〜\2"),
    (r"(\d+) clients", r"クライアント \1"),
    (r"beside memory", "メモリ転送と同時"),
    (r"beside gemm", "行列積と同時"),
    (r"alone", "単独"),
    (r"process start to ready", "起動から準備完了まで"),
    (r"first time", "初回"),
    (r"a clip", "/本"),
    (r"predicted", "予測"),
    (r"missed", "未達"),
    (r"met\b", "達成"),
    (r"mixed", "混在"),
    (r"(\d+) slots", r"\1 枠"),
    (r"(\d+) rows", r"\1 行"),
    (r"(\d+) cores", r"\1 コア"),
)


def read_results(directory: Path) -> list[dict[str, Any]]:
    """All results, in the order in which they are shown, without predictions that a measurement has replaced."""
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))}
    measured = {path.stem.split("-", 1)[-1] for path, result in found.items() if "status" not in result}
    kept = [
        result
        for path, result in found.items()
        if result.get("benchmark") in _ORDER and not ("status" in result and path.stem.split("-", 1)[-1] in measured)
    ]
    return sorted(kept, key=lambda result: ("status" in result, _ORDER.index(result["benchmark"])))


def results_to_table(results: Sequence[Mapping[str, Any]], language: Language) -> str:
    """A Markdown table."""
    head = _HEADS[language]
    lines = [_line(head), _line(["---"] * len(head))]
    lines += [_line(cells) for result in results for cells in result_to_cells(result, language)]
    return "\n".join(lines)


def result_to_cells(result: Mapping[str, Any], language: Language = "en") -> list[list[str]]:
    """The rows of one result."""
    machine = result["machine"]
    device = str(machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores").removeprefix("NVIDIA ")
    made = []
    script = "predict_speed" if "status" in result else f"bench_{result['benchmark']}"
    for row in result["rows"]:
        told = [row["case"], device, _numbers(row), _targets(row), _reference(row)]
        if language == "ja":
            told = [_to_japanese(cell) for cell in told]
        made.append([f"`{script}`", *told, result["date"]])
    return made


def write_table(readme: Path, table: str, *, check: bool) -> bool:
    """Put ``table`` between the marks; whether it already stood there. ``check``: change nothing.

    Raises ValueError for a file without the marks.
    """
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme.name} needs the marks {BEGIN} and {END}")
    new = f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
    if new != text and not check:
        readme.write_text(new, encoding="utf-8")
    return new == text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _to_japanese(text: str) -> str:
    for pattern, japanese in _JAPANESE:
        text = re.sub(pattern, japanese, text)
    return text


def _numbers(row: Row) -> str:
    """What was measured, shortly."""
    if "predicted_ms" in row:
        return f"predicted: {_ms(row['predicted_ms'])}"
    if "ready_s" in row:
        return f"{row['ready_s']:.1f} s (first time {row['first_ready_s']:.1f} s)"
    if "frames_per_s" in row:
        return f"{row['frames_per_s']:,} frames/s"
    if "ms" in row:
        whole, each = row["ms"]["median"], row["ms_each"]
        return f"{_ms(whole)}, {_ms(each)} a clip" if each < whole else _ms(whole)
    if "ms_each" in row:
        return f"{_ms(row['ms_each'])} a clip"
    times = ", ".join(f"{name} {_ms(row[f'{name}_ms'])}" for name in ("p50", "p99") if row[f"{name}_ms"] is not None)
    rate = [f"{row['requests_per_s']:g} requests/s"] if "requests_per_s" in row else []
    return ", ".join([*rate, *([times] if times else [])])


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _targets(row: Row) -> str:
    units = {"p50_ms": "p50 {} ms", "p99_ms": "p99 {} ms", "requests_per_s": "{} requests/s", "ready_s": "{} s"}
    return "; ".join(
        f"{'>=' if target['at_least'] else '<='} {units[target['field']].format(format(target['limit'], 'g'))}:"
        f" {'met' if target['met'] else '**missed**'}"
        for target in row.get("targets", ())
    )


def _reference(row: Row) -> str:
    reference = row.get("reference") or row.get("official_ms", {}).get("median")
    return f"{_ms(reference)} ({row['ratio']:g})" if reference else ""
