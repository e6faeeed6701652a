"""A disk that is full, read-only or broken: motion still comes, files say that they failed, later all is well."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motion_service.faults import ALWAYS, Fault, FaultPlan, disk_broken, disk_full, read_only
from tests.fakes import Api


def with_plan(api: Api) -> FaultPlan:
    plan = FaultPlan()
    api.pipeline.store._faults = plan
    return plan


@pytest.mark.parametrize("error", [disk_full, read_only, disk_broken])
@pytest.mark.parametrize(("point", "kind"), [("write", "raise"), ("written", "torn"), ("written", "raise")])
async def test_motion_comes_without_a_disk(api: Api, error: Any, point: Any, kind: Any) -> None:
    plan = with_plan(api)
    plan.add(Fault(point, kind, error, ALWAYS))
    motion = await api.generate(duration_sec=0.3)
    states = {name: status["state"] for name, status in motion["metadata"]["artifacts"].items()}
    assert states == {"vrm-json": "failed", "npy": "failed"} and motion["fallback_used"] is False
    assert "space" not in json.dumps(motion["metadata"]["artifacts"]), "what the system says is for the log"
    assert api.files() == [], "no part of a file"
    assert (await api.http.get(motion["url"])).status_code == 404
    assert (await api.http.get("/readyz")).json()["artifacts"] == "degraded"
    for name in ("npy", "bvh", "vrma"):
        answer = await api.http.post("/v1/motion/generate", json={"prompt": "x", "duration_sec": 0.3, "format": name})
        assert answer.status_code == 200, "these can be made without a file"
    video = {"prompt": "x", "duration_sec": 0.3, "format": "mp4"}
    refused = await api.http.post("/v1/motion/generate", json=video)
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (507, "storage")
    plan.clear()
    again = await api.generate(duration_sec=0.3)
    assert {status["state"] for status in again["metadata"]["artifacts"].values()} == {"ready"}
    assert (await api.http.get(again["url"])).json() == again
    assert (await api.http.get("/readyz")).json()["artifacts"] == "ok"


async def test_a_file_of_many_that_fails_is_told_alone(api: Api) -> None:
    plan = with_plan(api)
    plan.add(Fault("write", "raise", disk_full, ALWAYS, applies=lambda path: path.suffix == ".npy"))
    motion = await api.generate(duration_sec=0.3)
    states = {name: status["state"] for name, status in motion["metadata"]["artifacts"].items()}
    assert states == {"vrm-json": "ready", "npy": "failed"}
