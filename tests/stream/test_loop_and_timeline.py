"""Options of a generation that are made as streams are: timeline, continue_from; and loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

from motion_service.admission import Admission
from motion_service.api.http import create_app
from motion_service.edit_loop import close_path
from motion_service.engine.worker import Worker
from motion_service.export.read import json_to_clip
from motion_service.jobs import Jobs
from motion_service.mdm.checkpoint import load_checkpoint
from motion_service.mdm_adapter.live import LiveDiffusionSource
from motion_service.pipeline import Pipeline
from motion_service.quality import clip_to_positions, measure_clip
from motion_service.schemas import MotionOptions
from motion_service.source import join_clips
from motion_service.store import ArtifactStore
from motion_service.text_encoder import UseEncoder
from tests.fakes import MINI, FakeSource, make_wave


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """mini behind HTTP, few steps."""
    worker = Worker()
    worker.start()
    mini = LiveDiffusionSource(load_checkpoint(MINI), UseEncoder(), worker)
    store = ArtifactStore(tmp_path / "animations", tmp_path, "/data")
    defaults = MotionOptions(artifacts=[], steps=5, seed=4)
    sources: Any = {"mini": mini, "mdm": FakeSource("mdm")}
    app = create_app(Jobs(Pipeline(sources, None, store, Admission(8), defaults)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:
        yield http
    await worker.stop()


async def ask(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/v1/motion/generate", json={"provider": "mini", **fields})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def bend(positions: Tensor) -> Tensor:
    """(T - 2,) acceleration of the fastest bone."""
    return (positions[2:] - 2 * positions[1:-1] + positions[:-2]).norm(dim=-1).amax(-1)


async def test_timeline_plays_prompts_in_a_row(service: httpx.AsyncClient) -> None:
    parts = [{"prompt": "a person stands idle", "sec": 1.5}, {"prompt": "走る", "sec": 2.5}, {"prompt": "", "sec": 1}]
    made = await ask(service, timeline=parts)
    assert (made["duration_sec"], made["metadata"]["prompt"]) == (5.0, "a person stands idle")
    assert len(made["metadata"]["captions"]) == 3 and made["metadata"]["generator"] == "mini"
    hips = json_to_clip(made).hips
    assert float((hips[29] - hips[0])[[0, 2]].norm()) < 0.3 < float((hips[79] - hips[30])[[0, 2]].norm())


async def test_continue_from_goes_on_where_a_job_ended(service: httpx.AsyncClient) -> None:
    first = await ask(service, prompt="a person walks forward", duration_sec=3.0)
    last = {bone: keys[-21:] for bone, keys in first["tracks"].items()}
    for value in (first["job_id"], {"tracks": last, "root_position": first["root_position"][-21:], "fps": 20.0}):
        second = await ask(service, prompt="a person stands idle", continue_from=value, duration_sec=2.0)
        joined = join_clips(json_to_clip(first), json_to_clip(second))
        positions = clip_to_positions(joined)
        border = 60
        around, elsewhere = bend(positions)[border - 3 : border + 2], bend(positions)
        assert float(around.max()) <= 1.5 * float(elsewhere[10 : border - 5].max())


@pytest.mark.parametrize("prompt", ["a person stands idle", "a person waves with the right hand"])
@pytest.mark.parametrize("fps", [20.0, 30.0])
async def test_a_loop_has_no_seam(service: httpx.AsyncClient, prompt: str, fps: float) -> None:
    plain = json_to_clip(await ask(service, prompt=prompt, duration_sec=4.0, fps=fps))
    clip = json_to_clip(await ask(service, prompt=prompt, duration_sec=4.0, fps=fps, loop=True))
    assert clip.num_frames == plain.num_frames
    twice = clip_to_positions(join_clips(clip, clip))
    border = clip.num_frames
    inside = bend(twice[:border])
    assert float(bend(twice)[border - 3 : border + 2].max()) <= 1.5 * float(inside.max())
    skate, plain_skate = (measure_clip(each)["skate_cm_s"] for each in (join_clips(clip, clip), plain))
    assert skate <= 1.3 * plain_skate + 3


async def test_a_loop_of_a_walk_stays_on_its_spot(service: httpx.AsyncClient) -> None:
    made = await ask(service, prompt="a person walks forward", duration_sec=4.0, loop=True)
    hips = json_to_clip(made).hips[:, [0, 2]]
    assert float((hips - hips[0]).norm(dim=-1).max()) < 0.8
    assert any("on the spot" in warning for warning in made["metadata"]["warnings"])


def test_closed_path_ends_where_it_began() -> None:
    clip = make_wave(3.0, 1)
    away = torch.linspace(0, 2, clip.num_frames)[:, None] * torch.tensor([1.0, 0.0, 0.5])
    level, travel = close_path(replace(clip, hips=clip.hips + away))
    assert travel == pytest.approx(5**0.5, rel=1e-4)
    assert torch.allclose(level.hips[-1], level.hips[0], atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"timeline": []}, "timeline"),
        ({"timeline": [{"prompt": "walks"}]}, "timeline.0.sec"),
        ({"timeline": [{"prompt": "a\u0000", "sec": 1}]}, "timeline.0.prompt"),
        ({"timeline": [{"prompt": "walks", "sec": 1}], "provider": "mdm"}, "provider"),
        ({"timeline": [{"prompt": "walks", "sec": 1}], "loop": True}, "loop"),
        ({"prompt": "walks", "loop": True, "provider": "dip"}, "provider"),
        ({"prompt": "walks", "loop": 1}, "loop"),
        ({"prompt": "walks", "continue_from": "0" * 32}, "continue_from"),
        ({"prompt": "walks", "continue_from": "../../etc/passwd"}, "continue_from"),
        ({"prompt": "walks", "continue_from": {"tracks": 1}}, "continue_from"),
        ({"prompt": "walks", "continue_from": 5}, "continue_from"),
    ],
)
async def test_what_cannot_be_is_refused(service: httpx.AsyncClient, fields: dict[str, Any], field: str) -> None:
    answer = await service.post("/v1/motion/generate", json=fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)
