"""From a source's clip to the clip of one avatar: every step after the model, in order.

Bones and size of the avatar, frame rate, small signs of life, the stage it plays on, foot lock on its legs, and at last
the convention of whoever plays it. Each step is a module beside this one; here is only their order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from motion_service.clips import VrmClip, travels
from motion_service.humanoid import VRM_PARENT
from motion_service.source import join_clips, slice_clip
from motion_service.vrm.avatar import Avatar
from motion_service.vrm.body import CANONICAL_BODY, MANNEQUIN_BODY, Body, clip_to_body, fold_bones
from motion_service.vrm.convention import boost_safe, to_vrm0
from motion_service.vrm.footlock import lock_feet
from motion_service.vrm.life import BLINKS, add_life
from motion_service.vrm.resample import resample_clip
from motion_service.vrm.stage import stage_clip

PRESET_EXPRESSIONS: Final = frozenset(["happy", "angry", "sad", "relaxed", "surprised", "blink"])
"""What an avatar that we do not know is taken to have. A viewer leaves out what it lacks."""


@travels
@dataclass(frozen=True, slots=True)
class Fitting:
    """How a clip is to be played."""

    avatar: Avatar | None = None
    """None: any VRM avatar."""
    fold: bool = True
    """Without an avatar: leave out bones that many avatars lack."""
    keep_bones: bool = False
    """Without an avatar: whatever else the clip moves (fingers, eyes, jaw) stays. For clips that are not a model's."""
    foot_lock: bool = True
    root: Literal["free", "bounded", "in_place"] = "free"
    settle: bool = False
    expressions: bool = False
    still: frozenset[str] = frozenset()
    """Signs of life that are left out: blink, gaze, fingers, breathing."""
    mood: str | None = None
    """Emotion in the words, one of the VRM presets."""
    seed: int = 0
    """Of the blinking and the glances."""
    fps: float | None = None
    """None: the source's own."""
    target: Literal["vrm1", "vrm0"] = "vrm1"
    """Convention for an avatar that we do not know; one that we know has its own."""
    compat: Literal["none", "boost-safe"] = "none"
    loop: bool = False
    """The clip is played again and again: its last frame goes over into its first."""

    @property
    def body(self) -> Body:
        """The skeleton to fit."""
        if self.avatar is not None:
            return self.avatar.body
        return CANONICAL_BODY if self.fold else MANNEQUIN_BODY

    @property
    def convention(self) -> Literal["vrm1", "vrm0"]:
        """Axes of the tracks."""
        if self.avatar is None:
            return self.target
        return "vrm0" if self.avatar.vrm_version == "0.x" else "vrm1"


@dataclass(frozen=True, slots=True)
class FittedClip:
    """A clip for one avatar."""

    clip: VrmClip
    """VRM 1.0 axes: for files whose format fixes the convention (VRMA, BVH) and for pictures."""
    wire: VrmClip
    """What a viewer puts on the normalised bones as it is: in the avatar's convention."""
    body: Body
    facts: dict[str, float]
    """Measures of the foot lock."""


def fit_clip(clip: VrmClip, fitting: Fitting) -> FittedClip:
    """Fit a source's clip (VRM 1.0 axes, any body) to an avatar and a stage."""
    if fitting.loop:
        return _fit_loop(clip, fitting)
    body = fitting.body
    clip = resample_clip(_to_body(clip, fitting), fitting.fps)  # first: what follows is exact at the rate asked for
    if fitting.expressions:
        clip = _with_life(clip, fitting)
    clip = stage_clip(clip, fitting.root, fitting.settle)
    facts = {}
    if fitting.foot_lock:  # after the stage, which moves feet; its own sliding is too fast to be taken for standing
        locked = lock_feet(clip, body)
        clip = locked.clip
        facts = {
            "skate_before_lock_cm_s": locked.skate_before,
            "skate_after_lock_cm_s": locked.skate_after,
            "foot_lock_moved_cm": locked.moved_cm,
        }
    wire = to_vrm0(clip) if fitting.convention == "vrm0" else clip
    if fitting.compat == "boost-safe":
        wire = boost_safe(wire)
    return FittedClip(clip, wire, body, facts)


def _fit_loop(clip: VrmClip, fitting: Fitting) -> FittedClip:
    """The middle one of three rounds: what is smoothed and held at the ends then knows how it goes on.

    A loop stays near its spot by itself, so the root modes have nothing to do, and it does not come to rest.
    """
    rounds = join_clips(join_clips(clip, clip), clip)
    fitted = fit_clip(rounds, replace(fitting, loop=False, root="free", settle=False))
    frames = fitted.clip.num_frames
    length = max(1, round(frames / 3))
    first = min(length, frames - length)  # at a low rate all three may be one frame
    return replace(
        fitted,
        clip=slice_clip(fitted.clip, first, first + length),
        wire=slice_clip(fitted.wire, first, first + length),
    )


def _to_body(clip: VrmClip, fitting: Fitting) -> VrmClip:
    """The clip in the size of the body to fit, with its bones, or with its own where they are to be kept."""
    fitted = clip_to_body(clip, fitting.body)
    if fitting.avatar is not None or not fitting.keep_bones:
        return fitted
    left_out = {"upperChest"} if fitting.fold else set()
    return replace(fitted, rotations=fold_bones(clip, VRM_PARENT.keys() - left_out).rotations)


def _with_life(clip: VrmClip, fitting: Fitting) -> VrmClip:
    """Fingers, blinking, gaze and emotion, as far as the avatar has them."""
    avatar = fitting.avatar
    bones = frozenset(VRM_PARENT if avatar is None else avatar.body.bones)
    names = frozenset(PRESET_EXPRESSIONS if avatar is None else avatar.expressions)
    if "fingers" in fitting.still:
        bones &= clip.rotations.keys()
    if "blink" in fitting.still:
        names -= BLINKS
    looks = (avatar is None or avatar.has_look_at) and "gaze" not in fitting.still
    clip = add_life(clip, bones, names, looks, fitting.mood, fitting.seed)
    spelled = {} if avatar is None else avatar.own_names  # three-vrm knows these only as their author wrote them
    own = {name: clip.expressions[preset] for preset, name in spelled.items() if preset in clip.expressions}
    return replace(clip, expressions={**clip.expressions, **own})
