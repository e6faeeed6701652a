"""``motion doctor``: what is installed, which models load, why one does not, and what to do."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from motion_service.cli_service import AsJson, print_json
from motion_service.doctor import diagnose

app = typer.Typer()

_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look for what is missing or wrong on this machine. Exit code 1 when something is; notes are no problem."""
    findings = [*diagnose()]
    is_well = not any(finding.state == "problem" for finding in findings)
    if as_json:
        print_json({"ok": is_well, "findings": [finding.to_json() for finding in findings]})
    else:
        table = Table("what", "state", box=None, pad_edge=False)
        table.add_column("found", overflow="fold")
        table.add_column("what to do", overflow="fold")
        for finding in findings:
            state = Text(finding.state, style=_STYLES[finding.state])
            table.add_row(Text(finding.subject), state, Text(finding.detail), Text(finding.remedy))
        Console(highlight=False).print(table)
    if not is_well:
        raise typer.Exit(1)
