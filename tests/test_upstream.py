"""The official code as an engine: a stand-in of its interface here, a real checkout where one is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from motion_service import loading
from motion_service.clips import TextEmbedding
from motion_service.config import Config
from motion_service.engine.worker import Worker
from motion_service.errors import BadRequest, Cancelled, CheckpointMismatch, ModelUnavailable
from motion_service.mdm.checkpoint import CheckpointConfig
from motion_service.mdm.official import OfficialCheckpoint
from motion_service.mdm.published import Kind
from motion_service.mdm_adapter.official import Conditions, OfficialSampler, seeded_draw
from motion_service.mdm_adapter.upstream import UpstreamSampler
from motion_service.mdm_adapter.upstream_program import UpstreamProgram, load_program
from motion_service.verify import RandomTexts, compare, no_statistics
from tests.golden.golden_files import golden
from tests.golden.golden_models import frames, network, scale, text
from tests.upstream_stand_in import tiny_checkpoint, write_program

PACKAGES = {"data_loaders", "diffusion", "model", "utils", "clip"}
TEXTS = ["a person walks", "jumps"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> UpstreamProgram:
    return load_program(write_program(tmp_path_factory.mktemp("stand-in")))


def samplers(
    checkpoint: OfficialCheckpoint, program: UpstreamProgram
) -> tuple[OfficialSampler, UpstreamSampler, list[TextEmbedding]]:
    """Ours, theirs and the embeddings of two texts of different length."""
    encoder = RandomTexts(checkpoint.config.text_encoder, checkpoint.config.network.text_width)
    own = OfficialSampler(checkpoint, encoder, no_statistics())
    return own, UpstreamSampler(checkpoint, encoder, no_statistics(), program), encoder.encode(TEXTS)


# --- import in isolation ----------------------------------------------------------------------------------------------


def traces() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in PACKAGES]


def test_import_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("utils")
    monkeypatch.setitem(sys.modules, "utils", theirs)
    before = (dict(sys.modules), [*sys.path], [*sys.meta_path], sys.dont_write_bytecode)
    made = load_program(write_program(tmp_path))
    assert (dict(sys.modules), sys.path, sys.meta_path, sys.dont_write_bytecode) == before
    assert sys.modules["utils"] is theirs
    assert made.model_util.MDM.__module__ == "model.mdm"
    assert not [*tmp_path.rglob("__pycache__")]


def test_two_checkouts_do_not_mix(tmp_path: Path) -> None:
    first = load_program(write_program(tmp_path / "a"))
    second = load_program(write_program(tmp_path / "b", utils__misc=("7", "9")))
    assert first.model_util.MDM is not second.model_util.MDM
    assert first.sha256 != second.sha256


def test_other_packages_of_these_names_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A regular package on sys.path would win over the checkout's, which have no __init__.py."""
    (tmp_path / "other" / "utils").mkdir(parents=True)
    (tmp_path / "other" / "utils" / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    monkeypatch.syspath_prepend(tmp_path / "other")
    assert load_program(write_program(tmp_path / "checkout")).sampler_util.ClassifierFreeSampleModel


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"utils__misc": ("PE_ROWS = 7", "import no_such_package")}, "the package no_such_package is not installed"),
        ({"utils__misc": ("PE_ROWS = 7", "PE_ROWS = (")}, "SyntaxError"),
        ({"utils__misc": ("PE_ROWS = 7", "")}, "ImportError: cannot import name 'PE_ROWS'"),
        ({"utils__misc": ("PE_ROWS = 7", "PE_ROWS = ROWS")}, "NameError"),
    ],
)
def test_faults_inside_are_one_line(changes: dict[str, tuple[str, str]], words: str, tmp_path: Path) -> None:
    checkout = write_program(tmp_path, **changes)
    with pytest.raises(ModelUnavailable) as caught:
        load_program(checkout)
    assert words in caught.value.detail
    assert "\n" not in caught.value.detail and str(tmp_path) not in caught.value.detail
    assert not traces()


def test_absent_and_foreign_directories_are_one_line(tmp_path: Path) -> None:
    for wrong in (None, tmp_path / "absent"):
        with pytest.raises(ModelUnavailable, match="was not found: MOTION_MDM_REPO_DIR must be a checkout"):
            load_program(wrong)
    foreign = tmp_path / "foreign"
    (foreign / "model").mkdir(parents=True)
    with pytest.raises(ModelUnavailable, match=r"'foreign' is not the official program, it lacks utils\.model_util"):
        load_program(foreign)


def test_commit_is_read_from_git(tmp_path: Path) -> None:
    checkout = write_program(tmp_path)
    assert load_program(checkout).commit is None
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text(f"# pack-refs\n{'a' * 40} refs/heads/main\n")
    assert load_program(checkout).commit == "a" * 40
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("b" * 40 + "\n")
    assert load_program(checkout).commit == "b" * 40
    (git / "HEAD").write_text("c" * 40 + "\n")
    assert load_program(checkout).commit == "c" * 40


def test_line_ends_do_not_change_the_hash(tmp_path: Path, program: UpstreamProgram) -> None:
    checkout = write_program(tmp_path)
    for file in checkout.rglob("*.py"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert load_program(checkout).sha256 == program.sha256
    assert not program.is_pinned


# --- the sampler ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mdm", "mdm-encoder", "dip", "dip-target"])
@pytest.mark.parametrize("case", ["plain", "unguided", "fewer steps", "ddim", "masked", "kept", "own noise"])
def test_samples_equal_ours(kind: Kind, case: str, program: UpstreamProgram) -> None:
    own, upstream, texts = samplers(tiny_checkpoint(kind), program)
    num_frames = 40 if own.is_windowed else 12
    torch.manual_seed(2)
    told = {"prefix": torch.randn(2, 20, 263)} if own.is_windowed else {}
    if own.takes_targets:
        asked = torch.tensor([[True, False, False, False, False, False, True, True], [False] * 8])
        told["target"] = (torch.randn(2, 8, 3) * asked[..., None], asked)
    if case == "masked":
        told["frame_mask"] = torch.arange(num_frames) < torch.tensor([[num_frames], [7]])
    if case == "kept":
        told |= {"keep": torch.rand(2, num_frames, 263) < 0.5, "motion": torch.randn(2, num_frames, 263)}
    results = []
    for sampler in (own, upstream):
        draw = seeded_draw(10, official=case != "own noise")
        steps = 3 if case == "fewer steps" else None
        guidance = 1.0 if case == "unguided" else None
        run, warnings = sampler.new_run(steps, guidance, draw, ddim=case == "ddim")
        assert not warnings
        results.append(sampler.sample(texts, num_frames, run, Conditions(**told)))
    ours, theirs = results
    assert theirs.shape == (2, num_frames, 263)
    assert_close(theirs, ours, atol=1e-5, rtol=0)
    if case == "kept":
        assert torch.equal(theirs[told["keep"]], told["motion"][told["keep"]])


def test_windows_take_new_noise_and_the_frames_before(program: UpstreamProgram) -> None:
    own, upstream, texts = samplers(tiny_checkpoint("dip"), program)
    rows = compare(own, upstream, texts, 40, [3])
    assert rows[-1].case == "2 windows of 40 frames" and rows[-1].max_abs < 1e-5
    run, _ = upstream.new_run(None, None, seeded_draw(3, official=True))
    both = upstream.sample_windows(texts, 70, run, torch.zeros(2, 20, 263))
    assert both.shape == (2, 70, 263)
    assert not torch.equal(both[:, :30], both[:, 40:])


def test_seed_decides_and_torch_stays_itself(program: UpstreamProgram) -> None:
    _, upstream, texts = samplers(tiny_checkpoint("mdm"), program)

    def sampled(seed: int) -> torch.Tensor:
        run, _ = upstream.new_run(None, None, seeded_draw(seed, official=True))
        return upstream.sample(texts, 8, run)

    state = torch.random.get_rng_state()
    first, again, other = sampled(1), sampled(1), sampled(2)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing was drawn behind the request's back
    assert program.gaussian_diffusion.th is torch


def test_cancelling_stops_between_steps(program: UpstreamProgram) -> None:
    _, upstream, texts = samplers(tiny_checkpoint("mdm"), program)
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            raise Cancelled()

    run, _ = upstream.new_run(None, None, seeded_draw(1, official=True), check=check)
    with pytest.raises(Cancelled):
        upstream.sample(texts, 8, run)
    assert checks == 2
    assert program.gaussian_diffusion.th is torch


def test_steps_are_clamped_and_one_is_refused(program: UpstreamProgram) -> None:
    _, upstream, _ = samplers(tiny_checkpoint("mdm"), program)
    draw = seeded_draw(1, official=True)
    run, warnings = upstream.new_run(200, None, draw)
    assert run.schedule.num_steps == 5 and len(warnings) == 1
    with pytest.raises(BadRequest, match="at least 2") as caught:
        upstream.new_run(1, None, draw)
    assert caught.value.field == "steps"


def test_a_model_without_dropped_texts_is_not_guided(program: UpstreamProgram) -> None:
    own, upstream, texts = samplers(tiny_checkpoint("mdm", cond_mask_prob=0.0), program)
    run, warnings = upstream.new_run(None, 2.5, seeded_draw(1, official=True))
    assert run.guidance == 1 and "guidance" in warnings[0]
    assert upstream.sample(texts, 8, run).shape == (2, 8, 263)


def test_weights_that_do_not_fit_are_said(tmp_path: Path) -> None:
    grown = ("self.cond_mask_prob =", "self.more = torch.nn.Linear(2, 2); self.cond_mask_prob =")
    with pytest.raises(CheckpointMismatch, match=r"'tiny' does not fit the official network: .*more\.weight"):
        samplers(tiny_checkpoint("mdm"), load_program(write_program(tmp_path / "a", model__mdm=grown)))
    with pytest.raises(ModelUnavailable, match="cannot make its network"):
        changed = write_program(tmp_path / "b", model__mdm=("self, *, ff_size, args", "self, *, width"))
        samplers(tiny_checkpoint("mdm"), load_program(changed))


# --- in the service ---------------------------------------------------------------------------------------------------


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has DiP without its files, and chose the official code; where its checkout should be."""
    checkpoint = tiny_checkpoint("dip")
    reads = checkpoint.config.text_encoder, checkpoint.config.network.text_width
    (tmp_path / "models" / "dip").mkdir(parents=True)
    monkeypatch.setattr(loading, "load_official", lambda path, **options: checkpoint)
    monkeypatch.setattr(loading, "text_encoders", lambda directory, device: lambda name: RandomTexts(*reads))
    monkeypatch.setattr(loading, "load_statistics", lambda *places: no_statistics())
    monkeypatch.setattr(loading, "mini_directory", lambda: tmp_path / "no mini")
    values = {"CHECKPOINT_DIR": tmp_path / "models", "MOTION_MDM_DIP_CKPT": "dip", "MOTION_DEVICE": "cpu"}
    values |= {"MOTION_MDM_ENGINE": "upstream", "MOTION_MDM_REPO_DIR": tmp_path / "checkout"}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path / "checkout"


def test_the_engine_is_chosen_by_configuration(install: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(install)
    source = loading.load_sources(Config(), Worker())["dip"]
    assert isinstance(source.sampler, UpstreamSampler)  # type: ignore[attr-defined]
    monkeypatch.setenv("MOTION_MDM_ENGINE", "own")
    source = loading.load_sources(Config(), Worker())["dip"]
    assert type(source.sampler) is OfficialSampler  # type: ignore[attr-defined]


def test_without_a_checkout_the_provider_is_left_out(install: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(loading, "log_event", lambda event, **facts: said.append(f"{event}: {facts.get('reason')}"))
    assert loading.load_sources(Config(), Worker()) == {}
    (line,) = [line for line in said if "official program" in line]
    assert line.startswith("model not loaded: the official program was not found: MOTION_MDM_REPO_DIR")
    assert str(install) not in line


# --- a real checkout --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official_program() -> UpstreamProgram:
    """What MOTION_MDM_REPO_DIR points at."""
    where = os.environ.get("MOTION_MDM_REPO_DIR")
    if not where:
        pytest.skip("MOTION_MDM_REPO_DIR is not set: no checkout of the official repository to compare with")
    return load_program(Path(where))


def test_checkout_is_what_we_were_compared_with(official_program: UpstreamProgram) -> None:
    assert official_program.is_pinned
    assert not traces()


@pytest.mark.parametrize(
    "name", ["model_dec_bert", "model_dec_bert_concat", "model_dip", "model_dip_target_split", "model_enc_clip"]
)
def test_engine_equals_the_official_code(name: str, official_program: UpstreamProgram) -> None:
    own, upstream, texts = golden_samplers(name, official_program)
    rows = compare(own, upstream, texts[:2], 24, [10])
    assert [row.case for row in rows if not row.passed] == []


@pytest.mark.parametrize("name", ["model_dec_bert", "model_enc_clip"])
def test_official_code_repeats_its_goldens(name: str, official_program: UpstreamProgram) -> None:
    """Our way of calling it is the way the reference numbers were made."""
    numbers = golden(f"{name}.npz")
    _, upstream, texts = golden_samplers(name, official_program)
    x, mask = frames(numbers["in/x"]), numbers["in/mask"][:, 0, 0]
    for case, times in enumerate(numbers["in/timesteps"]):
        got = upstream.predict(x, times, texts, 1.0, Conditions(frame_mask=mask))
        assert_close(got, frames(numbers[f"nomask/out_cond_{case}"]), atol=1e-5, rtol=0)
    scales = scale(numbers).flatten().tolist()
    guided = torch.cat(
        [upstream.predict(x, times, texts, s, Conditions(frame_mask=mask))[i : i + 1] for i, s in enumerate(scales)]
    )
    assert_close(guided, frames(numbers[f"nomask/out_cfg_{case}"]), atol=2e-5, rtol=0)


def golden_samplers(
    name: str, program: UpstreamProgram
) -> tuple[OfficialSampler, UpstreamSampler, list[TextEmbedding]]:
    """The model of a golden and its texts."""
    numbers = golden(f"{name}.npz")
    model = network(numbers)
    tokens, masks = text(numbers)
    encoder = "clip-vit-b-32" if model.spec.text_width == 512 else "distilbert-base-uncased"
    steps = 10 if model.spec.context_frames else 50
    config = CheckpointConfig(model.spec, steps, "cosine", encoder, "humanml3d", 20.0, 2.5, "none")
    checkpoint = OfficialCheckpoint(name, Path(), config, model, True, 0.1, None, "flat", "", ())
    own, upstream, _ = samplers(checkpoint, program)
    return own, upstream, [TextEmbedding(row, mask, encoder) for row, mask in zip(tokens, masks, strict=True)]
