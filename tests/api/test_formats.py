"""What the body of an answer carries, and the files beside it, for every format; the SMPL files."""

from __future__ import annotations

import asyncio
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from motion_service.export.binary import decode_binary
from motion_service.export.read import json_to_clip
from motion_service.export.read_bvh import bvh_to_clip
from motion_service.export.read_vrma import vrma_to_clip
from motion_service.vrm.smpl_files import load_smpl
from tests.fakes import Api
from tests.vrm.synthetic_smpl import write_smpl

TYPES = {
    "vrm-json": "application/json",
    "msgpack": "application/msgpack",
    "vrma": "model/gltf-binary",
    "bvh": "text/plain; charset=utf-8",
    "npy": "application/octet-stream",
    "mp4": "video/mp4",
}


async def post(api: Api, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
    body = {"prompt": "waves", "duration_sec": 0.5, "seed": 4, "artifacts": [], **options}
    answer = await api.http.post("/v1/motion/generate", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(("kind", "media_type"), TYPES.items())
async def test_format_chooses_the_body(api: Api, kind: str, media_type: str) -> None:
    answer = await post(api, {"accept": "application/json"}, format=kind)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-motion-generator"] == "mini" and answer.headers["x-motion-fallback"] == "false"
    stored = await api.http.get(f"/data/animations/{answer.headers['x-job-id']}.json")
    assert stored.json()["job_id"] == answer.headers["x-job-id"], "the JSON is always written"
    assert f"<{stored.url.path}>" in answer.headers["link"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/msgpack", "application/msgpack"),
        ("model/gltf-binary;q=0.9, */*", "model/gltf-binary"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/plain", "application/json"),
        ("application/msgpack;q=0, application/json", "application/json"),
        ("application/json;q=0.1, application/msgpack", "application/msgpack"),
    ],
)
async def test_accept_chooses_when_the_request_does_not(api: Api, accept: str, media_type: str) -> None:
    assert (await post(api, {"accept": accept})).headers["content-type"] == media_type
    assert (await post(api, {"accept": accept}, format="vrm-json")).headers["content-type"] == "application/json"


async def test_no_path_is_redirected(api: Api) -> None:
    for path in ("/v1/avatars/", "/v1/motion/generate/", "/health/"):
        answer = await api.http.post(path, content=b"x")
        assert answer.status_code in (404, 405) and "location" not in answer.headers
        assert answer.headers["content-type"] == "application/problem+json"


async def test_answers_have_a_largest_size(api: Api) -> None:
    body = {"prompt": "waves", "duration_sec": 120, "fps": 120, "repetitions": 2}
    answer = await api.http.post("/v1/motion/generate", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "repetitions")
    assert not api.files()


async def test_all_formats_hold_the_same_motion(api: Api) -> None:
    plain = json_to_clip((await post(api)).json())
    vrma = vrma_to_clip((await post(api, format="vrma")).content)
    bvh = bvh_to_clip((await post(api, format="bvh")).text)
    packed = decode_binary((await post(api, format="msgpack")).content)
    for other in (vrma, bvh):
        assert other.num_frames == plain.num_frames == 10
        for bone, track in plain.rotations.items():
            dot = (track * other.rotations[bone]).sum(-1).abs()
            assert float(dot.min()) > 1 - 1e-5, bone
    arm = np.asarray(packed["tracks"]["rightUpperArm"])
    np.testing.assert_allclose(arm, plain.rotations["rightUpperArm"].numpy(), atol=2e-5)


async def test_artifacts_are_written_and_served(api: Api) -> None:
    motion = (await post(api, artifacts=["vrma", "bvh", "npy"])).json()
    for kind in ("vrma", "bvh", "npy"):
        status = motion["metadata"]["artifacts"][kind]
        assert status["state"] == "ready"
        assert (await api.http.get(status["url"])).status_code == 200


async def test_vrm0_turns_the_json_and_not_the_vrma(api: Api) -> None:
    one, zero = [(await post(api, target=target)).json() for target in ("vrm1", "vrm0")]
    for bone, track in one["tracks"].items():
        for a, b in zip(track, zero["tracks"][bone], strict=True):
            assert (a["x"], a["y"], a["z"], a["w"]) == pytest.approx((-b["x"], b["y"], -b["z"], b["w"]), abs=1e-5)
    assert zero["metadata"]["target"] == "vrm0"
    files = [(await post(api, target=target, format="vrma")).content for target in ("vrm1", "vrm0")]
    assert files[0] == files[1]


async def test_expressions_are_only_there_when_asked_for(api: Api) -> None:
    assert "expressions" not in (await post(api)).json()
    lively = (await post(api, expressions=True, prompt="waves happily", duration_sec=6.0)).json()
    assert {"blink", "happy"} <= set(lively["expressions"])
    assert not {"aa", "ih", "ou", "ee", "oh"} & set(lively["expressions"])
    assert set(lively["look_at"][0]) == {"t", "yaw", "pitch"}
    assert any(bone.startswith("leftIndex") for bone in lively["tracks"])


@pytest.mark.parametrize("wish", [{"postprocess": "smplify"}, {"artifacts": ["hik"]}])
async def test_smpl_files_need_the_model(api: Api, tmp_path: Path, wish: dict[str, Any]) -> None:
    api.pipeline.load_smpl = partial(load_smpl, tmp_path / "nothing")
    answer = await api.http.post("/v1/motion/generate", json={"prompt": "waves", **wish})
    assert (answer.status_code, answer.json()["field"]) == (422, "postprocess")
    assert "SMPL" in answer.json()["detail"] and str(tmp_path) not in answer.text
    assert not api.files()


async def test_smpl_files_follow_the_answer(api: Api, tmp_path: Path) -> None:
    write_smpl(tmp_path / "smpl")
    api.pipeline.load_smpl = cache(partial(load_smpl, tmp_path / "smpl"))
    motion = (await post(api, postprocess="smplify")).json()
    assert {motion["metadata"]["artifacts"][kind]["state"] for kind in ("smpl", "hik")} == {"pending"}
    async with asyncio.timeout(20):
        while True:
            job = (await api.http.get(f"/v1/motion/jobs/{motion['job_id']}")).json()
            if {job["artifacts"][kind]["state"] for kind in ("smpl", "hik")} == {"ready"}:
                break
            await asyncio.sleep(0.05)
    hik = json.loads((await api.http.get(job["artifacts"]["hik"]["url"])).content)
    assert len(hik["joint_map"]) == 22 and np.asarray(hik["thetas"]).shape == (1, 10, 24, 3)
