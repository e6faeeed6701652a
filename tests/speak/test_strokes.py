"""Strokes are smooth whatever is asked when."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_service.speak.strokes import Track

ASKS = st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 5), st.floats(0.2, 2)), min_size=1, max_size=8)


def _track(asks: list[tuple[float, float, float]]) -> Track:
    track = Track()
    for goal, start, seconds in sorted(asks, key=lambda ask: ask[1]):
        track = track.to(goal, start, seconds)
    return track


@settings(deadline=None)
@given(ASKS)
def test_place_speed_and_pull_go_on_at_every_stroke(asks: list[tuple[float, float, float]]) -> None:
    track = _track(asks)
    for stroke in track.strokes:
        before = track.before(stroke.start).state(stroke.start)
        after = track.state(stroke.start)
        np.testing.assert_allclose(after, before, atol=1e-6)


@settings(deadline=None)
@given(ASKS)
def test_it_ends_at_rest_at_its_goal(asks: list[tuple[float, float, float]]) -> None:
    track = _track(asks)
    end = track.strokes[-1].start + track.strokes[-1].seconds
    np.testing.assert_allclose(track.state(end + 1e-9), (track.goal, 0, 0), atol=1e-9)


@settings(deadline=None)
@given(ASKS, st.floats(0, 5))
def test_what_was_before_a_change_stays(asks: list[tuple[float, float, float]], time: float) -> None:
    track = _track(asks)
    changed = track.to(0.5, time, 0.3)
    times = np.arange(0, time, 0.05)
    np.testing.assert_array_equal(changed.at(times), track.at(times))
    np.testing.assert_allclose(track.since(time).at(np.array([time, 9.0])), track.at(np.array([time, 9.0])))


def test_values_at_times_are_those_of_the_state() -> None:
    track = _track([(1.0, 0.5, 0.6), (-0.4, 0.8, 0.5), (0.2, 2.0, 1.0)])
    times = np.arange(0, 4, 0.037)
    np.testing.assert_allclose(track.at(times), [track.state(time)[0] for time in times], atol=1e-12)


def test_peak_speed_is_that_of_least_jerk() -> None:
    track = Track().to(1.0, 0.0, 1.0)
    assert np.isclose(np.diff(track.at(np.linspace(0, 1, 1001))).max() * 1000, 1.875, atol=1e-3)
