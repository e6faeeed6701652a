"""The output directory of the official program: its name, and when an earlier one may be replaced.

The official name holds the prompt as it is typed and the directory is deleted unseen. Here nothing of a prompt can
lead out of the directory, names have a limit, and only files that such a run writes are ever deleted.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

import numpy as np

from motion_service.errors import BadRequest
from motion_service.export.npy import LENGTHS_FILE, RESULTS_FILE, TEXTS_FILE

MAX_NAME_BYTES: Final = 200
"""File systems take 255; the rest is for whoever archives or copies it."""

_UNSAFE: Final = re.compile(r"[^\w\-,'!()+&=@]")
_WRITTEN: Final = re.compile(
    "|".join(map(re.escape, (RESULTS_FILE, TEXTS_FILE, LENGTHS_FILE)))
    + r"|sample\d+(_rep\d+)?\.mp4|samples_\d+_to_\d+\.mp4"
)
_HASH_DIGITS: Final = 8


def directory_name(checkpoint: str, iteration: str, seed: int, label: str = "") -> str:
    """``samples_<checkpoint>_<iteration>_seed<seed>[_<label>]``, at most :data:`MAX_NAME_BYTES` long.

    ``label``: the prompt, or the name of the file of prompts without ``.txt``. Equal to the official name unless that
    has characters other than letters, digits and a few marks, or is too long: see :func:`safe_name`.
    """
    parts = ["samples", checkpoint, iteration, f"seed{seed}"]
    if label:
        parts.append(label.replace(" ", "_").replace(".", ""))
    return safe_name("_".join(parts))


def safe_name(name: str) -> str:
    """``name`` as a file name: what is unsafe becomes ``_``, what is too long is cut.

    A changed name ends with eight digits of the hash of what it was, so that two prompts never share a directory.
    """
    cleaned = _UNSAFE.sub("_", name)
    if cleaned == name and len(name.encode()) <= MAX_NAME_BYTES:
        return name
    digits = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    kept = cleaned.encode()[: MAX_NAME_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{kept}-{digits}"


def check_replaceable(directory: Path) -> None:
    """Raise BadRequest unless ``directory`` is absent, empty, or just what an earlier run has written."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise BadRequest(f"output_dir: {directory.name} is a file; name a directory", field="output_dir")
    entries = sorted(directory.iterdir())
    foreign = [entry.name for entry in entries if entry.is_dir() or not _WRITTEN.fullmatch(entry.name)]
    if foreign:
        raise BadRequest(
            f"output_dir: {directory.name} holds {foreign[0]!r}, which no run of this program wrote, so it is not"
            " replaced; name another directory",
            field="output_dir",
        )
    if entries and not is_results(directory / RESULTS_FILE):
        raise BadRequest(
            f"output_dir: {directory.name} is not empty and has no {RESULTS_FILE} of an earlier run, so it is not"
            " replaced; name another directory",
            field="output_dir",
        )


def replace_directory(directory: Path) -> None:
    """Make ``directory`` an empty one. Raises as :func:`check_replaceable`, and OSError."""
    check_replaceable(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for entry in directory.iterdir():
        entry.unlink()


def is_results(path: Path) -> bool:
    """Whether a file is one pickled object, as ``results.npy`` is. It is not unpickled."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    except (OSError, ValueError):
        return False
    return shape == () and bool(dtype.hasobject)
