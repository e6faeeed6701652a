"""Benchmark files to the table of README, and the roofline behind its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motion_service.training.bench_results import DIRECTORY, Target, new_row
from motion_service.training.benchmark_table import (
    BEGIN,
    END,
    read_results,
    result_to_cells,
    results_to_table,
    write_table,
)
from motion_service.training.roofline import GB10, H100, MEASURED, WORKS, Device, predict, predict_latency

MACHINE = {"gpu": "NVIDIA H200", "cpu": "x", "cores": 16}


def result(benchmark: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"benchmark": benchmark, "machine": MACHINE, "date": "2026-11-29", "rows": rows, **more}


def test_every_kind_of_row_says_its_numbers_targets_and_reference() -> None:
    times = {"p50_ms": 16.2, "p99_ms": 151.6, "requests_per_s": 212.0}
    targets = [Target("p99_ms", 140.0), Target("requests_per_s", 200.0, at_least=True)]
    (cells,) = result_to_cells(result("throughput", new_row("mdm 5 s, 64 clients", times, targets=targets)))
    assert cells == [
        "`bench_throughput`",
        "mdm 5 s, 64 clients",
        "H200",
        "212 requests/s, p50 16.2 ms, p99 152 ms",
        "<= p99 140 ms: **missed**; >= 200 requests/s: met",
        "",
        "2026-11-29",
    ]
    (cells,) = result_to_cells(result("reference", new_row("x", {"ms_each": 2.0}, reference=20.0, ratio=10.0)))
    assert cells[3:6] == ["2 ms a clip", "", "20 ms (10)"]
    start = new_row(
        "process start to ready", {"ready_s": 6.0, "first_ready_s": 41.26}, targets=[Target("ready_s", 20.0)]
    )
    (cells,) = result_to_cells(result("latency", start))
    assert cells[3:5] == ["6.0 s (first time 41.3 s)", "<= 20 s: met"]


def test_a_measurement_of_the_same_device_replaces_its_prediction(tmp_path: Path) -> None:
    prediction = result("engine", {"case": "x", "predicted_ms": 3.0}, status="predicted")
    (tmp_path / "predicted-gb10.json").write_text(json.dumps(prediction))
    (tmp_path / "latency-h200.json").write_text(json.dumps(result("latency")))
    assert [found.get("status") for found in read_results(tmp_path)] == [None, "predicted"]
    assert "predicted: 3 ms" in results_to_table(read_results(tmp_path), "en")
    (tmp_path / "latency-gb10.json").write_text(json.dumps(result("latency")))
    assert all("status" not in found for found in read_results(tmp_path))


def test_the_table_is_written_between_its_marks_and_checked(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert not write_table(readme, "| new |", check=True) and "old" in readme.read_text()
    assert not write_table(readme, "| new |", check=False)
    assert readme.read_text() == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    assert write_table(readme, "| new |", check=True)
    readme.write_text("nothing")
    with pytest.raises(ValueError, match=r"README\.md needs the marks"):
        write_table(readme, "x", check=False)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_committed_result_can_be_shown(language: Any) -> None:
    table = results_to_table(read_results(DIRECTORY), language)
    assert len({line.count("|") for line in table.splitlines()}) == 1


# --- roofline ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "gflop"),
    [
        ("mdm 100 frames b1", 348),
        ("mdm 196 frames b1", 712),
        ("mdm 100 frames b64", 22295),
        ("dip 40 frames b1", 41),
        ("dip 40 frames b256", 10485),
    ],
)
def test_operations_are_those_counted_by_hand(case: str, gflop: float) -> None:
    assert WORKS[case].gflop == pytest.approx(gflop, rel=5e-3)


def test_bytes_are_the_weights_where_activations_stay_in_the_cache() -> None:
    lone, many = WORKS["mdm 100 frames b1"], WORKS["mdm 100 frames b64"]
    assert lone.gigabytes(24) == lone.gigabytes(0.1 * 24) == pytest.approx(50 * 0.034, rel=0.02)
    assert many.gigabytes(1000) == lone.gigabytes(24) < many.gigabytes(24)


def test_a_prediction_for_the_measured_device_is_the_measurement() -> None:
    rows = [{"case": "mdm 100 frames b1", "ms": {"median": 10.6}}, {"case": "unknown", "ms": {"median": 1.0}}]
    (same,) = predict(rows, H100, H100)
    assert same["predicted_ms"] == 10.6
    slower = Device("x", H100.tflop_s / 2, H100.gb_s / 2, H100.cache_mb, "")
    (predicted,) = predict(rows, H100, slower)
    bound = WORKS["mdm 100 frames b1"].bound_ms(H100)
    assert predicted["predicted_ms"] == pytest.approx(10.6 + bound, abs=0.01)
    (http,) = predict_latency([{"case": "mdm 5 s", "p50_ms": 15.0}, {"case": "mini 5 s", "p50_ms": 1.0}], [predicted])
    assert http["predicted_ms"] == pytest.approx(15.0 + bound, abs=0.02)


def test_the_committed_prediction_is_of_the_measurement_it_names() -> None:
    """Else run scripts/motion/predict_speed."""
    predicted = json.loads((DIRECTORY / "predicted-gb10.json").read_text())
    measured = json.loads((DIRECTORY / predicted["from"]).read_text())
    rows = predict(measured["rows"], MEASURED[measured["machine"]["gpu"]])
    assert [row for row in predicted["rows"] if "bound_ms" in row] == rows
    assert predicted["status"] == "predicted" and predicted["device"] == GB10.name
