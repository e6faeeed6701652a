import asyncio
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from motion_service.clips import PromptPlan, Segment, TextEmbedding
from motion_service.engine.job import Job
from motion_service.engine.worker import Worker
from motion_service.errors import CheckpointMismatch, NonFiniteOutput
from motion_service.features.vrm_native import CONTACTS, HIPS_ROT6D, LOCAL_ROT6D, ROOT_HEIGHT
from motion_service.humanoid import CANONICAL_BONES
from motion_service.mdm.checkpoint import Checkpoint, CheckpointConfig
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm_adapter.cues import Cue, cues_to_windows, plan_to_cues
from motion_service.mdm_adapter.mini import DiffusionSource
from motion_service.source import MotionSource, SourceClip, SourceRequest
from tests.fakes import with_bones

SPEC = NetworkSpec(
    features=260, width=16, layers=1, heads=2, feedforward=16, text_width=4, text_policy="concat", text_hidden=8,
    context_frames=20, predict_frames=40,
)  # fmt: skip
CONFIG = CheckpointConfig(SPEC, 10, "cosine", "letters", "vrm", 20.0, 2.5, "CC0")


class LetterEncoder:
    """Every text gets a vector of its own; remembers what it was asked."""

    name = "letters"
    width = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
        self.asked += texts
        seeds = [sum(map(ord, text)) for text in texts]
        rows = [torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) * 5 for seed in seeds]
        return [TextEmbedding(row, torch.ones(1).bool(), self.name) for row in rows]


def standing() -> torch.Tensor:
    """(260,) features of the T-pose."""
    mean = torch.zeros(260)
    mean[ROOT_HEIGHT] = 0.95
    mean[HIPS_ROT6D] = torch.tensor([1.0, 0, 0, 0, 1, 0])
    mean[LOCAL_ROT6D] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(20)
    mean[CONTACTS] = 0.5
    return mean


def checkpoint(**changes: Any) -> Checkpoint:
    torch.manual_seed(0)
    network = Denoiser(SPEC).eval()
    made = Checkpoint("tiny", CONFIG, network, standing(), torch.full((260,), 0.2), torch.zeros(20, 260))
    return dataclasses.replace(made, **changes)


def plan(*segments: Segment) -> PromptPlan:
    return PromptPlan("a person waves", "en", segments)


def request(seconds: float = 1.0, seed: int = 1, **changes: Any) -> SourceRequest:
    return SourceRequest(**{"plan": plan(Segment("wave")), "seconds": seconds, "seed": seed} | changes)


def generate(*requests: SourceRequest, made: Checkpoint | None = None, encoder: Any = None) -> list[SourceClip]:
    async def scenario() -> list[SourceClip]:
        worker = Worker()
        worker.start()
        try:
            source = DiffusionSource(made or checkpoint(), encoder or LetterEncoder(), worker)
            return [with_bones(await source.generate(one)) for one in requests]
        finally:
            await worker.stop()

    return asyncio.run(scenario())


def same(a: SourceClip, b: SourceClip) -> bool:
    return all(torch.equal(a.clip.rotations[bone], b.clip.rotations[bone]) for bone in CANONICAL_BONES) and torch.equal(
        a.clip.hips, b.clip.hips
    )


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 1), (0.1, 2), (2.0, 40), (2.05, 41), (5.0, 100)])
def test_clip_has_the_asked_length_at_the_native_rate(seconds: float, frames: int) -> None:
    (made,) = generate(request(seconds))
    assert (made.clip.num_frames, made.clip.fps) == (frames, 20.0)
    assert set(made.clip.rotations) == set(CANONICAL_BONES)


def test_provenance_is_told() -> None:
    (made,) = generate(request(seed=9))
    assert (made.generator, made.checkpoint, made.licence) == ("mini", "tiny", "CC0")
    assert (made.steps, made.guidance, made.seed, made.warnings) == (10, 2.5, 9, ())
    assert set(made.timings_ms) == {"queue", "text", "sample"}


def test_same_seed_gives_the_same_clip_whatever_ran_before() -> None:
    first, other, again = generate(request(3.0), request(2.0, seed=2), request(3.0))
    torch.manual_seed(99)
    (fresh,) = generate(request(3.0))
    assert same(first, again)
    assert same(first, fresh)
    assert not same(other, generate(request(2.0, seed=3))[0])


def test_longer_clips_begin_like_shorter_ones() -> None:
    short, long = generate(request(2.0), request(6.0))
    torch.testing.assert_close(long.clip.hips[:40], short.clip.hips, atol=1e-5, rtol=0)


def test_steps_are_clamped_and_reported() -> None:
    many, own, few, one = generate(*(request(steps=steps) for steps in (50, None, 4, 1)))
    assert [clip.steps for clip in (many, own, few, one)] == [10, 10, 4, 1]
    assert same(many, own)
    assert not same(few, own)
    assert "50" in many.warnings[0]
    assert few.warnings == one.warnings == ()


def test_ddim_is_another_way_to_the_clip() -> None:
    ancestral, ddim, again = generate(request(steps=4), *[request(steps=4, sampler="ddim")] * 2)
    assert same(ddim, again) and not same(ddim, ancestral)


def test_what_it_cannot_do_is_said() -> None:
    (clip,) = generate(request(target_joints={"head": (0.0, 1.0, 0.0)}, official_noise=True))
    assert [warning.split(":")[0] for warning in clip.warnings] == ["target_joints", "noise"]


def test_guidance_and_text_steer_the_clip() -> None:
    other = plan(Segment("jump"))
    unguided, unguided_other, guided, guided_other = generate(
        request(guidance=0.0),
        request(guidance=0.0, plan=other),
        request(guidance=4.0),
        request(guidance=4.0, plan=other),
    )
    assert same(unguided, unguided_other)
    assert not same(guided, guided_other)
    assert guided.guidance == 4.0


def test_contacts_are_zero_or_one() -> None:
    (made,) = generate(request(4.0))
    assert set(made.clip.contacts.unique().tolist()) == {0.0, 1.0}


def test_broken_weights_are_noticed() -> None:
    broken = checkpoint()
    with torch.no_grad():
        next(broken.network.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteOutput):
        generate(request(), made=broken)


def test_cancelled_request_frees_the_thread() -> None:
    async def scenario() -> None:
        worker = Worker()
        worker.start()
        source = DiffusionSource(checkpoint(), LetterEncoder(), worker)
        endless = asyncio.create_task(source.generate(request(100_000.0)))
        while not worker.stats.running:
            await asyncio.sleep(0.001)
        endless.cancel()
        assert await asyncio.wait_for(worker.submit(Job(lambda _: "free")), 10) == "free"
        await worker.stop()

    asyncio.run(scenario())


def test_segments_drive_their_own_share_of_the_clip() -> None:
    both = plan(Segment("wave"), Segment("jump"))
    encoder = LetterEncoder()
    first, two = generate(request(5.0), request(5.0, plan=both), encoder=encoder)
    assert encoder.asked == ["wave", "wave", "jump"]
    torch.testing.assert_close(two.clip.hips[:50], first.clip.hips[:50], atol=1e-5, rtol=0)
    assert float((two.clip.hips[50:] - first.clip.hips[50:]).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([None], [100]),
        ([], [100]),
        ([None, None, None], [33, 34, 33]),
        ([3.0, None], [60, 40]),
        ([1.0, None, 2.0], [20, 40, 40]),
        ([1.0, 1.0], [50, 50]),
        ([9.0, None], [90, 10]),
        ([0.0, 0.0], [50, 50]),
        ([8.0, 8.0], [50, 50]),
    ],
)
def test_frames_are_shared_among_segments(seconds: list[float | None], expected: list[int]) -> None:
    cues = plan_to_cues(plan(*(Segment("x", seconds=s) for s in seconds)), 100, 20.0)
    assert [cue.num_frames for cue in cues] == expected


def test_prompt_itself_is_used_when_nothing_was_understood() -> None:
    assert plan_to_cues(plan(), 10, 20.0) == [Cue("a person waves", 10)]


def test_windows_end_with_their_cue() -> None:
    windows = cues_to_windows([Cue("a", 90), Cue("b", 0), Cue("c", 40), Cue("d", 1)], 40)
    assert windows == [(0, 40), (0, 40), (0, 10), (2, 40), (3, 1)]


def test_source_refuses_what_does_not_fit() -> None:
    worker = Worker()
    other_encoder = dataclasses.replace(CONFIG, text_encoder="words")
    one_shot = dataclasses.replace(CONFIG, network=dataclasses.replace(SPEC, context_frames=0))
    joints = dataclasses.replace(CONFIG, features="humanml3d")
    sine = dataclasses.replace(CONFIG, schedule="sine")
    for config, message in ((other_encoder, "words"), (one_shot, "window"), (joints, "humanml3d"), (sine, "sine")):
        with pytest.raises(CheckpointMismatch, match=message):
            DiffusionSource(checkpoint(config=config), LetterEncoder(), worker)


def test_source_refuses_embeddings_of_another_encoder() -> None:
    class Liar(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> list[TextEmbedding]:
            return [dataclasses.replace(one, encoder="other") for one in super().encode(texts)]

    with pytest.raises(CheckpointMismatch, match="other"):
        generate(request(), encoder=Liar())


def test_source_satisfies_the_protocol() -> None:
    source = DiffusionSource(checkpoint(), LetterEncoder(), Worker())
    assert isinstance(source, MotionSource)
    assert source.max_seconds == math.inf
