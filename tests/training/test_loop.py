"""The training step, its saves and its clock, with a tiny network on a CPU."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_service.clips import Language
from motion_service.diffusion.schedule import named_schedule, respace
from motion_service.errors import BadRequest, CheckpointMismatch, NonFiniteOutput
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm.network import NetworkSpec
from motion_service.training.budget import Budget, Progress, write_log
from motion_service.training.caption_table import CaptionTable, write_captions
from motion_service.training.loop import TERMS, Trainer, resume, train
from motion_service.training.own_states import Jumps, draw_jumps
from motion_service.training.run_state import read_state, write_state
from motion_service.training.settings import DiffusionSettings, OptimiserSettings, TrainSettings, read_settings
from motion_service.training.windows import WindowSettings, WindowSource
from tests.training.synthetic_clips import caption_table, corpus

CPU = torch.device("cpu")
MINI = Path(__file__).resolve().parents[2] / "motion_service" / "training" / "mini.toml"
SPEC = NetworkSpec(
    features=260, width=32, layers=1, heads=2, feedforward=48, text_width=14, text_hidden=16,
    context_frames=20, predict_frames=40, mask_frames=True, dropout=0.1,
)  # fmt: skip
TINY = TrainSettings(
    SPEC,
    DiffusionSettings(own_prefix=0.25, own_state=0.25),
    WindowSettings(),
    optimiser=OptimiserSettings(batch=8, lr=3e-3, warmup=5, text_gain=1.0),
)


def trainer(settings: TrainSettings = TINY, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    clips = corpus()
    return Trainer(settings, WindowSource(clips, caption_table(clips), settings.windows), CPU)


def tensors_of(made: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in made.state()[0].items()}


def ignore(_: Progress) -> None:
    """Nobody listens."""


def test_loss_falls() -> None:
    made = trainer()
    for _ in range(15):
        made.advance(0.0)
    before, _ = made.report()
    for _ in range(60):
        made.advance(0.0)
    made.report()
    for _ in range(15):
        made.advance(0.0)
    after, terms = made.report()
    assert after < 0.6 * before
    assert set(terms) == set(TERMS)


def test_moving_average_follows_the_network() -> None:
    made = trainer()
    born = made.average[0].clone()
    for _ in range(5):
        made.advance(0.0)
    away = (made.parameters[0].detach() - born).norm()
    assert 0 < float((made.average[0] - born).norm()) < float(away)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trainer()
    for _ in range(6):
        whole.advance(0.1)
    half = trainer()
    train(half, Budget(steps=3), tmp_path, started=time.monotonic(), tell=ignore)
    assert half.step_count == 3
    # The cosine of a shorter run ends sooner, so this half is done again with the rate of the whole run.
    half = trainer()
    for _ in range(3):
        half.advance(0.1)
    tensors, counts = half.state()
    write_state(tmp_path, tensors, {**counts, "elapsed_minutes": 2.5})
    other = trainer(seed=7)
    assert resume(other, tmp_path) == 2.5
    for _ in range(3):
        other.advance(0.1)
    expected, found = tensors_of(whole), tensors_of(other)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0, msg=name)


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path: Path) -> None:
    assert resume(trainer(), tmp_path / "none") is None


def test_a_run_of_another_network_is_refused(tmp_path: Path) -> None:
    tensors, counts = trainer().state()
    write_state(tmp_path, tensors, {**counts, "elapsed_minutes": 0})
    with pytest.raises(CheckpointMismatch, match="--fresh"):
        resume(trainer(replace(TINY, network=replace(SPEC, width=64))), tmp_path)


def test_saves_replace_each_other_and_damage_is_told(tmp_path: Path) -> None:
    write_state(tmp_path, {"a": torch.ones(3)}, {"step": 1})
    write_state(tmp_path, {"a": torch.zeros(3)}, {"step": 2})
    assert len(list(tmp_path.glob("shard-*"))) == 1
    tensors, facts = read_state(tmp_path)
    assert facts["step"] == 2 and not tensors["a"].any()
    next(tmp_path.glob("shard-*")).write_bytes(b"no tensors")
    with pytest.raises(CheckpointMismatch, match="damaged"):
        read_state(tmp_path)


def test_shards_stay_under_16_mib(tmp_path: Path) -> None:
    write_state(tmp_path, {str(i): torch.zeros(2**20) for i in range(9)}, {"step": 0})  # 36 MiB
    sizes = [shard.stat().st_size for shard in tmp_path.glob("shard-*")]
    assert len(sizes) == 3 and max(sizes) < 16 * 2**20


def test_a_released_checkpoint_loads_and_can_be_continued(tmp_path: Path) -> None:
    made = trainer()
    for _ in range(4):
        made.advance(0.0)
    made.release(tmp_path / "mini", {"minutes": 1}, free=True)
    checkpoint = load_checkpoint(tmp_path / "mini")
    assert checkpoint.config.network == SPEC
    assert checkpoint.config.licence == TINY.release.free_licence
    assert checkpoint.config.text_encoder == "made-up"
    torch.testing.assert_close(checkpoint.first_prefix, made.source.first_prefix)
    weights = dict(checkpoint.network.named_parameters())
    for (name, _), average in zip(made.network.named_parameters(), made.average, strict=True):
        torch.testing.assert_close(weights[name], average, atol=1e-3, rtol=1e-3)
    again = trainer(seed=5)
    again.start_from(tmp_path / "mini")
    assert again.step_count == 4 and again.warm_steps == 0
    torch.testing.assert_close(again.parameters[0], made.average[0], atol=1e-3, rtol=1e-3)


def test_own_prefixes_replace_only_their_share() -> None:
    made = trainer()
    windows = made.source.draw(8)
    prefix = made._own_prefix(windows, 2)
    assert not torch.allclose(prefix[:2], windows.prefix[:2])
    assert torch.equal(prefix[2:], windows.prefix[2:])
    assert not prefix.requires_grad


def test_own_states_replace_only_their_share() -> None:
    made = trainer()
    windows = made.source.draw(8)
    t, noisy = torch.full((8,), 9), torch.randn(8, 40, 260)
    after, levels = made._own_states(windows, noisy, t, torch.zeros(8, dtype=torch.bool), 3)
    assert torch.equal(after[:5], noisy[:5]) and torch.equal(levels[:5], t[:5])
    assert not torch.allclose(after[5:], noisy[5:]) and int(levels[5:].max()) < 6
    assert not after.requires_grad


def test_a_jump_is_the_step_of_the_shortened_schedule() -> None:
    schedule = named_schedule("cosine", 10)
    x0, x, eps = torch.randn(3, 2, 4, 5)
    for step, reached in zip(respace(schedule, [0, 3, 7, 9]).descending(), (7, 3, 0), strict=False):
        made = Jumps(schedule)(x0, x, torch.tensor([step.t] * 2), torch.tensor([reached] * 2), eps)
        torch.testing.assert_close(made, step.coef_x0 * x0 + step.coef_xt * x + step.sigma * eps, atol=1e-5, rtol=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), cleanest=st.integers(1, 9), longest=st.integers(1, 5))
def test_jumps_lead_to_a_cleaner_level(seed: int, cleanest: int, longest: int) -> None:
    torch.manual_seed(seed)
    left, reached = draw_jumps(64, 10, cleanest, longest, torch.device("cpu"))
    assert bool((left > reached).all() and (left - reached <= longest).all())
    assert int(reached.max()) < cleanest and int(left.max()) < 10


def test_learning_rate_warms_up_and_follows_the_cosine() -> None:
    made = trainer()
    assert made.learning_rate(0.0) == pytest.approx(3e-3 / 5)
    made.warm_steps = 100
    assert made.learning_rate(0.0) == pytest.approx(3e-3)
    assert made.learning_rate(0.5) == pytest.approx(3e-3 * (0.02 + 0.98 * 0.5))
    assert made.learning_rate(1.0) == pytest.approx(3e-3 * 0.02)


def test_a_second_run_continues_the_cosine() -> None:
    first = Budget(minutes=9.5, total_minutes=19)
    second = Budget(minutes=9.5, total_minutes=19, elapsed_minutes=9.5)
    assert first.progress(0, 9.5) == second.progress(0, 0.0) == 0.5
    assert second.progress(0, 9.5) == 1.0
    assert first.is_spent(10**6, 9.5) and not first.is_spent(10**6, 9.4)
    assert Budget(steps=200).progress(50, 1e9) == 0.25


@pytest.mark.parametrize(
    "wrong", [{}, {"minutes": 1.0, "steps": 5}, {"minutes": -1.0}, {"steps": 5, "elapsed_minutes": -1.0}]
)
def test_a_wrong_budget_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadRequest):
        Budget(**wrong)  # type: ignore[arg-type]


def test_training_tells_saves_and_stops(tmp_path: Path) -> None:
    told: list[Progress] = []
    train(trainer(), Budget(steps=6), tmp_path, started=time.monotonic(), tell=told.append, every=2)
    assert [now.step for now in told] == [2, 4, 6]
    assert told[-1].lr < told[0].lr or told[0].lr < 3e-3
    line = json.loads(write_log(tmp_path / "log.jsonl", told[0]))
    assert line["step"] == 2 and line["loss"] > 0 and set(TERMS) <= set(line)
    assert read_state(tmp_path)[1]["step"] == 6


def test_ctrl_c_saves_and_ends(tmp_path: Path) -> None:
    def press(now: Progress) -> None:
        if now.step == 4:
            raise KeyboardInterrupt

    train(trainer(), Budget(steps=100), tmp_path, started=time.monotonic(), tell=press, every=2)
    assert read_state(tmp_path)[1]["step"] == 4


def test_a_broken_loss_is_told() -> None:
    made = trainer()
    with torch.no_grad():
        made.parameters[0].fill_(float("nan"))
    made.advance(0.0)
    with pytest.raises(NonFiniteOutput, match="last save"):
        made.report()


def test_the_configuration_file_is_valid_and_small_enough() -> None:
    settings = read_settings(MINI)
    with torch.device("meta"):
        from motion_service.mdm.network import Denoiser

        size = sum(parameter.numel() for parameter in Denoiser(settings.network).parameters())
    assert 2 * size < 14.9 * 2**20  # bytes in fp16; the repository's limit is 15 MiB a file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[windows]\ntransition = 0.3", "transition"),
        ("[optimiser]\nbatch = 0.5", "batch must be a int"),
        ("[optimizer]\nbatch = 5", "optimizer"),
        ("[network]\nwidth = 7", "network"),
        ("[windows", "not TOML"),
    ],
)
def test_a_wrong_configuration_is_told(tmp_path: Path, text: str, told: str) -> None:
    good = MINI.read_text(encoding="utf-8")
    path = tmp_path / "wrong.toml"
    name = text.splitlines()[0]
    path.write_text(
        text if name in ("[windows", "[network]") else good.split("[diffusion]")[0] + text, encoding="utf-8"
    )
    with pytest.raises(BadRequest, match=told):
        read_settings(path)


def test_caption_file_round_trip(tmp_path: Path) -> None:
    def captions(action: str, style: str, language: Language, side: str | None) -> Sequence[str]:
        return [f"{action} {style} {language} {number} {side or ''}".strip() for number in range(3)]

    def encode(texts: Sequence[str]) -> Tensor:
        flags = torch.tensor([[float("right" in text)] * 6 for text in texts])
        return torch.cat([torch.tensor([[len(text) / 100, -0.03] for text in texts]), flags], dim=1)

    clips = corpus()
    count = write_captions(tmp_path / "captions.npz", clips, captions, encode, "made-up")
    table = CaptionTable.read(tmp_path / "captions.npz")
    assert count == len(table.embeddings) == 4 * 2 * 3  # idle, wave-right, wave-left, walk
    row = torch.tensor([table.row("wave-right|normal")] * 2)
    drawn = table.draw(row, torch.tensor([0.0, 0.999]), torch.tensor([0.0, 0.999]))
    texts = ["wave-right normal en 0", "wave-right normal ja 2"]
    torch.testing.assert_close(drawn, encode(texts), atol=2e-3, rtol=0)
    with pytest.raises(BadRequest, match="prepare it again"):
        table.row("fly|normal")
    with pytest.raises(BadRequest, match="--prepare-text"):
        CaptionTable.read(tmp_path / "none.npz")
