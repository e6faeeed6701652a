"""``motion prompt``: show what is understood of a prompt, without loading a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from motion_service.cli_errors import failure, failures_in_one_line, missing_extra
from motion_service.schemas import GenerateRequest

app = typer.Typer()


@app.command("prompt")
def show_prompt(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Prompts, one an argument.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with one prompt a line; - = standard input.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of indented ones.")] = False,
) -> None:
    """Show what is understood of prompts, as JSON: language, actions in order, lengths, captions."""
    prompts = [*(texts or []), *(read_lines(file) if file else [])]
    if not prompts:
        raise failure("nothing to read: give a prompt, or a file with --file")
    for prompt in prompts:
        typer.echo(json.dumps(_plan(prompt), ensure_ascii=False, indent=None if as_json else 2))


def read_lines(file: Path) -> list[str]:
    """Prompts of a file; empty lines are left out."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise failure(f"{file.name} is not UTF-8 text") from None
    except OSError as error:
        raise failure(f"cannot read {file.name}: {error.strerror}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _plan(prompt: str) -> dict[str, Any]:
    try:
        from motion_service.prompt.plan import prompt_to_plan
        from motion_service.prompt.reading import plan_to_wire
    except ImportError as error:
        raise missing_extra(error) from None
    try:
        checked = GenerateRequest.model_validate({"prompt": prompt}).prompt
    except ValidationError as error:
        raise failure(f"prompt: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    with failures_in_one_line():
        return plan_to_wire(prompt_to_plan(checked))
