"""How commands say what went wrong: one line on standard error and exit code 1, never a stack trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from motion_service.errors import MotionError

console = Console(stderr=True, highlight=False)


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Around what a command does: errors that a user can cause end the command with their line."""
    try:
        yield
    except MotionError as error:
        raise failure(error.detail) from None
    except OSError as error:
        raise failure(f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}") from None


def missing_extra(error: ImportError, extra: str = "server") -> typer.Exit:
    """Explain which extra the command needs."""
    return failure(f"this command needs the extra `{extra}` ({error.name}): pip install 'motion-service[{extra}]'")


def failure(detail: str) -> typer.Exit:
    """Say what went wrong on standard error; raise the result to leave with exit code 1."""
    console.print(f"error: {detail}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(1)
