"""What of a finished motion goes into which file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from motion_service.source import SourceClip, SourceRequest
from tests.fakes import Api, FakeSource, StartApi


class JointSource(FakeSource):
    """Makes joints beside the clip, as the official models do: all at the number of the seed."""

    async def generate(self, request: SourceRequest) -> SourceClip:
        made = await super().generate(request)
        return dataclasses.replace(made, joints=torch.full((made.clip.num_frames, 22, 3), float(request.seed)))


def results(api: Api, motion: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = np.load(api.output_dir / motion["job_id"] / "results.npy", allow_pickle=True).item()
    return content


async def test_results_hold_every_repetition(api: Api) -> None:
    motion = await api.generate("a person waves", repetitions=3, duration_sec=0.5, seed=1, artifacts=["npy"])
    made = results(api, motion)
    assert made["motion"].shape == (3, 22, 3, 10)
    assert (made["num_samples"], made["num_repetitions"], made["text"]) == (1, 3, ["a person waves"] * 3)
    assert not np.array_equal(made["motion"][0], made["motion"][1])
    single = await api.generate("a person waves", duration_sec=0.5, seed=2, artifacts=["npy"])
    np.testing.assert_array_equal(results(api, single)["motion"][0], made["motion"][1])


async def test_files_of_one_motion_say_so(api: Api) -> None:
    told = (await api.generate(repetitions=2, duration_sec=0.2, artifacts=["npy"]))["metadata"]["warnings"]
    assert not any("repetitions" in warning for warning in told)
    told = (await api.generate(repetitions=2, duration_sec=0.2, artifacts=["npy", "vrma", "bvh"]))["metadata"][
        "warnings"
    ]
    assert "repetitions: bvh, vrma hold the first one only" in told


async def test_joints_of_a_model_that_makes_them_go_in_as_they_are(start_api: StartApi) -> None:
    api = start_api({"mini": JointSource()})
    motion = await api.generate(repetitions=2, duration_sec=0.2, seed=5, artifacts=["npy"])
    assert results(api, motion)["motion"][:, 0, 0, 0].tolist() == [5.0, 6.0]
