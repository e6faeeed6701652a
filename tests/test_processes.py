"""Calls to child processes: replies, errors, deaths, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from motion_service import processes as processes_module
from motion_service.errors import BadRequest, GenerationFailed
from motion_service.processes import Handler, ProcessDied, Processes


def new_handler(folder: Path | None = None) -> Handler:
    return partial(handle, folder)


def handle(folder: Path | None, call: Any) -> Any:
    name, value = call
    if name == "pid":
        return os.getpid()
    if name == "nice":
        return os.nice(0)
    if name == "sleep":
        time.sleep(value)
    if name == "refuse":
        raise BadRequest("no such thing", field=value)
    if name == "bug":
        raise KeyError(value)
    if name == "die":
        os._exit(3)
    if name == "die once":
        assert folder is not None
        (folder / value).touch(exist_ok=False) if not (folder / value).exists() else None
        if len(os.listdir(folder)) == 1:
            (folder / "again").touch()
            os._exit(3)
    return value


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Processes]:
    pool = Processes(2, partial(new_handler, tmp_path))
    await pool.start()
    yield pool
    await pool.stop()


async def test_calls_are_answered_each_with_its_own_reply(pair: Processes) -> None:
    values = [os.urandom(200_000 * (i % 3)) for i in range(24)]
    assert await asyncio.gather(*(pair.call(("echo", value)) for value in values)) == values
    pids = set(await asyncio.gather(*(pair.call(("pid", None)) for _ in range(8))))
    assert len(pids) <= 2 and os.getpid() not in pids


async def test_errors_of_ours_arrive_whole_and_others_without_their_text(pair: Processes) -> None:
    with pytest.raises(BadRequest, match="no such thing") as refused:
        await pair.call(("refuse", "prompt"))
    assert refused.value.field == "prompt"
    with pytest.raises(GenerationFailed) as failed:
        await pair.call(("bug", "/secret/path"))
    assert "secret" not in failed.value.detail
    assert await pair.call(("echo", 1)) == 1


async def test_a_call_whose_process_dies_is_made_once_more(pair: Processes) -> None:
    assert await pair.call(("die once", "mark")) == "mark"
    assert await asyncio.gather(*(pair.call(("echo", i)) for i in range(6))) == [*range(6)]


async def test_a_call_that_kills_every_process_fails_and_the_others_live(pair: Processes) -> None:
    bystanders = [asyncio.create_task(pair.call(("echo", i))) for i in range(4)]
    with pytest.raises(ProcessDied):
        await pair.call(("die", None))
    assert await asyncio.gather(*bystanders) == [*range(4)]
    assert await pair.call(("echo", 5)) == 5, "they were replaced"


async def test_processes_that_die_with_nothing_to_do_cost_no_call(pair: Processes) -> None:
    for process in pair._all:
        process.child.kill()
        await asyncio.to_thread(process.child.join)
    await asyncio.sleep(0)
    assert await asyncio.gather(*(pair.call(("echo", i)) for i in range(4))) == [*range(4)]


async def test_a_process_that_hangs_is_taken_for_dead(pair: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes_module, "LIMIT_S", 0.2)
    with pytest.raises(ProcessDied):
        await pair.call(("sleep", 60))
    monkeypatch.undo()
    assert await pair.call(("echo", 5)) == 5


async def test_nobody_waiting_any_more_spoils_nothing(pair: Processes) -> None:
    given_up = [asyncio.create_task(pair.call(("sleep", 0.2))) for _ in range(2)]
    await asyncio.sleep(0.05)
    for call in given_up:
        call.cancel()
    assert await asyncio.gather(*(pair.call(("echo", i)) for i in range(4))) == [*range(4)]


async def test_signals_to_the_group_do_not_end_them(pair: Processes) -> None:
    pid = await pair.call(("pid", None))
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await pair.call(("pid", None)) == pid


async def test_niceness_and_a_clean_end() -> None:
    pool = Processes(1, new_handler, niceness=7)
    await pool.start()
    assert await pool.call(("nice", None)) == os.nice(0) + 7
    pid = await pool.call(("pid", None))
    await pool.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_that_cannot_start_says_so() -> None:
    pool = Processes(1, broken_setup)
    with pytest.raises(ProcessDied):
        await pool.start()
    await pool.stop()


def broken_setup() -> Handler:
    raise RuntimeError("no library")


LAUNCHING = """
import sys
from motion_service.processes import Processes
from tests.test_processes import new_handler

if __name__ == "__main__":
    pool = Processes(2, new_handler)
    pool.launch()
    print(*(child.pid for child, _ in pool._launched), flush=True)
    sys.exit(7)
"""


async def test_launched_before_the_event_loop_they_start_the_same() -> None:
    pool = Processes(2, new_handler)
    pool.launch()
    pids = {child.pid for child, _ in pool._launched}
    await pool.start()
    assert {process.child.pid for process in pool._all} == pids
    assert await pool.call(("echo", 5)) == 5
    await pool.stop()


def test_launched_and_never_started_they_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(LAUNCHING)
    done = subprocess.run(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=60, env=own_package()
    )
    assert done.returncode == 7
    assert_gone([int(pid) for pid in done.stdout.split()])


PARENT = """
import asyncio, os, sys
from motion_service.processes import Processes
from tests.test_processes import new_handler

async def main():
    pool = Processes(2, new_handler)
    await pool.start()
    busy = asyncio.create_task(pool.call(("sleep", 600)))
    await asyncio.sleep(0.1)
    print(*(process.child.pid for process in pool._all), flush=True)
    if sys.argv[1] == "exit":
        sys.exit(0)
    await busy

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_none_outlives_its_parent(tmp_path: Path, end: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own_package()) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if end == "kill":
            parent.kill()
    assert_gone(pids)


def own_package() -> dict[str, str]:
    """Environment of a program that imports this checkout."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def assert_gone(pids: list[int]) -> None:
    """Two processes have ended, or soon do."""
    assert len(pids) == 2
    for _ in range(300):
        if not any(is_alive(pid) for pid in pids):
            return
        time.sleep(0.1)
    raise AssertionError(f"still there: {[pid for pid in pids if is_alive(pid)]}")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False
