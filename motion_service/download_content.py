"""Whether a file is what its name says: cheap looks at structure that catch web pages, cut files and wrong formats.

A hash says more where one is known. None is known for most of what is downloaded, and a server that cuts a file may
say that the cut length is right. Nothing is unpickled.
"""

from __future__ import annotations

import ast
import json
import math
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from motion_service.errors import DownloadFailed

_HTML: Final = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html|<head|<\?xml[^>]*>\s*<html)", re.IGNORECASE)
_MAX_HEADER: Final = 100 << 20


def is_html(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a web page."""
    return _HTML.match(start) is not None


def check_content(path: Path) -> None:
    """Raise DownloadFailed, with the reason, when the file cannot be what the ending of its name says."""
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        raise DownloadFailed(f"{path.name} is empty")
    if is_html(start):
        raise DownloadFailed(
            f"{path.name} is a web page, not a file: its source may ask for a login, or be over its quota"
        )
    look = _LOOKS.get(path.suffix)
    try:
        problem = look(path) if look else None
    except (OSError, ValueError, KeyError, struct.error, SyntaxError, zipfile.BadZipFile) as error:
        raise DownloadFailed(f"{path.name} is damaged or cut short: it cannot be read as {path.suffix}") from error
    if problem:
        raise DownloadFailed(f"{path.name} is damaged: {problem}")


def _look_at_zip(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:  # the list of contents is at the end: a cut archive has none
        return None if archive.namelist() else "it holds nothing"


def _look_at_pickle(path: Path) -> str | None:
    """torch has written zip archives since 1.6, and bare pickles before."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return None
    return _look_at_zip(path)


def _look_at_safetensors(path: Path) -> str | None:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MAX_HEADER:
            return "its header is no header"
        header = json.loads(file.read(length))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    size = path.stat().st_size
    return None if size == 8 + length + end else f"it has {size} bytes instead of {8 + length + end}"


def _look_at_npy(path: Path) -> str | None:
    """https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return "it is no npy file"
        layout = "<H" if file.read(2)[0] == 1 else "<I"
        (length,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
        header = ast.literal_eval(file.read(length).decode("latin-1").strip())
        start = file.tell()
    kind = re.fullmatch(r"[<>|=]?[a-z](\d+)", str(header["descr"]))
    if kind is None:
        return "it holds objects"
    expected = start + math.prod(header["shape"]) * int(kind[1])
    size = path.stat().st_size
    return None if size == expected else f"it has {size} bytes instead of {expected}"


def _look_at_json(path: Path) -> str | None:
    json.loads(path.read_text(encoding="utf-8"))
    return None


_LOOKS: Final[Mapping[str, Callable[[Path], str | None]]] = {
    ".zip": _look_at_zip,
    ".npz": _look_at_zip,
    ".pt": _look_at_pickle,
    ".bin": _look_at_pickle,
    ".safetensors": _look_at_safetensors,
    ".npy": _look_at_npy,
    ".json": _look_at_json,
}
