"""A VRM humanoid at rest: which bones it has, where they stand in the T-pose, and what a clip does to them.

Axes are those of VRM 1.0 for every avatar, VRM 0.x ones included: facing +Z, left = +X, +Y up, metres, soles at y = 0.
Bones are normalised: rest rotation identity, so a bone is told by its rest position alone
(https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm_animation-1.0/how_to_transform_human_pose.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.geometry.kinematics import forward_kinematics
from motion_service.geometry.planes import Planes, multiply, to_planes, to_tensor, unit, unroll
from motion_service.geometry.rotation import quat_identity
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_REST, UPPER_CHEST_REST, VRM_PARENT

Vector = tuple[float, float, float]
_LEG_ENDINGS: Final = ("Leg", "Foot", "Toes")


@dataclass(frozen=True)
class Body:
    """A rest skeleton. Raises BadRequest without hips, or when they are not above the floor, or not finite."""

    rest: Mapping[str, Vector]
    """{bone: world position in the T-pose, m}, parents before children."""

    def __post_init__(self) -> None:
        ordered = {bone: self.rest[bone] for bone in VRM_PARENT if bone in self.rest}
        if len(ordered) != len(self.rest) or "hips" not in ordered:
            raise BadRequest("a body needs a hips bone, and only VRM humanoid bones", field="avatar")
        if not all(math.isfinite(part) for place in ordered.values() for part in place):
            raise BadRequest("the bones of a body must rest at finite places", field="avatar")
        if not ordered["hips"][1] > 0:
            raise BadRequest("the hips of a body must stand above the floor", field="avatar")
        object.__setattr__(self, "rest", ordered)

    def __reduce__(self) -> tuple[type[Body], tuple[dict[str, Vector]]]:
        """Between processes only the rest places travel, not what was worked out of them."""
        return Body, (dict(self.rest),)

    @property
    def bones(self) -> tuple[str, ...]:
        """Bones in the order J of this body, parents before children."""
        return tuple(self.rest)

    @property
    def hips_height(self) -> float:
        """Rest height of the hips, m."""
        return self.rest["hips"][1]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Index of each bone's parent: the nearest VRM ancestor that this body has; -1 for the hips."""
        index = {bone: i for i, bone in enumerate(self.bones)}
        return tuple(-1 if (up := _present_parent(bone, index)) is None else index[up] for bone in self.bones)

    @cached_property
    def offsets(self) -> Tensor:
        """(J, 3) rest offset of each bone from its parent, m; zero for the hips."""
        rest = torch.tensor(list(self.rest.values()))
        return rest - rest[[max(parent, 0) if i else 0 for i, parent in enumerate(self.parents)]]

    @cached_property
    def offset_planes(self) -> Planes:
        """(3, J, 1) the same for :mod:`motion_service.geometry.planes`, float32."""
        return to_planes(self.offsets)[..., None]

    @cached_property
    def legs(self) -> Body:
        """Hips and legs alone: what tells where the feet are."""
        return Body({bone: place for bone, place in self.rest.items() if bone.endswith(("hips", *_LEG_ENDINGS))})

    def index(self, bone: str) -> int:
        """Position of ``bone`` in :attr:`bones`."""
        return self.bones.index(bone)


CANONICAL_BODY: Final = Body(dict(zip(CANONICAL_BONES, CANONICAL_REST, strict=True)))
"""The body that ``mini`` was trained on: 21 bones, no upperChest."""

MANNEQUIN_BODY: Final = Body({**CANONICAL_BODY.rest, "upperChest": UPPER_CHEST_REST})
"""The shipped mannequin avatar: the canonical body with an upperChest, 22 bones."""


def clip_to_body(clip: VrmClip, body: Body) -> VrmClip:
    """The clip for exactly this body: bones it lacks folded into their children, hips scaled to its height.

    World orientations of all bones that the body has are those of the clip; a leaf that it lacks (toes, fingers) is
    dropped. The path is scaled too, so strides fit the legs.
    """
    scale = body.hips_height / clip.rest_hips_height
    tracks = _fold_tracks(clip, body.bones)
    return replace(clip, rotations=tracks, hips=clip.hips * scale, rest_hips_height=body.hips_height)


def fold_bones(clip: VrmClip, kept: Iterable[str]) -> VrmClip:
    """The clip with tracks for the bones ``kept`` only; the rotation of any other is multiplied into its children.

    A kept bone without a track of its own gets one when a folded bone above it turns. The hips are always kept.
    """
    return replace(clip, rotations=_fold_tracks(clip, kept))


def _fold_tracks(clip: VrmClip, kept: Iterable[str]) -> dict[str, Tensor]:
    """The tracks of :func:`fold_bones`."""
    bones = tuple(clip.rotations)
    chains = fold_chains(bones, frozenset(kept))
    local = clip_to_planes(clip, bones)
    folded = local.take([chain[0] for chain in chains.values()], axis=1)
    for link in range(1, max(map(len, chains.values()))):
        rows, turned = zip(*((row, c[link]) for row, c in enumerate(chains.values()) if len(c) > link), strict=True)
        folded[:, rows] = multiply(folded[:, rows], local[:, turned])
    return dict(zip(chains, to_tensor(unroll(unit(folded))).unbind(0), strict=True))


@lru_cache(maxsize=64)
def fold_chains(bones: tuple[str, ...], kept: frozenset[str]) -> Mapping[str, tuple[int, ...]]:
    """For each of the bones ``kept`` that gets a track, parents before children: the places in ``bones`` of what is
    folded into it, and of itself. The hips are always kept."""
    kept |= {"hips"}
    chains = {}
    for bone in (bone for bone in VRM_PARENT if bone in kept):
        chain = [bone]
        while (up := VRM_PARENT[chain[0]]) is not None and up not in kept:
            chain.insert(0, up)
        if turned := tuple(bones.index(link) for link in chain if link in bones):
            chains[bone] = turned
    return chains


def pose_body(body: Body, clip: VrmClip) -> tuple[Tensor, Tensor]:
    """World positions (T, J, 3) m and orientations (T, J, 4) xyzw of the bones of ``body`` in ``clip``.

    The clip must have been made for it (:func:`clip_to_body`); bones without a track rest.
    """
    rest = quat_identity(clip.num_frames).to(clip.hips)
    local = torch.stack([clip.rotations.get(bone, rest) for bone in body.bones], dim=1)  # (T, J, 4)
    return forward_kinematics(local, clip.hips, body.offsets.to(clip.hips), body.parents)


def clip_to_planes(clip: VrmClip, bones: Sequence[str]) -> Planes:
    """Local rotations (4, J, T) of the bones named, float32; one without a track rests."""
    rest = quat_identity(clip.num_frames)
    return to_planes(torch.stack([clip.rotations.get(bone, rest) for bone in bones]))


def _present_parent(bone: str, present: Mapping[str, int]) -> str | None:
    """The nearest ancestor of ``bone`` among ``present``."""
    parent = VRM_PARENT[bone]
    while parent is not None and parent not in present:
        parent = VRM_PARENT[parent]
    return parent
