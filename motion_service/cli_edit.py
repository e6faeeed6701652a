"""``motion edit``: a part of a clip made anew."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from motion_service.cli_errors import console, failure, failures_in_one_line
from motion_service.cli_service import (
    PATIENCE_S,
    ApiKey,
    AsJson,
    Server,
    Settings,
    find_service,
    maker,
    open_client,
    print_json,
    read_settings,
)
from motion_service.client import AsyncMotion
from motion_service.client_motion import path_to_format

app = typer.Typer()

Mode = Literal["in_between", "upper_body"]


@app.command()
def edit(
    clip: Annotated[str, typer.Argument(metavar="FILE_OR_JOB", help="A .json file of a motion, or the id of a job.")],
    out: Annotated[Path, typer.Option(help="The file to write: .json .vrma .bvh .npy .mp4.")],
    mode: Annotated[Mode, typer.Option(help="A gap in time, or spine, head and arms, is made anew.")] = "in_between",
    prompt: Annotated[str, typer.Option(help="What the new part shows; else whatever fits.")] = "",
    prefix_end: Annotated[float | None, typer.Option(help="Where the gap begins, 0 to 1; else 0.25.")] = None,
    suffix_start: Annotated[float | None, typer.Option(help="Where it ends; else 0.75.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed: same motion.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Make a part of a clip anew; the rest stays number for number. With a running service, else in this process."""
    with failures_in_one_line():
        kind = path_to_format(out)
        original = _read_clip(clip)
        options: dict[str, Any] = {
            "prefix_end": prefix_end,
            "suffix_start": suffix_start,
            "seed": seed,
            "deadline_ms": int(PATIENCE_S * 1000),
            "artifacts": [] if kind == "vrm-json" else [kind],
            **read_settings(settings),
        }
        url = find_service(server, api_key)

        async def run() -> AsyncMotion:
            async with open_client(url, api_key) as client:
                motion = await client.edit(original, mode, prompt, **options)
                await motion.save(out)
                return motion

        motion = asyncio.run(run())
    made = motion.metadata
    if as_json:
        facts = {"file": str(out), "job_id": motion.job_id, "generator": made.generator, "seed": made.seed}
        print_json({**facts, "duration_sec": motion.duration_sec, "fps": motion.fps, "warnings": made.warnings})
        return
    facts_line = f"{motion.duration_sec:g} s at {motion.fps:g} fps by {maker(made)}, seed {made.seed}"
    console.print("; ".join([facts_line, *made.warnings]), markup=False, soft_wrap=True)
    typer.echo(out)


def _read_clip(clip: str) -> dict[str, Any] | str:
    """A file's content, or the id of a job."""
    path = Path(clip)
    if not path.is_file():
        if len(clip) == 32 and clip.isalnum():
            return clip
        raise failure(f"{clip} is neither a file nor the id of a job")
    try:
        read = json.loads(path.read_bytes())
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise failure(f"{path.name} is not VRM JSON")
    return read
