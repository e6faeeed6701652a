"""``motion sample`` and ``motion convert`` on tiny checkpoints in the official layout."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from motion_service import sampling
from motion_service.cli import app
from motion_service.mdm import convert
from motion_service.mdm.convert import pickle_to_safetensors
from motion_service.mdm.published import FILES, Kind
from motion_service.mdm.trust import TRUST_FILE, file_sha256
from tests.mdm.official_files import write_checkpoint_files, write_clip, write_distilbert

pytestmark = pytest.mark.usefixtures("own_trust")

RUNNER = CliRunner()
QUICK = ("--motion_length", "0.3", "--num_repetitions", "1", "--no-mp4")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    write_clip(root / "clip")
    write_distilbert(root / "distilbert")
    return root


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoders: Path) -> None:
    """Statistics and text encoders where the settings say, and conversions without the seconds of a child process."""
    folder = tmp_path / "data" / "dataset" / "HumanML3D"
    folder.mkdir(parents=True)
    np.save(folder / "Mean.npy", np.zeros(263, np.float32))
    np.save(folder / "Std.npy", np.full(263, 0.1, np.float32))
    monkeypatch.setenv("MOTION_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
    monkeypatch.setenv("MOTION_TEXT_DIR", str(encoders))
    monkeypatch.setenv("MOTION_DEVICE", "cpu")
    monkeypatch.setattr(convert, "_run_child", pickle_to_safetensors)


@pytest.fixture
def mdm(tmp_path: Path) -> Path:
    return write_checkpoint_files(tmp_path / "my-mdm", "mdm-encoder", diffusion_steps=3)


@pytest.fixture
def dip(tmp_path: Path) -> Path:
    return write_checkpoint_files(tmp_path / "my-dip", "dip", diffusion_steps=2)


def motion(*arguments: object) -> Result:
    return RUNNER.invoke(app, list(map(str, arguments)))


def sample(*arguments: object) -> Path:
    """Run it; the directory that it names on standard output."""
    done = motion("sample", *arguments)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip())


def refused(*arguments: object) -> str:
    """The one line that a failing command says."""
    done = motion(*arguments)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.output
    return done.stderr


def results(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = np.load(directory / "results.npy", allow_pickle=True).item()
    return content


# --- sample -----------------------------------------------------------------------------------------------------------


def test_defaults_are_the_official_ones(mdm: Path) -> None:
    directory = sample("--model_path", mdm, "--text_prompt", "A person walks.", "--no-mp4")
    assert directory == mdm.parent / "samples_my-mdm_000750000_seed10_A_person_walks"
    made = results(directory)
    assert (made["num_samples"], made["num_repetitions"], made["motion"].shape) == (6, 3, (18, 22, 3, 120))
    assert made["text"] == ["A person walks."] * 18 and made["lengths"].tolist() == [120] * 18
    assert (directory / "results.txt").read_text() == "\n".join(made["text"])
    assert (directory / "results_len.txt").read_text() == "\n".join(["120"] * 18)
    assert sorted(path.name for path in directory.iterdir()) == ["results.npy", "results.txt", "results_len.txt"]


def test_a_prompt_a_line_gives_a_sample_each(mdm: Path, tmp_path: Path) -> None:
    (tmp_path / "my prompts.v2.txt").write_text("walk\n\na person\n")
    directory = sample("--model-path", mdm.parent, "--input-text", tmp_path / "my prompts.v2.txt", *QUICK)
    assert directory.name == "samples_my-mdm_000750000_seed10_my_promptsv2"
    made = results(directory)
    assert made["text"] == ["walk", "", "a person"] and made["motion"].shape == (3, 22, 3, 6)


def test_windows_with_a_prompt_each(dip: Path, tmp_path: Path) -> None:
    (tmp_path / "changes.txt").write_text("a person walks\na person sits\n" * 3)
    done = motion(
        "sample", "--model_path", dip, "--dynamic_text_path", tmp_path / "changes.txt", "--autoregressive",
        "--num_samples", 2, "--num_repetitions", 1, "--output_dir", tmp_path / "out", "--no-mp4",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    made = results(tmp_path / "out")
    assert made["motion"].shape == (2, 22, 3, 240) and made["lengths"].tolist() == [240, 240]
    assert made["text"] == [["a person walks", "a person sits"] * 3] * 2
    assert "first prefix, from our own library instead of HumanML3D: walk" in done.stderr


def test_a_video_for_every_sample(dip: Path, tmp_path: Path) -> None:
    directory = sample(
        "--model_path", dip, "--text_prompt", "walk", "--autoregressive", "--motion_length", 0.2,
        "--num_samples", 2, "--num_repetitions", 2, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    videos = sorted(path.name for path in directory.glob("*.mp4"))
    assert videos == [*(f"sample{i:02d}_rep{j:02d}.mp4" for i in range(2) for j in range(2)), "samples_00_to_01.mp4"]


def test_a_seed_gives_the_same_again_and_another_gives_another(mdm: Path, tmp_path: Path) -> None:
    command = ("--model_path", mdm, "--text_prompt", "walk", *QUICK, "--output_dir", tmp_path / "out")
    first, again, other = (results(sample(*command, "--seed", seed))["motion"] for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("kind", "options", "guidance"),
    [("mdm-encoder", (), 2.5), ("dip", (), 7.5), ("mdm-encoder", ("--guidance_param", "1"), 1.0)],
)
def test_guidance_is_the_models_own_unless_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Kind, options: tuple[str, ...], guidance: float
) -> None:
    runs: list[Any] = []
    real = sampling.OfficialSampler.sample

    def listen(self: Any, texts: Any, frames: int, run: Any, conditions: Any = None) -> torch.Tensor:
        runs.append(run)
        return real(self, texts, frames, run, conditions)

    monkeypatch.setattr(sampling.OfficialSampler, "sample", listen)
    file = write_checkpoint_files(tmp_path / "model", kind, diffusion_steps=2)
    loop = ("--autoregressive",) if kind == "dip" else ()
    sample("--model_path", file, "--text_prompt", "walk", *QUICK, *loop, *options)
    assert {run.guidance for run in runs} == {guidance}


def test_prompts_cannot_lead_out_of_the_directory(mdm: Path) -> None:
    for prompt in ("../../etc/passwd", "/etc/passwd", "walk\nwalk", "walk " * 200, "C:\\x|y"):
        directory = sample("--model_path", mdm, "--text_prompt", prompt, *QUICK, "--num_samples", 1)
        assert directory.parent == mdm.parent and directory.is_dir()
        assert results(directory)["text"] == [prompt]


def test_an_earlier_run_is_replaced_and_nothing_else(mdm: Path, tmp_path: Path) -> None:
    command = ("--model_path", mdm, "--text_prompt", "walk", *QUICK, "--output_dir", tmp_path / "out")
    sample(*command)
    (tmp_path / "out" / "sample00_rep00.mp4").write_bytes(b"old")
    sample(*command)
    assert not (tmp_path / "out" / "sample00_rep00.mp4").exists()
    (tmp_path / "out" / "notes.md").write_text("mine")
    assert "notes.md" in refused("sample", *command)
    assert (tmp_path / "out" / "notes.md").read_text() == "mine" and (tmp_path / "out" / "results.npy").exists()


def test_more_than_one_source_of_prompts_or_none_is_refused(mdm: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("walk")
    for prompts in ((), ("--text_prompt", "walk", "--input_text", tmp_path / "p.txt")):
        assert "give one of --text_prompt" in refused("sample", "--model_path", mdm, *prompts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--text_prompt", "walk", "--motion_length", "0.01"), "motion_length must be at least 0.05 s"),
        (("--text_prompt", "walk", "--motion_length", "nan"), "motion_length"),
        (("--text_prompt", "walk", "--autoregressive"), "leave --autoregressive out"),
        (("--input_text", "absent.txt"), "absent.txt cannot be read"),
        (("--input_text", "empty.txt"), "no prompt"),
        (("--dynamic_text_path", "lines.txt"), "needs --autoregressive"),
        (("--text_prompt", "walk", "--output_dir", "empty.txt"), "is a file"),
    ],
)
def test_mistakes_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, mdm: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "lines.txt").write_text("walk\nrun\n")
    assert words in refused("sample", "--model_path", mdm, *options)
    assert not list(mdm.parent.glob("samples_*"))


def test_models_that_cannot_be_used_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, dip: Path, mdm: Path, tmp_path: Path
) -> None:
    ask = ("--text_prompt", "walk", *QUICK)
    assert "add --autoregressive" in refused("sample", "--model_path", dip, *ask)
    assert "was not found" in refused("sample", "--model_path", tmp_path / "nothing.pt", *ask)
    assert "no model*.pt" in refused("sample", "--model_path", tmp_path, *ask)
    untrusted = write_checkpoint_files(tmp_path / "untrusted", "mdm-encoder", trust=False, seed=1)
    assert "motion convert --trust" in refused("sample", "--model_path", untrusted, *ask)
    monkeypatch.setenv("MOTION_DATA_DIR", str(tmp_path / "elsewhere"))
    assert "Mean.npy" in refused("sample", "--model_path", mdm, *ask)
    monkeypatch.setenv("MOTION_TEXT_DIR", str(tmp_path / "elsewhere"))
    assert "text encoder" in refused("sample", "--model_path", mdm, *ask)


def test_a_disk_that_refuses_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, mdm: Path, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "results.npy")

    monkeypatch.setattr(sampling, "write_results", full)
    told = motion("sample", "--model_path", mdm, "--text_prompt", "walk", *QUICK)
    assert told.exit_code == 1 and "error: results.npy: No space left on device" in told.stderr


# --- convert ----------------------------------------------------------------------------------------------------------


def test_a_file_that_nobody_vouches_for_is_not_opened(tmp_path: Path) -> None:
    file = write_checkpoint_files(tmp_path / "model", "mdm", trust=False)
    line = refused("convert", file)
    assert file_sha256(file) in line and "--trust" in line
    assert not file.with_suffix(".safetensors").exists()


@pytest.mark.parametrize("given", ["file", "directory"])
def test_a_trusted_file_is_converted_recorded_and_described(tmp_path: Path, own_trust: Path, given: str) -> None:
    file = write_checkpoint_files(tmp_path / "model", "dip-target", trust=False, surprise=1, emb_policy="add")
    digest = file_sha256(file)
    path = file if given == "file" else file.parent
    done = motion("convert", "--trust", path, "--sha256", digest)
    assert done.exit_code == 0, done.output
    facts = {line[:14].strip(): line[14:] for line in done.stdout.splitlines()}
    assert facts["SHA-256"] == digest and facts["file"] == FILES["dip-target"]
    assert re.fullmatch(r"model000200000\.safetensors, in \d+\.\d s", facts["converted"])
    assert re.fullmatch(r"model, model_avg: \d+ tensors, 0\.\d+ million numbers", facts["holds"])
    assert facts["network"] == "trans_dec, 2 layers of width 16, weights: model_avg"
    assert facts["text encoder"] == "distilbert-base-uncased"
    assert facts["windows"] == "40 frames after 20" and facts["targets"] == "single"
    assert facts["diffusion"] == "10 steps, cosine" and facts["guidance"] == "7.5"
    recorded = {digest: {"name": file.name, "hash_repeated": True}}
    assert json.loads((own_trust / TRUST_FILE).read_text()) == recorded
    again = motion("convert", path)
    assert again.exit_code == 0 and f"{file.with_suffix('.safetensors').name}, before" in again.stdout


def test_warnings_of_a_checkpoint_are_shown(tmp_path: Path) -> None:
    file = write_checkpoint_files(tmp_path / "model", "dip", trust=False, emb_before_mask=True)
    done = motion("convert", "--trust", file, "--sha256", file_sha256(file))
    assert done.exit_code == 0 and "\nwarning       " in done.stdout


def test_weights_without_settings_are_converted_only(tmp_path: Path) -> None:
    torch.save({"embeddings.weight": torch.zeros(3, 2)}, tmp_path / "pytorch_model.bin")
    digest = file_sha256(tmp_path / "pytorch_model.bin")
    done = motion("convert", "--trust", tmp_path, "--sha256", digest)
    assert done.exit_code == 0, done.output
    assert "flat: 1 tensors" in done.stdout and "network" not in done.stdout
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("by_setting", [True, False])
def test_a_cache_directory_takes_what_cannot_lie_beside_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_setting: bool
) -> None:
    file = write_checkpoint_files(tmp_path / "model", "mdm", trust=False)
    monkeypatch.setattr(convert, "places", lambda file, digest, cache: [cache / f"{digest}.safetensors"])
    digest = file_sha256(file)
    option = () if by_setting else ("--cache-dir", tmp_path / "cache")
    monkeypatch.setenv("MOTION_CONVERSION_DIR", str(tmp_path / "cache") if by_setting else "")
    done = motion("convert", "--trust", file, "--sha256", digest, *option)
    assert done.exit_code == 0, done.output
    assert f"{digest}.safetensors, in" in done.stdout and "\nnetwork " in done.stdout
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {f"{digest}.safetensors", TRUST_FILE}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b"<html>", "web page"),
        (b"PK\x03\x04 and then nothing", "truncated or damaged"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "model000000001.pt"
    if content is not None:
        file.write_bytes(content)
    assert words in refused("convert", "--trust", file)


def test_a_wrong_hash_and_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = write_checkpoint_files(tmp_path / "model", "mdm", trust=False)
    digest = file_sha256(file)
    assert "not the one that was given" in refused("convert", "--trust", file, "--sha256", "0" * 64)
    args = json.loads((file.parent / "args.json").read_text())
    (file.parent / "args.json").write_text(json.dumps({**args, "layers": 7}))
    done = motion("convert", "--trust", file, "--sha256", digest)
    assert done.exit_code == 1 and "layers" in done.stderr and digest in done.stdout
