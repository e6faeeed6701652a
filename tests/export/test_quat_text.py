"""Numbers that are looked up are those that are printed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.export.quat_text import numbers_to_words, tracks_to_json

UNIT = st.floats(-1, 1, width=32, allow_subnormal=False)


@given(st.lists(UNIT, min_size=1, max_size=50))
def test_a_number_is_its_text(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    texts = [word.tobytes().decode() for word in numbers_to_words(values)]
    rounded = values.round(5) + 0.0
    assert texts == [f"{number: .5f}" for number in rounded]
    assert [float(text) for text in texts] == pytest.approx(values, abs=0.6e-5)


def test_every_number_of_five_decimals() -> None:
    values = np.arange(-100_002, 100_003) / 1e5
    texts = numbers_to_words(values).tobytes()
    assert texts.decode() == "".join(f"{value: .5f}" for value in values + 0.0)


def test_tracks_are_lists_of_keyframes() -> None:
    tracks = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4)).astype(np.float32)
    lists = tracks_to_json(tracks, [b"0", b"0.05", b"0.1", b"10.15"])
    for track, text in zip(tracks, lists, strict=True):
        rows = json.loads(text)
        assert [[*row] for row in rows] == [["t", "x", "y", "z", "w"]] * 4
        assert [row["t"] for row in rows] == [0, 0.05, 0.1, 10.15]
        assert [[row[key] for key in "xyzw"] for row in rows] == pytest.approx(track, abs=0.6e-5)
