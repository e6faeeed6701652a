"""Where, when and with what a measurement was made: the provenance in the last line of every benchmark."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


def run_facts() -> dict[str, Any]:
    """Date, command, machine, versions and git hash. JSON values only."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": shlex.join([Path(sys.argv[0]).name, *map(_without_folder, sys.argv[1:])]),
        "machine": {
            "cpu": _cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__, **_installed("triton")},
        "git": _git_hash(),
    }


def _without_folder(word: str) -> str:
    """An absolute path tells of the machine and its user what nobody has to know."""
    return Path(word).name if Path(word).is_absolute() else word


def _installed(package: str) -> dict[str, str]:
    """{package: version}, or nothing."""
    try:
        return {package: importlib.metadata.version(package)}
    except importlib.metadata.PackageNotFoundError:
        return {}


def _cpu_name() -> str:
    """Name of the processor as the kernel tells it (Linux), else as the platform does."""
    table = Path("/proc/cpuinfo")
    text = table.read_text(encoding="utf-8", errors="replace") if table.is_file() else ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _git_hash() -> str | None:
    """Short hash of the checkout, with "+" when tracked files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except OSError:
        return None
    return done.stdout.strip() or None
