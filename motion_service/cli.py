"""The command line, ``motion``. Commands that need more than the base install name the extra to install."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from motion_service import cli_official, cli_prompt, cli_verify
from motion_service.cli_errors import console, failure, missing_extra
from motion_service.client import DEFAULT_URL, MotionClient, parse_response
from motion_service.errors import MotionError
from motion_service.schemas import GenerateRequest, MotionResponse

app = typer.Typer(help="Text to VRM motion.", no_args_is_help=True, add_completion=False)
app.add_typer(cli_official.app)
app.add_typer(cli_prompt.app)
app.add_typer(cli_verify.app)

_PATIENCE_MS = 600_000
"""Deadline of a command in milliseconds: a person who waits at a terminal wants the motion, not a placeholder."""


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What the figure does, in English or Japanese.")],
    out: Annotated[Path, typer.Option(help="File to write the motion to, as VRM JSON.")],
    seconds: Annotated[float | None, typer.Option(help="Length; else what the prompt says, else 5.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same prompt: same motion.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; else the model's 20.")] = None,
    provider: Annotated[str | None, typer.Option(help="auto, mini, placeholder, ...")] = None,
    server: Annotated[
        str | None, typer.Option(help="URL of a service; else one on the default port, else none.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="MOTION_API_KEY", help="Key of the service.")] = None,
) -> None:
    """Make a motion and write it to a file: with a running service, else in this process."""
    asked = {"duration_sec": seconds, "seed": seed, "fps": fps, "provider": provider, "deadline_ms": _PATIENCE_MS}
    options = {name: value for name, value in asked.items() if value is not None}
    try:
        with MotionClient(server or DEFAULT_URL, api_key, timeout_s=_PATIENCE_MS / 1000 + 10) as client:
            there = server is not None or client.is_alive()
            body = client.generate_bytes(prompt, **options) if there else _generate_here(prompt, options)
        motion = parse_response(body)
        out.write_bytes(body)
    except MotionError as error:
        raise failure(error.detail) from None
    except OSError as error:
        raise failure(f"cannot write {out}: {error.strerror}") from None
    console.print(_summary(motion, out))


@app.command()
def serve() -> None:
    """Serve with the settings of the environment (the same as python -m motion_service)."""
    try:
        from motion_service.main import main
    except ImportError as error:
        raise missing_extra(error) from None
    main()


def _generate_here(prompt: str, options: dict[str, Any]) -> bytes:
    """Load the models into this process and make one motion."""
    try:
        from motion_service.config import Config
        from motion_service.main import load_service
    except ImportError as error:
        raise missing_extra(error) from None
    request = _checked_request(prompt, {**options, "artifacts": []})
    service = load_service(Config().model_copy(update={"answer_processes": 0}))

    async def run() -> bytes:
        await service.start(warm_up=False)
        try:
            return (await service.jobs.generate(request, "generate")).body
        finally:
            service.jobs.close()
            await service.stop()

    return asyncio.run(run())


def _checked_request(prompt: str, options: dict[str, Any]) -> GenerateRequest:
    try:
        return GenerateRequest.model_validate({"prompt": prompt, **options})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise failure(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None


def _summary(motion: MotionResponse, out: Path) -> str:
    made = motion.metadata
    text = f"{out}: {motion.duration_sec:g} s at {motion.fps:g} fps by {made.generator}, seed {made.seed}"
    return text + (f" (placeholder: {made.fallback_reason})" if motion.fallback_used else "")
