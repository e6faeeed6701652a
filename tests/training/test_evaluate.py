"""The judge and its judgements, on motion whose action, side and direction are known by construction."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.clips import TextEmbedding, VrmClip
from motion_service.engine.worker import Worker
from motion_service.errors import BadRequest, CheckpointMismatch, CheckpointMissing
from motion_service.features.vrm_native import VELOCITIES, bones_to_features
from motion_service.geometry.rotation import axis_angle_to_quat, quat_identity, quat_multiply, quat_rotate, yaw_to_quat
from motion_service.humanoid import CANONICAL_BONES, CANONICAL_HIPS_HEIGHT, canonical_index
from motion_service.mdm.checkpoint import Checkpoint, CheckpointConfig, write_checkpoint
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm_adapter.mini import DiffusionSource
from motion_service.prompt.plan import prompt_to_plan
from motion_service.quality_match import clip_to_windows
from motion_service.source import SourceRequest
from motion_service.training.batch_generation import (
    BatchGenerator,
    prompts_to_texts,
    read_prepared_texts,
    write_prepared_texts,
)
from motion_service.training.classifier import (
    CLASSES,
    SCORED_CLASSES,
    MotionClassifier,
    action_to_class,
    classify,
    clips_to_features,
    draw_windows,
    load_classifier,
    measure_accuracy,
    save_classifier,
    split_clips,
    split_digest,
    train_classifier,
)
from motion_service.training.corpus import CorpusClip, mirror_clip, read_corpus, with_mirrors, write_corpus
from motion_service.training.evaluate import corpus_clip_to_vrm, main
from motion_service.training.kinematic_checks import check_direction, check_idle, check_side
from motion_service.training.scores import (
    TestPrompt,
    diversity,
    frechet_distance,
    match_classes,
    measure_long_run,
    naturalness,
    read_prompts,
    recognition,
    side_and_direction,
)
from tests.fakes import with_bones

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "data" / "motion" / "training" / "corpus.xz"
DOWN, UP = -1.3, 1.2  # angles of an arm over the horizontal, rad


# --- clips made for the purpose -------------------------------------------------------------------------------------


def figure(
    frames: int = 60,
    *,
    left_arm: Tensor | float = DOWN,
    right_arm: Tensor | float = DOWN,
    velocity: tuple[float, float] = (0.0, 0.0),
    turn: float = 0.0,
    heading: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Rotations (T, 21, 4) and hips (T, 3): arm angles in rad, velocity (left, forward) m/s in the facing frame, turn
    rad over the whole clip (left > 0), initial heading rad."""
    rotations = quat_identity(frames, len(CANONICAL_BONES))
    z = torch.tensor([0.0, 0.0, 1.0])
    for side, angle, sign in (("left", left_arm, 1.0), ("right", right_arm, -1.0)):
        angles = sign * torch.as_tensor(angle).float().expand(frames)
        rotations[:, canonical_index(f"{side}UpperArm")] = axis_angle_to_quat(z, angles)
    yaw = heading + torch.linspace(0, turn, frames)
    rotations[:, 0] = yaw_to_quat(yaw)
    step = torch.tensor([velocity[0], 0.0, velocity[1]]) / 20
    steps = quat_rotate(yaw_to_quat(yaw), step.expand(frames, 3))
    hips = torch.cumsum(steps, dim=0) + torch.tensor([0.0, CANONICAL_HIPS_HEIGHT, 0.0])
    return rotations, hips


def recorded(name: str, action: str, motion: tuple[Tensor, Tensor]) -> CorpusClip:
    return CorpusClip(name, "mesh2motion", action, "normal", *motion)


def clip(motion: tuple[Tensor, Tensor]) -> VrmClip:
    return corpus_clip_to_vrm(recorded("x", "x", motion), 10_000, 0)


def waving(frames: int = 60, rate: float = 8.0) -> Tensor:
    return UP + 0.5 * torch.sin(torch.arange(frames) / 20 * rate)


def small_corpus(recordings: int = 6) -> list[CorpusClip]:
    """A few classes, clearly different, with a little variety; without mirrors."""
    clips = []
    for i in range(recordings):
        frames, pace = 50 + 7 * i, 1 + 0.1 * i
        clips += [
            recorded(f"walk-{i}", "walk", figure(frames, velocity=(0.0, pace))),
            recorded(f"back-{i}", "walk-back", figure(frames, velocity=(0.0, -pace))),
            recorded(f"raise-{i}", "raise-left", figure(frames, left_arm=UP + 0.05 * i)),
            recorded(f"wave-{i}", "wave-left", figure(frames, left_arm=waving(frames, 7 + 0.5 * i))),
            recorded(f"turn-{i}", "turn-left", figure(frames, turn=1.5 * pace, velocity=(0.0, 0.8))),
        ]
    return clips


# --- kinematic checks -----------------------------------------------------------------------------------------------

ARMS: dict[str, Any] = {
    "left": {"left_arm": UP},
    "right": {"right_arm": UP},
    "both": {"left_arm": UP, "right_arm": UP},
    "none": {},
}
WAVES: dict[str, Any] = {
    "left": {"left_arm": waving()},
    "right": {"right_arm": waving()},
    "both": {"left_arm": waving(), "right_arm": waving(rate=7.0)},
}


@pytest.mark.parametrize("asked", ["left", "right", "both"])
@pytest.mark.parametrize("shown", ["left", "right", "both", "none"])
def test_the_raised_hand_is_the_one_asked_for(asked: str, shown: str) -> None:
    assert check_side(clip(figure(**ARMS[shown])), "raise", asked) is (asked == shown)


@pytest.mark.parametrize("asked", ["left", "right", "both"])
@pytest.mark.parametrize("shown", ["left", "right", "both"])
def test_the_waving_hand_is_the_one_asked_for(asked: str, shown: str) -> None:
    assert check_side(clip(figure(**WAVES[shown])), "wave", asked) is (asked == shown)


def test_a_hand_held_still_or_shaken_low_does_not_wave() -> None:
    assert not check_side(clip(figure(left_arm=UP)), "wave", "left")
    assert not check_side(clip(figure(left_arm=waving() - UP + DOWN)), "wave", "left")


DIRECTIONS = {"forward": (0.0, 1.0), "backward": (0.0, -0.6), "left": (0.5, 0.2), "right": (-0.5, 0.2)}


@pytest.mark.parametrize("heading", [0.0, 2.5])
@pytest.mark.parametrize("asked", DIRECTIONS)
@pytest.mark.parametrize("shown", DIRECTIONS)
def test_the_way_is_read_in_the_facing_frame(asked: str, shown: str, heading: float) -> None:
    walk = clip(figure(velocity=DIRECTIONS[shown], heading=heading))
    assert check_direction(walk, "walk", asked) is (asked == shown)


def test_a_walk_on_a_curve_goes_forward_and_not_sideways() -> None:
    curve = clip(figure(200, velocity=(0.0, 1.0), turn=2.0))
    assert check_direction(curve, "walk", "forward")
    assert not check_direction(curve, "walk-left", "left")


@pytest.mark.parametrize(("turn", "side"), [(1.5, "left"), (-1.5, "right"), (4.0, "left")])
def test_turns_have_the_sign_of_the_heading(turn: float, side: str) -> None:
    walk = clip(figure(velocity=(0.0, 0.8), turn=turn, heading=1.0))
    other = {"left": "right", "right": "left"}[side]
    assert check_direction(walk, f"turn-{side}", side)
    assert not check_direction(walk, f"turn-{other}", other)


def test_who_barely_turns_or_goes_has_no_direction() -> None:
    still = clip(figure(turn=0.2))
    assert not any(check_direction(still, "turn-left", way) for way in ("left", "right"))
    assert not any(check_direction(still, "walk", way) for way in DIRECTIONS)


def test_unknown_words_are_refused() -> None:
    still = clip(figure())
    with pytest.raises(BadRequest, match="sideways"):
        check_direction(still, "walk", "sideways")
    with pytest.raises(BadRequest, match="'bow'"):
        check_side(still, "bow", "left")


def test_idle_stands_on_both_feet() -> None:
    assert check_idle(clip(figure(left_arm=waving())))
    assert not check_idle(clip(figure(velocity=(0.0, 0.5))))
    rotations, hips = figure()
    lifted = quat_multiply(
        rotations[:, canonical_index("leftUpperLeg")],
        axis_angle_to_quat(torch.tensor([1.0, 0.0, 0.0]), torch.full((60,), -0.8)),
    )
    rotations[:, canonical_index("leftUpperLeg")] = lifted
    assert not check_idle(clip((rotations, hips)))


@pytest.mark.skipif(not CORPUS.exists(), reason="no corpus: run scripts/motion/prepare_dataset")
def test_checks_hold_on_real_clips_of_every_class() -> None:
    """97 of 100 real clips pass the check of their class, and nearly none that of the other sides and directions."""
    ways = {"walk": "forward", "run": "forward", "walk-back": "backward", "walk-left": "left", "turn-left": "left"}
    opposite = {"forward": "backward", "backward": "forward", "left": "right"}
    passed: dict[str, list[bool]] = {}
    wrong: list[bool] = []
    for one in read_corpus(CORPUS):
        action, _, side = one.action.partition("-")
        if len(passed.get(one.action, [])) == 12:
            continue
        motion = corpus_clip_to_vrm(one, 10_000, 0)
        if action in ("wave", "raise"):
            passed.setdefault(one.action, []).append(check_side(motion, action, side))
            wrong += [check_side(motion, action, other) for other in {"left", "right", "both"} - {side}]
        elif one.action in ways:
            way = ways[one.action]
            other_action = one.action.replace("left", "right")
            passed.setdefault(one.action, []).append(check_direction(motion, one.action, way))
            wrong.append(check_direction(motion, other_action, opposite[way]))
    assert len(passed) >= 10
    assert all(sum(right) / len(right) >= 0.97 for right in passed.values()), passed
    assert sum(wrong) / len(wrong) < 0.01


# --- classifier -----------------------------------------------------------------------------------------------------


def test_mirrors_stay_on_the_side_of_their_recording() -> None:
    clips = with_mirrors(small_corpus())
    training, held_out = split_clips(clips)
    assert sorted([*training, *held_out]) == list(range(len(clips)))
    names = [{clips[i].name.removesuffix("#mirror") for i in part} for part in (training, held_out)]
    assert not names[0] & names[1]
    shown = {clips[i].action for i in held_out}
    assert {"walk", "walk-back", "raise-left", "raise-right", "turn-left", "turn-right"} <= shown


def test_split_does_not_depend_on_the_order_of_clips() -> None:
    clips = with_mirrors(small_corpus())
    turned = clips[::-1]
    assert split_digest(clips, split_clips(clips)[1]) == split_digest(turned, split_clips(turned)[1])


def test_actions_have_classes() -> None:
    assert action_to_class("dash") == "run" and action_to_class("byebye") == "bye"
    assert action_to_class("sword") == "other"
    assert len(SCORED_CLASSES) == 17 and all(action_to_class(name) == name for name in CLASSES)


def test_features_of_many_clips_equal_those_of_each() -> None:
    clips = with_mirrors(small_corpus(1))
    data = clips_to_features(clips)
    for i, one in enumerate(clips):
        expected, _ = bones_to_features(one.rotations, one.hips)
        assert_close(data.clip(i)[:, :256], expected[:, :256].half().float(), atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(("frames", "windows"), [(1, 1), (59, 1), (60, 1), (61, 2), (100, 5), (105, 6)])
def test_windows_cover_a_clip_to_its_last_frame(frames: int, windows: int) -> None:
    features = torch.arange(frames).float()[:, None].expand(frames, 260).clone() + 1
    cut = clip_to_windows(features)
    assert cut.shape == (windows, 60, 260)
    assert float(cut[..., 130].max()) == frames and float(cut[0, 0, 130]) == 1
    if frames < 60:
        assert bool((cut[0, frames:, VELOCITIES] == 0).all()), "a held pose does not move"


def test_random_windows_scale_speed_with_tempo() -> None:
    data = clips_to_features([recorded("w", "walk", figure(200, velocity=(0.0, 1.0)))])
    drawn = draw_windows(data, torch.zeros(64, dtype=torch.long), torch.Generator().manual_seed(0))
    speed = drawn[..., 2].amax(dim=1)
    assert 0.8 <= float(speed.min()) < 0.95 and 1.1 < float(speed.max()) <= 1.25 + 1e-3
    assert drawn.shape == (64, 60, 260) and bool(torch.isfinite(drawn).all())


def test_classifier_learns_held_out_motion_and_survives_saving(tmp_path: Path) -> None:
    clips = with_mirrors(small_corpus())
    data = clips_to_features(clips)
    training, held_out = split_clips(clips)
    model = train_classifier(data, training, steps=60, batch=32)
    accuracy = measure_accuracy(model, data, held_out)
    assert accuracy.overall >= 0.9, accuracy
    assert sum(n for _, n in accuracy.per_class.values()) == len(held_out)
    split = split_digest(clips, held_out)
    save_classifier(model, tmp_path / "judge.safetensors", split)
    loaded = load_classifier(tmp_path / "judge.safetensors", split)
    own, other = (classify(judge, [data.clip(0)])[0] for judge in (model, loaded))
    assert_close(own.probabilities, other.probabilities)
    with pytest.raises(CheckpointMismatch, match="train it again"):
        load_classifier(tmp_path / "judge.safetensors", "another split")
    with pytest.raises(CheckpointMissing):
        load_classifier(tmp_path / "none.safetensors", split)


def test_classifier_does_not_see_place_or_heading() -> None:
    torch.manual_seed(0)
    model = MotionClassifier().eval()
    here, hips = figure(velocity=(0.2, 1.0), left_arm=waving())
    there, far = figure(velocity=(0.2, 1.0), left_arm=waving(), heading=2.0)
    clips = [bones_to_features(here, hips)[0], bones_to_features(there, far + torch.tensor([5.0, 0.0, -3.0]))[0]]
    first, second = classify(model, clips)
    assert_close(first.probabilities, second.probabilities, atol=1e-4, rtol=1e-3)


# --- scores ---------------------------------------------------------------------------------------------------------


def prompt(action: str, side: str = "", direction: str = "", language: str = "en") -> TestPrompt:
    return TestPrompt("p", language, action, action, side, direction)


def test_committed_prompt_tables_are_readable_and_complete() -> None:
    for name in ("dev_prompts.tsv", "heldout_prompts.tsv"):
        prompts = read_prompts(ROOT / "tests" / "data" / name)
        assert len(prompts) == len({p.id for p in prompts}) == len({p.prompt for p in prompts}) == 60
        assert {p.label for p in prompts} == {*SCORED_CLASSES, "idle"}
        assert sum(p.language == "ja" for p in prompts) == 30


@pytest.mark.parametrize("text", ["id\tprompt\n", "id\tlanguage\tprompt\taction\tside\tdirection\nh1\ten\twalk\n"])
def test_a_table_with_other_columns_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises(BadRequest, match="columns"):
        read_prompts(tmp_path / "p.tsv")


def test_recognition_counts_by_class_and_language_and_leaves_rare_ones_out() -> None:
    prompts = [prompt("walk"), prompt("wave", "left", language="ja"), prompt("sword"), prompt("idle")]
    clips = [clip(figure())] * 3 + [clip(figure(velocity=(0.0, 1.0)))]
    rates = recognition(prompts, clips, ["walk", "wave-right", "other", "idle"])
    assert (rates["walk"].hits, rates["wave-left"].hits, rates["other"].hits) == (1, 0, 1)
    assert rates["idle"].hits == 0, "the classifier's word does not count for standing still"
    assert (rates["overall"].hits, rates["overall"].total) == (1, 3)
    assert (rates["ja"].total, rates["en"].total) == (1, 2)


def test_side_and_direction_are_only_asked_where_given() -> None:
    prompts = [prompt("raise", "left"), prompt("walk", direction="forward"), prompt("bow")]
    rates = side_and_direction(prompts, [clip(figure(left_arm=UP)), clip(figure()), clip(figure())])
    assert (rates["hand"].share, rates["direction"].share, rates["overall"].total) == (1.0, 0.0, 2)


def test_real_clips_are_matched_class_by_class() -> None:
    drawn = match_classes(["a", "a", "b", "a", "c", "a"], {"a": [1, 2, 3], "b": [7]})
    assert len(drawn) == 5 and drawn[2] == 7
    assert set(drawn[:2] + drawn[3:4]) == {1, 2, 3}, "all once before any twice"


def test_frechet_distance_of_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 4, generator=generator)
    b = torch.randn(20_000, 4, generator=generator)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(a, b + torch.tensor([3.0, 0, 0, 0])) == pytest.approx(9.0, rel=0.05)
    assert frechet_distance(a, 2 * b) == pytest.approx(4.0, rel=0.05)  # D (sigma1 - sigma2)^2


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    points = [torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 4.0]])]
    assert diversity(points) == pytest.approx((3 + 4 + 5) / 3)
    assert diversity(points[:1]) == 0.0


def test_naturalness_weighs_skate_by_evidence() -> None:
    slide, hover = clip(figure(velocity=(0.0, 0.5))), clip(figure())
    lifted = replace(hover, hips=hover.hips + torch.tensor([0.0, 0.2, 0.0]))
    assert naturalness([slide, lifted])["skate_cm_s"] == pytest.approx(50.0, rel=1e-3)
    assert naturalness([slide, hover])["skate_cm_s"] == pytest.approx(25.0, rel=1e-3)
    assert all(math.isfinite(value) for value in naturalness([lifted]).values())


def test_long_run_sees_sinking_and_freezing() -> None:
    arms = waving(600)
    steady = measure_long_run("wave-left", clip(figure(600, left_arm=arms)), range(40, 600, 40))
    assert abs(steady.drift_cm) < 0.1 and steady.frozen_s < 1 and steady.penetration_cm < 0.1 and steady.is_moving
    sinking = clip(figure(600, left_arm=torch.cat([arms[:300], arms[299].repeat(300)])))
    sunk = replace(sinking, hips=sinking.hips - torch.linspace(0, 0.2, 600)[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    run = measure_long_run("wave-left", sunk, range(40, 600, 40))
    assert run.drift_cm < -10 and run.penetration_cm > 15 and run.frozen_s > 14


# --- generating in batches ------------------------------------------------------------------------------------------

SPEC = NetworkSpec(
    features=260, width=16, layers=1, heads=2, feedforward=16, text_width=4, context_frames=20, predict_frames=40
)
CONFIG = CheckpointConfig(SPEC, 4, "cosine", "sums", "vrm", 20.0, 2.5, "CC0")


class SumEncoder:
    """Every text gets a vector of its own."""

    name = "sums"
    width = 4

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        seeds = [sum(map(ord, text)) for text in texts]
        rows = [5 * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return [TextEmbedding(row, torch.ones(1).bool(), self.name) for row in rows]


def tiny_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    features, _ = bones_to_features(*figure(velocity=(0.0, 1.0), left_arm=waving()))
    std = features.std(dim=0).clamp_min(0.01)
    return Checkpoint("tiny", CONFIG, Denoiser(SPEC).eval(), features.mean(dim=0), std, torch.zeros(20, 260))


PROMPTS = ["a person walks", "she walks forward, then waves her left hand", "左手を振る"]


@pytest.mark.parametrize(("steps", "sampler"), [(None, "ddpm"), (2, "ddim")])
def test_a_batch_makes_the_clips_of_the_service(steps: int | None, sampler: Any) -> None:
    checkpoint, encoder = tiny_checkpoint(), SumEncoder()
    wishes = [(text, seed) for text in PROMPTS for seed in (3, 4)]
    generator = BatchGenerator(checkpoint, encoder, torch.device("cpu"), batch=4, steps=steps, ddim=sampler == "ddim")
    made = generator.generate(wishes, 3.0)

    async def serve() -> list[VrmClip]:
        worker = Worker()
        worker.start()
        try:
            source = DiffusionSource(checkpoint, encoder, worker)
            asked = [
                SourceRequest(prompt_to_plan(text), 3.0, seed, steps=steps, sampler=sampler) for text, seed in wishes
            ]
            return [with_bones(await source.generate(request)).clip for request in asked]
        finally:
            await worker.stop()

    for wish, batched, single in zip(wishes, made, asyncio.run(serve()), strict=True):
        assert (batched.prompt, batched.seed) == wish
        assert_close(batched.clip.hips, single.hips, atol=1e-4, rtol=1e-4)
        for bone in CANONICAL_BONES:
            assert_close(batched.clip.rotations[bone], single.rotations[bone], atol=1e-3, rtol=1e-3)
    assert made[0].borders == (40,), "one action: windows of 40 frames"
    assert not torch.equal(made[0].clip.hips, made[1].clip.hips), "another seed, another clip"


def test_prepared_texts_stand_in_for_the_encoder(tmp_path: Path) -> None:
    texts = prompts_to_texts(PROMPTS)
    assert len(texts) >= len(PROMPTS)
    write_prepared_texts(tmp_path / "texts.npz", SumEncoder(), texts)
    prepared = read_prepared_texts(tmp_path / "texts.npz")
    assert (prepared.name, prepared.width) == ("sums", 4)
    for own, other in zip(prepared.encode(texts), SumEncoder().encode(texts), strict=True):
        assert torch.equal(own.tokens, other.tokens) and torch.equal(own.mask, other.mask)
    with pytest.raises(BadRequest, match="prepare-text"):
        prepared.encode(["never seen"])
    with pytest.raises(BadRequest, match="prepare-text"):
        read_prepared_texts(tmp_path / "none.npz")


def test_steps_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(BadRequest, match="1 to 4"):
        BatchGenerator(tiny_checkpoint(), SumEncoder(), torch.device("cpu"), steps=5)


def test_texts_of_another_encoder_are_refused() -> None:
    config = replace(CONFIG, text_encoder="another")
    with pytest.raises(CheckpointMismatch, match="sums"):
        BatchGenerator(replace(tiny_checkpoint(), config=config), SumEncoder(), torch.device("cpu"))


# --- the command ----------------------------------------------------------------------------------------------------


def test_command_ends_with_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tiny_checkpoint()
    write_checkpoint(tmp_path / "tiny", made.network, CONFIG, made.feature_mean, made.feature_std, made.first_prefix)
    write_corpus(tmp_path / "corpus.xz", small_corpus(4))
    table = ["id\tlanguage\tprompt\taction\tside\tdirection"]
    table += ["a\ten\ta person walks\twalk\t-\tforward", "b\tja\t左手を振る\twave\tleft\t-"]
    (tmp_path / "prompts.tsv").write_text("\n".join(table), encoding="utf-8")
    write_prepared_texts(tmp_path / "texts.npz", SumEncoder(), prompts_to_texts(["a person walks", "左手を振る"]))
    clips = with_mirrors(read_corpus(tmp_path / "corpus.xz"))
    torch.manual_seed(0)
    split = split_digest(clips, split_clips(clips)[1])
    save_classifier(MotionClassifier(), tmp_path / "judge.safetensors", split)
    files = {"checkpoint": "tiny", "corpus": "corpus.xz", "text": "texts.npz", "prompts": "prompts.tsv"}
    files |= {"classifier": "judge.safetensors", "out": "answer.json"}
    arguments = [word for name, file in files.items() for word in (f"--{name}", str(tmp_path / file))]
    assert main([*arguments, "--device", "cpu", "--seeds", "2", "--long-seconds", "10", "--guidance", "1.5"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer == json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert answer["guidance"] == 1.5 and answer["seeds"] == 2
    assert {"overall", "en", "ja", "walk", "wave-left"} == set(answer["recognition"])
    assert {target["name"] for target in answer["targets"]} >= {"action recognised", "hand and direction"}
    assert len(answer["long"]) == 2 and answer["machine"]["cores"] >= 1 and answer["date"]


def test_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prompts", str(ROOT / "tests/data/dev_prompts.tsv"), "--corpus", str(tmp_path / "none.xz")]) == 1
    assert "prepare_dataset" in capsys.readouterr().out


def test_a_mirrored_clip_shows_the_mirrored_side() -> None:
    one = mirror_clip(recorded("r", "raise-left", figure(left_arm=UP)))
    assert check_side(clip((one.rotations, one.hips)), "raise", "right")
