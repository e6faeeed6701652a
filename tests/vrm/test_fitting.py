"""The order of the steps is tested through the service; here is what only this module knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motion_service.vrm.avatar import read_avatar
from motion_service.vrm.fitting import Fitting, fit_clip
from tests.fakes import make_wave
from tests.vrm.avatar_files import MANNEQUINS


def test_a_mood_is_also_called_what_the_author_of_the_avatar_calls_it() -> None:
    avatar = replace(
        read_avatar(MANNEQUINS["1.0"].read_bytes()), expressions=("surprised",), own_names={"surprised": "Surprised"}
    )
    fitted = fit_clip(make_wave(3.0, 1), Fitting(avatar=avatar, expressions=True, mood="surprised"))
    shown = fitted.wire.expressions
    assert set(shown) == {"surprised", "Surprised"}
    assert shown["Surprised"].tolist() == shown["surprised"].tolist()
    assert max(shown["surprised"].tolist()) > 0.5


@pytest.mark.parametrize("fps", [None, 7.0, 60.0])
def test_facts_are_those_of_the_foot_lock(fps: float | None) -> None:
    clip = make_wave(2.0, 1)
    assert set(fit_clip(clip, Fitting(fps=fps)).facts) == {
        "skate_before_lock_cm_s",
        "skate_after_lock_cm_s",
        "foot_lock_moved_cm",
    }
    assert fit_clip(clip, Fitting(foot_lock=False, fps=fps)).facts == {}


@pytest.mark.parametrize("fps", [1.0, 2.0, 5.0, 120.0])
@pytest.mark.parametrize("seconds", [0.05, 0.1, 1.0])
def test_a_loop_has_at_least_a_frame_at_any_rate(seconds: float, fps: float) -> None:
    fitted = fit_clip(make_wave(seconds, 1), Fitting(loop=True, fps=fps))
    assert fitted.wire.num_frames >= 1 and fitted.wire.fps == fps
    assert abs(fitted.wire.num_frames - seconds * fps) <= 1
