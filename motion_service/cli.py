"""The command line, ``motion``. Commands that need more than the base install name the extra to install."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from motion_service import (
    cli_bench,
    cli_cluster,
    cli_doctor,
    cli_download,
    cli_edit,
    cli_evaluate,
    cli_generate,
    cli_official,
    cli_prompt,
    cli_stream,
    cli_verify,
)
from motion_service.cli_errors import missing_extra

app = typer.Typer(help="Text to VRM motion.", no_args_is_help=True)
for part in (
    cli_generate,
    cli_stream,
    cli_prompt,
    cli_edit,
    cli_doctor,
    cli_download,
    cli_bench,
    cli_official,
    cli_verify,
    cli_evaluate,
):
    app.add_typer(part.app)
app.add_typer(cli_cluster.app, name="cluster")


@app.callback(invoke_without_command=True)
def start(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Text to VRM motion."""
    if show_version:
        typer.echo(version("motion-service"))
        raise typer.Exit()


@app.command()
def serve() -> None:
    """Serve with the settings of the environment (the same as python -m motion_service)."""
    try:
        from motion_service.main import main
    except ImportError as error:
        raise missing_extra(error) from None
    main()
