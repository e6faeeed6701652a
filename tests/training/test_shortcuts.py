"""Shortcuts end where the teacher's small steps end, and a network that learned them is sampled as it was taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from motion_service.diffusion.samplers import sample_ddim
from motion_service.diffusion.schedule import named_schedule, shortcut_schedule
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm.reader import TextReader
from motion_service.mdm_adapter.clip_work import shortcut_steps
from motion_service.training.balance import clip_weights
from motion_service.training.settings import DiffusionSettings
from motion_service.training.shortcuts import Shortcuts
from tests.training.synthetic_clips import corpus
from tests.training.test_loop import TINY, trainer

WHOLE = named_schedule("cosine", 10)


def teacher(x: Tensor, t: Tensor) -> Tensor:
    """Some network whose answers depend on both."""
    return torch.tanh(0.7 * x) + 0.1 * t[:, None, None]


@given(num_steps=st.integers(1, 9), seed=st.integers(0, 99))
def test_sampling_by_shortcuts_is_sampling_by_the_teacher(num_steps: int, seed: int) -> None:
    shortcuts = Shortcuts(WHOLE, num_steps)
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(seed))

    def learned(x: Tensor, t: Tensor) -> Tensor:
        jump = t - WHOLE.num_steps
        return shortcuts.goal(x, shortcuts.ends(x, jump, teacher), jump)

    short = sample_ddim(learned, x, shortcut_schedule(WHOLE, num_steps), torch.zeros_like)
    assert torch.allclose(short, sample_ddim(teacher, x, WHOLE, torch.zeros_like), atol=1e-3)


def test_served_steps_are_told_apart_from_those_of_training() -> None:
    steps = shortcut_steps(WHOLE, 5)
    assert [step.t for step in steps] == [14, 13, 12, 11, 10]
    assert all(step.sigma == 0 for step in steps)
    assert shortcut_steps(WHOLE, 0) == ()


def test_a_run_learns_shortcuts_from_the_weights_it_starts_from(tmp_path: Path) -> None:
    settings = replace(TINY, diffusion=replace(TINY.diffusion, short_steps=5, short_share=0.5))
    first = trainer(settings)
    first.advance(0.0)
    first.release(tmp_path / "first", {}, free=True)
    assert load_checkpoint(tmp_path / "first").config.short_steps == 0  # there was nobody to learn from
    second = trainer(settings, seed=1)
    second.start_from(tmp_path / "first")
    second.advance(0.0)
    second.release(tmp_path / "second", {}, free=True)
    assert load_checkpoint(tmp_path / "second").config.short_steps == 5


def test_typical_captions_are_heard_as_they_are_and_kept(tmp_path: Path) -> None:
    settings = replace(TINY, windows=replace(TINY.windows, typical=1.0, idle=0.0), diffusion=DiffusionSettings())
    made = trainer(settings)
    made.release(tmp_path / "plain", {}, free=True)
    keys = made.source.captions.keys
    reader = TextReader(keys, made.source.captions.width, 4)
    reader.prototypes.copy_(torch.randn(reader.prototypes.shape).half())
    made.reader = reader
    made.release(tmp_path / "read", {}, free=True)
    again = trainer(settings)
    again.start_from(tmp_path / "read")
    tokens = again.source.draw(16).tokens[:, 0]  # (16, E)
    assert all(bool((row == reader.prototypes).all(1).any()) for row in tokens)
    again.release(tmp_path / "kept", {}, free=True)
    kept = load_checkpoint(tmp_path / "kept").reader
    assert kept is not None
    assert torch.equal(kept.prototypes, reader.prototypes)


@pytest.mark.parametrize("style_balance", [0.0, 0.5, 1.0])
def test_styles_share_what_their_class_weighs(style_balance: float) -> None:
    base = corpus()[0]
    clips = [replace(base, style="normal")] * 9 + [replace(base, style="happy")]
    weights = clip_weights(clips, 0.75, style_balance, 200)
    assert float(weights.sum()) == pytest.approx(10**0.25 * min(len(base.rotations), 200) ** 0.5)
    assert float(weights[9] / weights[0]) == pytest.approx(9**style_balance)
