"""Build hook: models/motion/mini goes into the wheel as motion_service/weights/mini. It does not look inside.

An editable install reads the checkout itself, so nothing is copied there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEIGHTS = "models/motion/mini"
IN_WHEEL = "motion_service/weights/mini"


class WeightsHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is hatchling's name for the kind of wheel: standard or editable."""
        if version == "editable":
            return
        if not any(Path(self.root, WEIGHTS).glob("*.safetensors")):
            self.app.display_warning(f"{WEIGHTS} holds no weights: this wheel answers with placeholders only")
            return
        build_data["force_include"][WEIGHTS] = IN_WHEEL
