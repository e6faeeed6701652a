from itertools import islice

import torch
from torch import Tensor

from motion_service.diffusion.rollout import rollout


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
