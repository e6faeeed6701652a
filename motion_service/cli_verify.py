"""``motion verify``: our engine against the official code on the user's own machine and checkpoints.

The last line on standard output is one JSON object; the exit code is 1 when the two differ by more than they may.
"""

from __future__ import annotations

import json
import platform
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from motion_service.cli_errors import console, failure, failures_in_one_line, missing_extra
from motion_service.cli_service import AsJson

if TYPE_CHECKING:
    from motion_service.config import Config
    from motion_service.mdm.official import OfficialCheckpoint
    from motion_service.mdm_adapter.upstream_program import UpstreamProgram
    from motion_service.text_encoder import TextEncoder
    from motion_service.verify import Row

app = typer.Typer()

_TEXT = "a person walks forward and waves with the right hand"


class Device(StrEnum):
    """Where both run."""

    CPU = "cpu"
    CUDA = "cuda"


class KnownKind(StrEnum):
    """What random weights can be made for."""

    MDM = "mdm"
    MDM_ENCODER = "mdm-encoder"
    DIP = "dip"
    DIP_TARGET = "dip-target"


@app.command()
def verify(
    upstream: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A checkout of the official repository; else MOTION_MDM_REPO_DIR."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="PATH", help="An official checkpoint: its directory or model*.pt.")
    ] = None,
    random: Annotated[
        KnownKind | None, typer.Option(help="Random weights of this model's full size instead; nothing to download.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A prompt; give it several times for a batch.")] = None,
    frames: Annotated[int, typer.Option(min=1, max=196, help="Frames of a clip; models with windows have 40.")] = 120,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Give it several times; else 10, 11, 12.")] = None,
    device: Annotated[Device | None, typer.Option(help="Else MOTION_DEVICE.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run our engine and the official code on the same weights and noise; print differences and speeds."""
    if (checkpoint is None) == (random is None):
        raise failure("give one of --checkpoint PATH and --random mdm|mdm-encoder|dip|dip-target")
    try:
        import torch

        from motion_service.config import Config
        from motion_service.loading import choose_device
        from motion_service.mdm.official import load_official
        from motion_service.mdm_adapter.official import OfficialSampler
        from motion_service.mdm_adapter.upstream import UpstreamSampler
        from motion_service.mdm_adapter.upstream_program import load_program
        from motion_service.verify import compare, no_statistics, random_checkpoint, rows_to_table
    except ImportError as error:
        raise missing_extra(error) from None
    texts, seeds = text or [_TEXT], seed or [10, 11, 12]
    with failures_in_one_line():
        config = Config()
        where = device.value if device else choose_device(config)
        if where == "cuda" and not torch.cuda.is_available():
            raise failure("no CUDA device is to be seen; take --device cpu")
        program = load_program(upstream or config.mdm_repo_dir)
        loaded = load_official(checkpoint) if checkpoint else random_checkpoint((random or KnownKind.MDM).value)
        encoder = _encoder(config, loaded, where)
        own = OfficialSampler(loaded, encoder, no_statistics(), device=where)
        theirs = UpstreamSampler(loaded, encoder, no_statistics(), program, device=where)
        rows = compare(own, theirs, encoder.encode(texts), frames, seeds)
    if not as_json:
        Console(highlight=False).print(rows_to_table(rows, f"{loaded.name}, batch of {len(texts)}, {where}"))
        typer.echo(
            "differences of normalised features, the worst; milliseconds, the best;"
            " ratio: how many times as fast ours is"
        )
    facts = _facts(loaded, program, encoder, where)
    typer.echo(json.dumps({**facts, "batch": len(texts), "seeds": seeds, **_outcome(rows)}))
    if not all(row.passed for row in rows):
        raise typer.Exit(1)


def _encoder(config: Config, checkpoint: OfficialCheckpoint, device: str) -> TextEncoder:
    """The encoder of the checkpoint where it is there, else random tokens, which is said."""
    from motion_service.errors import ModelUnavailable
    from motion_service.loading import open_encoder
    from motion_service.verify import RandomTexts

    try:
        return open_encoder(checkpoint.config.text_encoder, config, device)
    except ModelUnavailable as error:
        console.print(f"texts are replaced by random tokens ({error.detail})", markup=False, soft_wrap=True)
        return RandomTexts(checkpoint.config.text_encoder, checkpoint.config.network.text_width)


def _facts(
    checkpoint: OfficialCheckpoint, program: UpstreamProgram, encoder: TextEncoder, device: str
) -> dict[str, Any]:
    """What was compared, and where."""
    import torch

    from motion_service.verify import RandomTexts

    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "checkpoint": checkpoint.name,
        "weights_sha256": checkpoint.sha256 or None,
        "texts": "random" if isinstance(encoder, RandomTexts) else encoder.name,
        "upstream": {"commit": program.commit, "files_sha256": program.sha256, "is_pinned": program.is_pinned},
    }


def _outcome(rows: list[Row]) -> dict[str, Any]:
    return {"rows": [row.to_json() for row in rows], "passed": all(row.passed for row in rows)}
