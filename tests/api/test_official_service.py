"""A service that is started on checkpoints in the official layout: random weights, real files, both routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion_service.config import Config
from motion_service.main import Service, load_service
from motion_service.mdm.published import DIRECTORIES, Kind
from motion_service.schemas import GenerateRequest
from motion_service.vrm.body import CANONICAL_BODY
from tests.mdm.official_files import write_checkpoint_files, write_clip, write_distilbert


def write_statistics(data_dir: Path) -> None:
    """Mean and Std that turn random features into a small, upright wobble."""
    folder = data_dir / "dataset" / "HumanML3D"
    folder.mkdir(parents=True)
    mean, std = np.zeros(263, np.float32), np.full(263, 0.1, np.float32)
    mean[3] = 0.9
    mean[4:67] = np.tile([0.0, 0.9, 0.0], 21)
    np.save(folder / "Mean.npy", mean)
    np.save(folder / "Std.npy", std)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("assets")
    kinds: tuple[tuple[str, Kind], ...] = (("mdm", "mdm"), ("mdm", "mdm-encoder"), ("dip", "dip-target"))
    for folder, kind in kinds:
        write_checkpoint_files(root / folder / DIRECTORIES[kind], kind, trust=True)
    write_clip(root / "text" / "clip")
    write_distilbert(root / "text" / "distilbert")
    write_statistics(root / "data")
    return root


@pytest.fixture
async def service(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setenv("CHECKPOINT_DIR", str(assets))
    monkeypatch.setenv("MOTION_DATA_DIR", str(assets / "data"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("MOTION_DEVICE", "cpu")
    loaded = load_service(Config())
    await loaded.start(warm_up=False)
    yield loaded
    loaded.jobs.close()
    await loaded.stop()


async def ask(service: Service, route: Any, **options: Any) -> dict[str, Any]:
    request = GenerateRequest.model_validate({"prompt": "a person walks forward", "artifacts": ["npy"], **options})
    answer = await service.jobs.generate(request, route)
    return dict(answer.metadata)


async def test_each_route_has_its_model(service: Service) -> None:
    assert {"mdm", "mdm-encoder", "dip", "mini"} <= set(service.sources)
    mdm, dip = await ask(service, "generate"), await ask(service, "dip")
    assert (mdm["generator"], mdm["steps"], mdm["guidance_param"], mdm["motion_length"]) == ("mdm", 50, 2.5, 5.0)
    assert (dip["generator"], dip["steps"], dip["guidance_param"], dip["motion_length"]) == ("dip", 10, 7.5, 5.0)
    assert mdm["captions"] == ["a person walks forward"] and dip["first_prefix"] == "walk"
    assert "fallback_reason" not in mdm and "fallback_reason" not in dip


async def test_long_clips_go_to_the_model_that_goes_on(service: Service) -> None:
    assert (await ask(service, "generate", duration_sec=12.0))["generator"] == "dip"
    cut = await ask(service, "generate", duration_sec=12.0, provider="mdm")
    assert (cut["generator"], cut["motion_length"]) == ("mdm", 9.8)
    assert any("9.8" in warning for warning in cut["warnings"])


async def test_the_encoder_variant_reads_clip(service: Service) -> None:
    long = "a person walks " + "very " * 40 + "slowly"
    made = await ask(service, "generate", provider="mdm-encoder", prompt=long, duration_sec=1.0)
    assert made["generator"] == "mdm-encoder"
    assert any("cut" in warning for warning in made["warnings"])


async def test_a_seed_gives_the_same_motion_in_both_noise_modes(service: Service) -> None:
    runs = {}
    for noise in ("request", "official", "request", "official"):
        made = await ask(service, "generate", seed=10, noise=noise, duration_sec=1.0, steps=5)
        runs.setdefault(noise, []).append(made["quality"])
    assert runs["request"][0] == runs["request"][1] and runs["official"][0] == runs["official"][1]
    assert runs["request"][0] != runs["official"][0]


async def test_fewer_steps_and_ddim_are_reported(service: Service) -> None:
    few = await ask(service, "generate", steps=7, sampler="ddim", duration_sec=1.0)
    assert few["steps"] == 7
    clamped = await ask(service, "dip", steps=50, duration_sec=1.0)
    assert clamped["steps"] == 10 and any("steps" in warning for warning in clamped["warnings"])


async def test_results_hold_the_models_own_joints(service: Service, tmp_path: Path) -> None:
    made = await ask(service, "generate", duration_sec=2.0, seed=1)
    job = made["url"].rsplit("/", 1)[1].removesuffix(".json")
    stored = np.load(tmp_path / "animations" / job / "results.npy", allow_pickle=True).item()
    assert stored["motion"].shape == (1, 22, 3, 40) and stored["lengths"].tolist() == [40]


async def test_targets_are_taken_by_the_model_that_was_trained_on_them(service: Service) -> None:
    goal = {"traj": [0.5, 0.0, 1.0], "heading": [0.3]}
    with_goal = await ask(service, "dip", seed=2, duration_sec=4.0, target_joints=goal)
    without = await ask(service, "dip", seed=2, duration_sec=4.0)
    assert with_goal["generator"] == without["generator"] == "dip"
    assert with_goal["quality"] != without["quality"]


async def test_answers_are_for_a_body_without_upper_chest_unless_told(service: Service) -> None:
    request = GenerateRequest(prompt="walks", duration_sec=1.0, artifacts=[])
    import orjson

    folded = orjson.loads((await service.jobs.generate(request, "generate")).body)
    whole = orjson.loads((await service.jobs.generate(request.model_copy(update={"fold": False}), "generate")).body)
    assert set(folded["tracks"]) == set(CANONICAL_BODY.bones)
    assert set(whole["tracks"]) == {*CANONICAL_BODY.bones, "upperChest"}
