"""What the network is trained to get right, beyond the clean features themselves: bodies, speeds, feet and paths.

All terms are means over valid frames, in float32. Position, velocity and foot terms follow eq. 3 to 5 of Tevet et al.
2023 (MDM), but in the world, root and heading steps included: that is where a foot skates.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from motion_service.features.vrm_native import (
    CONTACTS,
    HIPS_ROT6D,
    LOCAL_ROT6D,
    NUM_BONES,
    POSITIONS,
    ROOT_HEIGHT,
    ROOT_VELOCITY,
    VELOCITIES,
    VRM_FPS,
    YAW_RATE,
)
from motion_service.geometry.rotation import rot6d_to_rotmat
from motion_service.training.facing import FacingBody, bone_steps, feet, turn_about_y


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weight of each term. Lengths are metres, speeds m/s, angles radians, all squared."""

    x0: float = 1.0
    """Normalised features."""
    velocity: float = 2.0
    """Their differences from frame to frame, the step from the prefix included."""
    position: float = 20.0
    """Bone positions by forward kinematics of the predicted rotations."""
    consistency: float = 5.0
    """Predicted positions against forward kinematics of the predicted rotations."""
    motion: float = 0.3
    """World velocity of every bone by forward kinematics and predicted root rates."""
    contact: float = 0.5
    """World velocity of feet on the ground: skating. Counts the more the less noise there was: where nothing but noise
    is known the best answer is a mean of many motions, which slides, and not to slide would only shorten the stride."""
    path: float = 0.3
    """Place and heading reached since the prefix."""
    stride: float = 0.0
    """Height, in dm, and world velocity of feet. Too low costs a swinging foot more than too high (:data:`LOW_COST`);
    counts the more the less noise there was, as ``contact`` does."""


LOW_COST: Final = 4.0
"""What a swinging foot pays for being too low, of what it pays for being too high. Where the phase of a step is not
known yet, a plain mean of heights drags the foot along the floor; so the answer is an expectile above the mean."""


class Losses(NamedTuple):
    """The terms of one batch, unweighted scalars, in the order of :class:`LossWeights`."""

    x0: Tensor
    velocity: Tensor
    position: Tensor
    consistency: Tensor
    motion: Tensor
    contact: Tensor
    path: Tensor
    stride: Tensor


class MotionLoss(nn.Module):
    """Compares predicted with true frames. Holds the statistics and the body, no parameters."""

    mean: Tensor
    std: Tensor
    weights: Tensor

    def __init__(self, mean: Tensor, std: Tensor, weights: LossWeights) -> None:
        """``mean``, ``std`` (F,) of the features."""
        super().__init__()
        self.body = FacingBody()
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("std", std.clone(), persistent=False)
        self.register_buffer("weights", torch.tensor(astuple(weights)), persistent=False)

    def forward(
        self, predicted: Tensor, target: Tensor, prefix: Tensor, frame_mask: Tensor, signal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The weighted sum (scalar) and the terms (8,), unweighted, in the order of :class:`LossWeights`.

        ``predicted``, ``target`` (B, T, F) and ``prefix`` (B, C, F) normalised, ``frame_mask`` (B, T) bool, ``signal``
        (B,) share of signal variance in what the network saw, 0..1.
        """
        terms = torch.stack(list(self.terms(predicted.float(), target, prefix, frame_mask, signal)))
        return (terms * self.weights).sum(), terms.detach()

    def terms(self, predicted: Tensor, target: Tensor, prefix: Tensor, frame_mask: Tensor, signal: Tensor) -> Losses:
        """Each term alone."""
        mask = frame_mask.float()
        error = predicted - target
        # Both continue the same prefix, so the step from it differs by the error of the first frame.
        jump = torch.cat([error[:, :1], error[:, 1:] - error[:, :-1]], dim=1)
        raw, truth, before = (frames * self.std + self.mean for frames in (predicted, target, prefix[:, -1]))
        positions = self._positions(raw)  # (B, T, 21, 3)
        steps = self._steps(positions, raw, before)
        wanted = truth[..., POSITIONS].unflatten(-1, (NUM_BONES, 3))
        said = raw[..., POSITIONS].unflatten(-1, (NUM_BONES, 3))
        speed = truth[..., VELOCITIES].unflatten(-1, (NUM_BONES, 3))
        return Losses(
            x0=_masked_mean(error**2, mask),
            velocity=_masked_mean(jump**2, mask),
            position=_masked_mean((positions - wanted) ** 2, mask),
            consistency=_masked_mean((said - positions) ** 2, mask),
            motion=_masked_mean((steps * VRM_FPS - speed) ** 2, mask),
            contact=self.contact(steps, raw, truth, before, mask * signal[:, None]),
            path=self.path(raw, truth, mask),
            stride=self.stride(positions - wanted, steps * VRM_FPS - speed, truth, mask * signal[:, None]),
        )

    def _positions(self, raw: Tensor) -> Tensor:
        """Bone positions (B, T, 21, 3) m in the facing frame, from the rotations and the height only."""
        rot6d = torch.cat([raw[..., HIPS_ROT6D], raw[..., LOCAL_ROT6D]], dim=-1).unflatten(-1, (NUM_BONES, 6))
        positions: Tensor = self.body(rot6d_to_rotmat(rot6d), raw[..., ROOT_HEIGHT.start])
        return positions

    def _steps(self, positions: Tensor, raw: Tensor, before: Tensor) -> Tensor:
        """World displacement (B, T, 21, 3) m of each bone; ``before`` (B, F) is the last prefix frame, raw."""
        start = before[:, POSITIONS].unflatten(-1, (NUM_BONES, 3))
        return bone_steps(positions, start, raw[..., YAW_RATE.start] / VRM_FPS, raw[..., ROOT_VELOCITY] / VRM_FPS)

    def contact(self, steps: Tensor, raw: Tensor, truth: Tensor, before: Tensor, weight: Tensor) -> Tensor:
        """Squared world speed, (m/s)^2, of foot joints that are on the ground in a frame and in the one before.

        ``weight`` (B, T) of each frame.

        On the ground says the truth or, if greater, the prediction itself; the latter carries no gradient, or the
        network would learn to deny contact.
        """
        labels = torch.maximum(truth[..., CONTACTS], raw[..., CONTACTS].detach().clamp(0, 1))  # (B, T, 4)
        earlier = torch.cat([before[:, None, CONTACTS].clamp(0, 1), labels[:, :-1]], dim=1)
        grounded = labels * earlier * weight[..., None]
        speed = ((feet(steps) * VRM_FPS) ** 2).sum(-1)  # (B, T, 4)
        return (speed * grounded).sum() / grounded.sum().clamp_min(1.0)

    def stride(self, places: Tensor, speeds: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        """Squared errors of the height, dm^2, and of the world velocity, (m/s)^2, of the foot joints.

        ``places``, ``speeds`` (B, T, 21, 3) errors in m and m/s, ``truth`` (B, T, F) raw, ``weight`` (B, T).
        """
        height = 10 * feet(places)[..., 1]  # (B, T, 4)
        swings = (truth[..., CONTACTS] < 0.5) & (height < 0)
        cost = height**2 * (1 + (LOW_COST - 1) * swings) + (feet(speeds) ** 2).sum(-1)
        return (cost.mean(-1) * weight).sum() / weight.sum().clamp_min(1.0)

    def path(self, raw: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        """Squared error of the place, m^2, and of the heading, rad^2, reached since the prefix."""
        (place, heading), (true_place, true_heading) = (_path(frames, mask) for frames in (raw, truth))
        error = ((place - true_place) ** 2).sum(-1) + (heading - true_heading) ** 2
        return (error * mask).sum() / mask.sum().clamp_min(1.0)


def _path(raw: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Place (B, T, 2) m and heading (B, T) rad after each frame, starting from zero."""
    heading = torch.cumsum(raw[..., YAW_RATE.start] * mask, dim=1) / VRM_FPS
    velocity = raw[..., ROOT_VELOCITY] * mask[..., None]
    flat = torch.stack([velocity[..., 0], torch.zeros_like(heading), velocity[..., 1]], dim=-1)
    place = torch.cumsum(turn_about_y(flat, heading), dim=1) / VRM_FPS
    return torch.stack([place[..., 0], place[..., 2]], dim=-1), heading


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, T, ...) over valid frames and everything after."""
    per_frame = values.flatten(2).mean(-1)
    return (per_frame * mask).sum() / mask.sum().clamp_min(1.0)
