"""The table of gestures, and the step at which the script says that one was lost."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch

from motion_service.clips import VrmClip
from motion_service.training.classifier import SCORED_CLASSES
from motion_service.training.scores import TestPrompt, read_prompts

ROOT = Path(__file__).resolve().parents[2]
CLIP = VrmClip({"hips": torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 2)}, torch.zeros(2, 3), torch.zeros(2, 4), 20.0, 0.9)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = str(ROOT / "scripts/motion/evaluate_gestures")
    loader = importlib.machinery.SourceFileLoader("evaluate_gestures", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = written
    return module


def test_twenty_gestures_have_two_wordings_each(script: ModuleType) -> None:
    table = read_prompts(ROOT / "tests/data/gestures_ja.tsv")
    gestures = Counter(script.gesture_name(prompt) for prompt in table)
    assert len(gestures) == 20
    assert set(gestures.values()) == {2}
    assert len({prompt.prompt for prompt in table}) == len(table)
    assert {prompt.label for prompt in table} == {*SCORED_CLASSES, "idle", "other"}


@pytest.mark.parametrize(
    ("planned", "read", "is_right", "fault"),
    [
        ("talk", "talk", False, "plan"),
        ("bye", "bow", False, "reader"),
        ("bye", "byebye", False, "motion"),
        ("byebye", "bye", True, ""),
        ("talk", "bye", True, "plan"),
    ],
)
def test_the_first_step_that_lost_the_gesture_is_named(
    script: ModuleType, planned: str, read: str, is_right: bool, fault: str
) -> None:
    prompt = TestPrompt("a", "ja", "バイバイして", "bye", "", "")
    assert script.Take(prompt, CLIP, planned, read, "bye", is_right).fault == fault


def test_an_action_without_a_class_is_asked_for_by_its_own_name(script: ModuleType) -> None:
    prompt = TestPrompt("a", "ja", "手招きして", "call", "", "")
    assert script.is_asked(prompt, "call")
    assert not script.is_asked(prompt, "talk")
