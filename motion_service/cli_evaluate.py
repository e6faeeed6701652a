"""``motion eval``: measures a checkpoint of ours on a table of prompts; the options are those of the evaluation.

With ``--official MODEL_PATH`` it runs the published protocol on an official checkpoint instead.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import typer

from motion_service.cli_errors import failures_in_one_line, missing_extra

app = typer.Typer()

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command("eval", context_settings=_PASS_ON)
def evaluate(context: typer.Context) -> None:
    """Measure a checkpoint: recognition, hand and direction, naturalness. --help lists the options.

    With --official MODEL_PATH it measures an official checkpoint as published; --help then lists those options. The
    last line is one JSON object; --json leaves the tables away.
    """
    try:
        main = _official() if any(argument.startswith("--official") for argument in context.args) else _own()
    except ImportError as error:
        raise missing_extra(error, "train") from None
    arguments = [argument for argument in context.args if argument != "--json"]
    told = io.StringIO()
    with failures_in_one_line():
        if len(arguments) == len(context.args):
            raise typer.Exit(main(arguments))
        with contextlib.redirect_stdout(told):
            status = main(arguments)
    last = told.getvalue().splitlines()[-1:]
    typer.echo("\n".join(last), err=status != 0)
    raise typer.Exit(status)


def _own() -> Callable[[list[str]], int]:
    from motion_service.training.evaluate import main

    return main


def _official() -> Callable[[list[str]], int]:
    from motion_service.config import Config
    from motion_service.loading import open_sampler
    from motion_service.training.official_protocol import main

    config = Config()
    return lambda arguments: main(
        arguments, config.data_dir, lambda path: open_sampler(path, config), config.conversion_dir
    )
