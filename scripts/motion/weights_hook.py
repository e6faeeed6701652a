"""Build hook: shipped weights, models/motion/NAME, go into the wheel as motion_service/weights/NAME, unread.

An editable install reads the checkout itself, so nothing is copied there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("mini", "mini-free", "evaluator")


class WeightsHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is hatchling's name for the kind of wheel: standard or editable."""
        if version == "editable":
            return
        for name in SHIPPED:
            weights = f"models/motion/{name}"
            if any(Path(self.root, weights).glob("*.safetensors")):
                build_data["force_include"][weights] = f"motion_service/weights/{name}"
            elif name == "mini":
                self.app.display_warning(f"{weights} holds no weights: this wheel answers with placeholders only")
