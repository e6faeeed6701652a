"""The fit: its objective is the official one, its derivatives are right, it finds known poses and the lower minimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.errors import Cancelled, GenerationFailed, NonFiniteOutput
from motion_service.geometry.rotation import quat_angle, rotvec_to_quat
from motion_service.geometry.smpl_rotation import rotvec_to_rotmat
from motion_service.vrm.smpl import smpl_joints, smpl_rest_joints
from motion_service.vrm.smpl_files import SmplAssets, load_smpl
from motion_service.vrm.smplify import FitObjective, SmplFit, _Point, fit_smpl
from tests.vrm.synthetic_smpl import PARENTS, dancing, write_smpl

BETAS = torch.linspace(1.0, -1.0, 10)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> SmplAssets:
    return load_smpl(write_smpl(tmp_path_factory.mktemp("smpl")))


@pytest.fixture(scope="module")
def free(assets: SmplAssets) -> SmplAssets:
    """No prior, and a mean pose of zeros: the joints decide alone where they can."""
    return replace(assets, prior=None, mean_pose=torch.zeros(72).double(), mean_betas=torch.zeros(10).double())


@pytest.fixture(scope="module")
def target(assets: SmplAssets) -> Tensor:
    rotvecs, transl = dancing(60)
    return smpl_joints(assets.model, rotvecs, BETAS, transl)[:, :22]


# --- the objective ----------------------------------------------------------------------------------------------------


def plain_joints(assets: SmplAssets, pose: Tensor, betas: Tensor) -> Tensor:
    """(T, 22, 3) for one shape a frame, betas (T, 10): a loop that autograd can follow."""
    mean, dirs = smpl_rest_joints(assets.model)
    rest = mean + torch.einsum("jcs,ts->tjc", dirs, betas)
    turns = rotvec_to_rotmat(pose.view(len(pose), 24, 3))
    places, world = [rest[:, 0]], [turns[:, 0]]
    for joint in range(1, 22):
        parent = PARENTS[joint]
        offset = rest[:, joint] - rest[:, parent]
        places.append(places[parent] + (world[parent] @ offset[..., None])[..., 0])
        world.append(world[parent] @ turns[:, joint])
    return torch.stack(places, dim=1)


def official_objective(assets: SmplAssets, target: Tensor, pose: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
    """The second stage as the reference writes it, term by term."""
    squares = (plain_joints(assets, pose, betas) + transl[:, None] - target) ** 2
    body = pose[:, 3:]
    elbows_and_knees = body[:, [52, 55, 9, 12]] * torch.tensor([1.0, -1.0, -1.0, -1.0])
    total = 600**2 * (100**2 * squares / (100**2 + squares)).sum()
    total = total + 15.2**2 * (torch.exp(elbows_and_knees) ** 2).sum()
    total = total + 5**2 * (betas**2).sum() + 5**2 * ((body - assets.mean_pose[3:]) ** 2).sum()
    if assets.prior is not None:
        away = body[:, None] - assets.prior.means
        costs = 0.5 * torch.einsum("tki,kij,tkj->tk", away, assets.prior.precisions, away) + assets.prior.offsets
        total = total + (4.78 * 1.5) ** 2 * costs.min(dim=1).values.sum()
    return total


def random_point(frames: int) -> _Point:
    draw = torch.Generator().manual_seed(4)
    sizes = ((frames, 24, 3), (frames, 3), (10,))
    return _Point(*(0.4 * torch.randn(*size, generator=draw, dtype=torch.float64) for size in sizes))


def test_objective_is_the_official_one(assets: SmplAssets, target: Tensor) -> None:
    point, wanted = random_point(5), target[:5].double()
    expected = official_objective(assets, wanted, point.rotvecs.flatten(1), point.betas.expand(5, 10), point.transl)
    assert math.isclose(FitObjective(assets, wanted).value(point), float(expected), rel_tol=1e-12)


def test_slope_is_the_derivative(assets: SmplAssets, target: Tensor) -> None:
    point, wanted = random_point(5), target[:5].double()
    pose, betas, transl = (t.clone().requires_grad_() for t in (point.rotvecs.flatten(1), point.betas, point.transl))
    official_objective(assets, wanted, pose, betas.expand(5, 10), transl).backward()
    assert pose.grad is not None and transl.grad is not None and betas.grad is not None
    system = FitObjective(assets, wanted).linearise(point)
    assert_close(system.frame_slope, torch.cat([pose.grad, transl.grad], dim=1), rtol=1e-8, atol=1e-5)
    assert_close(system.shape_slope, betas.grad, rtol=1e-8, atol=1e-5)


def test_solver_solves_the_whole_system(assets: SmplAssets, target: Tensor) -> None:
    system = FitObjective(assets, target[:3].double()).linearise(random_point(3))
    frames, shape = system.solve(1e-3)
    whole = torch.block_diag(*system.frames, system.shape)
    whole[:225, 225:] = system.cross.flatten(0, 1)
    whole[225:, :225] = system.cross.flatten(0, 1).mT
    whole.diagonal().add_(1e-3 * (whole.diagonal() + 1))
    slope = torch.cat([system.frame_slope.flatten(), system.shape_slope])
    assert_close(torch.cat([frames.flatten(), shape]), -torch.linalg.solve(whole, slope), rtol=1e-6, atol=1e-9)


def test_start_is_the_minimum_of_the_first_stage(assets: SmplAssets, target: Tensor) -> None:
    wanted, torso = target[::12].double(), [2, 1, 17, 16]
    start = FitObjective(assets, wanted).start()
    betas, body = assets.mean_betas.expand(5, 10), start.rotvecs.flatten(1)[:, 3:]
    assert_close(body, assets.mean_pose[3:].expand(5, -1))
    unmoved = plain_joints(assets, assets.mean_pose.expand(5, -1), betas)
    guess = (wanted - unmoved)[:, torso].mean(dim=1)
    orient, transl = start.rotvecs[:, 0].clone().requires_grad_(), start.transl.clone().requires_grad_()
    joints = plain_joints(assets, torch.cat([orient, body], dim=1), betas) + transl[:, None]
    loss = ((joints - wanted)[:, torso] ** 2).sum() + 4 * (100 * (transl - guess)).square().sum()
    loss.backward()
    assert orient.grad is not None and transl.grad is not None
    assert float(orient.grad.abs().max()) < 1e-6 and float(transl.grad.abs().max()) < 1e-3


# --- the fit ----------------------------------------------------------------------------------------------------------


def turn_errors(fit: SmplFit, frames: int, joints: list[int]) -> Tensor:
    """Degrees between fitted and true local rotations. (T, joints)"""
    true, _ = dancing(frames)
    return torch.rad2deg(quat_angle(rotvec_to_quat(fit.rotvecs), rotvec_to_quat(true)))[:, joints]


def test_known_poses_are_found(free: SmplAssets, target: Tensor) -> None:
    fit = fit_smpl(target, free)
    assert fit.joint_error_m < 0.002
    found = smpl_joints(free.model, fit.rotvecs, fit.betas, fit.transl)[:, :22]
    assert math.isclose(float((found - target).norm(dim=-1).mean()), fit.joint_error_m, abs_tol=1e-5)
    assert float(turn_errors(fit, 60, [4, 5, 18, 19]).mean()) < 6  # knees and elbows
    assert float(turn_errors(fit, 60, [0]).mean()) < 2  # pelvis, which turns right round


def test_known_poses_are_near_under_the_prior(assets: SmplAssets, target: Tensor) -> None:
    fit = fit_smpl(target, assets)
    assert fit.joint_error_m < 0.01
    assert float(turn_errors(fit, 60, [4, 5, 18, 19]).mean()) < 15
    assert_close(fit.root, target[:, 0])
    shapes = fit.global_orient.shape, fit.body_pose.shape, fit.betas.shape, fit.transl.shape
    assert shapes == ((60, 3), (60, 69), (10,), (60, 3))


def test_minimum_is_not_above_that_of_lbfgs(assets: SmplAssets, target: Tensor) -> None:
    """The official way, one shape for all frames, from the same start."""
    wanted = target[:3].double()
    start = FitObjective(assets, wanted).start()
    values = [t.clone().requires_grad_() for t in (start.rotvecs.flatten(1), start.betas, start.transl)]
    pose, betas, transl = values
    search = torch.optim.LBFGS(values, lr=0.01, max_iter=150, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = official_objective(assets, wanted, pose, betas.expand(3, 10), transl)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(3):
        reached = float(search.step(closure).detach())
    fit = fit_smpl(target[:3], assets)
    assert fit.objective <= reached * (1 + 1e-6)
    assert fit.objective > 0.9 * reached  # the same valley


def test_shape_is_one_for_all_frames_and_found(free: SmplAssets) -> None:
    rotvecs, transl = dancing(10)
    tall = torch.tensor([2.0, *[0.0] * 9])
    fit = fit_smpl(smpl_joints(free.model, rotvecs, tall, transl)[:, :22], free)
    mean, dirs = smpl_rest_joints(free.model)
    sizes = [(mean + dirs @ betas.double())[[15, 10]].diff(dim=0).norm() for betas in (fit.betas, tall)]
    assert abs(float(sizes[0] - sizes[1])) < 0.01


def test_moving_the_figure_moves_the_fit(assets: SmplAssets, target: Tensor) -> None:
    shift = torch.tensor([3.0, -0.5, 7.0])
    here, there = fit_smpl(target[:8], assets), fit_smpl(target[:8] + shift, assets)
    assert_close(there.transl, here.transl + shift, atol=1e-4, rtol=0)
    assert_close(there.body_pose, here.body_pose, atol=1e-3, rtol=0)


def test_same_input_gives_the_same_fit(assets: SmplAssets, target: Tensor) -> None:
    first, second = fit_smpl(target[:8], assets), fit_smpl(target[:8].clone(), assets)
    assert torch.equal(first.rotvecs, second.rotvecs) and torch.equal(first.betas, second.betas)


@pytest.mark.parametrize(
    "positions",
    [torch.zeros(3, 22, 3), torch.full((1, 22, 3), 1e4), torch.randn(2, 22, 3) * 50],
    ids=["one point", "far away", "nonsense"],
)
def test_impossible_figures_give_finite_numbers(assets: SmplAssets, positions: Tensor) -> None:
    fit = fit_smpl(positions, assets)
    for values in (fit.rotvecs, fit.betas, fit.transl):
        assert bool(torch.isfinite(values).all())
    assert math.isfinite(fit.objective) and 0 < fit.steps <= 200


def test_check_can_stop_it_between_steps(assets: SmplAssets, target: Tensor) -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_smpl(target[:4], assets, check=check)
    assert calls == [0, 1, 2]


def nan_at(positions: Tensor) -> Tensor:
    positions = positions.clone()
    positions[1, 2, 0] = math.nan
    return positions


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda p: p[:, :21], GenerationFailed),
        (lambda p: p[:0], GenerationFailed),
        (lambda p: p[0], GenerationFailed),
        (nan_at, NonFiniteOutput),
    ],
)
def test_other_input_is_refused(
    assets: SmplAssets, target: Tensor, spoil: Callable[[Tensor], Tensor], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fit_smpl(spoil(target), assets)
