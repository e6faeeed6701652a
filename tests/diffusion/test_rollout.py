from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from motion_service.diffusion.rollout import BLEND_FRAMES, continue_smoothly, rollout, rollout_frames


def counting(index: int, prefix: Tensor) -> Tensor:
    """Four frames that count on from the last frame of the prefix."""
    return prefix[:, -1:] + torch.arange(1.0, 5.0)[None, :, None]


def test_each_window_continues_the_last_frames() -> None:
    prefixes: list[list[float]] = []

    def sample_window(index: int, prefix: Tensor) -> Tensor:
        prefixes.append(prefix.flatten().tolist())
        return counting(index, prefix)

    start = torch.tensor([-1.0, 0.0])[None, :, None]  # (1, 2, 1)
    got = torch.cat(list(rollout(sample_window, start, 3)), dim=1)
    assert got.flatten().tolist() == list(range(1, 13))
    assert prefixes == [[-1, 0], [3, 4], [7, 8]]


def test_windows_shorter_than_the_prefix_keep_older_frames() -> None:
    prefixes: list[list[float]] = []

    def sample_window(index: int, prefix: Tensor) -> Tensor:
        prefixes.append(prefix.flatten().tolist())
        return counting(index, prefix)[:, :1]

    list(rollout(sample_window, torch.tensor([-2.0, -1.0, 0.0])[None, :, None], 3))
    assert prefixes == [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]


def test_endless_rollout_is_lazy() -> None:
    asked: list[int] = []

    def sample_window(index: int, prefix: Tensor) -> Tensor:
        asked.append(index)
        return counting(index, prefix)

    windows = rollout(sample_window, torch.zeros(1, 2, 1))
    assert asked == []
    assert len(list(islice(windows, 5))) == 5
    assert asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("wanted", "windows"), [(1, 1), (4, 1), (5, 2), (8, 2), (11, 3)])
def test_frames_asked_for_come_from_as_many_windows_as_they_need(wanted: int, windows: int) -> None:
    asked: list[int] = []

    def sample_window(index: int, prefix: Tensor) -> Tensor:
        asked.append(index)
        return counting(index, prefix)

    start = torch.tensor([-1.0, 0.0])[None, :, None]  # (1, 2, 1)
    got = rollout_frames(sample_window, start, wanted, 4)
    assert got.flatten().tolist() == list(range(1, wanted + 1))
    assert asked == list(range(windows))
    with_prefix = rollout_frames(counting, start, wanted, 4, include_prefix=True)
    assert with_prefix.flatten().tolist() == list(range(-1, wanted - 1))


@pytest.mark.parametrize(("wanted", "window"), [(0, 4), (4, 0)])
def test_no_frames_are_refused(wanted: int, window: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        rollout_frames(counting, torch.zeros(1, 2, 1), wanted, window)


def test_a_window_leaves_its_prefix_without_a_jump_in_value_or_speed():
    generator = torch.Generator().manual_seed(3)
    prefix = torch.cumsum(torch.randn(2, 20, 5, generator=generator) * 0.1, dim=1)
    frames = torch.cumsum(torch.randn(2, 40, 5, generator=generator) * 0.1, dim=1) + 3.0
    joined = torch.cat([prefix, continue_smoothly(prefix, frames)], dim=1)
    acceleration = joined[:, 2:] - 2 * joined[:, 1:-1] + joined[:, :-2]
    assert float(acceleration[:, 18].abs().max()) < 1e-5  # the border itself: 20 frames, the first of the window
    assert_close(joined[:, 20 + BLEND_FRAMES :], frames[:, BLEND_FRAMES:])


def test_a_window_that_already_continues_is_left_alone():
    line = torch.arange(60.0)[None, :, None] * torch.tensor([0.5, -1.0])
    assert_close(continue_smoothly(line[:, :20], line[:, 20:]), line[:, 20:])
