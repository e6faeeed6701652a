"""Keyframes of a file to a clip: every reader of a format ends here. Bounded, because files come from strangers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest, GenerationFailed
from motion_service.export.pose import clip_to_pose
from motion_service.features.vrm_native import foot_contacts
from motion_service.geometry.rotation import normalize, quat_identity, quat_slerp
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT
from motion_service.vrm.avatar import HIPS_RANGE, MAX_NAME

FIELD: Final = "clip"
"""What every error of a reader names."""
MAX_BYTES: Final = 64 * 2**20
"""Larger files are not opened: 120 s at 120 fps of all 55 bones are 52 MiB as JSON."""
MAX_FRAMES: Final = 14_400
"""120 s at 120 fps, the longest and fastest that the service makes."""
MAX_FPS: Final = 240.0
MAX_EXPRESSIONS: Final = 100
MAX_PLACE: Final = 1000.0
"""Farthest that the hips may be from the origin along an axis, m; giants (hips above 0.95 m) in proportion farther."""
DEFAULT_FPS: Final = 30.0
"""For files whose keys do not lie on a regular grid; the guideline of the VRMA specification."""

_SAME_TIME: Final = 2e-5
"""Keys this near to a frame's time are taken as they are, s: times in files are rounded."""
_UNIT: Final = 1e-3
"""How far from 1 the length of a quaternion may be, as in VrmClip."""


def refuse(detail: str) -> BadRequest:
    """The error of every reader."""
    return BadRequest(detail, field=FIELD)


def check_name(name: str) -> str:
    """The name of an expression if it can be shown and sent on; else raises BadRequest."""
    # the ideographic space is no printable character to Python, but one that Japanese names hold
    if not (1 <= len(name) <= MAX_NAME and name.replace("\u3000", " ").isprintable()):
        raise refuse(f"expressions: {ascii(name[:20])} must have 1 to {MAX_NAME} printable characters; rename it")
    return name


def check_height(height: float, name: str) -> float:
    """The height of the hips in the T-pose, m, if an avatar may have it; else raises BadRequest naming ``name``."""
    low, high = HIPS_RANGE
    if not low <= round(height, 4) <= high:  # files round
        raise refuse(f"{name}: the hips must rest {low:g} to {high:g} m above the floor; send metres, not other units")
    return height


@dataclass(frozen=True)
class Keys:
    """One track as a file holds it. Raises BadRequest unless finite, in order of time, and of bearable length."""

    name: str
    """As errors call it."""
    times: npt.NDArray[np.float64]
    """(K,) s, increasing."""
    values: Tensor
    """(K, W); W = 4 is a quaternion, xyzw."""
    step: bool = False
    """Hold each value until the next instead of interpolating."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.times) <= MAX_FRAMES or self.values.shape[0] != len(self.times):
            raise refuse(f"{self.name}: a track has 1 to {MAX_FRAMES} keys, each with a time and a value")
        if not (np.isfinite(self.times).all() and bool(torch.isfinite(self.values).all())):
            raise refuse(f"{self.name}: all numbers must be finite")
        if self.times[0] < 0 or (np.diff(self.times) <= 0).any():
            raise refuse(f"{self.name}: times must start at 0 or later and increase")
        if self.values.shape[1] == 4 and bool((self.values.norm(dim=-1) - 1).abs().max() > _UNIT):
            raise refuse(f"{self.name}: rotations must be unit quaternions x, y, z, w")

    def at(self, clock: npt.NDArray[np.float64]) -> Tensor:
        """Values at the clock's times (T,): by slerp or linearly, held before the first key and after the last."""
        if len(clock) == len(self.times) and np.abs(clock - self.times).max() < _SAME_TIME:
            return self.values
        if len(self.times) == 1:
            return self.values.expand(len(clock), -1).clone()
        right = np.searchsorted(self.times, clock + _SAME_TIME, side="right").clip(1, len(self.times) - 1)
        left = right - 1
        share = ((clock - self.times[left]) / (self.times[right] - self.times[left])).clip(0, 1)
        share = share >= 1 - 1e-6 if self.step else share
        amount = torch.from_numpy(share.astype(np.float32))[:, None]
        before, after = self.values[left], self.values[right]
        if self.values.shape[1] == 4:
            return quat_slerp(normalize(before), normalize(after), amount)
        return before * (1 - amount) + after * amount


@dataclass(frozen=True)
class KeyedClip:
    """All that was read of a file, before its tracks lie on one grid. VRM 1.0 axes, normalised bones."""

    rotations: Mapping[str, Keys]
    hips: Keys
    rest_hips_height: float
    expressions: Mapping[str, Keys] = field(default_factory=dict)
    gaze: Keys | None = None

    def __post_init__(self) -> None:
        if len(self.expressions) > MAX_EXPRESSIONS:
            raise refuse(f"a clip has at most {MAX_EXPRESSIONS} expressions")
        farthest = MAX_PLACE * max(1.0, self.rest_hips_height / CANONICAL_HIPS_HEIGHT)
        if float(self.hips.values.abs().max()) > farthest:
            raise refuse(f"{self.hips.name}: must lie within {farthest:g} m of the origin; send metres, from nearer by")

    @property
    def tracks(self) -> list[Keys]:
        """Every track."""
        gaze = [] if self.gaze is None else [self.gaze]
        return [self.hips, *self.rotations.values(), *self.expressions.values(), *gaze]


def keys_to_clip(keyed: KeyedClip, fps: float | None = None, contacts: Tensor | None = None) -> VrmClip:
    """The clip at ``fps``, or at the file's own rate when None.

    Tracks on that grid are taken as they are, others resampled. Without ``contacts`` (T, 4), or with some of another
    length, they are found anew: from the feet of the canonical body, low and slow. The last key ends the clip.
    """
    rate = _own_fps(keyed.tracks) if fps is None else fps
    last = max(float(track.times[-1]) for track in keyed.tracks)
    if not 0 < rate <= MAX_FPS or last * rate >= MAX_FRAMES - 0.5:  # times in files are rounded
        raise refuse(f"a clip has a rate of up to {MAX_FPS:g} frames a second and at most {MAX_FRAMES} frames")
    frames = round(last * rate) + 1
    clock = np.arange(frames) / rate
    rotations = {bone: track.at(clock) for bone, track in keyed.rotations.items()}
    rotations.setdefault("hips", quat_identity(frames))
    try:
        clip = VrmClip(
            rotations,
            keyed.hips.at(clock),
            torch.zeros(frames, 4) if contacts is None or contacts.shape != (frames, 4) else contacts,
            rate,
            keyed.rest_hips_height,
            {name: track.at(clock)[:, 0].clamp(0, 1) for name, track in keyed.expressions.items()},
            None if keyed.gaze is None else keyed.gaze.at(clock),
        )
    except GenerationFailed as error:
        raise refuse(error.detail) from error
    if contacts is not None and contacts.shape == (frames, 4):
        return clip
    return replace(clip, contacts=foot_contacts(clip_to_pose(clip)[0], rate))


def _own_fps(tracks: list[Keys]) -> float:
    """The rate of the track with the most keys if they are evenly spaced from 0 on, else the default."""
    times = max((track.times for track in tracks), key=len)
    if len(times) < 2 or times[0] > _SAME_TIME:
        return DEFAULT_FPS
    rate = round((len(times) - 1) / float(times[-1]), 3)
    if not 0 < rate <= MAX_FPS:
        return DEFAULT_FPS
    even = np.abs(times - np.arange(len(times)) / rate).max() < _SAME_TIME
    return rate if even else DEFAULT_FPS
