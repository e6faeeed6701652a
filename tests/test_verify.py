"""Comparing two samplers: the arithmetic, the cases, and ``motion verify`` around them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from motion_service import verify
from motion_service.cli_verify import app
from motion_service.mdm.official import OfficialCheckpoint
from motion_service.mdm.official_keys import is_parameter
from motion_service.mdm.published import Kind
from motion_service.mdm_adapter.official import OfficialSampler
from motion_service.mdm_adapter.upstream import UpstreamSampler
from motion_service.mdm_adapter.upstream_program import load_program
from motion_service.verify import RandomTexts, Row, compare, difference, no_statistics, random_checkpoint
from tests.upstream_stand_in import tiny_checkpoint, write_program

KEYS = Path(__file__).resolve().parents[1] / ".." / "shared" / "spec" / "state-dict-keys"
RUNNER = CliRunner()
WRONG_GUIDANCE = ("return untold +", "return 1.001 * untold +")
FORWARDS = [f"t={t}, {name}" for t in (0, 2, 4) for name in ("conditional", "guided 2.5")]


def compare_with(program: Path, checkpoint: OfficialCheckpoint, seeds: list[int]) -> list[Row]:
    encoder = RandomTexts(checkpoint.config.text_encoder, checkpoint.config.network.text_width)
    own = OfficialSampler(checkpoint, encoder, no_statistics())
    upstream = UpstreamSampler(checkpoint, encoder, no_statistics(), load_program(program))
    return compare(own, upstream, encoder.encode(["walks", "a person jumps"]), 8, seeds)


def new_row(max_abs: float, **changes: Any) -> Row:
    numbers = {"mean_abs": 0.0, "relative": 0.0, "own_ms": 2.0, "upstream_ms": 3.0, "tolerance": 1e-4}
    return Row("x", max_abs, **{**numbers, **changes})


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_difference_is_largest_mean_and_share() -> None:
    theirs = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    own = theirs + torch.tensor([[0.0, 0.5], [-1.0, 0.0]])
    assert difference(own, theirs) == (1.0, 0.375, 0.25)
    assert difference(theirs, theirs) == (0.0, 0.0, 0.0)
    assert difference(torch.zeros(2), torch.zeros(2)) == (0.0, 0.0, 0.0)


def test_difference_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 4\)"):
        difference(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize(("max_abs", "passed"), [(0.0, True), (1e-4, True), (1.1e-4, False), (math.nan, False)])
def test_row_passes_up_to_its_tolerance(max_abs: float, passed: bool) -> None:
    row = new_row(max_abs)
    assert (row.passed, row.to_json()["passed"], row.ratio) == (passed, passed, 1.5)


def test_numbers_that_are_not_finite_never_pass() -> None:
    largest, _, _ = difference(torch.tensor([0.0, math.nan]), torch.zeros(2))
    assert not new_row(largest).passed


# --- cases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mdm", ["5 steps, 8 frames"]),
        ("mdm-encoder", ["5 steps, 8 frames"]),
        ("dip", ["5 steps, 40 frames", "2 windows of 40 frames"]),
        (
            "dip-target",
            ["t=4, conditional, target", "t=4, guided 2.5, target", "5 steps, 40 frames", "2 windows of 40 frames"],
        ),
    ],
)
def test_every_case_of_a_model_is_compared(kind: Kind, more: list[str], tmp_path: Path) -> None:
    rows = compare_with(write_program(tmp_path), tiny_checkpoint(kind), [1, 2])
    assert [row.case for row in rows] == [*FORWARDS, *more]
    assert all(row.passed and row.own_ms > 0 and row.upstream_ms > 0 for row in rows)


def test_a_model_without_guidance_has_no_guided_case(tmp_path: Path) -> None:
    rows = compare_with(write_program(tmp_path), tiny_checkpoint("mdm", cond_mask_prob=0.0), [1])
    assert [row.case for row in rows] == [*FORWARDS[::2], "5 steps, 8 frames"]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"utils__sampler_util": WRONG_GUIDANCE}, {*FORWARDS[1::2], "5 steps, 40 frames", "2 windows of 40 frames"}),
        (
            {"diffusion__gaussian_diffusion": ("step.coef_xt * x", "1.01 * step.coef_xt * x")},
            {"5 steps, 40 frames", "2 windows of 40 frames"},
        ),
        ({"utils__sampler_util": ("prefix = made[-1]", "made[-1]")}, {"2 windows of 40 frames"}),
    ],
)
def test_a_difference_is_found_where_it_is(change: dict[str, tuple[str, str]], wrong: set[str], tmp_path: Path) -> None:
    rows = compare_with(write_program(tmp_path, **change), tiny_checkpoint("dip"), [1])
    assert {row.case for row in rows if not row.passed} == wrong


# --- without a download -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("mdm", "humanml_trans_dec_512_bert-50steps"),
        ("mdm-encoder", "humanml-encoder-512-50steps"),
        ("dip", "dip_no_target_10steps_context20_predict40"),
        ("dip-target", "dip_target_10steps_context20_predict40_single"),
    ],
)
def test_random_weights_have_the_published_shapes(kind: Kind, name: str) -> None:
    path = KEYS / f"state_dict_keys_{name}.json"
    if not path.is_file():
        pytest.skip("the key lists of the published checkpoints are not beside the checkout")
    shapes = {key: [*tensor.shape] for key, tensor in random_checkpoint(kind).network.state_dict().items()}
    published = json.loads(path.read_text())["keys"]
    assert shapes == {key: facts["shape"] for key, facts in published.items() if is_parameter(key)}


def test_random_weights_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = (random_checkpoint("dip", seed=3).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_random_texts_are_the_same_for_the_same_words() -> None:
    bert, clip = RandomTexts("distilbert-base-uncased", 768), RandomTexts("clip-vit-b-32", 512)
    one, two, again = bert.encode(["a man walks", "a man runs", "a man walks"])
    assert one.tokens.shape == (5, 768) and bool(one.mask.all())
    assert torch.equal(one.tokens, again.tokens) and not torch.equal(one.tokens, two.tokens)
    assert clip.encode(["a man walks"])[0].tokens.shape == (1, 512)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``--random`` makes a tiny model, and no text encoder is there."""
    monkeypatch.setattr(verify, "random_checkpoint", lambda kind: tiny_checkpoint(kind))
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path / "nothing"))
    monkeypatch.delenv("MOTION_MDM_REPO_DIR", raising=False)


@pytest.mark.usefixtures("tiny")
def test_last_line_is_one_json_object(tmp_path: Path) -> None:
    arguments = ["--upstream", str(write_program(tmp_path)), "--random", "dip", "--text", "walks", "--text", "waves"]
    done = RUNNER.invoke(app, [*arguments, "--seed", "1", "--seed", "2", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout.splitlines()[-1])
    assert document["passed"] and all(row["passed"] for row in document["rows"])
    assert (document["texts"], document["batch"], document["seeds"]) == ("random", 2, [1, 2])
    assert document["upstream"]["commit"] is None and not document["upstream"]["is_pinned"]
    assert set(document["versions"]) == {"python", "torch"}
    assert "replaced by random tokens" in done.stderr
    assert "2 windows of 40 frames" in done.stdout and str(tmp_path) not in done.output


@pytest.mark.usefixtures("tiny")
def test_a_difference_ends_with_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_MDM_REPO_DIR", str(write_program(tmp_path, utils__sampler_util=WRONG_GUIDANCE)))
    done = RUNNER.invoke(app, ["--random", "mdm", "--frames", "8"])
    assert done.exit_code == 1
    assert not json.loads(done.stdout.splitlines()[-1])["passed"]
    assert "no" in done.stdout


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of --checkpoint PATH and --random"),
        (["--random", "dip", "--checkpoint", "x"], "give one of --checkpoint PATH and --random"),
        (["--random", "dip"], "the official program was not found"),
        (["--random", "dip", "--upstream", "tests"], "'tests' is not the official program"),
        (["--checkpoint", "no-such", "--upstream", "."], "is not the official program"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], words: str) -> None:
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 1
    assert words in done.stderr and "Traceback" not in done.output
    assert done.stdout == ""
