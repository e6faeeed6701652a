"""``motion bench``: how long a running service takes, as its clients see it.

For a quick look at one's own machine; ``scripts/motion/bench_*`` start servers of their own and measure more exactly.
"""

from __future__ import annotations

import asyncio
import math
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from motion_service.cli_errors import console, failure, failures_in_one_line
from motion_service.cli_service import (
    PATIENCE_S,
    ApiKey,
    AsJson,
    Server,
    Settings,
    print_json,
    read_settings,
    running_service,
)
from motion_service.client import AsyncMotionClient
from motion_service.errors import MotionError
from motion_service.schemas import Provider

app = typer.Typer()

PROMPTS: Final = (
    "a person waves with the right hand",
    "元気に手を振って歩く",
    "someone bows deeply",
    "左に曲がって走る",
    "a happy child jumps twice",
)


@dataclass(slots=True)
class _Run:
    """What was measured."""

    latencies_ms: list[float] = field(default_factory=list)
    generators: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0

    def facts(self) -> dict[str, Any]:
        ordered = sorted(self.latencies_ms)

        def percentile(share: float) -> float | None:
            return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1) if ordered else None

        return {
            "answers": len(ordered),
            "p50_ms": percentile(0.5),
            "p95_ms": percentile(0.95),
            "max_ms": percentile(1.0),
            "requests_per_s": round(len(ordered) / self.elapsed_s, 2) if self.elapsed_s else None,
            "generators": dict(self.generators),
            "errors": dict(self.errors),
        }


@app.command()
def bench(
    requests: Annotated[int, typer.Option(min=1, help="Requests that count, after one for each client.")] = 20,
    clients: Annotated[int, typer.Option(min=1, max=256, help="So many ask at one time.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of the clips.")] = 5.0,
    provider: Annotated[Provider, typer.Option(help="Which model.")] = "auto",
    settings: Settings = None,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Ask a running service for clips, and tell how long they took. Exit code 1 when a model did not make them all."""
    options = {"duration_sec": seconds, "provider": provider, "artifacts": [], **read_settings(settings)}
    with failures_in_one_line():
        url = running_service(server, api_key)
        run = asyncio.run(_measure(url, api_key, requests, clients, options, as_json))
    facts = {
        "requests": requests,
        "clients": clients,
        "seconds": seconds,
        "provider": provider,
        "client_machine": platform.processor() or platform.machine(),
        **run.facts(),
    }
    if as_json:
        print_json(facts)
    else:
        table = Table("what", "measured")
        for name, value in facts.items():
            table.add_row(name, str(value).replace("[", r"\["))
        Console(highlight=False).print(table)
    if run.errors or run.generators["placeholder"]:
        raise failure("some answers were not made by a model: these times mean nothing")


async def _measure(
    url: str, api_key: str | None, requests: int, clients: int, options: dict[str, Any], is_quiet: bool
) -> _Run:
    run = _Run()
    todo = iter(range(requests))
    with Progress(console=console, transient=True, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task("requests", total=requests)
        async with AsyncMotionClient(url, api_key, PATIENCE_S, retries=0) as client:
            for number in range(clients):
                await client.generate(PROMPTS[number % len(PROMPTS)], seed=number, **options)  # connections, caches

            async def ask_again() -> None:
                for number in todo:
                    await _ask(client, run, number, options)
                    progress.advance(task)

            started = time.perf_counter()
            await asyncio.gather(*(ask_again() for _ in range(clients)))
            run.elapsed_s = time.perf_counter() - started
    return run


async def _ask(client: AsyncMotionClient, run: _Run, number: int, options: dict[str, Any]) -> None:
    started = time.perf_counter()
    try:
        motion = await client.generate(PROMPTS[number % len(PROMPTS)], seed=number, **options)
    except MotionError as error:
        run.errors[error.problem] += 1
        return
    run.latencies_ms.append(1000 * (time.perf_counter() - started))
    run.generators[motion.metadata.generator] += 1
