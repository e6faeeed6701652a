"""What the fit of endless motion knows of an avatar, worked out once a stream: which tracks come from which, how large
it is, where its feet stand.

Figures of one *kind* go through the fit together, whatever their size, stage and seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.geometry.planes import Planes, multiply
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT, VRM_PARENT
from motion_service.live_frames import FrameLayout
from motion_service.vrm.body import fold_chains
from motion_service.vrm.fitting import PRESET_EXPRESSIONS, Fitting
from motion_service.vrm.legs import LegBones, find_legs, sole_heights
from motion_service.vrm.life import BLINKS
from motion_service.vrm.live_life import LiveLife, Temper, new_life, new_temper

_REST: Final = np.array([0.0, 0.0, 0.0, 1.0], np.float32)


@dataclass(frozen=True)
class FigureKind:
    """All that must be equal for figures to be fitted together."""

    fps: float
    """Of the source."""
    source_bones: tuple[str, ...]
    bones: tuple[str, ...]
    """With a track of the motion, parents before children."""
    chains: tuple[tuple[int, ...], ...]
    """For each of them the places in ``source_bones`` of what is folded into it, and of itself."""
    legs: LegBones | None
    """None: no foot lock."""
    life: LiveLife | None

    @property
    def layout(self) -> FrameLayout:
        """Of the fitted frames."""
        if self.life is None:
            return FrameLayout(self.bones)
        return FrameLayout(self.bones + self.life.fingers, self.life.names, self.life.has_gaze)

    def fold(self, local: Planes) -> Planes:
        """Rotations (4, J, ...) of :attr:`bones` from those of the source's, themselves where nothing is folded."""
        if self.bones == self.source_bones:
            return local
        folded = local[:, [chain[0] for chain in self.chains]]
        for link in range(1, max(map(len, self.chains))):
            rows = [row for row, chain in enumerate(self.chains) if len(chain) > link]
            turned = [self.chains[row][link] for row in rows]
            folded[:, rows] = multiply(folded[:, rows], local[:, turned])
        return folded

    def leg_rotations(self, local: Planes, legs: LegBones) -> Planes:
        """Rotations (4, L, ...) of the bones of the legs from those of :attr:`bones`; one without a track rests."""
        rows = [self.bones.index(bone) if bone in self.bones else -1 for bone in legs.bones]
        tracks = local[:, rows]
        tracks[:, [row < 0 for row in rows]] = _REST.reshape(4, *[1] * (local.ndim - 1))
        return tracks


@dataclass(frozen=True, slots=True, eq=False)
class LiveFigure:
    """One avatar, as it is played in one stream."""

    fitting: Fitting
    kind: FigureKind
    temper: Temper
    stretch: float
    """Height of its hips by that of the source's body."""
    rest_height: float
    """Of its hips, m."""
    leg_offsets: npt.NDArray[np.float32]
    """(L, 3) rest offsets of its hips and legs, m; empty without foot lock."""
    floor: npt.NDArray[np.float64]
    """(S, P) height of the parts of its feet on the floor, m; empty without foot lock."""

    @property
    def scale(self) -> float:
        """Of the figure over the canonical body."""
        return self.rest_height / CANONICAL_HIPS_HEIGHT

    def seeded(self, fitting: Fitting) -> LiveFigure:
        """The same in another stream, whose ``fitting`` has another seed and is equal otherwise."""
        return replace(self, fitting=fitting, temper=_temper_of(fitting))


def new_figure(fitting: Fitting, source_bones: tuple[str, ...], source_height: float, fps: float) -> LiveFigure:
    """The figure for motion of ``source_bones`` on a body whose hips rest at ``source_height``, at ``fps``."""
    body = fitting.body
    chains = fold_chains(source_bones, frozenset(body.bones))
    bones = tuple(chains)
    legs = find_legs(body, bones) if fitting.foot_lock else None
    kind = FigureKind(fps, source_bones, bones, tuple(chains.values()), legs, _life_of(fitting, bones))
    offsets = np.zeros((0, 3), np.float32) if legs is None else body.legs.offsets.numpy()
    floor = np.zeros((0, 2)) if legs is None else sole_heights(legs, body).T.astype(np.float64)
    height = body.hips_height
    return LiveFigure(fitting, kind, _temper_of(fitting), height / source_height, height, offsets, floor)


def _temper_of(fitting: Fitting) -> Temper:
    return new_temper(fitting.seed, breathes="breathing" not in fitting.still)


def _life_of(fitting: Fitting, moved: tuple[str, ...]) -> LiveLife | None:
    """What the avatar shows besides the motion."""
    avatar, still = fitting.avatar, fitting.still
    if not fitting.expressions:
        return None
    bones = frozenset(VRM_PARENT if avatar is None else avatar.body.bones)
    names = PRESET_EXPRESSIONS if avatar is None else frozenset(avatar.expressions)
    own = () if avatar is None else tuple(sorted(avatar.own_names.items()))
    has_gaze = avatar is None or avatar.has_look_at
    return new_life(
        moved,
        frozenset(moved) if "fingers" in still else bones,
        names - BLINKS if "blink" in still else names,
        own,
        has_gaze and "gaze" not in still,
    )
