"""Signs of life: only what the avatar has, never the mouth, the same for the same seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.geometry.kinematics import forward_kinematics
from motion_service.geometry.rotation import quat_angle, quat_identity, quat_rotate
from motion_service.humanoid import VRM_PARENT
from motion_service.vrm import life
from motion_service.vrm.life import BLINK_S, MOODS, MOUTH, add_life, mood_of
from motion_service.vrm.stage import neutral_pose, settle_clip

FINGERS = frozenset(bone for bone in VRM_PARENT if bone.endswith(("Metacarpal", "Proximal", "Intermediate", "Distal")))
FACES = frozenset({"blink", *MOODS})


def standing(seconds: float = 20.0, fps: float = 20.0) -> VrmClip:
    frames = max(1, round(seconds * fps))
    pose = neutral_pose()
    return VrmClip(
        rotations={bone: track.expand(frames, 4) for bone, track in pose.rotations.items()},
        hips=pose.hips.expand(frames, 3),
        contacts=torch.ones(frames, 4),
        fps=fps,
        rest_hips_height=0.95,
    )


def live(clip: VrmClip, bones=FINGERS, expressions=FACES, gaze=True, mood=None, seed=0) -> VrmClip:
    return add_life(clip, bones, expressions, gaze, mood, seed)


# --- what is added ---------------------------------------------------------------------------------------------------


def test_an_avatar_with_nothing_to_show_gets_nothing() -> None:
    clip = standing()
    for mood in (None, "happy"):
        bare = add_life(clip, clip.rotations, (), False, mood, 1)
        assert set(bare.rotations) == set(clip.rotations) and not bare.expressions and bare.gaze is None


def test_only_what_the_avatar_has() -> None:
    lively = live(
        standing(), {"leftIndexProximal", "rightThumbDistal", "leftToes"}, {"happy", "neutral"}, False, "happy"
    )
    assert set(lively.rotations) - set(standing().rotations) == {"leftIndexProximal", "rightThumbDistal"}
    assert set(lively.expressions) == {"happy"} and lively.gaze is None
    assert set(live(standing(), expressions={"blinkLeft", "blinkRight"}).expressions) == {"blinkLeft", "blinkRight"}


def test_what_the_clip_has_is_kept() -> None:
    clip = standing()
    fist, gaze = quat_identity(clip.num_frames), torch.full((clip.num_frames, 2), 0.2)
    own = replace(
        clip,
        rotations={**clip.rotations, "leftIndexProximal": fist},
        expressions={"happy": torch.full((clip.num_frames,), 0.1), "aa": torch.ones(clip.num_frames)},
        gaze=gaze,
    )
    lively = live(own, expressions=FACES | MOUTH, mood="happy")
    assert lively.rotations["leftIndexProximal"] is fist and lively.gaze is gaze
    assert float(lively.expressions["happy"].max()) == pytest.approx(0.1)
    assert lively.hips is clip.hips and lively.rotations["hips"] is clip.rotations["hips"]


@pytest.mark.parametrize("mouth", sorted(MOUTH))
def test_the_mouth_belongs_to_lip_sync(mouth: str) -> None:
    own = replace(standing(), expressions={mouth: torch.ones(standing().num_frames)})
    assert not set(live(own, expressions=FACES | MOUTH).expressions) & MOUTH
    with pytest.raises(BadRequest, match="no mood"):
        live(standing(), mood=mouth)


@pytest.mark.parametrize("frames", [1, 2, 3, 15])
@pytest.mark.parametrize("fps", [1.0, 20.0, 60.0])
def test_any_length_and_rate(frames: int, fps: float) -> None:
    lively = live(standing(frames / fps, fps), mood="sad")
    assert lively.num_frames == frames and lively.gaze is not None
    for track in lively.expressions.values():
        assert track.shape == (frames,) and 0 <= float(track.min()) and float(track.max()) <= 1
    if frames > 1:
        settle_clip(lively)


def test_the_same_seed_looks_the_same_and_another_does_not() -> None:
    first, again, other = (live(standing(), mood="happy", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.expressions["blink"], again.expressions["blink"])
    assert first.gaze is not None and again.gaze is not None and other.gaze is not None
    assert torch.equal(first.gaze, again.gaze) and not torch.equal(first.gaze, other.gaze)
    assert torch.equal(first.rotations["leftRingDistal"], again.rotations["leftRingDistal"])
    assert not torch.equal(first.expressions["blink"], other.expressions["blink"])


# --- hands -----------------------------------------------------------------------------------------------------------


def finger_tips(side: str, finger: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rest tip and relaxed tip relative to the knuckle, three segments of one unit along the finger's T-pose axis."""
    sign = 1.0 if side == "left" else -1.0
    along = torch.tensor([sign, 0.0, 1.0]) / math.sqrt(2) if finger == "Thumb" else torch.tensor([sign, 0.0, 0.0])
    names = ("Metacarpal", "Proximal", "Distal") if finger == "Thumb" else ("Proximal", "Intermediate", "Distal")
    tracks = live(standing(1.0)).rotations
    local = torch.stack([tracks[f"{side}{finger}{name}"][:1] for name in names], dim=1)  # (1, 3, 4)
    offsets = torch.stack([torch.zeros(3), along, along])
    positions, world = forward_kinematics(local, torch.zeros(1, 3), offsets, (-1, 0, 1))
    return 3 * along, (positions[:, -1] + quat_rotate(world[:, -1], along))[0]


@pytest.mark.parametrize("finger", ["Index", "Middle", "Ring", "Little"])
@pytest.mark.parametrize(("side", "sign"), [("left", 1.0), ("right", -1.0)])
def test_fingers_curl_towards_the_palm(side: str, sign: float, finger: str) -> None:
    """In the T-pose palms face down: relaxed tips hang below the straight finger, shorter, and not to the side."""
    rest, tip = finger_tips(side, finger)
    assert float(tip[1]) < -0.8 and 1.5 < sign * float(tip[0]) < 3 and abs(float(tip[2])) < 1e-5
    assert float((rest - tip).norm()) > 0.5


def test_the_thumb_goes_in_and_down_on_both_sides() -> None:
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rest, tip = finger_tips(side, "Thumb")
        assert float(tip[1]) < -0.2, "down, to the palm"
        assert sign * float(tip[0] - rest[0]) > 0 and float(tip[2] - rest[2]) < -0.2, "towards the fingers"


def test_hands_are_mirror_images_but_for_their_movement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_FINGER_SWAY", 0.0)
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    for finger in ("Thumb", "Index", "Middle", "Ring", "Little"):
        assert_close(finger_tips("left", finger)[1] * mirror, finger_tips("right", finger)[1], atol=1e-5, rtol=0)


def test_fingers_hardly_move() -> None:
    for bone, track in live(standing()).rotations.items():
        if bone in FINGERS:
            swing = quat_angle(track, track[:1].expand_as(track))
            assert (
                0.001 < float(swing.max()) < math.radians(6) and float(quat_angle(track[1:], track[:-1]).max()) < 0.01
            )


# --- face ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_blinks_are_short_whole_and_a_few_seconds_apart(seed: int) -> None:
    clip = standing(60.0)
    lids = live(clip, seed=seed).expressions["blink"]
    shut = (lids == 1).nonzero()[:, 0]
    gaps = torch.diff(shut) / clip.fps
    assert 9 <= len(shut) <= 31 and 1.9 < float(gaps.min()) and float(gaps.max()) < 6.1
    assert float((lids > 0).sum()) / clip.fps <= len(shut) * (BLINK_S + 1 / clip.fps)
    assert float(lids[:5].max()) == float(lids[-1]) == 0


def test_a_slow_clip_shows_no_blink() -> None:
    assert float(live(standing(60.0, 5.0)).expressions["blink"].max()) == 0
    assert float(live(standing(60.0, 30.0)).expressions["blink"].max()) > 0.9


@pytest.mark.parametrize("mood", MOODS)
def test_a_mood_comes_in_softly_is_held_and_goes(mood: str) -> None:
    weight = live(standing(5.0), mood=mood).expressions[mood]
    assert float(weight[0]) == 0 and float(weight[-1]) == pytest.approx(0, abs=1e-6)
    assert 0.6 <= float(weight.max()) <= 0.8 and float((weight > 0.59).float().mean()) > 0.7
    assert float(torch.diff(weight).abs().max()) < 0.2


def test_gaze_jumps_a_little_about_the_viewer_and_holds_between() -> None:
    gaze = live(standing(60.0)).gaze
    assert gaze is not None and gaze.shape == (1200, 2)
    assert_close(gaze.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    assert math.radians(1) < float(gaze[:, 0].std()) < math.radians(6)
    assert float(gaze.abs().max()) < math.radians(15)
    moves = (torch.diff(gaze, dim=0).abs().amax(-1) > 0).float().mean()
    assert 60 / 2.7 / 1200 < float(moves) < 60 / 0.5 / 1200


# --- moods in words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mood"),
    [
        ("A person waves happily", "happy"),
        ("a joyful dance", "happy"),
        ("嬉しそうに手を振る", "happy"),
        ("元気に手を振って歩く", "happy"),
        ("ﾜｸﾜｸしながら待つ", "happy"),
        ("walks sadly", "sad"),
        ("an unhappy person sits", "sad"),
        ("悲しそうに歩く", "sad"),
        ("she stamps ANGRILY", "angry"),
        ("怒って足踏みする", "angry"),
        ("a surprised person jumps back", "surprised"),
        ("びっくりする", "surprised"),
        ("のんびり歩く", "relaxed"),
        ("walks in a relaxed way", "relaxed"),
        ("sadly, then happily", "sad"),
        ("a person walks forward", None),
        ("saddle up, nomad", None),
        ("made of crystal", None),
        ("手を振る", None),
        ("", None),
    ],
)
def test_moods_are_read_from_english_and_japanese(text: str, mood: str | None) -> None:
    assert mood_of(text) == mood
