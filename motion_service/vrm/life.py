"""Small signs of life on top of a clip: relaxed fingers, blinks, a wandering gaze, a mood on the face.

Only what the avatar has is added, and nothing the clip has already is replaced. The mouth is never touched: lip sync
owns it. Everything is drawn from one seed, so the same clip and seed look the same. VRM 1.0 names and axes throughout:
expressions https://github.com/vrm-c/vrm-specification/blob/master/specification/VRMC_vrm-1.0/expressions.md
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.geometry.rotation import axis_angle_to_quat, normalize

MOODS: Final = ("happy", "angry", "sad", "relaxed", "surprised")
"""The emotion presets of VRM 1.0."""
MOUTH: Final = frozenset({"aa", "ih", "ou", "ee", "oh"})
"""The mouth presets, which belong to lip sync."""
BLINKS: Final = frozenset({"blink", "blinkLeft", "blinkRight"})
BLINK_S: Final = 0.15
"""Length of a blink, s."""
_BLINK_EVERY_S: Final = (2.0, 6.0)
_BLINK_MIN_FPS: Final = 2 / BLINK_S
"""A slower clip cannot show a blink: eyes would be half shut for too long."""
_MOOD_IN_S: Final = 0.4
_MOOD_OUT_S: Final = 0.6
_MOOD_WEIGHT: Final = (0.6, 0.8)
_GAZE_HOLD_S: Final = (0.6, 2.6)
_GAZE_SPREAD: Final = (math.radians(3.5), math.radians(1.8))
"""Standard deviation of yaw and pitch about the viewer, rad."""
_GAZE_LIMIT: Final = 2.0
"""Looks farther away than so many deviations are pulled in."""
_FINGER_SWAY: Final = math.radians(2.5)
"""Largest slow movement of a finger joint about its curl, rad."""
_FINGER_SWAY_HZ: Final = (0.05, 0.2)

_CURL_DEG: Final[Mapping[str, tuple[float, float, float]]] = {
    # of the three joints from the hand outwards; a hanging hand curls more towards the little finger
    "Index": (14.0, 20.0, 10.0),
    "Middle": (20.0, 26.0, 14.0),
    "Ring": (24.0, 28.0, 16.0),
    "Little": (26.0, 28.0, 16.0),
}
_CURL_AXIS: Final = (0.0, 0.0, -1.0)
"""Left fingers point along +X, palm down: they curl from +X towards -Y."""
_THUMB_DEG: Final = (8.0, 10.0, 14.0)
_THUMB_AXIS: Final = (0.5, math.sqrt(0.5), -0.5)
"""The left thumb points along (1, 0, 1) in the T-pose; it bends to the palm, half inwards (+X - Z), half down (-Y)."""
_FINGER_JOINTS: Final = ("Proximal", "Intermediate", "Distal")
_THUMB_JOINTS: Final = ("Metacarpal", "Proximal", "Distal")

_MOOD_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    # mood: (English words, Japanese substrings), lower case
    "happy": (
        r"happ(?:y|i\w+)|joy\w*|cheer(?!less)\w*|glad(?:ly)?|delight\w*|excit\w+|merr(?:y|i\w+)|playful\w*|energetic\w*"
        r"|smil\w+|laugh\w*|giggl\w+|gleeful\w*",
        "嬉し|うれし|楽し|たのし|喜|よろこ|元気|明るく|笑|わら[うい]|わらっ|はしゃ|わくわく|ワクワク|ご機嫌|うきうき|ウキウキ",
    ),
    "angry": (
        r"angr(?:y|i\w+)|anger|mad(?:ly)?|furious\w*|rag(?:e|ing)|annoy\w*|irritat\w+|frustrat\w+|fierce\w*",
        "怒|おこっ|おこり|いかり|いかって|ぷんぷん|プンプン|苛立|いらいら|イライラ|むかつ|不機嫌",
    ),
    "sad": (
        r"sad(?:ly|der|ness)?|sorrow\w*|depress\w+|gloom\w*|unhapp\w+|miserabl\w+|deject\w*|disappoint\w*"
        r"|cr(?:y|ying|ies|ied)|weep\w*|tearful\w*|lonel\w+",
        "悲し|かなし|哀し|泣|落ち込|しょんぼり|寂し|さびし|淋し|がっかり|憂鬱|切な",
    ),
    "surprised": (
        r"surpris\w+|astonish\w*|startl\w+|amaz\w+|shock\w*|stunned",
        "驚|おどろ|びっくり|ビックリ|仰天|ぎょっと",
    ),
    "relaxed": (
        r"relax\w*|calm(?:ly)?|peaceful\w*|leisure\w*|seren\w+|gent(?:le|ly)|laz(?:y|ily)|sleep\w*|casual\w*",
        "のんびり|ゆったり|落ち着|おちつ|穏やか|おだやか|リラックス|くつろ|まったり|静かに|眠",
    ),
}
_MOOD_PATTERN: Final = re.compile(
    "|".join(rf"(?P<{mood}>\b(?:{english})\b|{japanese})" for mood, (english, japanese) in _MOOD_WORDS.items())
)


def mood_of(text: str) -> str | None:
    """The mood that a prompt asks for in words, English or Japanese: the first one named. One of :data:`MOODS`."""
    match = _MOOD_PATTERN.search(unicodedata.normalize("NFKC", text).lower())
    return match.lastgroup if match else None


def add_life(
    clip: VrmClip,
    bones: Collection[str],
    expressions: Collection[str],
    has_gaze: bool,
    mood: str | None,
    seed: int,
    *,
    block: int = 0,
) -> VrmClip:
    """The clip with what an avatar of these bones and expressions can show besides it.

    ``has_gaze``: whether it can look somewhere; ``mood``: one of :data:`MOODS`, see :func:`mood_of`. Expressions that
    it lacks, and mouth shapes, are left out. ``block``: the clip is this one of equally long stretches of an endless
    motion, through which fingers move on while blinks and glances are drawn anew. Raises BadRequest for another mood.
    """
    if mood is not None and mood not in MOODS:
        raise BadRequest(f"{mood!r} is no mood: use {', '.join(MOODS)} or none", field="expressions")
    generator = torch.Generator().manual_seed(seed % 2**63)
    lacking = tuple(bone for bone in FINGER_BONES if bone in bones and bone not in clip.rotations)
    tracks = relaxed_fingers(draw_sways(generator), block * clip.seconds + _times(clip).double(), lacking)
    fingers = dict(zip(lacking, tracks.unbind(-2), strict=True))
    if block:
        generator.manual_seed((seed + 0x9E3779B9 * block) % 2**63)
    faces = _faces(clip, set(expressions), mood, generator) | dict(clip.expressions)
    gaze = _wandering_gaze(clip, generator) if has_gaze and clip.gaze is None else clip.gaze
    return replace(
        clip,
        rotations=fingers | dict(clip.rotations),
        expressions={name: track for name, track in faces.items() if name in set(expressions) - MOUTH},
        gaze=gaze if has_gaze else None,
    )


def _faces(clip: VrmClip, has: set[str], mood: str | None, generator: torch.Generator) -> dict[str, Tensor]:
    """Blinks, by whichever preset the avatar has, and the mood. {expression: (T,)}"""
    blinks = _blinks(clip, generator)
    faces = dict.fromkeys(("blink",) if "blink" in has else ("blinkLeft", "blinkRight"), blinks)
    return faces | ({mood: _mood_weight(clip, generator)} if mood else {})


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=generator))


def _times(clip: VrmClip) -> Tensor:
    return torch.arange(clip.num_frames) / clip.fps  # (T,) s


# --- face -------------------------------------------------------------------------------------------------------------


def _blinks(clip: VrmClip, generator: torch.Generator) -> Tensor:
    """Eyelids (T,): shut for a moment every few seconds, open at both ends of the clip."""
    lids, time = torch.zeros(clip.num_frames), _times(clip)
    if clip.fps < _BLINK_MIN_FPS:
        return lids
    when = _uniform(0.5, _BLINK_EVERY_S[1] / 2, generator)
    while when < float(time[-1]) - BLINK_S:
        shut = round(when * clip.fps) / clip.fps  # on a frame, or it would never be seen quite shut
        lids = torch.maximum(lids, 1 - (time - shut).abs() / (BLINK_S / 2))
        when += _uniform(*_BLINK_EVERY_S, generator)
    return lids


def _mood_weight(clip: VrmClip, generator: torch.Generator) -> Tensor:
    """Weight (T,) of a mood: in softly, held, out by the last frame; in a short clip both take a third of it."""
    time, weight = _times(clip), _uniform(*_MOOD_WEIGHT, generator)
    length = float(time[-1])
    rise, fall = min(_MOOD_IN_S, length / 3), min(_MOOD_OUT_S, length / 3)
    amount = torch.minimum(time / max(rise, 1e-6), (length - time) / max(fall, 1e-6)).clamp(0, 1)
    return weight * amount * amount * (3 - 2 * amount)


def _wandering_gaze(clip: VrmClip, generator: torch.Generator) -> Tensor:
    """Yaw and pitch (T, 2) rad: jumps from one place near the viewer to the next, held between; zero on average."""
    length, starts = clip.seconds, [0.0]
    while starts[-1] < length:
        starts.append(starts[-1] + _uniform(*_GAZE_HOLD_S, generator))
    places = torch.randn(len(starts), 2, generator=generator).clamp(-_GAZE_LIMIT, _GAZE_LIMIT)
    held = torch.searchsorted(torch.tensor(starts), _times(clip), right=True) - 1
    gaze = (places * torch.tensor(_GAZE_SPREAD))[held]  # (T, 2)
    return gaze - gaze.mean(dim=0)


# --- hands ------------------------------------------------------------------------------------------------------------


def draw_sways(generator: torch.Generator) -> Tensor:
    """How each of the ten fingers moves, left thumb first: rate in Hz and phase in rad, (10, 2)."""
    low, high = _FINGER_SWAY_HZ
    drawn = torch.rand(10, 2, generator=generator).double()
    return torch.stack([low + (high - low) * drawn[:, 0], 2 * math.pi * drawn[:, 1]], dim=1)


def relaxed_fingers(sways: Tensor, time: Tensor, bones: tuple[str, ...]) -> Tensor:
    """Local rotations (..., T, n, 4) of the n finger ``bones``: a natural curl that hardly moves.

    ``sways`` (..., 10, 2) from :func:`draw_sways`, ``time`` (..., T) float64 in s.
    """
    finger, axis, curl, gain = _finger_table(bones)
    hz, phase = sways[..., None, finger, :].unbind(-1)  # (..., 1, n)
    sway = (_FINGER_SWAY * torch.sin(2 * math.pi * hz * time[..., None] + phase)).float()
    return axis_angle_to_quat(axis, curl + sway * gain)


@lru_cache(maxsize=64)
def _finger_table(bones: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each bone: which finger (n,), axis (n, 3), curl (n,) rad, and its share of the finger's sway (n,)."""
    rows = [_FINGERS[bone] for bone in bones]
    with torch.inference_mode(False):
        return (
            torch.tensor([row[0] for row in rows], dtype=torch.long),
            normalize(torch.tensor([row[1] for row in rows]).reshape(-1, 3)),
            torch.tensor([row[2] for row in rows]),
            torch.tensor([row[3] for row in rows]),
        )


def _list_fingers() -> Iterator[tuple[str, tuple[int, tuple[float, float, float], float, float]]]:
    """(bone, (which of the ten fingers, axis, curl in rad, share of the sway)) of all 30 finger bones."""
    fingers = {"Thumb": _THUMB_DEG, **_CURL_DEG}
    for number, (side, finger) in enumerate((side, finger) for side in ("left", "right") for finger in fingers):
        x, y, z = _THUMB_AXIS if finger == "Thumb" else _CURL_AXIS
        axis = (x, y, z) if side == "left" else (x, -y, -z)
        joints = _THUMB_JOINTS if finger == "Thumb" else _FINGER_JOINTS
        for joint, curl in zip(joints, fingers[finger], strict=True):
            yield f"{side}{finger}{joint}", (number, axis, math.radians(curl), curl / max(fingers[finger]))


_FINGERS: Final = dict(_list_fingers())
FINGER_BONES: Final = tuple(_FINGERS)
"""All 30, left thumb first."""
