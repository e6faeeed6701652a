"""A pickle of tensors (``model*.pt``, ``pytorch_model.bin``) -> safetensors beside it, once, in a child process.

The service never unpickles: it asks a child process with limits on memory and time, which reads with ``weights_only``.
A file that nobody has vouched for (:mod:`~motion_service.mdm.trust`) is not read at all. The result holds the
parameters of every part of the file (``model.*`` and ``model_avg.*``, or plain names), and in its metadata the
SHA-256 of the pickle, so that a pickle changed afterwards is noticed, and one of the tensors of each part.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm.conversion import FLAT, beside, find_conversion, part_names, places, write_conversion
from motion_service.mdm.official_keys import is_parameter
from motion_service.mdm.trust import file_sha256, find_trust, parse_sha256, record_trust

SAFE_TORCH: Final = (2, 10)
"""From here on ``weights_only`` has no known hole (plan: torch below 2.10)."""
_PARTS: Final = ("model", "model_avg", "movement_encoder", "text_encoder", "motion_encoder")
"""Parts of MDM's checkpoints, and of the published evaluator's ``finest.tar``."""
_TIMEOUT_S: Final = 300.0
_CPU_SECONDS: Final = 240
_SPARE_BYTES: Final = 4 << 30
"""What the child may take besides four times the file: torch itself maps about a gigabyte."""


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What became of one file."""

    source: str
    """Its name."""
    sha256: str
    """Of the pickle."""
    target: Path
    parts: tuple[str, ...]
    """``model``, ``model_avg``, or ``flat``."""
    num_tensors: int
    num_parameters: int
    seconds: float
    """0 when it had been converted before."""


def convert_checkpoint(
    file: Path,
    *,
    trust: bool = False,
    sha256: str | None = None,
    cache_dir: Path | None = None,
    torch_version: str = torch.__version__,
) -> ConvertReport:
    """Convert ``file``, as ``motion convert`` does; a file already converted is left as it is.

    ``trust``: the user vouches for it, and its hash is recorded. ``sha256``: the hash the user expects; has to be given
    once when ``torch_version`` is below 2.10. ``cache_dir``: where hashes are recorded, instead of in the user's
    configuration directory, and conversions written when the file's directory cannot be written. Raises
    CheckpointMissing or CheckpointMismatch, each with one line.
    """
    check_container(file)
    digest = file_sha256(file)
    if sha256 is not None and parse_sha256(sha256) != digest:
        raise CheckpointMismatch(f"{file.name} has the SHA-256 {digest}, not the one that was given: fetch it again")
    known = find_trust(file, digest, cache_dir)
    if known is None and not trust:
        raise CheckpointMismatch(
            f"{file.name} is a pickle, which can hold code, and its SHA-256 {digest} is not recorded:"
            " use --trust if you trust its source"
        )
    repeated = sha256 is not None or (known is not None and known.hash_repeated)
    _check_torch(file.name, digest, repeated, torch_version)
    done = find_conversion(file, digest, cache_dir)
    started = time.perf_counter()
    target = done or _convert(file, digest, cache_dir)
    if trust or sha256 is not None:
        record_trust(file, digest, cache_dir, hash_repeated=repeated)
    seconds = 0.0 if done else time.perf_counter() - started
    return _report(file.name, digest, target, seconds)


def converted(file: Path, cache_dir: Path | None = None, *, torch_version: str = torch.__version__) -> Path:
    """The safetensors of a pickle: found, or made when its hash is recorded.

    Raises CheckpointMismatch that names the remedy for a file that nobody has vouched for, or whose hash was not
    repeated though ``torch_version`` is below 2.10.
    """
    check_container(file)
    digest = file_sha256(file)
    if done := find_conversion(file, digest, cache_dir):
        return done
    known = find_trust(file, digest, cache_dir)
    if known is None:
        changed = (
            "has changed since it was converted, and its hash" if beside(file).is_file() else "is a pickle whose hash"
        )
        raise CheckpointMismatch(
            f"{file.parent.name}/{file.name} {changed} is not recorded: run `motion convert --trust FILE` on it if you"
            f" trust its source (SHA-256 {digest})"
        )
    _check_torch(file.name, digest, known.hash_repeated, torch_version)
    return _convert(file, digest, cache_dir)


def check_container(file: Path) -> None:
    """Raise with one line when ``file`` is plainly no file of weights; nothing in it is unpickled."""
    if not file.is_file():
        raise CheckpointMissing(f"there is no file {file.name}")
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise CheckpointMismatch(f"{file.name} cannot be read ({error.strerror})") from error
    if not head.startswith(b"PK\x03\x04"):
        raise CheckpointMismatch(f"{file.name} {_guess(head)}")
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointMismatch(f"{file.name} is truncated or damaged: fetch it again") from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointMismatch(
            f"{file.name} is a zip archive without PyTorch weights ({repr(names[:3])[:200]}): unpack it?"
        )


def _guess(head: bytes) -> str:
    """What the first bytes of a file that is no zip archive look like."""
    if not head.strip(b"\0"):
        return "is empty: fetch it again"
    if head.lstrip()[:1] == b"<":
        return "is a web page, not weights: the download went wrong (a quota or a confirmation page?)"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not weights: fetch the file itself"
    if head[:1] == b"\x80":
        return "is a bare pickle, not a file that torch.save writes since 2020: refused"
    return "is not a PyTorch file: fetch it again"


def _check_torch(name: str, digest: str, hash_repeated: bool, torch_version: str) -> None:
    """Raise when this torch must not read a file whose hash the user has not repeated."""
    number = tuple(int(part) for part in re.findall(r"\d+", torch_version)[:2])
    if not hash_repeated and number < SAFE_TORCH:
        raise CheckpointMismatch(
            f"torch {torch_version} has a known hole in reading pickles: compare the SHA-256 {digest} of {name} with"
            " its publisher's and repeat it with `motion convert --trust --sha256 HEX FILE`, or install torch 2.10 or"
            " newer"
        )


def _report(name: str, digest: str, target: Path, seconds: float) -> ConvertReport:
    with safe_open(target, framework="pt") as tensors:
        sizes = [math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys()]
        parts = part_names(tensors.metadata() or {})
    return ConvertReport(name, digest, target, parts, len(sizes), sum(sizes), seconds)


# --- the child process ------------------------------------------------------------------------------------------------


def _convert(file: Path, digest: str, cache_dir: Path | None) -> Path:
    """Have a child process write the conversion; it appears under its name only when it is complete."""
    target, part = _new_file(file, digest, cache_dir)
    try:
        _run_child(file.absolute(), part, digest)
        part.chmod(0o644)  # temporary files are 0600, which another user of a container cannot read
        part.replace(target)
    except OSError as error:
        raise CheckpointMismatch(f"the conversion of {file.name} cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _new_file(file: Path, digest: str, cache_dir: Path | None) -> tuple[Path, Path]:
    """(the conversion's place, an empty file beside it to write first) in the first directory that can be written."""
    for target in places(file, digest, cache_dir):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(prefix=".convert-", suffix=".part", dir=target.parent)
        except OSError as error:
            failure = error
            continue
        os.close(handle)
        return target, Path(part).absolute()
    raise CheckpointMismatch(
        f"{file.name} must be converted once, but its directory cannot be written ({failure.strerror}): make it"
        " writable, run `motion convert` where it is, or name a cache directory"
    ) from failure


def _run_child(source: Path, target: Path, digest: str) -> None:
    """Run this module as a program. Raises CheckpointMismatch with what it says, or how it ended."""
    command = [sys.executable, "-m", __name__, str(source), str(target), digest]
    root = Path(__file__).resolve().parents[2]  # `-m` finds the package there, installed or not
    try:
        done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CheckpointMismatch(
            f"{source.name}: converting took longer than {_TIMEOUT_S:g} s and was stopped"
        ) from error
    if done.returncode == 0:
        return
    try:
        reason = str(json.loads(done.stdout.decode().splitlines()[-1])["error"])
    except (ValueError, LookupError, TypeError):
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        reason = f"{source.name}: the converter ended with {how}; is there enough memory?"
    raise CheckpointMismatch(reason)


def main(arguments: Sequence[str]) -> int:
    """The child process: SOURCE TARGET SHA256. Writes TARGET; what went wrong is one JSON line on standard output."""
    source, target, digest = Path(arguments[0]), Path(arguments[1]), arguments[2]
    _limit_resources(source.stat().st_size)
    try:
        pickle_to_safetensors(source, target, digest)
    except CheckpointMismatch as error:
        print(json.dumps({"error": error.detail}))
        return 1
    except OSError as error:
        print(json.dumps({"error": f"the conversion of {source.name} cannot be written ({error.strerror})"}))
        return 1
    return 0


def _limit_resources(num_bytes: int) -> None:
    """Bound processor time and memory of this process, on systems that can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        memory = 4 * num_bytes + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def pickle_to_safetensors(source: Path, target: Path, digest: str) -> None:
    """Read the pickle ``source`` in this process and write ``target``. Only for files whose ``digest`` is recorded.

    Raises CheckpointMismatch with one line for anything but named tensors, or when ``source`` has another digest.
    """
    content = _unpickle(source)
    parts = _content_to_parts(source.name, content)
    if file_sha256(source) != digest:
        raise CheckpointMismatch(f"{source.name} changed while it was converted")
    write_conversion(target, parts, source.name, digest)


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the edge of the child process: a broken or hostile file can raise anything
        raise CheckpointMismatch(f"{path.name} {_describe(error)}") from error


def _describe(error: Exception) -> str:
    text = str(error)
    if isinstance(error, MemoryError) or "allocate memory" in text or "unable to mmap" in text:
        return "does not fit into the memory of the converter"
    if found := re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|operand|global) ([\w.]+)", text):
        return f"holds more than tensors ({found[1] or found[2]}) and is refused: it may run code"
    if "eights only" in text:
        return "holds more than tensors and is refused: it may run code"
    return f"is damaged: fetch it again ({type(error).__name__})"


def _content_to_parts(name: str, content: Any) -> dict[str, dict[str, Tensor]]:
    """{part: {official name: tensor}}, without the sinusoid tables and the text encoder."""
    if not isinstance(content, Mapping):
        raise CheckpointMismatch(f"{name} holds no weights but a {type(content).__name__}")
    if "param_groups" in content:
        raise CheckpointMismatch(f"{name} holds the state of an optimiser (opt*.pt), the weights are in model*.pt")
    nested = {part: content[part] for part in _PARTS if isinstance(content.get(part), Mapping)}
    return {part: _named_tensors(name, tensors) for part, tensors in (nested or {FLAT: content}).items()}


def _named_tensors(name: str, tensors: Mapping[Any, Any]) -> dict[str, Tensor]:
    wrong = [key for key, value in tensors.items() if not isinstance(value, Tensor) or value.layout != torch.strided]
    if wrong or not tensors:
        raise CheckpointMismatch(f"{name} holds no weights: {repr(wrong[0])[:80] if wrong else 'it'} is no tensor")
    return {str(key): value.detach() for key, value in tensors.items() if is_parameter(str(key))}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
