"""The answers that others rely on, on the fake model and, where its weights are, on the shipped one."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion_service.humanoid import VRM_PARENT, VRM_REQUIRED
from motion_service.schemas import MotionResponse
from tests.fakes import MINI, Api, FakeSource, StartApi

ROUTES = ["/v1/motion/generate", "/v1/motion/generate/dip", "/motion/generate"]


@pytest.fixture(scope="module")
def mini_parts() -> tuple[Any, Any]:
    from motion_service.mdm.checkpoint import load_checkpoint
    from motion_service.text_encoder import UseEncoder

    return load_checkpoint(MINI), UseEncoder()


@pytest.fixture(params=["fake", "mini"])
async def service(request: pytest.FixtureRequest, start_api: StartApi) -> AsyncIterator[Api]:
    """The same suite on two sources."""
    if request.param == "fake":
        yield start_api({"mini": FakeSource()})
        return
    if not (MINI / "model.safetensors").is_file():
        pytest.skip("models/motion/mini has no weights")
    from motion_service.engine.worker import Worker
    from motion_service.mdm_adapter.mini import DiffusionSource

    worker = Worker()
    worker.start()
    yield start_api({"mini": DiffusionSource(*request.getfixturevalue("mini_parts"), worker)})
    await worker.stop()


async def test_the_answer_has_the_promised_shape(service: Api) -> None:
    motion = await service.generate("a person waves with the right hand", seed=3)
    MotionResponse.model_validate(motion)
    assert (motion["format"], motion["fps"], motion["duration_sec"], motion["fallback_used"]) == (
        "vrm-json", 20, 5.0, False,
    )  # fmt: skip
    assert set(motion["tracks"]) >= VRM_REQUIRED
    assert set(motion["tracks"]) <= set(VRM_PARENT), "VRM bone names in exact case"
    assert {"rightToes", "leftToes"} <= set(motion["tracks"])
    assert motion["root_position"] == motion["rootPosition"]
    for track in motion["tracks"].values():
        assert len(track) == 100
        for key in track:
            assert set(key) == {"t", "x", "y", "z", "w"}
            assert math.hypot(key["x"], key["y"], key["z"], key["w"]) == pytest.approx(1, abs=1e-4)


async def test_metadata_is_complete_and_true(service: Api) -> None:
    motion = await service.generate("a person walks", seed=3, duration_sec=2.0)
    metadata = motion["metadata"]
    assert set(metadata) >= {
        "generator", "checkpoint", "seed", "guidance_param", "steps", "fps", "motion_length", "prompt", "url",
        "artifacts", "target", "rest_hips_height", "contacts", "prompt_plan", "timings_ms", "quality", "warnings",
        "licence",
    }  # fmt: skip
    assert (metadata["generator"], metadata["seed"], metadata["motion_length"]) == ("mini", 3, 2.0)
    assert metadata["url"] == motion["url"] == f"/data/animations/{motion['job_id']}.json"
    assert np.asarray(metadata["contacts"]).shape == (40, 4)
    assert metadata["timings_ms"]["total"] > 0


async def test_the_file_is_the_answer(service: Api) -> None:
    answer = await service.http.post("/v1/motion/generate", json={"prompt": "bows", "duration_sec": 1})
    motion = answer.json()
    assert Path(motion["output_path"]).read_bytes() == answer.content
    assert (await service.http.get(motion["url"])).content == answer.content
    results = np.load(service.output_dir / motion["job_id"] / "results.npy", allow_pickle=True).item()
    assert results["motion"].shape == (1, 22, 3, 20)


async def test_same_seed_same_motion(service: Api) -> None:
    first, second = [await service.generate("手を振る", seed=11, duration_sec=3) for _ in range(2)]
    assert first["tracks"] == second["tracks"] and first["root_position"] == second["root_position"]


@pytest.mark.parametrize("route", ROUTES)
async def test_all_routes_take_a_bare_prompt(api: Api, route: str) -> None:
    answer = await api.http.post(route, json={"prompt": "3秒で手を振る"})
    assert answer.status_code == 200
    assert answer.json()["duration_sec"] == 3.0


async def test_unknown_fields_are_named_and_ignored(api: Api) -> None:
    motion = await api.generate(mood="happy", seed=1)
    assert motion["metadata"]["warnings"] == ["unknown field ignored: mood"]


async def test_many_at_once_each_get_their_own(service: Api) -> None:
    motions = await asyncio.gather(*(service.generate("waves", seed=seed, duration_sec=1) for seed in range(4)))
    assert [motion["metadata"]["seed"] for motion in motions] == [0, 1, 2, 3]
    assert len({motion["job_id"] for motion in motions}) == 4


# --- as the assistant's backend and front end read it ---------------------------------------------------------------


def parse_as_backend(body: bytes) -> dict[str, Any]:
    """What fullstack-vrm-assistant's backend takes from an answer, field by field (downstream notes 6a)."""
    data = json.loads(body)
    root = data.get("rootPosition") or data.get("root_position") or []
    return {
        "job_id": str(data["job_id"]),
        "url": data.get("url") or data.get("output_url") or data.get("output_path"),
        "output_path": data.get("output_path"),
        "duration": float(data.get("duration_sec") or data.get("duration") or 0.0),
        "fps": int(data.get("fps") or data.get("frame_rate") or 30),
        "tracks": {bone: [[float(key[k]) for k in "txyzw"] for key in keys] for bone, keys in data["tracks"].items()},
        "root": [[float(key[k]) for k in "txyz"] for key in root],
        "fallback": data.get("fallback_used", data.get("fallback")),
        "metadata": dict(data["metadata"]),
    }


async def test_the_backend_can_read_it(service: Api) -> None:
    payload = {"prompt": "元気に手を振って歩く", "seed": 1, "steps": 50, "guidance": 2.5, "format": "vrm-json",
               "duration_sec": 4.0, "fps": 24}  # fmt: skip
    answer = await service.http.post("/v1/motion/generate", json=payload)
    read = parse_as_backend(answer.content)
    assert read["url"].startswith("/data/animations/")
    assert (read["fps"], read["duration"], read["fallback"]) == (24, 4.0, False)
    assert read["metadata"]["generator"] == "mini"
    frames = round(read["duration"] * read["fps"])
    assert {len(track) for track in read["tracks"].values()} == {frames} == {len(read["root"])}
    assert read["root"][-1][0] == pytest.approx((frames - 1) / 24, abs=1e-4), "not stamped with another rate"
