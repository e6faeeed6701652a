"""autoregressive.npz: DiP window after window, with one prompt a window (dynamic) or one a sample (static)."""

import json

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.diffusion.rollout import SampleWindow, rollout_frames
from motion_service.diffusion.samplers import sample_ddpm
from motion_service.diffusion.schedule import named_schedule
from motion_service.mdm.guidance import conditioned
from tests.golden.golden_files import golden
from tests.golden.golden_models import frames, network, scale

NAME = "autoregressive.npz"
ATOL = 2e-4


class Recorded:
    """The file, its model and one of the two ways of giving prompts."""

    def __init__(self, kind: str) -> None:
        self.numbers = golden(NAME)
        self.model = network(golden(self.numbers["model_file"]))
        self.prefix = frames(self.numbers["in/prefix"])
        self.final = frames(self.numbers[f"{kind}/final"])
        self.num_frames = self.numbers["noise"].shape[-1]
        self.prompts = json.loads(self.numbers["prompts_json"])
        self.fixed = json.loads(self.numbers["static/texts_json"]) if kind == "static" else None

    def texts(self, window: int) -> tuple[Tensor, Tensor]:
        names = self.fixed or [self.prompts[window]] * len(self.prefix)
        texts = [self.numbers[f"text/{name}"] for name in names]
        lengths = torch.tensor([len(text) for text in texts])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        padding = self.numbers["text_pad"]
        return torch.stack([torch.cat([text, padding[: mask.shape[1] - len(text)]]) for text in texts]), mask

    @property
    def sample_window(self) -> SampleWindow:
        def sample_window(index: int, prefix: Tensor) -> Tensor:
            start, *steps = frames(self.numbers["noise"][index])
            mask = self.numbers["in/mask"][:, 0, 0]
            told = {"prefix": prefix, "frame_mask": mask}
            denoise = conditioned(self.model, *self.texts(index), scale(self.numbers), **told)
            noises = iter(steps)
            return sample_ddpm(denoise, start, named_schedule("cosine", len(steps)), lambda x: next(noises))

        return sample_window


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_all_windows(kind: str) -> None:
    told = Recorded(kind)
    got = rollout_frames(told.sample_window, told.prefix, told.final.shape[1], told.num_frames)
    assert_close(got, told.final, atol=ATOL, rtol=0)


def test_fewer_frames_are_the_first_ones() -> None:
    told = Recorded("static")
    wanted = told.final.shape[1] - told.num_frames // 4
    got = rollout_frames(told.sample_window, told.prefix, wanted, told.num_frames)
    assert_close(got, told.final[:, :wanted], atol=ATOL, rtol=0)


def test_first_prefix_may_stand_in_front() -> None:
    told = Recorded("static")
    wanted = told.final.shape[1]
    got = rollout_frames(told.sample_window, told.prefix, wanted, told.num_frames, include_prefix=True)
    assert_close(got, torch.cat([told.prefix, told.final], dim=1)[:, :wanted], atol=ATOL, rtol=0)


def test_lengths_of_texts() -> None:
    numbers = golden(NAME)
    lengths = [len(numbers[f"text/{name}"]) for name in json.loads(numbers["prompts_json"])]
    assert lengths == numbers["prompt_n_tokens"].tolist()
