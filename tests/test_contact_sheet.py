"""The contact sheet script draws any list of clips, and those that a source makes."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from motion_service.placeholder import PlaceholderSource

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "scripts/motion/contact_sheet"), run_name="contact_sheet"))


def test_prompts_are_twelve_in_two_languages(script: SimpleNamespace) -> None:
    prompts = [prompt for prompt, _ in script.PROMPTS]
    assert len(set(prompts)) == 12
    assert 4 <= sum(prompt.isascii() for prompt in prompts) <= 8
    assert all(gloss.isascii() and bool(gloss) != prompt.isascii() for prompt, gloss in script.PROMPTS)


def test_sheet_has_a_cell_for_every_clip(script: SimpleNamespace) -> None:
    entries = asyncio.run(script.generate_entries(PlaceholderSource(), script.PROMPTS[:4], seconds=1.0, seed=0))
    sheet = script.draw_sheet(entries, "title", num_poses=5)
    picture = np.asarray(sheet).astype(int)
    cells = [row for half in np.array_split(picture[48:], 2) for row in np.array_split(half, 3, axis=1)]
    drawn = [bool((cell[..., 0] > cell[..., 2] + 60).sum() > 1000) for cell in cells]
    assert drawn == [True, True, True, True, False, False]


def test_path_shows_forward_downwards_and_the_figures_left_to_the_right(script: SimpleNamespace) -> None:
    frames = np.array([0, 9])
    for direction, axis in (((1.0, 0.0), 1), ((0.0, 1.0), 0)):
        places = np.linspace(0, 2, 10)[:, None] * np.array(direction)
        picture = np.asarray(script.draw_path(places.astype(np.float32), frames)).astype(int)
        dark, pale = (np.argwhere(picture.max(axis=-1) < 70), np.argwhere(np.abs(picture[..., 0] - 190) < 3))
        assert dark[:, axis].mean() > 60 > 40 > pale[:, axis].mean()
