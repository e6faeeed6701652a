"""``motion generate``: prompts in, files out."""

from __future__ import annotations

import asyncio
import re
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from motion_service.cli_errors import console, failure, failures_in_one_line
from motion_service.cli_prompt import read_lines
from motion_service.cli_service import (
    PATIENCE_S,
    ApiKey,
    AsJson,
    Server,
    Settings,
    check_request,
    find_service,
    maker,
    open_client,
    print_json,
    read_settings,
)
from motion_service.client import AsyncMotion, AsyncMotionClient
from motion_service.client_motion import FORMATS, path_to_format
from motion_service.errors import MotionError
from motion_service.schemas import Provider

app = typer.Typer()

STANDARD_OUTPUT: Final = Path("-")
_NAME_LENGTH: Final = 40  # characters of a prompt in the name of its file

Suffix = Literal["json", "vrma", "bvh", "npy", "mp4"]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one prompt."""

    prompt: str
    path: Path
    motion: AsyncMotion | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        if self.motion is None:
            return {"prompt": self.prompt, "error": self.error}
        made = self.motion.metadata
        return {
            "prompt": self.prompt,
            "file": str(self.path),
            "job_id": self.motion.job_id,
            "generator": made.generator,
            "seed": made.seed,
            "duration_sec": self.motion.duration_sec,
            "fps": self.motion.fps,
            "fallback_used": self.motion.fallback_used,
            "fallback_reason": made.fallback_reason,
            "warnings": made.warnings,
        }

    def remark(self) -> str:
        """What is to be known besides."""
        if self.motion is None:
            return f"error: {self.error}"
        made = self.motion.metadata
        return f"placeholder: {made.fallback_reason}" if self.motion.fallback_used else "; ".join(made.warnings)


@app.command()
def generate(
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT...", help="What the figure does, in English or Japanese.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with one prompt a line; - = standard input.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file (.json .vrma .bvh .npy .mp4), - = standard output; of many prompts a directory."),
    ] = None,
    format: Annotated[Suffix, typer.Option(help="Of files in a directory.")] = "json",
    seconds: Annotated[float | None, typer.Option(help="Length; else what the prompt says, else 5.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same prompt: same motion.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; else the model's 20.")] = None,
    provider: Annotated[Provider | None, typer.Option(help="Which model; else the best one that is loaded.")] = None,
    avatar: Annotated[str | None, typer.Option(help="Id of an avatar that was uploaded.")] = None,
    settings: Settings = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Requests under way at one time.")] = 4,
    open_page: Annotated[bool, typer.Option("--open", help="Look at it in the page of the service.")] = False,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Make motions and write them to files: with a running service, else in this process.

    Without --out, files are named after their prompts. Exit code 1 when a prompt failed.
    """
    texts = [*(prompts or []), *(read_lines(file) if file else [])]
    if not texts:
        raise failure("nothing to do: give a prompt, or a file of prompts with --file")
    with failures_in_one_line():
        if as_json and out == STANDARD_OUTPUT:
            raise failure("--out -: standard output takes the motion, so --json has no place there")
        paths = _place(texts, out, format)
        kinds = {_kind(path, format) for path in paths}
        asked = {"duration_sec": seconds, "seed": seed, "fps": fps, "provider": provider, "avatar": avatar}
        options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        options |= {"deadline_ms": int(PATIENCE_S * 1000), "artifacts": sorted(kinds - {"vrm-json"})}
        options |= read_settings(settings)
        url = find_service(server, api_key)
        for text in texts if url is None else ():
            check_request({"prompt": text, **options})
        made = asyncio.run(_generate(texts, paths, options, url, api_key, at_once, as_json, format))
    _tell(made, as_json)
    if open_page:
        _open(url, [entry.motion.job_id for entry in made if entry.motion is not None])
    if any(entry.motion is None for entry in made):
        raise typer.Exit(1)


def _kind(path: Path, format: str) -> str:
    return FORMATS[f".{format}"] if path == STANDARD_OUTPUT else path_to_format(path)


def _place(texts: Sequence[str], out: Path | None, format: str) -> list[Path]:
    """Where the motion of each prompt goes."""
    is_directory = out is None or out.is_dir() or len(texts) > 1
    if out is not None and not is_directory:
        return [out]
    if out == STANDARD_OUTPUT:
        raise failure("--out -: standard output takes one motion")
    if out is not None and out.suffix.lower() in FORMATS:
        raise failure(f"--out {out}: {len(texts)} prompts need a directory; --format says what is written there")
    directory = out or Path()
    directory.mkdir(parents=True, exist_ok=True)
    width = len(str(len(texts)))
    numbers = [f"{number:0{width}}-" if len(texts) > 1 else "" for number in range(1, len(texts) + 1)]
    return [directory / f"{number}{_name(text)}.{format}" for number, text in zip(numbers, texts, strict=True)]


def _name(prompt: str) -> str:
    """A prompt as the name of a file: its letters and digits, whatever the language."""
    return re.sub(r"\W+", "-", prompt.lower()).strip("-_")[:_NAME_LENGTH].strip("-_") or "motion"


async def _generate(
    texts: Sequence[str],
    paths: Sequence[Path],
    options: dict[str, Any],
    url: str | None,
    api_key: str | None,
    at_once: int,
    is_quiet: bool,
    format: str,
) -> list[Made]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    places = asyncio.Semaphore(at_once)
    with Progress(*columns, console=console, transient=True, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task("motions", total=len(texts))

        async def make(client: AsyncMotionClient, text: str, path: Path) -> Made:
            async with places:
                made = await _generate_one(client, text, path, options, format)
            progress.advance(task)
            return made

        async with open_client(url, api_key) as client:
            return await asyncio.gather(*(make(client, *pair) for pair in zip(texts, paths, strict=True)))


async def _generate_one(client: AsyncMotionClient, text: str, path: Path, options: dict[str, Any], format: str) -> Made:
    try:
        motion = await client.generate(text, **options)
        if path == STANDARD_OUTPUT:
            sys.stdout.buffer.write(await client.file(motion, FORMATS[f".{format}"]))
        else:
            await motion.save(path)
    except MotionError as error:
        return Made(text, path, error=error.detail)
    except OSError as error:
        return Made(text, path, error=f"cannot write {path}: {error.strerror}")
    return Made(text, path, motion)


def _tell(made: Sequence[Made], as_json: bool) -> None:
    """One motion: a line on standard error and the file's name on standard output. Many: a table."""
    if as_json:
        for entry in made:
            print_json(entry.to_json())
    elif len(made) == 1:
        _tell_one(made[0])
    else:
        Console(highlight=False).print(_table(made))


def _tell_one(entry: Made) -> None:
    if entry.motion is None:
        raise failure(entry.error or "")
    motion, made = entry.motion, entry.motion.metadata
    facts = f"{motion.duration_sec:g} s at {motion.fps:g} fps by {maker(made)}, seed {made.seed}"
    remark = entry.remark()
    console.print(facts + (f" ({remark})" if remark else ""), markup=False, soft_wrap=True)
    if entry.path != STANDARD_OUTPUT:
        typer.echo(entry.path)


def _table(made: Sequence[Made]) -> Table:
    table = Table()
    for name in ("prompt", "file", "made by", "seconds", "seed", "remarks"):
        table.add_column(name, overflow="fold")
    for entry in made:
        motion = entry.motion
        facts = ("", "", "", "")
        if motion is not None:
            facts = (str(entry.path), motion.metadata.generator, f"{motion.duration_sec:g}", str(motion.metadata.seed))
        table.add_row(_plain(entry.prompt), *map(_plain, facts), _plain(entry.remark()))
    return table


def _plain(text: str) -> str:
    """Text that holds no markup of the table."""
    return text.replace("[", r"\[")


def _open(url: str | None, job_ids: Sequence[str]) -> None:
    """Show motions in the page that the service has for it."""
    import httpx

    if url is None:
        raise failure("--open needs a running service, which keeps the motion: start one with `motion serve`")
    try:
        page = httpx.get(url, timeout=5)
        has_page = page.is_success and "html" in page.headers.get("content-type", "")
    except httpx.HTTPError:
        has_page = False
    if not has_page:
        raise failure(f"the service at {url} has no page to look at motions")
    for job_id in job_ids:
        webbrowser.open(f"{url.rstrip('/')}/?job={job_id}")
