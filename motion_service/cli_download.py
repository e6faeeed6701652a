"""``motion download``: checkpoints, text encoders and statistics to where the service looks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from motion_service.cli_errors import console, failure, failures_in_one_line
from motion_service.cli_service import AsJson, print_json
from motion_service.download import Downloader, Outcome, report_to_json
from motion_service.download_manifest import Asset, choose_assets, load_manifest
from motion_service.errors import MotionError
from motion_service.mdm.trust import record_trust

app = typer.Typer()

_WEIGHTS: Final = ("*.pt", "pytorch_model.bin")

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones; --list tells all names.")]
Only = Annotated[bool, typer.Option("--only", help="For scripts: refuse to run without names.")]
Listing = Annotated[bool, typer.Option("--list", help="What there is, and whether it is in place. Fetches nothing.")]
Models = Annotated[
    Path, typer.Option(envvar=["CHECKPOINT_DIR", "MOTION_MODEL_DIR"], help="Where checkpoints and text encoders go.")
]
Data = Annotated[Path, typer.Option(envvar="MOTION_DATA_DIR", help="Where statistics and evaluators go.")]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", envvar="MOTION_CONVERSION_DIR", help="Where hashes of pickles are recorded."),
]
Mirror = Annotated[
    str | None, typer.Option(metavar="URL", help="A directory of <name>/<file> instead of the publishers.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Use only what is here or was put into downloads/.")]
Verify = Annotated[bool, typer.Option("--verify", help="Also read what is in place and compare its SHA-256.")]
Changed = Annotated[bool, typer.Option("--accept-changed", help="Take a file that is not the one recorded earlier.")]


@app.command()
def download(
    names: Names = None,
    only: Only = False,
    listing: Listing = False,
    models: Models = Path("models/motion"),
    data: Data = Path("data/motion"),
    cache_dir: CacheDir = None,
    mirror: Mirror = None,
    offline: Offline = False,
    verify: Verify = False,
    accept_changed: Changed = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the official checkpoints and what they need, or the assets that are named.

    Interrupted downloads go on where they broke off. What is in place is not fetched again.
    """
    if only and not names:
        raise failure("--only needs names: motion download --list tells them")
    manifest = load_manifest()
    with failures_in_one_line(), _http() as http, _Bars() as bars:
        downloader = Downloader(
            {"models": models, "data": data},
            bars,
            bars.tell,
            http=http,
            mirror=mirror,
            offline=offline,
            accept_changed=accept_changed,
        )
        if listing:
            _list([*manifest.values()], downloader, as_json)
            return
        assets = choose_assets(names or (), manifest)
        outcomes, failed = _fetch_all(assets, downloader, bars, cache_dir, verify)
    if as_json:
        print_json({"ok": not failed, "assets": [*map(report_to_json, outcomes)], "failed": failed})
    else:
        _tell(outcomes)
    asked_by_hand = [outcome for outcome in outcomes if outcome.state == "by hand"]
    if failed or asked_by_hand:
        raise typer.Exit(1)


def _fetch_all(
    assets: list[Asset], downloader: Downloader, bars: _Bars, cache_dir: Path | None, verify: bool
) -> tuple[list[Outcome], dict[str, str]]:
    """Every asset, whatever becomes of the others; what failed, with the reason."""
    outcomes, failed = [], {}
    for asset in assets:
        try:
            outcome = downloader.fetch(asset)
            if verify:
                downloader.verify(asset)
            if outcome.state == "placed":
                _vouch(outcome, cache_dir, bars)
        except (MotionError, OSError) as error:
            detail = error.detail if isinstance(error, MotionError) else f"{error.filename}: {error.strerror}"
            bars.tell(f"error: {asset.name}: {detail}", style="red")
            failed[asset.name] = detail
        else:
            outcomes.append(outcome)
    return outcomes, failed


def _vouch(outcome: Outcome, cache_dir: Path | None, bars: _Bars) -> None:
    """Record that these pickles are trusted, and convert them where torch is installed."""
    for file in (path for pattern in _WEIGHTS for path in sorted(outcome.directory.glob(pattern))):
        name = file.relative_to(outcome.directory).as_posix()
        if name not in outcome.fetched:
            continue
        digest = outcome.fetched[name].sha256
        record_trust(file, digest, cache_dir, hash_repeated=outcome.is_vouched)
        try:
            from motion_service.mdm.convert import convert_checkpoint
        except ImportError:
            bars.tell(f"{file.name}: the service converts it at its first start")
            continue
        report = convert_checkpoint(file, cache_dir=cache_dir)
        bars.tell(f"{file.name} converted to {report.target.name}: {report.num_parameters / 1e6:.1f} million numbers")


def _list(assets: list[Asset], downloader: Downloader, as_json: bool) -> None:
    rows = [(asset, downloader.directory(asset), asset.missing(downloader.directory(asset))) for asset in assets]
    if as_json:
        facts = [
            {
                "asset": asset.name,
                "title": asset.title,
                "directory": str(directory),
                "complete": not missing,
                "usual": asset.is_usual,
                "licence": asset.licence,
                "needs": [*asset.needs],
            }
            for asset, directory, missing in rows
        ]
        print_json({"assets": facts})
        return
    table = Table("name", "what", "in place", "licence", box=None, pad_edge=False)
    for asset, _, missing in rows:
        table.add_row(asset.name, asset.title, "no" if missing else "yes", asset.licence)
    Console(highlight=False).print(table)


def _tell(outcomes: list[Outcome]) -> None:
    table = Table("asset", "state", "where", box=None, pad_edge=False)
    for outcome in outcomes:
        state = "yours to fetch" if outcome.state == "by hand" else outcome.state
        table.add_row(outcome.asset.name, state, str(outcome.directory))
    Console(highlight=False).print(table)
    for outcome in outcomes:
        if outcome.state == "by hand":
            lacks = ", ".join(outcome.missing)
            console.print(
                f"{outcome.asset.name}: {outcome.directory} lacks {lacks}. {outcome.asset.by_hand}",
                markup=False,
                soft_wrap=True,
            )


@contextmanager
def _http() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"User-Agent": "motion-service"}) as client:
        yield client


class _Bars:
    """Progress bars on standard error, and lines above them."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None
        self._name = ""

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, line: str, style: str | None = None) -> None:
        """A line that stays."""
        console.print(line, markup=False, soft_wrap=True, style=style)

    def begin(self, name: str, total: int | None, done: int) -> None:
        """See :class:`~motion_service.download_transfer.Report`."""
        if self._task is None or name != self._name:
            self._drop()
            self._task, self._name = self._progress.add_task(name, total=total, completed=done), name
        else:
            self._progress.update(self._task, total=total, completed=done)

    def advance(self, count: int) -> None:
        """See :class:`~motion_service.download_transfer.Report`."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def wait(self, seconds: float, reason: str) -> None:
        """See :class:`~motion_service.download_transfer.Report`."""
        self.tell(f"{self._name or 'download'}: {reason}; again in {seconds:.0f} s", style="yellow")

    def _drop(self) -> None:
        if self._task is not None:
            with suppress(KeyError):
                self._progress.remove_task(self._task)
