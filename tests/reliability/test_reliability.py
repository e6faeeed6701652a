"""Short versions of what ``make soak`` runs for an hour; docs/reliability.md has the figures of the long ones."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.ending import run_endings
from tests.reliability.fuzzing import run_cases
from tests.reliability.killing import run_kills
from tests.reliability.soak import run_soak

SECONDS, EVERY_S = 60.0, 2.0


def test_every_request_is_answered_once_while_things_break(tmp_path: Path) -> None:
    found = run_soak(tmp_path, seconds=SECONDS, every_s=EVERY_S, clients=6)
    assert found["ok"], found
    assert found["answered"] > 100 and sum(found["faults"].values()) >= 10 and found["sources"]["mini"]
    assert found["last"]["descriptors"] <= found["first"]["descriptors"] + 20


def test_a_killed_writer_leaves_only_whole_files(tmp_path: Path) -> None:
    for durable in (False, True):
        found = run_kills(tmp_path / f"{durable}", 50, durable=durable)
        assert found["ok"], found
        assert found["killed_while_writing"] or not durable


def test_the_end_of_the_process_loses_no_request(tmp_path: Path) -> None:
    found = run_endings(tmp_path, 5)
    assert found["ok"], found


def test_nothing_undocumented_comes_of_made_up_requests(tmp_path: Path) -> None:
    found = run_cases(tmp_path, 1000)
    assert found["ok"], found["examples"]
    assert found["requests"] >= 1000
