"""Checks of the three goldens of DiP with a target."""

import json
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.mdm.network import Denoiser
from motion_service.mdm.target import GOALS, asked_rows
from tests.golden.golden_checks import FORWARD, GUIDED, predict
from tests.golden.golden_files import golden
from tests.golden.golden_models import frames, network, scale


def encoded(model: Denoiser, numbers: dict[str, Any]) -> Tensor:
    """The target of each sample, (B, D)."""
    asked = asked_rows(json.loads(numbers["in/target_joint_names_json"]), numbers["in/is_heading"])
    return model.encode_target(numbers["in/target_cond"], asked)


def check_encoding(name: str) -> None:
    """The vector alone; nobody asking for anything too."""
    numbers = golden(name)
    assert json.loads(numbers["in/extended_goal_joint_names_json"]) == list(GOALS)
    got = encoded(network(numbers), numbers)
    assert_close(got, numbers["target_embedding"], atol=FORWARD, rtol=0)


def check_target_predictions(name: str) -> None:
    """Every row of timesteps; guidance leaves the target in both halves."""
    numbers = golden(name)
    model = network(numbers)
    target = encoded(model, numbers)
    for case in range(len(numbers["in/timesteps"])):
        for out, guidance, atol in (("cond", 1.0, FORWARD), ("uncond", 0.0, FORWARD), ("cfg", scale(numbers), GUIDED)):
            got = predict(model, numbers, case, target=target, guidance=guidance)
            assert_close(got, frames(numbers[f"out_{out}_{case}"]), atol=atol, rtol=0)


def check_no_target(name: str) -> None:
    """Leaving the target out, and a target of zeros, do what the official ``target_uncond`` does."""
    numbers = golden(name)
    model = network(numbers)
    for case in range(len(numbers["in/timesteps"])):
        for target in (None, torch.zeros_like(encoded(model, numbers))):
            got = predict(model, numbers, case, target=target)
            assert_close(got, frames(numbers[f"out_target_uncond_{case}"]), atol=FORWARD, rtol=0)
