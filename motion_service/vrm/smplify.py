"""Joint positions to SMPL parameters: the objective of the official ``joints2smpl``, minimised directly.

Objective and weights are those of SMPLify (Bogo et al. 2016) as used by
https://github.com/GuyTevet/motion-diffusion-model (``visualize/joints2smpl``), with two differences. All frames share
one shape, because they show one body. And the minimum is found by Levenberg and Marquardt's method instead of 22,500
steps of L-BFGS: the joints depend on the pose in closed form, each frame meets the others only through the ten shape
numbers, so a step is one small linear system a frame and a 10 x 10 one for the shape (Schur complement).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.errors import GenerationFailed, NonFiniteOutput
from motion_service.geometry.smpl_rotation import rotmat_to_rotvec, rotvec_left_jacobian, rotvec_to_rotmat
from motion_service.vrm.smpl import NUM_BETAS, NUM_JOINTS, joint_offsets, smpl_rest_joints, turn_joints
from motion_service.vrm.smpl_files import PosePrior, SmplAssets

TARGET_JOINTS: Final = 22
TORSO: Final = (2, 1, 17, 16)  # right hip, left hip, right shoulder, left shoulder
HINGES: Final = (55, 58, 12, 15)  # rotation vector entries: left elbow, right elbow, left knee, right knee
HINGE_SIGNS: Final = (1.0, -1.0, -1.0, -1.0)  # the way in which the joint does not bend

JOINT_WEIGHT: Final = 600.0**2
ROBUST_SCALE: Final = 100.0  # m; Geman and McClure's, so large that it hardly acts
PRIOR_WEIGHT: Final = (4.78 * 1.5) ** 2
HINGE_WEIGHT: Final = 15.2**2
SHAPE_WEIGHT: Final = 5.0**2
KEEP_WEIGHT: Final = 5.0**2  # body pose near the one it started from
PLACE_WEIGHT: Final = 4 * 100.0**2  # first stage: translation near its guess; counted once for each torso joint

MAX_STEPS: Final = 200
TOLERANCE: Final = 1e-9
"""A step that lowers the objective by less than this part of it is the last."""
MAX_DAMPING: Final = 1e10

Check = Callable[[], None]
"""Called before each step; raises to give up (Cancelled, DeadlineExceeded)."""


@dataclass(frozen=True, slots=True, eq=False)
class SmplFit:
    """SMPL parameters of a motion. float32 on the CPU; rotation vectors in radians, metres."""

    global_orient: Tensor
    """(T, 3) orientation of the pelvis in the world."""
    body_pose: Tensor
    """(T, 69) the other 23 joints, local."""
    betas: Tensor
    """(10,) one shape for all frames."""
    transl: Tensor
    """(T, 3) world; the pelvis stands at its rest place plus this."""
    root: Tensor
    """(T, 3) the pelvis of the input."""
    joint_error_m: float
    """Mean distance of the 22 joints from the input."""
    objective: float
    """What is left of the objective, summed over frames."""
    steps: int

    @property
    def rotvecs(self) -> Tensor:
        """(T, 24, 3) all local rotations, pelvis first."""
        return torch.cat([self.global_orient, self.body_pose], dim=1).view(-1, NUM_JOINTS, 3)


def fit_smpl(
    positions: Tensor, assets: SmplAssets, *, device: str | torch.device = "cpu", check: Check = lambda: None
) -> SmplFit:
    """Fit SMPL to HumanML3D joints (T, 22, 3), m, all frames at once. Deterministic on one device.

    Raises GenerationFailed for another shape, NonFiniteOutput, and whatever ``check`` raises.
    """
    if positions.ndim != 3 or positions.shape[0] == 0 or positions.shape[1:] != (TARGET_JOINTS, 3):
        raise GenerationFailed(f"SMPL is fitted to joints (T, {TARGET_JOINTS}, 3), got {tuple(positions.shape)}")
    if not bool(torch.isfinite(positions).all()):
        raise NonFiniteOutput()
    target = positions.detach().to(device, torch.float64)
    objective = FitObjective(assets.to(device), target)
    point = objective.start()
    damping, value, steps = 1e-3, objective.value(point), 0
    while steps < MAX_STEPS and damping < MAX_DAMPING:
        check()
        steps += 1
        system = objective.linearise(point)
        improved = False
        while not improved and damping < MAX_DAMPING:
            trial = point.moved(*system.solve(damping))
            trial_value = objective.value(trial)
            improved = trial_value < value
            damping = max(damping / 10, 1e-12) if improved else damping * 4
        if not improved:
            break
        gained, point, value = value - trial_value, trial, trial_value
        if gained < TOLERANCE * value:
            break
    return objective.to_fit(point, value, steps)


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """Where the search is."""

    rotvecs: Tensor
    """(T, 24, 3)"""
    transl: Tensor
    """(T, 3)"""
    betas: Tensor
    """(10,)"""

    def moved(self, frames: Tensor, betas: Tensor) -> _Point:
        """A step (T, 75) of rotations and translation, and (10,) of the shape, away."""
        return _Point(
            self.rotvecs + frames[:, :-3].view_as(self.rotvecs), self.transl + frames[:, -3:], self.betas + betas
        )


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """The objective to second order around a point: an arrow of blocks, P = 75 numbers a frame."""

    frames: Tensor
    """(T, P, P)"""
    cross: Tensor
    """(T, P, 10)"""
    shape: Tensor
    """(10, 10)"""
    frame_slope: Tensor
    """(T, P)"""
    shape_slope: Tensor
    """(10,)"""

    def solve(self, damping: float) -> tuple[Tensor, Tensor]:
        """Damped Newton step (T, P) and (10,)."""
        factors = torch.linalg.cholesky(_damped(self.frames, damping))
        solved = torch.cholesky_solve(torch.cat([self.cross, self.frame_slope[..., None]], dim=-1), factors)
        across = torch.einsum("tpb,tpc->bc", self.cross, solved)  # (10, 11)
        schur = _damped(self.shape, damping) - across[:, :-1]
        betas = -torch.linalg.solve(schur, self.shape_slope - across[:, -1])
        return -(solved[..., -1] + solved[..., :-1] @ betas), betas


def _damped(matrix: Tensor, damping: float) -> Tensor:
    """Marquardt: the diagonal grows, in its own units; 1 stands in for entries that nothing determines."""
    return matrix + torch.diag_embed(damping * (matrix.diagonal(dim1=-2, dim2=-1) + 1))


class FitObjective:
    """The second official stage for given targets (T, 22, 3): value, slope and curvature."""

    def __init__(self, assets: SmplAssets, target: Tensor) -> None:
        self._target = target
        self._parents = assets.model.parents
        self._prior: PosePrior | None = assets.prior
        self._mean_pose, self._mean_betas = assets.mean_pose, assets.mean_betas
        mean, dirs = smpl_rest_joints(assets.model)
        self._offsets = joint_offsets(torch.cat([mean[..., None], dirs], dim=-1), self._parents)  # (24, 3, 1 + 10)
        self._moved_by = _moved_by(self._parents).to(target)  # (22, 24)
        self._hinges = target.new_tensor(HINGE_SIGNS)

    def start(self) -> _Point:
        """The first official stage in closed form: mean pose and shape, turned and moved to hips and shoulders."""
        frames = self._target.shape[0]
        rotvecs = self._mean_pose.view(1, NUM_JOINTS, 3).expand(frames, -1, -1)
        places, _ = self._places(rotvecs)
        joints = places @ self._with_one(self._mean_betas)  # (T, 22, 3)
        torso, target, pelvis = joints[:, TORSO], self._target[:, TORSO], joints[:, :1]
        guess = (target - torso).mean(dim=1)
        transl, turn = guess, torch.eye(3).to(target)
        for _ in range(3):  # the translation hardly moves: its weight is 10,000 times that of the joints
            turn = _best_turn(torso - pelvis, target - pelvis - transl[:, None])
            left = target - pelvis - ((torso - pelvis) @ turn.mT)
            transl = (left.sum(dim=1) + PLACE_WEIGHT * guess) / (len(TORSO) + PLACE_WEIGHT)
        first = rotmat_to_rotvec(turn @ rotvec_to_rotmat(rotvecs[:, 0]))
        return _Point(torch.cat([first[:, None], rotvecs[:, 1:]], dim=1), transl, self._mean_betas)

    def value(self, point: _Point) -> float:
        """The objective, summed over frames."""
        places, _ = self._places(point.rotvecs)
        squares = self._errors(places, point) ** 2
        pose = point.rotvecs.flatten(1)
        total = JOINT_WEIGHT * (ROBUST_SCALE**2 * squares / (ROBUST_SCALE**2 + squares)).sum()
        total += HINGE_WEIGHT * torch.exp(2 * self._hinges * pose[:, HINGES]).sum()
        total += KEEP_WEIGHT * (pose[:, 3:] - self._mean_pose[3:]).square().sum()
        total += SHAPE_WEIGHT * len(pose) * point.betas.square().sum()
        if self._prior is not None:
            total += PRIOR_WEIGHT * _prior_costs(self._prior, pose[:, 3:]).amin(dim=1).sum()
        return float(total)

    def linearise(self, point: _Point) -> _System:
        """Slope and Gauss-Newton curvature at ``point``."""
        places, world = self._places(point.rotvecs)
        errors = self._errors(places, point).flatten(1)  # (T, 66)
        by_frame = self._frame_jacobian(places @ self._with_one(point.betas), world, point.rotvecs)  # (T, 66, 75)
        by_shape = places[..., 1:].flatten(1, 2)  # (T, 66, 10)
        weights = 2 * JOINT_WEIGHT * (ROBUST_SCALE**2 / (ROBUST_SCALE**2 + errors**2)) ** 2
        heavy, pull = weights[..., None] * by_frame, weights * errors
        slope, curvature = self._pose_terms(point.rotvecs.flatten(1))
        count = len(errors)
        return _System(
            frames=heavy.mT @ by_frame + curvature,
            cross=heavy.mT @ by_shape,
            shape=torch.einsum("tei,te,tej->ij", by_shape, weights, by_shape)
            + 2 * SHAPE_WEIGHT * count * torch.eye(NUM_BETAS).to(errors),
            frame_slope=torch.einsum("tep,te->tp", by_frame, pull) + slope,
            shape_slope=torch.einsum("teb,te->b", by_shape, pull) + 2 * SHAPE_WEIGHT * count * point.betas,
        )

    def _places(self, rotvecs: Tensor) -> tuple[Tensor, Tensor]:
        """Joints as linear functions of the shape (T, 22, 3, 1 + 10), and world matrices (T, 24, 3, 3)."""
        places, world = turn_joints(rotvec_to_rotmat(rotvecs), self._offsets, self._parents)
        return places[:, :TARGET_JOINTS], world

    def _with_one(self, betas: Tensor) -> Tensor:
        return torch.cat([betas.new_ones(1), betas])

    def _errors(self, places: Tensor, point: _Point) -> Tensor:
        """(T, 22, 3) fitted minus wanted, m."""
        return places @ self._with_one(point.betas) + point.transl[:, None] - self._target

    def _frame_jacobian(self, joints: Tensor, world: Tensor, rotvecs: Tensor) -> Tensor:
        """Change of the joints (T, 22 * 3) by rotation vectors and translation (T, 66, 75).

        Joint k turns what hangs on it about itself: d p / d v_k = (axis of the turn) x (p - p_k).
        """
        above = torch.cat([torch.eye(3).to(world).expand(len(world), 1, 3, 3), world[:, self._parents[1:]]], dim=1)
        axes = above @ rotvec_left_jacobian(rotvecs)  # (T, 24, 3, 3), columns in the world
        pivots = torch.cat([joints, joints.new_zeros(len(joints), NUM_JOINTS - TARGET_JOINTS, 3)], dim=1)
        arms = (joints[:, :, None] - pivots[:, None]) * self._moved_by[..., None]  # (T, 22, 24, 3)
        turned = torch.linalg.cross(axes.mT[:, None], arms[..., None, :].expand(-1, -1, -1, 3, -1))  # (T, 22, 24, 3, 3)
        by_turn = turned.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)  # (T, 66, 72)
        by_place = torch.eye(3).to(world).repeat(TARGET_JOINTS, 1).expand(len(world), -1, -1)
        return torch.cat([by_turn, by_place], dim=-1)

    def _pose_terms(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Slope (T, 75) and curvature (T, 75, 75) of everything that does not look at the joints."""
        slope = pose.new_zeros(len(pose), pose.shape[1] + 3)
        curvature = slope.new_zeros(*slope.shape, slope.shape[1])
        diagonal = curvature.diagonal(dim1=-2, dim2=-1)
        slope[:, 3:-3] = 2 * KEEP_WEIGHT * (pose[:, 3:] - self._mean_pose[3:])
        diagonal[:, 3:-3] = 2 * KEEP_WEIGHT
        hinges = HINGE_WEIGHT * torch.exp(2 * self._hinges * pose[:, HINGES])
        slope[:, HINGES] += 2 * self._hinges * hinges
        diagonal[:, HINGES] += 4 * hinges
        if self._prior is not None:
            nearest = _prior_costs(self._prior, pose[:, 3:]).argmin(dim=1)
            precision = PRIOR_WEIGHT * self._prior.precisions[nearest]  # (T, 69, 69)
            away = pose[:, 3:] - self._prior.means[nearest]
            slope[:, 3:-3] += (precision @ away[..., None])[..., 0]
            curvature[:, 3:-3, 3:-3] += precision
        return slope, curvature

    def to_fit(self, point: _Point, value: float, steps: int) -> SmplFit:
        """The result, with rotation vectors brought to the shorter way round."""
        places, _ = self._places(point.rotvecs)
        error = torch.linalg.vector_norm(self._errors(places, point), dim=-1).mean()
        rotvecs = rotmat_to_rotvec(rotvec_to_rotmat(point.rotvecs)).flatten(1).float().cpu()
        return SmplFit(
            global_orient=rotvecs[:, :3],
            body_pose=rotvecs[:, 3:],
            betas=point.betas.float().cpu(),
            transl=point.transl.float().cpu(),
            root=self._target[:, 0].float().cpu(),
            joint_error_m=float(error),
            objective=value,
            steps=steps,
        )


def _prior_costs(prior: PosePrior, pose: Tensor) -> Tensor:
    """Negative logarithm of each component's density (T, K) at body poses (T, 69)."""
    away = pose[:, None] - prior.means
    return torch.einsum("tki,kij,tkj->tk", away, prior.precisions, away) / 2 + prior.offsets


def _moved_by(parents: tuple[int, ...]) -> Tensor:
    """(22, 24): 1 where turning the second joint moves the first."""
    mask = torch.zeros(TARGET_JOINTS, NUM_JOINTS)
    for joint in range(TARGET_JOINTS):
        above = parents[joint]
        while above >= 0:
            mask[joint, above] = 1
            above = parents[above]
    return mask


def _best_turn(points: Tensor, targets: Tensor) -> Tensor:
    """Rotation (T, 3, 3) that brings points (T, N, 3) nearest to targets about the origin (Kabsch 1976)."""
    u, _, vh = torch.linalg.svd(targets.mT @ points)
    sign = torch.linalg.det(u @ vh)
    turn: Tensor = (u * torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)[:, None]) @ vh
    return turn
