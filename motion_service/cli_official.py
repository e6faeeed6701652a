"""Commands for official checkpoints: ``motion sample`` with the options of ``sample.generate``, and ``motion convert``.

Option names, defaults and the files written are those of https://github.com/GuyTevet/motion-diffusion-model; names may
be spelled with dashes too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from motion_service.cli_errors import console, failure, failures_in_one_line, missing_extra
from motion_service.cli_service import AsJson, print_json

if TYPE_CHECKING:
    from motion_service.mdm.convert import ConvertReport
    from motion_service.mdm.official import OfficialCheckpoint
    from motion_service.mdm_adapter.official import OfficialSampler
    from motion_service.sampling import Batch, Samples

app = typer.Typer()

_MAX_SEED = 2**32 - 1

ModelPath = Annotated[
    Path, typer.Option("--model_path", "--model-path", help="model*.pt, or the directory that has one.")
]
TextPrompt = Annotated[str, typer.Option("--text_prompt", "--text-prompt", help="One prompt for all samples.")]
InputText = Annotated[
    Path | None, typer.Option("--input_text", "--input-text", help="Text file with a prompt a line, one for a sample.")
]
DynamicText = Annotated[
    Path | None,
    typer.Option(
        "--dynamic_text_path", "--dynamic-text-path", help="Text file with a prompt a line, one for a window."
    ),
]
Autoregressive = Annotated[bool, typer.Option("--autoregressive", help="Window after window; what DiP needs.")]
IncludePrefix = Annotated[
    bool,
    typer.Option(
        "--autoregressive_include_prefix",
        "--autoregressive-include-prefix",
        help="Put the frames that the first window continues in front.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance_param", "--guidance-param", min=0, help="Else the model's own: 2.5 for MDM, 7.5 for DiP."),
]
Seconds = Annotated[
    float,
    typer.Option("--motion_length", "--motion-length", help="Seconds, at most 9.8; for --dynamic_text_path 2 a line."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=_MAX_SEED, help="Same seed, same batch: same motion.")]
NumSamples = Annotated[
    int, typer.Option("--num_samples", "--num-samples", min=1, help="Samples of one prompt; --input_text has its own.")
]
NumRepetitions = Annotated[
    int, typer.Option("--num_repetitions", "--num-repetitions", min=1, help="Times each sample.")
]
OutputDir = Annotated[
    Path | None, typer.Option("--output_dir", "--output-dir", help="Else a directory beside the checkpoint.")
]
Videos = Annotated[bool, typer.Option("--mp4/--no-mp4", help="Write a video of every sample, and grids of them.")]


@app.command()
def sample(
    model_path: ModelPath,
    text_prompt: TextPrompt = "",
    input_text: InputText = None,
    dynamic_text_path: DynamicText = None,
    autoregressive: Autoregressive = False,
    autoregressive_include_prefix: IncludePrefix = False,
    guidance_param: Guidance = None,
    motion_length: Seconds = 6.0,
    seed: Seed = 10,
    num_samples: NumSamples = 6,
    num_repetitions: NumRepetitions = 3,
    output_dir: OutputDir = None,
    mp4: Videos = True,
    as_json: AsJson = False,
) -> None:
    """Sample an official checkpoint, with the options and the output directory of the official program."""
    if sum((bool(text_prompt), input_text is not None, dynamic_text_path is not None)) != 1:
        raise failure(
            "give one of --text_prompt, --input_text and --dynamic_text_path; no data set is read for prompts"
        )
    try:
        from motion_service import sampling
        from motion_service.config import Config
        from motion_service.export.official_directory import check_replaceable
        from motion_service.loading import open_sampler
        from motion_service.mdm.official import find_weights
    except ImportError as error:
        raise missing_extra(error) from None
    prompts = input_text or dynamic_text_path
    with failures_in_one_line():
        lines = sampling.read_prompts(prompts) if prompts else ()
        num_frames = sampling.seconds_to_frames(motion_length)
        file = find_weights(model_path).resolve()
        label = prompts.name.replace(".txt", "") if prompts else text_prompt
        directory = output_dir or file.parent / _directory_name(file, seed, label)
        check_replaceable(directory)
        sampler = open_sampler(file, Config())
        if dynamic_text_path:
            num_frames = len(lines) * max(sampler.spec.predict_frames, 1)
        batch = sampling.Batch(
            texts=lines if input_text else (lines or text_prompt,) * num_samples,
            num_frames=num_frames,
            num_repetitions=num_repetitions,
            seed=seed,
            guidance=guidance_param,
            autoregressive=autoregressive,
            include_prefix=autoregressive_include_prefix,
        )
        sampling.check_batch(sampler, batch)
        directory.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is told before the work
        made = _run(sampler, batch, directory, mp4)
    if as_json:
        rows, frames = made.features.shape[:2]
        facts = {"directory": str(directory), "motions": rows, "frames": frames, "fps": 20}
        print_json({**facts, "warnings": [*made.warnings], "prefixes": [*made.prefixes]})
    else:
        _tell(made, directory)


@app.command()
def convert(
    path: Annotated[Path, typer.Argument(metavar="FILE_OR_DIR", help="model*.pt, or the directory that has one.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="You trust where the file is from; its hash is recorded.")
    ] = False,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="The hash that the file must have.")] = None,
    cache_dir: Annotated[
        Path | None, typer.Option("--cache-dir", "--cache_dir", help="Else MOTION_CONVERSION_DIR.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert an official .pt, a pickle, to safetensors in a child process, and show what it holds."""
    try:
        from motion_service.config import Config
        from motion_service.mdm.arguments import ARGS
        from motion_service.mdm.convert import convert_checkpoint
        from motion_service.mdm.official import load_official
    except ImportError as error:
        raise missing_extra(error) from None
    with failures_in_one_line():
        file = _find_pickle(path)
        cache_dir = cache_dir or Config().conversion_dir  # where the service looks, too
        report = convert_checkpoint(file, trust=trust, sha256=sha256, cache_dir=cache_dir)
        lines = _report_lines(report)
        if (file.parent / ARGS).is_file():
            lines = chain(lines, _checkpoint_lines(lambda: load_official(file, cache_dir=cache_dir)))
        if as_json:
            _print_lines_as_json([*lines])
            return
        for name, value in lines:
            typer.echo(f"{name:<14}{value}")


# --- sample -----------------------------------------------------------------------------------------------------------


def _directory_name(file: Path, seed: int, label: str) -> str:
    from motion_service.export.official_directory import directory_name

    return directory_name(file.parent.name, file.stem.replace("model", ""), seed, label)


def _run(sampler: OfficialSampler, batch: Batch, directory: Path, videos: bool) -> Samples:
    """Sample and write, with a bar for each."""
    from motion_service import sampling

    steps = batch.num_repetitions * sampling.num_windows(sampler, batch) * sampler.schedule.num_steps
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        sampling_task = progress.add_task("denoising steps", total=steps)
        made = sampling.sample_batch(sampler, batch, lambda: progress.advance(sampling_task))
        video_task = progress.add_task("videos", total=sampling.num_videos(batch), visible=videos)
        sampling.write_samples(directory, made, videos=videos, on_video=lambda: progress.advance(video_task))
    return made


def _tell(made: Samples, directory: Path) -> None:
    for warning in made.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if made.prefixes:
        names = ", ".join(dict.fromkeys(made.prefixes))
        console.print(f"first prefix, from our own library instead of HumanML3D: {names}", markup=False, soft_wrap=True)
    rows, frames = made.features.shape[:2]
    console.print(f"motions: {rows}, each {frames} frames at 20 fps", markup=False)
    typer.echo(directory)


# --- convert ----------------------------------------------------------------------------------------------------------


def _find_pickle(path: Path) -> Path:
    """The pickle that ``path`` means: itself, or in a directory the newest model*.pt, or pytorch_model.bin."""
    from motion_service.mdm.official import find_weights

    if not path.is_dir():
        return path
    if not any(path.glob("model*.pt")) and (path / "pytorch_model.bin").is_file():
        return path / "pytorch_model.bin"
    return find_weights(path)


def _report_lines(report: ConvertReport) -> Iterator[tuple[str, str]]:
    yield "file", str(report.source)
    yield "SHA-256", report.sha256
    how = f"in {report.seconds:.1f} s" if report.seconds else "before"
    yield "converted", f"{report.target.name}, {how}"
    parts = ", ".join(report.parts)
    yield "holds", f"{parts}: {report.num_tensors} tensors, {report.num_parameters / 1e6:.2f} million numbers"


def _checkpoint_lines(load: Callable[[], OfficialCheckpoint]) -> Iterator[tuple[str, str]]:
    loaded = load()
    config, spec = loaded.config, loaded.config.network
    yield "network", f"{spec.arch}, {spec.layers} layers of width {spec.width}, weights: {loaded.part}"
    yield "text encoder", config.text_encoder
    windows = f"{spec.predict_frames} frames after {spec.context_frames}"
    yield "windows", windows if spec.context_frames else "none: a clip at once"
    yield "targets", spec.target_encoder or "none"
    yield "diffusion", f"{config.steps} steps, {config.schedule}"
    yield "guidance", f"{config.guidance:g}"
    for warning in loaded.warnings:
        yield "warning", warning


def _print_lines_as_json(lines: list[tuple[str, str]]) -> None:
    facts = {name: value for name, value in lines if name != "warning"}
    print_json({**facts, "warnings": [value for name, value in lines if name == "warning"]})
