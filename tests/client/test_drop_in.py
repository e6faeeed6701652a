"""Drop-in for the assistant's own MotionClient (fullstack-vrm-assistant, backend/app/providers/motion.py): what it
sends, field by field, and how it reads the answer, for every engine it can meet and for the placeholder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, Field

from motion_service.api.http import create_app
from motion_service.client import MotionClient
from motion_service.client_fallback import HIPS_HEIGHT, breathing_sway
from motion_service.errors import GenerationFailed
from motion_service.humanoid import CANONICAL_HIPS_HEIGHT, VRM_PARENT
from motion_service.placeholder import PlaceholderSource
from motion_service.schemas import MotionOptions
from tests.fakes import MINI, FakeSource
from tests.live_server import make_jobs, serve

ENGINES = ["mdm", "mdm-encoder", "dip", "mini", "placeholder"]
ROUTES = ["/v1/motion/generate", "/v1/motion/generate/dip", "/motion/generate"]
TRUE_WORDS = {"true", "1", "yes", "on"}


class BackendRequest(BaseModel):
    """What its callers may say."""

    prompt: str = Field(min_length=1)
    seed: int | None = Field(None, ge=0)
    steps: int | None = Field(None, ge=1, le=200)
    guidance: float | None = Field(None, ge=0)
    format: str | None = "vrm-json"
    duration_sec: float | None = Field(None, ge=0.1)
    fps: int | None = Field(None, ge=1, le=120)


def build_payload(request: BackendRequest) -> dict[str, Any]:
    """Every key but those that are None."""
    return {name: value for name, value in request.model_dump().items() if value is not None}


class BackendKey(BaseModel):
    t: float
    x: float
    y: float
    z: float
    w: float = 1.0


class BackendMotion(BaseModel):
    job_id: str
    format: str
    url: str
    output_path: str | None
    duration_sec: float = Field(ge=0)
    fps: int = Field(ge=1)
    tracks: dict[str, list[BackendKey]]
    root_position: list[BackendKey]
    fallback_used: bool
    metadata: dict[str, Any]


def parse_response(data: dict[str, Any]) -> BackendMotion:
    """First name that is there, defaults for 0 and nothing, flags as words."""
    flag = data.get("fallback_used", data.get("fallback", False))
    return BackendMotion(
        job_id=str(data["job_id"]),
        format=data.get("format") or "vrm-json",
        url=data.get("url") or data.get("output_url") or data.get("output_path"),  # type: ignore[arg-type]
        output_path=data.get("output_path"),
        duration_sec=float(data.get("duration_sec") or data.get("duration") or 0.0),
        fps=int(data.get("fps") or data.get("frame_rate") or 30),
        tracks=data.get("tracks") or {},
        root_position=data.get("rootPosition") or data.get("root_position") or [],
        fallback_used=flag.lower() in TRUE_WORDS if isinstance(flag, str) else bool(flag),
        metadata=data.get("metadata") or {},
    )


REQUESTS = {
    "diagnostics": BackendRequest(prompt="3秒で手を振る"),
    "conversation": BackendRequest(prompt="今日はいい天気ですね！散歩に行きましょう。", duration_sec=4.0, fps=24),
    "everything": BackendRequest(prompt="walks", seed=0, steps=200, guidance=0.0, duration_sec=0.1, fps=120),
    "long": BackendRequest(prompt="a person walks", duration_sec=30.0, fps=30),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(engine: str, tmp_path: Any) -> Iterator[str]:
    """A service whose default is this engine; the backend cannot say which it wants."""
    limits = {"mdm": 9.8, "mdm-encoder": 9.8}
    sources = {name: FakeSource(name, limits.get(name, math.inf)) for name in ENGINES[:-1]}
    jobs = make_jobs(tmp_path, dict(sources))
    jobs.pipeline.placeholder = PlaceholderSource()
    jobs.pipeline.defaults = MotionOptions(provider=engine, artifacts=[])
    with serve(create_app(jobs)) as address:
        yield address


@pytest.mark.parametrize("name", REQUESTS)
def test_the_backend_reads_every_engine(url: str, engine: str, name: str) -> None:
    payload = build_payload(REQUESTS[name])
    for route in ROUTES:
        answer = httpx.post(f"{url}{route}", json=payload, timeout=30)
        assert answer.status_code == 200, answer.text
        motion = parse_response(answer.json())
        check(motion, REQUESTS[name])
        assert motion.metadata["generator"] == engine
        assert motion.fallback_used == (engine == "placeholder")
        assert answer.json()["url"].startswith("/data/animations/"), "the backend serves /data itself"


def check(motion: BackendMotion, asked: BackendRequest) -> None:
    """What its player needs: all tracks of one length at the rate it is told, unit rotations, names that bind."""
    frames = round(motion.duration_sec * motion.fps)
    assert {len(track) for track in motion.tracks.values()} == {frames} == {len(motion.root_position)}
    assert set(motion.tracks) <= set(VRM_PARENT) and "hips" in motion.tracks
    for track in [*motion.tracks.values(), motion.root_position]:
        assert track[0].t == 0 and math.isclose(track[-1].t, (frames - 1) / motion.fps, abs_tol=1e-4)
    for track in motion.tracks.values():
        assert all(math.isclose(k.x**2 + k.y**2 + k.z**2 + k.w**2, 1, abs_tol=1e-3) for k in track)
    assert motion.fps == (asked.fps or 20)
    is_cut = motion.metadata["generator"] in ("mdm", "mdm-encoder") and (asked.duration_sec or 0) > 9.8
    assert is_cut or asked.duration_sec is None or math.isclose(motion.duration_sec, asked.duration_sec, rel_tol=0.3)
    assert motion.metadata["seed"] >= 0 and motion.metadata["prompt"] == asked.prompt


@pytest.mark.parametrize("engine", ["mini"])
def test_the_backend_reads_the_placeholder_of_a_failure(url: str, engine: str, tmp_path: Any) -> None:
    jobs = make_jobs(tmp_path / "broken", {"mini": FakeSource(failure=GenerationFailed("no"))})
    jobs.pipeline.placeholder = PlaceholderSource()
    with serve(create_app(jobs)) as broken:
        data = httpx.post(f"{broken}{ROUTES[0]}", json={"prompt": "walks", "format": "vrm-json"}, timeout=30).json()
    motion = parse_response(data)
    check(motion, BackendRequest(prompt="walks"))
    assert motion.fallback_used and motion.metadata["generator"] == "placeholder", "its page warns of that name"


def test_our_client_reads_the_same(url: str, engine: str) -> None:
    with MotionClient(url) as client:
        motion = client.generate("walks", seed=3, duration_sec=1.0, fps=24)
    theirs = parse_response(motion.model_dump())
    assert (theirs.fps, theirs.fallback_used) == (24, motion.fallback_used)
    assert theirs.tracks["hips"][-1].t == motion.tracks["hips"][-1].t


def test_health_and_refusals(url: str, engine: str) -> None:
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    for wrong in ({"prompt": ""}, {"prompt": "walks", "steps": 201}, {"prompt": "walks", "fps": 0}):
        assert httpx.post(f"{url}{ROUTES[0]}", json=wrong).status_code == 422


@pytest.mark.parametrize(
    "options", [{}, {"duration_sec": 4.0, "fps": 24}, {"fps": 1}, {"target": "vrm0", "duration_sec": 120}, {"fps": "x"}]
)
def test_the_backend_reads_the_local_motion(options: dict[str, Any]) -> None:
    """Three seconds at 24 frames, as its own; breathing that ends where it begins, arms down, in the axes asked for."""
    data = json.loads(breathing_sway("手を振る", options, "unreachable"))
    motion = parse_response(data)
    assert motion.fallback_used and motion.metadata["generator"] == "fallback"
    fps = options.get("fps") if isinstance(options.get("fps"), int) else 24
    assert (motion.duration_sec, motion.fps) == (options.get("duration_sec", 3.0), fps)
    frames = round(motion.duration_sec * motion.fps)
    assert {len(track) for track in motion.tracks.values()} == {frames} == {len(motion.root_position)}
    assert motion.root_position[0].y == HIPS_HEIGHT == CANONICAL_HIPS_HEIGHT
    sign = 1 if options.get("target") == "vrm0" else -1
    assert all(math.copysign(1, key.z) == sign for key in motion.tracks["leftUpperArm"]), "down, not up"
    for track in motion.tracks.values():
        steps = [abs(a.x - b.x) + abs(a.z - b.z) for a, b in zip(track, track[1:] + track[:1], strict=True)]
        assert steps[-1] <= max(steps[:-1]) + 1e-9, "the end goes over into the start"


@pytest.mark.skipif(not (MINI / "model.safetensors").is_file(), reason="needs the shipped weights (models/motion/mini)")
async def test_the_backend_reads_the_shipped_model(start_api: Any) -> None:
    from motion_service.engine.worker import Worker
    from motion_service.mdm.checkpoint import load_checkpoint
    from motion_service.mdm_adapter.mini import DiffusionSource
    from motion_service.text_encoder import UseEncoder

    worker = Worker()
    worker.start()
    api = start_api({"mini": DiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)})
    for asked in (REQUESTS["diagnostics"], REQUESTS["conversation"]):
        motion = parse_response((await api.http.post(ROUTES[0], json=build_payload(asked))).json())
        check(motion, asked)
        assert (motion.metadata["generator"], motion.fallback_used) == ("mini", False)
    await worker.stop()
