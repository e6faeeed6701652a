from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path

import pytest
import torch

from motion_service.clips import VrmClip
from motion_service.errors import CheckpointMissing, GenerationFailed, NonFiniteOutput, NotFound, QueueFull
from motion_service.schemas import GenerateRequest, MotionOptions
from motion_service.vrm.resample import resample_clip
from tests.fakes import Api, FakeSource, StartApi, make_wave


def without_ids(document: dict, job: str) -> str:
    document["metadata"].pop("timings_ms")
    return str(document).replace(job, "JOB")


async def test_same_prompt_and_seed_give_the_same_answer(api: Api) -> None:
    first, second = [await api.generate(seed=7, repetitions=2, fps=30) for _ in range(2)]
    assert first["job_id"] != second["job_id"]
    assert without_ids(first, first["job_id"]) == without_ids(second, second["job_id"])


async def test_seeds_are_fresh_and_reported(api: Api) -> None:
    first, second = await api.generate(), await api.generate()
    assert first["metadata"]["seed"] != second["metadata"]["seed"]
    again = await api.generate(seed=first["metadata"]["seed"])
    assert again["tracks"] == first["tracks"]


async def test_length_is_the_requests_then_the_words_then_the_default(start_api: StartApi) -> None:
    api = start_api(defaults=MotionOptions(duration_sec=2.5, artifacts=[]))
    assert (await api.generate("walks for 3 seconds", duration_sec=1.0))["duration_sec"] == 1.0
    assert (await api.generate("walks for 3 seconds"))["duration_sec"] == 3.0
    assert (await api.generate("walks"))["duration_sec"] == 2.5
    api.pipeline.defaults = MotionOptions()
    assert (await api.generate("walks"))["duration_sec"] == 5.0


@pytest.mark.parametrize("fps", [1, 20, 24, 29.97, 60, 120])
async def test_fps_and_duration_describe_the_data(api: Api, fps: float) -> None:
    motion = await api.generate(duration_sec=2.0, fps=fps)
    track = motion["tracks"]["rightUpperArm"]
    assert motion["fps"] == motion["metadata"]["fps"] == fps
    assert motion["duration_sec"] == motion["metadata"]["motion_length"] == pytest.approx(len(track) / fps)
    assert len(track) == len(motion["root_position"]) == len(motion["metadata"]["contacts"]) == round(2 * fps)
    assert [key["t"] for key in track] == pytest.approx([i / fps for i in range(len(track))], abs=1e-4)


async def test_interpolate_false_keeps_the_models_rate(api: Api) -> None:
    motion = await api.generate(fps=60, interpolate=False, duration_sec=1)
    assert (motion["fps"], len(motion["root_position"])) == (20, 20)
    assert any("20 frames a second" in warning for warning in motion["metadata"]["warnings"])


def test_resampling_keeps_seconds_and_places() -> None:
    clip = make_wave(3.0, seed=1)
    faster = resample_clip(clip, 60.0)
    assert faster.seconds == pytest.approx(clip.seconds)
    torch.testing.assert_close(
        faster.rotations["rightUpperArm"][::3], clip.rotations["rightUpperArm"], atol=1e-5, rtol=0
    )
    assert resample_clip(clip, None) is clip and resample_clip(clip, 20.0) is clip


async def test_repetitions_are_all_there_and_the_first_is_on_top(api: Api) -> None:
    motion = await api.generate(seed=2**63 - 1, repetitions=3, duration_sec=0.5)
    clips = motion["clips"]
    assert [clip["seed"] for clip in clips] == [2**63 - 1, 0, 1]
    assert motion["tracks"] == clips[0]["tracks"] != clips[1]["tracks"]
    assert motion["root_position"] == motion["rootPosition"] == clips[0]["root_position"]


async def test_steps_really_taken_are_reported(api: Api) -> None:
    assert (await api.generate(steps=200))["metadata"]["steps"] == 10
    assert (await api.generate(steps=3, guidance=0))["metadata"]["guidance_param"] == 0


async def test_the_service_goes_on_while_an_avatar_is_fetched(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may take its time, so it is not waited for on the event loop."""
    threads = []

    def fetch(avatar_id: str) -> None:
        threads.append(threading.current_thread())
        raise NotFound("gone")

    monkeypatch.setattr(api.pipeline.avatars, "get", fetch)
    answer = await api.http.post("/v1/motion/generate", json={"prompt": "walks", "avatar": "0" * 32})
    assert answer.status_code == 422
    assert threads and threading.current_thread() not in threads


# --- which source, and the fallback ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loaded", "path", "options", "expected"),
    [
        (["mini"], "generate", {}, "mini"),
        (["mini"], "generate/dip", {}, "mini"),
        (["mini", "mdm", "dip"], "generate", {}, "mdm"),
        (["mini", "mdm", "dip"], "generate/dip", {}, "dip"),
        (["mini", "mdm", "dip"], "generate", {"duration_sec": 9.9}, "dip"),
        (["mini", "mdm"], "generate", {"duration_sec": 9.9}, "mini"),
        (["mini", "mdm"], "generate/dip", {"provider": "mdm"}, "mdm"),
    ],
)
async def test_auto_takes_the_best_loaded_model(
    start_api: StartApi, loaded: list[str], path: str, options: dict, expected: str
) -> None:
    api = start_api({name: FakeSource(name) for name in loaded})
    answer = await api.http.post(f"/v1/motion/{path}", json={"prompt": "walks", **options})
    assert answer.json()["metadata"]["generator"] == expected
    assert answer.json()["fallback_used"] is False
    assert "fallback_reason" not in answer.json()["metadata"]


async def test_a_source_with_a_longest_clip_is_cut_with_a_warning(start_api: StartApi) -> None:
    motion = await start_api({"mdm": FakeSource("mdm", max_seconds=9.8)}).generate(provider="mdm", duration_sec=30)
    assert motion["duration_sec"] == pytest.approx(9.8)
    assert any("at most 9.8 s" in warning for warning in motion["metadata"]["warnings"])


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (RuntimeError("CUDA error at 0x7f00"), "generation-failed"),
        (GenerationFailed("x"), "generation-failed"),
        (NonFiniteOutput(), "non-finite-output"),
        (CheckpointMissing("x"), "not-loaded"),
        (TimeoutError(), "deadline"),
    ],
)
async def test_a_failing_model_is_answered_by_a_labelled_placeholder(
    start_api: StartApi, failure: Exception, reason: str
) -> None:
    api = start_api({"mini": FakeSource(failure=failure)})
    motion = await api.generate()
    assert (motion["metadata"]["generator"], motion["fallback_used"]) == ("placeholder", True)
    assert motion["metadata"]["fallback_reason"] == reason
    assert "0x7f00" not in str(motion)
    assert len(motion["root_position"]) == 100


async def test_a_provider_that_is_not_loaded_is_answered_by_a_placeholder(start_api: StartApi) -> None:
    api = start_api({})
    for provider in ("auto", "mdm", "mdm-encoder", "dip", "mini"):
        metadata = (await api.generate(provider=provider))["metadata"]
        assert (metadata["generator"], metadata["fallback_reason"]) == ("placeholder", "not-loaded")
    assert (await api.generate(provider="placeholder"))["metadata"]["fallback_reason"] == "requested"


async def test_a_passed_deadline_is_answered_by_a_placeholder(start_api: StartApi) -> None:
    gate = threading.Event()
    api = start_api({"mini": FakeSource(gate=gate)})
    try:
        motion = await api.generate(deadline_ms=30)
    finally:
        gate.set()
    assert (motion["metadata"]["generator"], motion["metadata"]["fallback_reason"]) == ("placeholder", "deadline")


@pytest.mark.parametrize(
    ("source", "options", "status", "problem"),
    [
        (FakeSource(failure=RuntimeError("/etc/passwd")), {}, 500, "generation-failed"),
        (FakeSource(failure=NonFiniteOutput()), {}, 500, "non-finite-output"),
        (FakeSource(failure=TimeoutError()), {}, 504, "deadline"),
        (FakeSource(), {"provider": "dip"}, 503, "model-unavailable"),
        (FakeSource(), {"provider": "placeholder"}, 422, "invalid-request"),
    ],
)
async def test_without_placeholder_failures_are_problems(
    start_api: StartApi, source: FakeSource, options: dict, status: int, problem: str
) -> None:
    api = start_api({"mini": source}, no_placeholder=True)
    answer = await api.http.post("/v1/motion/generate", json={"prompt": "walks", **options})
    assert answer.status_code == status
    assert answer.json()["type"].endswith(f"/{problem}")
    assert "/etc" not in answer.text
    assert api.files() == []


async def test_a_full_queue_refuses_with_retry_after(start_api: StartApi) -> None:
    gate = threading.Event()
    api = start_api({"mini": FakeSource(gate=gate)}, queue_size=1)
    first = asyncio.create_task(api.generate())
    while api.pipeline.admission.inside == 0:
        await asyncio.sleep(0.01)
    try:
        refused = await api.http.post("/v1/motion/generate", json={"prompt": "walks"})
    finally:
        gate.set()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert (await first)["fallback_used"] is False
    assert (await api.generate())["fallback_used"] is False, "the place was given back"


async def test_queue_places_are_given_back_after_failures(start_api: StartApi) -> None:
    api = start_api({"mini": FakeSource(failure=QueueFull())}, queue_size=1, no_placeholder=True)
    for _ in range(3):
        answer = await api.http.post("/v1/motion/generate", json={"prompt": "walks"})
        assert answer.json()["detail"] == QueueFull.title
    assert api.pipeline.admission.inside == 0


async def test_a_full_disk_does_not_hold_back_the_motion(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    motion = await api.generate(artifacts=["npy"])
    states = {kind: status["state"] for kind, status in motion["metadata"]["artifacts"].items()}
    assert states == {"vrm-json": "failed", "npy": "failed"}
    assert motion["tracks"] and api.files() == []


def test_the_fake_wave_is_a_clip_that_waves() -> None:
    clip = make_wave(2.0, seed=0)
    assert isinstance(clip, VrmClip)
    assert math.degrees(float(clip.rotations["rightUpperArm"][:, 2].abs().max())) > 10


def test_requests_do_not_change_under_way() -> None:
    request = GenerateRequest(prompt="walks")
    with pytest.raises(ValueError, match="frozen"):
        request.prompt = "runs"
