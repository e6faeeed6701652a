"""Whether what the browser tests need is on this machine. On CI its absence is a failure, elsewhere a skip."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"
WEB = HERE.parents[1] / "motion_service/web"


def find_chromium() -> str | None:
    """A Chromium or Chrome of the system; none is downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def demand(there: object, reason: str) -> None:
    """Skip the test when ``there`` is false or None; fail it on CI, where everything must run."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"on CI nothing is skipped: {reason}")
    pytest.skip(reason)


def demand_node_modules() -> None:
    demand(shutil.which("node"), "needs node")
    demand(NODE_MODULES.is_dir(), "needs tests/browser/node_modules: run `npm ci` in tests/browser")


def demand_web_modules() -> None:
    demand(shutil.which("npm"), "needs node and npm")
    demand((WEB / "node_modules").is_dir(), "needs motion_service/web/node_modules: run scripts/motion/setup_browser")
