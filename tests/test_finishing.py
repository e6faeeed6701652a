"""Answers made in processes of their own are those made in threads."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from motion_service.clips import FeatureClip
from motion_service.features.humanml3d import HUMANML3D_FPS, clip_to_features
from motion_service.features.vrm_native import VRM_WIDTH, vrm_to_features
from motion_service.finishing import ProcessFinisher, default_processes
from motion_service.schemas import MotionOptions
from motion_service.source import SourceClip, SourceRequest
from motion_service.vrm.joints import vrm_to_joints
from tests.fakes import Api, FakeSource, StartApi, make_wave
from tests.test_jobs import wait_for

ALL = MotionOptions(artifacts=["npy", "vrma", "bvh", "mp4"])


class FeatureSource(FakeSource):
    """Gives features, as the models do: mini in layout vrm, any other name in layout humanml3d."""

    async def generate(self, request: SourceRequest) -> SourceClip:
        made = await super().generate(request)
        wave = make_wave(request.seconds, request.seed)
        layout = vrm_to_features(wave)[0] if self.name == "mini" else clip_to_features(vrm_to_joints(wave))
        return replace(made, clip=layout)


class BrokenSource(FakeSource):
    """Numbers that are finite, but make no pose."""

    async def generate(self, request: SourceRequest) -> SourceClip:
        features = FeatureClip(torch.full((20, VRM_WIDTH), 3e38), "vrm", HUMANML3D_FPS)
        return replace(await super().generate(request), clip=features)


def sources() -> dict[str, Any]:
    return {"mini": FeatureSource(), "mdm": FeatureSource("mdm", max_seconds=9.8)}


@pytest.fixture
async def apart(start_api: StartApi) -> AsyncIterator[Api]:
    """A service whose answers are made in two processes."""
    api = start_api(
        sources(), defaults=ALL, queue_size=32, finisher=partial(ProcessFinisher, count=2, log_level="warning")
    )
    await api.pipeline.finisher.start()
    yield api


def without_traces(motion: dict[str, Any]) -> dict[str, Any]:
    """What two answers to one request share."""
    text = str({**motion, "metadata": {**motion["metadata"], "timings_ms": {}}})
    return {"text": text.replace(motion["job_id"], "id")}


async def test_processes_and_threads_give_the_same(apart: Api, start_api: StartApi) -> None:
    here = start_api(sources(), defaults=ALL)
    for options in ({"provider": "mini", "repetitions": 2}, {"provider": "mdm", "expressions": True, "fps": 30}):
        request = {"prompt": "a person waves happily", "seed": 3, "duration_sec": 1.0, **options}
        told, plain = await apart.generate(**request), await here.generate(**request)
        assert without_traces(told) == without_traces(plain)
        assert {"decode", "finish", "total"} <= told["metadata"]["timings_ms"].keys()
        for kind in ("vrm-json", "npy", "vrma", "bvh"):
            files = [api.pipeline.store.read(made["job_id"], kind) for api, made in ((apart, told), (here, plain))]
            if kind == "vrm-json":
                assert len(files[0]) > 1000
            else:
                assert files[0] == files[1]
    assert (await wait_for(apart, told["job_id"], "mp4"))["state"] == "ready"


async def test_other_formats_and_errors_pass_through(apart: Api) -> None:
    request = {"prompt": "a person waves", "duration_sec": 0.5, "format": "msgpack"}
    answer = await apart.http.post("/v1/motion/generate", json=request)
    assert answer.headers["content-type"] == "application/msgpack" and answer.headers["x-job-id"]
    broken = await apart.http.post("/v1/motion/generate", json={"prompt": "waves", "avatar": "0" * 32})
    assert broken.status_code == 422


async def test_a_process_killed_under_load_loses_no_request(apart: Api) -> None:
    asked = [asyncio.create_task(apart.generate("a person waves", seed=i, artifacts=[])) for i in range(12)]
    await asyncio.sleep(0.02)
    os.kill(next(iter(apart.pipeline.finisher._makers._all)).child.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    made = await asyncio.gather(*asked)
    assert [motion["metadata"]["seed"] for motion in made] == [*range(12)]
    assert not any(motion["fallback_used"] for motion in made)


@pytest.mark.parametrize("where", ["threads", "processes"])
async def test_features_that_make_no_pose_are_answered_by_the_placeholder(start_api: StartApi, where: str) -> None:
    options: dict[str, Any] = {"finisher": partial(ProcessFinisher, count=1, log_level="error")}
    api = start_api({"mini": BrokenSource()}, **(options if where == "processes" else {}))
    await api.pipeline.finisher.start()
    motion = await api.generate("a person waves", provider="mini")
    assert motion["fallback_used"] and motion["metadata"]["generator"] == "placeholder"
    assert motion["metadata"]["fallback_reason"] in ("generation-failed", "non-finite-output")


@pytest.mark.parametrize(
    ("cores", "device", "count"), [(2, "cuda", 0), (8, "cuda", 4), (16, "cuda", 8), (128, "cuda", 8), (64, "cpu", 0)]
)
def test_processes_only_where_they_gain_something(cores: int, device: str, count: int) -> None:
    assert default_processes(cores, device) == count
