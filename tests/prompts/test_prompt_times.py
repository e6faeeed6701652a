"""Counts of times, and the length they give a clip."""

from __future__ import annotations

import pytest

from motion_service.prompt.plan import prompt_to_plan
from motion_service.prompt.times import MOST_TIMES, find_times, times_to_seconds
from tests.fakes import Api


@pytest.mark.parametrize(
    ("prompt", "times"),
    [
        ("a person bows twice", 2),
        ("jump three times", 3),
        ("wave 4 times", 4),
        ("2回お辞儀する", 2),
        ("三回ジャンプして", 3),
        ("手を３回振る", 3),
        ("a person bows", None),
        ("sometimes she waves", None),
        ("wave 500 times", None),
        ("一回転する", None),
        ("今回は手を振る", None),
        ("二回目のお辞儀", None),
        ("jump twice, then bow", None),
        ("stand still, I have told you twice", None),
    ],
)
def test_counts_are_read(prompt: str, times: int | None) -> None:
    plan = prompt_to_plan(prompt)
    assert plan.times == times
    assert plan.seconds is None, "a count is no length"


def test_more_times_take_longer() -> None:
    lengths = [times_to_seconds("jump", times) for times in range(2, MOST_TIMES + 1)]
    assert lengths == sorted(lengths) and 2.0 <= lengths[0] <= lengths[-1] <= 30.0
    assert find_times("nothing here", "en") is None


async def test_a_count_sets_the_length_unless_a_length_is_said(api: Api) -> None:
    assert (await api.generate("jump three times"))["duration_sec"] == 4.5
    assert (await api.generate("jump three times in all for 6 seconds"))["duration_sec"] == 6.0
    assert (await api.generate("jump three times", duration_sec=1.0))["duration_sec"] == 1.0
