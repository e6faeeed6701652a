"""More ways to ask for the main actions (``phrases.toml``), by the caption groups they belong to."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Final

_SIDED: Final = {
    "raise": "raise-{s}",
    "wave": "wave-{s}",
    "walk-side": "walk-{s}",
    "turn": "turn-{s}",
}
"""Groups of the file whose phrases hold a side -> the action of that side."""
_JAPANESE: Final = {"left": "左", "right": "右"}


def phrases_by_key(keys: Sequence[str]) -> dict[str, list[str]]:
    """{caption key: phrases}, for the plain style of each action, whatever hand its clips use."""
    text = resources.files("motion_service.training").joinpath("phrases.toml").read_text(encoding="utf-8")
    of_action: dict[str, list[str]] = {}
    for group, phrases in tomllib.loads(text).items():
        if group in _SIDED:
            for side in ("left", "right"):
                english = [phrase.format(s=side) for phrase in phrases["en"]]
                japanese = [phrase.format(s=_JAPANESE[side]) for phrase in phrases["ja"]]
                of_action[_SIDED[group].format(s=side)] = english + japanese
        else:
            of_action[group] = phrases["en"] + phrases["ja"]
    return {key: of_action.get(key.split("|")[0], []) for key in keys if key.split("|")[1:2] == ["normal"]}
