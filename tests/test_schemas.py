from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from motion_service.errors import BadRequest
from motion_service.schemas import MAX_PROMPT, OPTIONS, GenerateRequest, MotionOptions, text_to_options


def make(**values: Any) -> GenerateRequest:
    return GenerateRequest.model_validate({"prompt": "walks", **values})


@pytest.mark.parametrize(
    ("field", "least", "most", "below", "above"),
    [
        ("seed", 0, 2**63 - 1, -1, 2**63),
        ("steps", 1, 200, 0, 201),
        ("guidance", 0, 100, -0.1, 100.1),
        ("duration_sec", 0.1, 120, 0.09, 120.1),
        ("fps", 1, 120, 0.9, 120.1),
        ("repetitions", 1, 8, 0, 9),
        ("deadline_ms", 1, 600_000, 0, 600_001),
    ],
)
def test_bounds_are_inclusive(field: str, least: float, most: float, below: float, above: float) -> None:
    for value in (least, most):
        assert getattr(make(**{field: value}), field) == value
    for value in (below, above, str(least), True, [least], float("nan"), float("inf")):
        with pytest.raises(ValidationError, match=field):
            make(**{field: value})


def test_prompt_length_is_counted_in_characters() -> None:
    assert len(make(prompt="手" * MAX_PROMPT).prompt) == MAX_PROMPT
    for prompt in ("", " \n\t", "手" * (MAX_PROMPT + 1)):
        with pytest.raises(ValidationError, match="prompt"):
            make(prompt=prompt)


@given(st.text(st.characters(), min_size=1, max_size=30))
def test_any_text_is_taken_or_refused_by_name(text: str) -> None:
    try:
        assert make(prompt=text).prompt == text
    except ValidationError as error:
        assert error.errors()[0]["loc"] == ("prompt",)


@pytest.mark.parametrize("letter", ["\x00", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\ud800"])
def test_control_characters_are_refused(letter: str) -> None:
    with pytest.raises(ValidationError, match="prompt"):
        make(prompt=f"wave{letter}")


def test_tab_and_line_breaks_are_text() -> None:
    assert make(prompt="wave\t\r\nthen bow").prompt == "wave\t\r\nthen bow"


def test_null_means_not_said() -> None:
    request = make(**dict.fromkeys(OPTIONS))
    assert request == make()
    assert request.model_fields_set == {"prompt"}


def test_what_a_request_says_wins_over_the_server_default() -> None:
    defaults = text_to_options(
        {"fps": "30", "guidance": "4", "interpolate": "off", "artifacts": "mp4, npy", "steps": "5"}
    )
    merged = make(fps=24.0, steps=None).with_defaults(defaults)
    assert (merged.fps, merged.guidance, merged.interpolate, merged.steps) == (24.0, 4.0, False, 5)
    assert merged.artifacts == ["mp4", "npy"]
    assert merged.prompt == "walks"


@pytest.mark.parametrize(
    "texts", [{"fps": "fast"}, {"fps": "500"}, {"prompt": "walk"}, {"fsp": "30"}, {"root": "somewhere"}]
)
def test_bad_server_defaults_name_the_variable(texts: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match=f"MOTION_DEFAULT_{[*texts][0].upper()}"):
        text_to_options(texts)


def test_no_artifacts_can_be_the_default() -> None:
    assert text_to_options({"artifacts": "none"}).artifacts == []


def test_unknown_fields_are_named_in_a_printable_way() -> None:
    names = make(**{"mood": 1, "\x1b[31m": 2, "x" * 99: 4}).unknown_fields()
    assert "mood" in names and all(len(name) <= 40 for name in names)
    assert json.dumps(names, ensure_ascii=False).encode()


def test_every_option_says_what_it_means() -> None:
    assert all(field.description for field in MotionOptions.model_fields.values())
