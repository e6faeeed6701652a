"""Each loss is zero for the truth, and grows with the fault it is there for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion_service.features.vrm_native import (
    CONTACTS,
    LOCAL_ROT6D,
    POSITIONS,
    ROOT_HEIGHT,
    ROOT_VELOCITY,
    VELOCITIES,
    VRM_WIDTH,
    YAW_RATE,
    bones_to_features,
)
from motion_service.training.losses import LOW_COST, Losses, LossWeights, MotionLoss
from motion_service.training.standing import standing_features
from tests.training.synthetic_clips import waving

MEAN, STD = torch.zeros(VRM_WIDTH), torch.ones(VRM_WIDTH)
ALL = torch.ones(1, 40, dtype=torch.bool)


@pytest.fixture
def loss() -> MotionLoss:
    return MotionLoss(MEAN, STD, LossWeights())


def walk() -> tuple[Tensor, Tensor]:
    """Prefix (1, 20, F) and target (1, 40, F) of someone gliding ahead and waving."""
    clip = waving("walk", 61, speed=0.8)
    features, _ = bones_to_features(clip.rotations, clip.hips)
    return features[None, 1:21], features[None, 21:61]


def terms(loss: MotionLoss, predicted: Tensor, target: Tensor, prefix: Tensor, mask: Tensor = ALL) -> Losses:
    return loss.terms(predicted, target, prefix, mask, torch.ones(len(target)))


def changed(frames: Tensor, part: slice, by: float) -> Tensor:
    other = frames.clone()
    other[..., part] += by
    return other


def test_truth_costs_nothing(loss: MotionLoss) -> None:
    prefix, target = walk()
    found = terms(loss, target, target, prefix)._asdict()
    found.pop("contact")  # the glider's feet do skate: that is the data's own fault
    assert all(float(value) < 1e-7 for value in found.values()), found


def test_planted_feet_cost_nothing_and_gliding_ones_do(loss: MotionLoss) -> None:
    still = standing_features(60)[None]
    prefix, target = still[:, :20], still[:, 20:]
    assert float(terms(loss, target, target, prefix).contact) < 1e-9
    gliding = target.clone()
    gliding[..., ROOT_VELOCITY] += torch.tensor([0.0, 0.3])
    assert float(terms(loss, gliding, target, prefix).contact) == pytest.approx(0.09, rel=1e-3)
    twice = target.clone()
    twice[..., ROOT_VELOCITY] += torch.tensor([0.0, 0.6])
    assert float(terms(loss, twice, target, prefix).contact) == pytest.approx(0.36, rel=1e-3)


def test_turning_about_planted_feet_is_skating(loss: MotionLoss) -> None:
    still = standing_features(60)[None]
    prefix, target = still[:, :20], still[:, 20:]
    assert float(terms(loss, changed(target, YAW_RATE, 1.0), target, prefix).contact) > 0.005


def test_contact_gradient_slows_the_root_down(loss: MotionLoss) -> None:
    still = standing_features(60)[None]
    prefix, target = still[:, :20], still[:, 20:]
    gliding = changed(target, slice(2, 3), 0.3).requires_grad_(True)
    terms(loss, gliding, target, prefix).contact.backward()
    assert gliding.grad is not None
    assert bool((gliding.grad[..., 2] > 0).all())  # less speed, less loss
    assert float(gliding.grad[..., CONTACTS].abs().max()) == 0  # it cannot be bought by denying contact


def test_feet_in_the_air_may_move(loss: MotionLoss) -> None:
    prefix, target = walk()
    airborne = changed(target, CONTACTS, -1.0)
    airborne[..., CONTACTS] = 0.0
    faster = changed(airborne, slice(2, 3), 1.0)
    assert float(terms(loss, faster, airborne, prefix).contact) == 0


def test_a_claimed_contact_counts_too(loss: MotionLoss) -> None:
    prefix, target = walk()
    free = target.clone()
    free[..., CONTACTS] = 0.0
    claimed = free.clone()
    claimed[..., CONTACTS] = 1.0
    assert float(terms(loss, claimed, free, prefix).contact) == pytest.approx(0.64, rel=0.01)  # 0.8 m/s


@pytest.mark.parametrize(
    ("part", "term"),
    [(LOCAL_ROT6D, "position"), (POSITIONS, "consistency"), (ROOT_VELOCITY, "path"), (YAW_RATE, "path"),
     (ROOT_VELOCITY, "motion"), (VELOCITIES, "x0"), (VELOCITIES, "velocity")],
)  # fmt: skip
def test_each_term_sees_its_fault(loss: MotionLoss, part: slice, term: str) -> None:
    prefix, target = walk()
    torch.manual_seed(0)
    wrong = target.clone()
    wrong[..., part] += 0.2 + 0.1 * torch.rand_like(wrong[..., part])
    assert float(terms(loss, wrong, target, prefix)._asdict()[term]) > 1e-4


def test_a_swinging_foot_pays_more_for_being_low(loss: MotionLoss) -> None:
    prefix, target = walk()
    target[..., CONTACTS] = 0
    low, high = (terms(loss, changed(target, ROOT_HEIGHT, by), target, prefix).stride for by in (-0.02, 0.02))
    assert 0.8 * LOW_COST < float(low / high) <= LOW_COST  # the step into the first frame costs the same
    target[..., CONTACTS] = 1
    low, high = (terms(loss, changed(target, ROOT_HEIGHT, by), target, prefix).stride for by in (-0.02, 0.02))
    assert float(low) == pytest.approx(float(high), rel=0.05)


def test_path_error_grows_along_the_window(loss: MotionLoss) -> None:
    prefix, target = walk()
    drifting = changed(target, slice(2, 3), 0.1)
    early, late = ALL.clone(), ALL.clone()
    early[:, 5:] = False
    assert float(terms(loss, drifting, target, prefix, early).path) < float(
        terms(loss, drifting, target, prefix, late).path
    )


def test_masked_frames_do_not_count(loss: MotionLoss) -> None:
    prefix, target = walk()
    mask = ALL.clone()
    mask[:, 25:] = False
    wrong = target.clone()
    wrong[:, 25:] += torch.randn(15, VRM_WIDTH, generator=torch.Generator().manual_seed(0))
    good, bad = terms(loss, target, target, prefix, mask), terms(loss, wrong, target, prefix, mask)
    torch.testing.assert_close(torch.stack(good), torch.stack(bad))


def test_total_is_the_weighted_sum() -> None:
    prefix, target = walk()
    weights = LossWeights(x0=1, velocity=2, position=3, consistency=4, motion=5, contact=6, path=7, stride=8)
    predicted = target + 0.1
    total, found = MotionLoss(MEAN, STD, weights)(predicted, target, prefix, ALL, torch.ones(1))
    assert float(total) == pytest.approx(float((found * torch.arange(1.0, 9.0)).sum()), rel=1e-5)
