"""The official batch run: the numbers of its seeds, its rules of length and order, and the files it leaves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from motion_service import sampling
from motion_service.clips import TextEmbedding
from motion_service.diffusion.samplers import official_noise
from motion_service.errors import BadRequest, NonFiniteOutput
from motion_service.features.humanml3d import features_to_joints
from motion_service.features.prefixes import load_prefixes
from motion_service.features.statistics import Statistics
from motion_service.mdm.checkpoint import CheckpointConfig
from motion_service.mdm.network import Denoiser
from motion_service.mdm.official import OfficialCheckpoint
from motion_service.mdm.published import Kind
from motion_service.mdm_adapter.official import Conditions, OfficialSampler, Run
from motion_service.sampling import (
    Batch,
    Samples,
    num_videos,
    num_windows,
    read_prompts,
    sample_batch,
    samples_to_clips,
    samples_to_results,
    seconds_to_frames,
    write_samples,
)
from tests.golden import golden_models
from tests.golden.golden_checks import LOOP
from tests.golden.golden_files import golden
from tests.mdm.official_files import new_spec

PLAIN = Statistics(torch.zeros(263), torch.ones(263), "checkpoint")
"""Statistics that leave features as they are."""


class LetterEncoder:
    """Every text gets tokens of its own, as many as it has letters up to five."""

    name = "letters"

    def __init__(self, width: int) -> None:
        self.width = width

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        return [self._embed(text) for text in texts]

    def cut(self, text: str) -> int | None:
        return max(0, len(text) - 40) or None

    def _embed(self, text: str) -> TextEmbedding:
        generator = torch.Generator().manual_seed(sum(i * ord(letter) for i, letter in enumerate(text, 1)))
        tokens = torch.randn(min(max(len(text), 1), 5), self.width, generator=generator)
        return TextEmbedding(tokens, torch.ones(len(tokens)).bool(), self.name)


def new_sampler(
    network: Denoiser,
    encoder: Any,
    *,
    steps: int = 4,
    kind: type[OfficialSampler] = OfficialSampler,
    statistics: Statistics = PLAIN,
    **changes: Any,
) -> OfficialSampler:
    config = CheckpointConfig(network.spec, steps, "cosine", encoder.name, "humanml3d", 20.0, 2.5, "none")
    facts: dict[str, Any] = {"sigma_small": True, "cond_mask_prob": 0.1, "iteration": 1, "part": "flat"}
    checkpoint = OfficialCheckpoint(
        name="tiny", directory=Path(), config=config, network=network, sha256="", warnings=(), **facts | changes
    )
    return kind(checkpoint, encoder, statistics)


def tiny(kind: Kind = "mdm", **changes: Any) -> OfficialSampler:
    torch.manual_seed(5)
    network = Denoiser(new_spec(kind)).eval().requires_grad_(False)
    return new_sampler(network, LetterEncoder(network.spec.text_width), **changes)


# --- the numbers of a seed --------------------------------------------------------------------------------------------


class GoldenEncoder:
    """The prompt ``"1"`` is row 1 of the recorded texts."""

    name = "golden"

    def __init__(self, tokens: Tensor, mask: Tensor) -> None:
        self.tokens, self.mask, self.width = tokens, mask, tokens.shape[-1]

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        return [TextEmbedding(self.tokens[int(text)], self.mask[int(text)], self.name) for text in texts]


def golden_sampler(numbers: dict[str, Any]) -> OfficialSampler:
    """The model and the texts of a golden, with what no option asks for: a guidance a sample, frame mask and prefix."""
    conditions = golden_models.conditions(numbers)

    class Recorded(OfficialSampler):
        def sample(
            self,
            texts: Sequence[TextEmbedding],
            num_frames: int,
            run: Run,
            asked: Conditions | None = None,
        ) -> Tensor:
            assert (asked is not None and asked.prefix is not None) == (conditions["prefix"] is not None)
            run = dataclasses.replace(run, guidance=golden_models.scale(numbers))
            return super().sample(texts, num_frames, run, Conditions(**conditions))

    network = golden_models.network(golden(numbers["model_file"]), mask_frames=True)
    encoder = GoldenEncoder(*golden_models.text(numbers))
    return new_sampler(network, encoder, steps=int(numbers["steps"]), kind=Recorded)


@pytest.mark.parametrize("name", ["enc_clip", "dec_bert", "dip"])
def test_seed_10_gives_the_recorded_samples(name: str) -> None:
    numbers = golden(f"diffusion_loop_{name}.npz")
    expected = golden_models.frames(numbers["final_seed10_cpu"])
    sampler = golden_sampler(numbers)
    texts = tuple(map(str, range(len(expected))))
    batch = Batch(texts, expected.shape[1], 1, seed=10, autoregressive=sampler.is_windowed)
    assert_close(sample_batch(sampler, batch).features, expected, atol=LOOP, rtol=0)


@pytest.mark.parametrize("kind", ["mdm", "dip"])
def test_one_generator_draws_for_repetition_after_repetition_window_after_window(kind: Kind) -> None:
    sampler = tiny(kind)
    frames = 90 if kind == "dip" else 7
    texts = ("walks", "jumps up")
    batch = Batch(texts, frames, 2, seed=3, autoregressive=kind == "dip")
    generator = torch.Generator().manual_seed(3)
    run, _ = sampler.new_run(None, None, lambda shape: official_noise(generator, shape))
    embedded = sampler.encoder.encode(texts)
    library = load_prefixes()
    repetitions = []
    for _ in range(2):
        if kind == "mdm":
            repetitions.append(sampler.sample(embedded, frames, run))
            continue
        before, windows = torch.stack([library["walk"], library["stand"]]), []
        for _ in range(3):
            windows.append(sampler.sample(embedded, 40, run, Conditions(prefix=before)))
            before = windows[-1][:, -20:]
        repetitions.append(torch.cat(windows, dim=1)[:, :frames])
    assert_close(sample_batch(sampler, batch).features, torch.cat(repetitions), atol=0, rtol=0)


def test_a_seed_is_all_that_a_run_depends_on() -> None:
    sampler, batch = tiny(), Batch(("walks",), 5, 1)
    first = sample_batch(sampler, batch).features
    torch.manual_seed(99)
    assert torch.equal(sample_batch(sampler, batch).features, first)
    assert not torch.equal(sample_batch(sampler, dataclasses.replace(batch, seed=11)).features, first)


def test_statistics_bring_features_back_to_metres() -> None:
    batch = Batch(("walks",), 5, 1)
    mean, std = torch.linspace(-1, 1, 263), torch.linspace(0.5, 2, 263)
    plain, scaled = (
        sample_batch(tiny(statistics=Statistics(*pair, "data")), batch).features for pair in (PLAIN[:2], (mean, std))
    )
    assert_close(scaled, plain * std + mean)


# --- windows ----------------------------------------------------------------------------------------------------------


def test_dynamic_text_takes_a_prompt_for_each_window_and_has_no_cap() -> None:
    sampler = tiny("dip", steps=2)
    prompts = ("walks", "runs", "stands", "walks", "jumps", "sits")
    made = sample_batch(sampler, Batch((prompts,) * 2, 240, 1, autoregressive=True))
    assert made.features.shape == (2, 240, 263) and made.prefixes == ("walk", "walk")
    changed = (*prompts[:3], "waves", *prompts[4:])
    other = sample_batch(sampler, Batch((changed,) * 2, 240, 1, autoregressive=True))
    assert torch.equal(other.features[:, :120], made.features[:, :120])
    assert not torch.equal(other.features[:, 120:160], made.features[:, 120:160])


def test_the_same_prompt_for_every_window_is_a_fixed_one() -> None:
    sampler = tiny("dip", steps=2)
    fixed = sample_batch(sampler, Batch(("walks",), 80, 1, autoregressive=True))
    dynamic = sample_batch(sampler, Batch((("walks", "walks"),), 80, 1, autoregressive=True))
    assert torch.equal(fixed.features, dynamic.features)


def test_the_prefix_may_stand_in_front() -> None:
    sampler, batch = tiny("dip", steps=2), Batch(("a person runs",), 50, 1, autoregressive=True)
    without = sample_batch(sampler, batch).features
    made = sample_batch(sampler, dataclasses.replace(batch, include_prefix=True))
    assert made.prefixes == ("run",)
    assert_close(made.features, torch.cat([load_prefixes()["run"][None], without[:, :30]], dim=1))


@given(st.integers(1, 500))
def test_windows_are_enough_and_not_one_more(frames: int) -> None:
    windows = num_windows(tiny("dip"), Batch(("x",), frames, 1, autoregressive=True))
    assert (windows - 1) * 40 < frames <= windows * 40
    assert num_windows(tiny("mdm"), Batch(("x",), frames, 1)) == 1


def test_every_denoising_step_is_told() -> None:
    told: list[None] = []
    sample_batch(tiny("dip", steps=3), Batch(("x",), 70, 2, autoregressive=True), lambda: told.append(None))
    assert len(told) == 2 * 2 * 3


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "frames"), [(6.0, 120), (9.8, 196), (100.0, 196), (math.inf, 196), (0.05, 1), (2.04, 40), (0.9, 18)]
)
def test_seconds_are_cut_to_frames(seconds: float, frames: int) -> None:
    assert seconds_to_frames(seconds) == frames


@pytest.mark.parametrize("seconds", [0.0, 0.049, -1.0, math.nan, -math.inf])
def test_no_frame_at_all_is_refused(seconds: float) -> None:
    with pytest.raises(BadRequest, match=r"at least 0\.05 s"):
        seconds_to_frames(seconds)


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        (b"walks\nruns\n", ("walks", "runs")),
        (b"walks\r\nruns", ("walks", "runs")),
        (b"walks\n\nruns\n\n", ("walks", "", "runs", "")),
        (b"\xef\xbb\xbfwalks\x0bon \n", ("walks\x0bon ",)),
        ("手を振る\u2028歩く".encode(), ("手を振る\u2028歩く",)),
        (b"", ()),
    ],
)
def test_lines_are_prompts_as_they_are(tmp_path: Path, content: bytes, prompts: tuple[str, ...]) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    assert read_prompts(path) == prompts


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00w"])
def test_files_that_hold_no_text_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prompts.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(BadRequest, match=r"^prompts\.txt"):
        read_prompts(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"texts": ()},
        {"texts": ((),), "autoregressive": True},
        {"num_frames": 0},
        {"num_repetitions": 0},
        {"texts": (("walks", "runs"),)},
    ],
)
def test_batches_of_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        Batch(**{"texts": ("walks",), "num_frames": 5, **wrong})


def test_the_loop_must_fit_the_model() -> None:
    with pytest.raises(BadRequest, match="leave --autoregressive out"):
        sample_batch(tiny("mdm"), Batch(("x",), 5, autoregressive=True))
    with pytest.raises(BadRequest, match="add --autoregressive"):
        sample_batch(tiny("dip"), Batch(("x",), 5))
    with pytest.raises(BadRequest, match="2 prompts for 3 windows"):
        sample_batch(tiny("dip"), Batch((("x", "y"),), 100, autoregressive=True))


def test_what_is_not_done_as_asked_is_said() -> None:
    long = "a person " + "walks and " * 5
    made = sample_batch(tiny(cond_mask_prob=0.0), Batch((long, "x", long), 3, 1, guidance=3.0))
    assert [warning.partition(":")[0] for warning in made.warnings] == ["guidance", "prompt"]


def test_broken_weights_are_said() -> None:
    sampler = tiny(statistics=Statistics(torch.zeros(263), torch.full((263,), math.inf), "data"))
    with pytest.raises(NonFiniteOutput, match="not finite"):
        sample_batch(sampler, Batch(("x",), 3, 1))


# --- files ------------------------------------------------------------------------------------------------------------


def test_rows_are_in_order_of_repetitions() -> None:
    batch = Batch(("walks", "jumps"), 6, 3)
    made = sample_batch(tiny(), batch)
    results = samples_to_results(made)
    assert results.motion.shape == (6, 22, 3, 6) and (results.num_samples, results.num_repetitions) == (2, 3)
    assert [*results.texts] == ["walks", "jumps"] * 3 and [*results.lengths] == [6] * 6
    assert_close(results.motion[4].permute(2, 0, 1), features_to_joints(made.features[4]))
    names = [(made.file_name(row), made.title(row)) for row in range(6)]
    assert names[:3] == [
        ("sample00_rep00.mp4", "walks"), ("sample01_rep00.mp4", "jumps"), ("sample00_rep01.mp4", "walks")
    ]  # fmt: skip


def test_the_recorded_chain_from_network_to_results() -> None:
    """``chain/`` of representation.npz: normalised network output and the ``motion`` of its results.npy."""
    numbers = golden("representation.npz")
    normalised = golden_models.frames(numbers["chain/x_norm"])
    features = normalised * numbers["std"] + numbers["mean"]
    rows = len(features)
    made = Samples(features, Batch(("x",) * rows, features.shape[1], 1))
    assert_close(samples_to_results(made).motion, numbers["chain/motion_22_3_T"], atol=1e-5, rtol=0)


def test_files_of_a_run(tmp_path: Path) -> None:
    prompts = ("walks", "runs")
    features = load_prefixes()["walk"].repeat(2, 4, 1)
    made = Samples(features, Batch((prompts,), 80, 2, autoregressive=True), ("walk",))
    told: list[None] = []
    write_samples(tmp_path / "run", made, on_video=lambda: told.append(None))
    videos = ["sample00_rep00.mp4", "sample00_rep01.mp4", "samples_00_to_00.mp4"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "results.npy", "results.txt", "results_len.txt", *videos
    ]  # fmt: skip
    assert len(told) == num_videos(made.batch) == 3 and all(
        (tmp_path / "run" / name).read_bytes()[4:8] == b"ftyp" for name in videos
    )
    assert (tmp_path / "run" / "results.txt").read_text() == "walks#runs\nwalks#runs"
    results = np.load(tmp_path / "run" / "results.npy", allow_pickle=True).item()
    assert results["text"] == [["walks", "runs"], ["walks", "runs"]]
    write_samples(tmp_path / "run", dataclasses.replace(made, batch=Batch(("x",), 80, 2)), videos=False)
    assert not any((tmp_path / "run").glob("*.mp4")), "an earlier run's videos are gone"


def test_grids_show_three_samples_under_another_and_their_repetitions_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[list[str]]] = {}

    def remember(rows: Sequence[Sequence[Path]], path: Path) -> None:
        drawn[path.name] = [[video.name for video in row] for row in rows]

    monkeypatch.setattr(sampling, "write_mp4", lambda clip, path, title: None)
    monkeypatch.setattr(sampling, "write_grid", remember)
    texts = ("a", "b", "c", "d")
    made = Samples(load_prefixes()["stand"].repeat(8, 1, 1), Batch(texts, 20, 2))
    told: list[None] = []
    write_samples(tmp_path / "run", made, on_video=lambda: told.append(None))
    names = [[f"sample{sample:02d}_rep{repetition:02d}.mp4" for repetition in range(2)] for sample in range(4)]
    assert drawn == {"samples_00_to_02.mp4": names[:3], "samples_03_to_03.mp4": names[3:]}
    assert len(told) == num_videos(made.batch) == 10


def test_clips_are_retargeted_row_by_row() -> None:
    features = torch.stack([load_prefixes()[name] for name in ("stand", "walk")])
    still, moving = samples_to_clips(Samples(features, Batch(("stand", "walk"), 20, 1)))
    assert (still.fps, still.num_frames) == (20.0, 20)
    ways = [float((clip.hips[-1] - clip.hips[0]).norm()) for clip in (still, moving)]
    assert ways[0] < 0.1 < 0.5 < ways[1]
