"""Tools of the benchmarks: what load they make, what they count, what they write."""

from __future__ import annotations

import argparse
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from motion_service.mdm.published import Kind
from motion_service.training.bench_results import Target, device_slug, new_row, percentile, summary_ms, write_result
from motion_service.training.bench_server import ServerFailed, add_server_options, running_server, server_settings
from motion_service.training.http_load import Load, Outcome, draw_prompt, generator_limit, run_load
from motion_service.training.neighbour import neighbour, run_until
from motion_service.training.official_speed import OfficialSpeed
from tests.upstream_stand_in import tiny_checkpoint, write_program


class Served(ThreadingHTTPServer):
    """A small server, and what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, status: int, body: bytes, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.delay = status, body, delay
        self.wishes: list[dict[str, object]] = []
        self.now = self.most_at_once = 0
        self.lock = threading.Lock()

    def count(self, change: int) -> None:
        with self.lock:
            self.now += change
            self.most_at_once = max(self.most_at_once, self.now)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Served

    def do_POST(self) -> None:
        self.server.wishes.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.count(1)
        time.sleep(self.server.delay)
        self.server.count(-1)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@contextmanager
def serving(status: int, body: bytes, delay: float = 0.0) -> Iterator[tuple[Served, int]]:
    with Served(status, body, delay) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served, served.server_address[1]
        finally:
            served.shutdown()
            thread.join()


BODY = b'{"tracks": {}, "metadata": {"generator":"mini","batch_size": 4}}'


def test_closed_load_keeps_so_many_requests_under_way() -> None:
    with serving(200, BODY, delay=0.02) as (served, port):
        outcome = run_load(Load(port, "/", 0.5, clients=5, warm=0.2, options={"provider": "mini"}), processes=2)
    assert served.most_at_once == 5
    assert len(outcome.latencies_ms) == outcome.answered == outcome.generators["mini"] == outcome.batch_sizes["4"] > 10
    assert min(outcome.latencies_ms) >= 20 and outcome.errors == {}
    assert outcome.num_bytes == len(BODY) * outcome.answered
    assert {wish["provider"] for wish in served.wishes} == {"mini"}
    seeds = [wish["seed"] for wish in served.wishes]
    assert len(set(seeds)) == len(seeds)


def test_open_load_comes_whether_answers_come_or_not() -> None:
    """A server that takes 0.3 s gets as many requests as one that takes none, and waiting is in the times."""
    with serving(200, BODY, delay=0.3) as (served, port):
        load = Load(port, "/", 1.0, rate=60.0, warm=0.2, lengths=(1.0, 3.0), seed=5)
        outcome = run_load(load, processes=2)
    assert 30 <= outcome.due <= 95 and len(outcome.latencies_ms) == outcome.due
    assert served.most_at_once > 5 and min(outcome.latencies_ms) >= 300
    lengths = [float(str(wish["duration_sec"])) for wish in served.wishes]
    assert 1 <= min(lengths) < 1.5 and 2.5 < max(lengths) <= 3


def test_refusals_are_counted_by_kind_and_are_no_latencies() -> None:
    with serving(429, b"{}") as (_, port):
        outcome = run_load(Load(port, "/", 0.2, clients=2, warm=0.0), processes=1)
    assert set(outcome.errors) == {"429"} and not outcome.latencies_ms and outcome.answered == 0
    nobody = run_load(Load(port, "/", 0.2, clients=1, warm=0.0), processes=1)
    assert set(nobody.errors) == {"ConnectionRefusedError"}


def test_outcomes_of_processes_add_up() -> None:
    total = Outcome([1.0], {"429": 1}, {"mdm": 1}, num_bytes=5, answered=1)
    total.add(Outcome([2.0], {"429": 2, "EOFError": 1}, {"mdm": 1}, num_bytes=7, answered=1, due=3))
    assert total == Outcome([1.0, 2.0], {"429": 3, "EOFError": 1}, {"mdm": 2}, num_bytes=12, answered=2, due=3)


def test_prompts_differ() -> None:
    drawn = random.Random(1)
    assert len({draw_prompt(drawn) for _ in range(1000)}) > 900


def test_the_generator_says_how_fast_it_is() -> None:
    assert generator_limit(1, 300, clients=2, seconds=0.2) > 0


# --- neighbour --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "unit"), [("memory", "gb_s"), ("gemm", "tflop_s")])
def test_a_neighbour_works_until_it_is_told(kind: str, unit: str) -> None:
    done = threading.Event()
    told = run_until(done, kind, "cpu", threading.Timer(0.1, done.set).start)  # type: ignore[arg-type]
    assert done.is_set() and told[unit] > 0


def test_a_neighbour_is_a_process_that_ends_with_the_block() -> None:
    with neighbour("gemm", "cpu") as told:
        assert told == {}
        time.sleep(0.05)
    assert told["tflop_s"] > 0
    with neighbour(None, "cpu") as nobody:
        pass
    assert nobody == {}


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "cpu", "slug"),
    [
        ("NVIDIA H100 80GB HBM3", "x", "h100"),
        ("NVIDIA H200", "x", "h200"),
        ("NVIDIA GB10", "x", "gb10"),
        ("NVIDIA GeForce RTX 4090", "x", "rtx-4090"),
        (None, "AMD EPYC 7763 64-Core Processor", "cpu-epyc-7763-64-2"),
        (None, "Intel(R) Xeon(R) CPU E5 @ 2.2GHz", "cpu-xeon-e5-2"),
        (None, "", "cpu-unknown-2"),
    ],
)
def test_devices_have_short_names(gpu: str | None, cpu: str, slug: str) -> None:
    assert device_slug({"machine": {"gpu": gpu, "cpu": cpu, "cores": 2}}) == slug


def test_targets_are_judged_by_the_row() -> None:
    row = new_row(
        "x", {"p99_ms": 10.0, "rate": None}, targets=[Target("p99_ms", 9.0), Target("rate", 1.0, at_least=True)]
    )
    assert [target["met"] for target in row["targets"]] == [False, False]
    assert new_row("x", {"p99_ms": 9.0}, targets=[Target("p99_ms", 9.0)])["targets"][0]["met"]
    assert row["reference"] is None and row["ratio"] is None


def test_percentiles_of_few_times() -> None:
    assert summary_ms([5.0]) == {"p50_ms": None, "p95_ms": None, "p99_ms": None, "n": 1}
    assert percentile([float(i) for i in range(101)], 99) == 99.0


def test_a_result_has_its_device_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motion_service.training.bench_results.DIRECTORY", tmp_path)
    result = {"benchmark": "latency", "machine": {"gpu": "NVIDIA GB10", "cpu": "", "cores": 20}, "rows": []}
    path = write_result(result)
    assert path.name == "latency-gb10.json" and json.loads(path.read_text()) == result


# --- server -----------------------------------------------------------------------------------------------------------


def test_settings_of_a_server_come_from_the_options_and_not_from_the_caller(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_server_options(parser)
    options = parser.parse_args(["--device", "cpu", "--checkpoints", str(tmp_path), "--set", "MOTION_WARM_UP=off"])
    settings = server_settings(options)
    assert settings["MOTION_DEVICE"] == "cpu" and settings["MOTION_WARM_UP"] == "off"
    assert settings["CHECKPOINT_DIR"] == str(tmp_path) and "random-" in settings["MOTION_MDM_DIP_CKPT"]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    environment = {**os.environ, "MOTION_PORT": "no number"}  # the caller's settings are left out
    with (
        pytest.raises(ServerFailed, match="OUTPUT_DIR"),
        running_server({"OUTPUT_DIR": "/elsewhere"}, environment, tmp_path),
    ):
        pass


# --- the official code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "frames"), [("mdm", 8), ("dip", 40), ("dip-target", 80)])
def test_the_official_code_is_timed_on_clips_windows_and_windows_in_a_row(
    tmp_path: Path, kind: Kind, frames: int
) -> None:
    official = OfficialSpeed(tiny_checkpoint(kind), write_program(tmp_path), "cpu")
    times = official.batch_ms(frames, batch=2)
    assert 3 <= len(times) <= 5 and min(times) > 0  # fewer of those that take long
    assert official.version.startswith("files ")
