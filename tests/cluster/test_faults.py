"""A small cluster that grows, loses a node, heals and is updated, all under load: its clients hardly notice."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any

import pytest

from tests.cluster.apart import run_apart

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray"),
]


GAP_S = 3.0
"""Longest pause of a stream, on a machine that has nothing else to do."""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("cluster")
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others may have taken the cores already
    done = run_apart([sys.executable, "-m", "tests.cluster.fault_run", "--directory", str(directory)], 400)
    assert done.returncode == 0, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**facts, "busy": busy}


def test_hardly_a_request_fails(life: dict[str, Any]) -> None:
    assert life["answered"] > 100 and life["answered_after_kill"] > 5
    assert len(life["failed"]) <= 0.003 * life["answered"], life["failed"]


def test_every_stream_goes_on_within_three_seconds(life: dict[str, Any]) -> None:
    assert not life["errors"] and min(life["resumed"]) >= 1, "the node that died had them all"
    assert life["longest_gap_s"] <= GAP_S * life["busy"]
    assert min(life["frames"]) > 300


def test_nothing_is_there_twice(life: dict[str, Any]) -> None:
    assert (life["twice"], life["torn"]) == (0, 0)
    assert life["files"] <= life["answered"] + len(life["failed"])


def test_no_stream_jumps_where_it_goes_on(life: dict[str, Any]) -> None:
    assert 0 < life["largest_seam_rad"] <= life["largest_step_rad"]


def test_answers_name_their_request_once(life: dict[str, Any]) -> None:
    assert life["request_ids"] == ["7"]


def test_keys_are_asked_for_as_without_ray(life: dict[str, Any]) -> None:
    assert life["without_key"] == [401, "application/problem+json", 401]
