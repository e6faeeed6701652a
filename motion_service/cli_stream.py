"""``motion stream``: live motion to a file or standard output, one message of the wire a line."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from motion_service.cli_errors import console, failure, failures_in_one_line
from motion_service.cli_service import ApiKey, AsJson, Server, Settings, print_json, read_settings, running_service
from motion_service.client import MotionClient, MotionStream

app = typer.Typer()


@app.command()
def stream(
    prompt: Annotated[str, typer.Argument(help="What the figure does at first; nothing: it idles.")] = "",
    out: Annotated[Path, typer.Option(help="File for the chunks, JSON, one a line; - = standard output.")] = Path("-"),
    seconds: Annotated[float | None, typer.Option(min=0.1, help="When to end; else with Ctrl-C.")] = None,
    cue: Annotated[
        list[str] | None, typer.Option(metavar="SECONDS:TEXT", help="Another prompt from then on; repeat it.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; else 20.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed: same motion.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Live motion from a running service, as it comes: in real time, a second ahead.

    With --json and a file, standard output gets one object of facts at the end.
    """
    cues = [_read_cue(text) for text in cue or ()]
    with failures_in_one_line(), ExitStack() as open_files:
        url = running_service(server, api_key)
        is_file = str(out) != "-"
        lines = open_files.enter_context(out.open("w", encoding="utf-8")) if is_file else sys.stdout
        client = open_files.enter_context(MotionClient(url, api_key))
        live = open_files.enter_context(client.stream(prompt, fps=fps, seed=seed, **read_settings(settings)))
        facts = _write(live, lines, seconds, cues)
    if as_json and is_file:
        print_json({"file": str(out), **facts})
    else:
        told = f"{facts['frames']} frames at {facts['fps']:g} fps by {facts['generator']}, seed {facts['seed']}"
        console.print(told, markup=False, soft_wrap=True)


def _read_cue(text: str) -> tuple[float, str]:
    seconds, colon, prompt = text.partition(":")
    try:
        if colon:
            return float(seconds), prompt.strip()
    except ValueError:
        pass
    raise failure(f"--cue {text}: write SECONDS:TEXT")


def _write(live: MotionStream, lines: TextIO, seconds: float | None, cues: list[tuple[float, str]]) -> dict[str, Any]:
    """Write chunks until the time is over, or somebody presses Ctrl-C; what was written."""
    last = None
    is_stopping = False
    try:
        for chunk in live:
            if last is None:
                for at, text in cues:
                    live.set_prompt(text, at=at)
            last = chunk
            print(json.dumps(dict(chunk.fields), ensure_ascii=False), file=lines, flush=True)
            if seconds is not None and not is_stopping and chunk.first_frame + chunk.n >= seconds * chunk.fps:
                live.stop()
                is_stopping = True
    except KeyboardInterrupt:
        pass
    if last is None:
        raise failure("the stream ended before it had a frame")
    started = live.started or {}
    facts = {"frames": last.first_frame + last.n, "fps": last.fps, "generator": last.generator}
    return {**facts, "seed": started.get("seed"), "missed": live.missed, "warnings": started.get("warnings", [])}
