"""A user's checkout of the official repository (GuyTevet/motion-diffusion-model), imported into this process.

Its packages have names such as ``utils`` and ``model``, so they are imported under their names, taken out of
``sys.modules`` again and kept here. Nothing is written to the checkout. Five modules never come from it, because they
would fetch weights or need files that sampling does not: CLIP, DistilBERT, the SMPL body, the processing of training
data, and joblib where it is not installed. Only numpy and torch are needed besides.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from torch import nn

from motion_service.errors import ModelUnavailable

REPOSITORY: Final = "GuyTevet/motion-diffusion-model"
PINNED_COMMIT: Final = "d4fd88c86d9210b85323783a73acb9b794d73e44"
"""What this service was compared with."""
PINNED_SHA256: Final = "cfe5bca701b9d7e0b72b690ac3d9ec6d2e233f9bec08cdafb5ff54cace6eef06"
"""Of the files of that commit that are imported, see :attr:`UpstreamProgram.sha256`."""

_PACKAGES: Final = ("data_loaders", "diffusion", "model", "utils")
_MODULES: Final = ("utils.model_util", "utils.sampler_util", "diffusion.respace", "diffusion.gaussian_diffusion")
_REMEDY: Final = f"MOTION_MDM_REPO_DIR must be a checkout of {REPOSITORY} at commit {PINNED_COMMIT[:7]}"
_IMPORT_FAULTS: Final = (
    *(ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError),
    *(OSError, RuntimeError, AssertionError),
)
"""What the code of others can raise while it is imported."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class UpstreamProgram:
    """The official modules that sample. They are in no ``sys.modules``; this is the only way to them."""

    model_util: Any
    """Makes the network and the diffusion from arguments."""
    sampler_util: Any
    """Guidance, and window after window."""
    respace: Any
    gaussian_diffusion: Any
    commit: str | None
    """As git wrote it into the checkout; None without a ``.git``."""
    sha256: str
    """Of the imported files, by name, with line ends as on Linux."""

    @property
    def is_pinned(self) -> bool:
        """Whether the imported files are those that this service was compared with."""
        return self.sha256 == PINNED_SHA256


def load_program(repo_dir: Path | None) -> UpstreamProgram:
    """Import the official program from ``repo_dir``. Raises ModelUnavailable with one line that names the remedy."""
    if repo_dir is None or not repo_dir.is_dir():
        raise ModelUnavailable(f"the official program was not found: {_REMEDY}")
    repo_dir = repo_dir.resolve()
    absent = [name for name in _MODULES if not (repo_dir / f"{name.replace('.', '/')}.py").is_file()]
    if absent:
        raise ModelUnavailable(f"{repo_dir.name!r} is not the official program, it lacks {absent[0]}: {_REMEDY}")
    try:
        with _isolated(repo_dir):
            model_util, sampler_util, respace, diffusion = map(importlib.import_module, _MODULES)
            sha256 = _sha256_of(_own_files())
    except _IMPORT_FAULTS as error:
        raise ModelUnavailable(f"the official program cannot be imported ({_one_line(error, repo_dir)})") from error
    return UpstreamProgram(model_util, sampler_util, respace, diffusion, _commit(repo_dir), sha256)


class _CheckoutFinder(MetaPathFinder):
    """Finds the program's packages in the checkout and nowhere else, and nothing else there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, [str(self._directory)])
        if spec is not None and spec.submodule_search_locations is not None:
            # They have no __init__.py; without a plain list Python would look for more of them along sys.path.
            spec.submodule_search_locations = [*spec.submodule_search_locations]
        return spec


@contextlib.contextmanager
def _isolated(directory: Path) -> Iterator[None]:
    """Inside, the program's names mean the checkout; afterwards they mean what they meant before."""
    stubs = _stubs()
    finder = _CheckoutFinder(directory)
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its syntax and of its use of old interfaces
        writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        before = {name: module for name, module in sys.modules.items() if _is_ours_to_set(name, stubs)}
        for name in before:
            del sys.modules[name]
        sys.modules.update(stubs)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in [name for name in sys.modules if _is_ours_to_set(name, stubs)]:
                del sys.modules[name]
            sys.modules.update(before)
            sys.dont_write_bytecode = writes_nothing


def _is_ours_to_set(name: str, stubs: dict[str, ModuleType]) -> bool:
    return name in stubs or name.partition(".")[0] in _PACKAGES


def _stubs() -> dict[str, ModuleType]:
    """What stands in for modules that sampling does not need."""

    def load_clip(*args: object, **options: object) -> tuple[nn.Module, None]:
        return nn.Module(), None

    class NoBody:
        """In the place of the SMPL body."""

        def __init__(self, *args: object, **options: object) -> None:
            self.smpl_model = nn.Module()

    contents: dict[str, dict[str, Any]] = {
        "clip": {"load": load_clip, "model": SimpleNamespace(convert_weights=lambda model: None)},
        "model.BERT.BERT_encoder": {"load_bert": lambda path: nn.Module()},
        "model.rotation2xyz": {"Rotation2xyz": NoBody},
        "data_loaders.humanml.scripts.motion_process": {"get_target_location": None},  # a loss of training
    }
    if importlib.util.find_spec("joblib") is None:
        contents["joblib"] = {}  # imported and not used
    stubs = {name: ModuleType(name) for name in contents}
    for name, stub in stubs.items():
        vars(stub).update(contents[name])
    return stubs


def _own_files() -> dict[str, Path]:
    """Files of the modules that were imported from the checkout, by name. Call inside :func:`_isolated`."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return {name: Path(file) for name, file in files.items() if file and name.partition(".")[0] in _PACKAGES}


def _sha256_of(files: dict[str, Path]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        text = files[name].read_bytes().replace(b"\r\n", b"\n")
        whole.update(f"{name} {hashlib.sha256(text).hexdigest()}\n".encode())
    return whole.hexdigest()


def _commit(repo_dir: Path) -> str | None:
    """The commit that is checked out, read from git's files."""
    git = repo_dir / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        branch = head.removeprefix("ref: ")
        if branch == head:
            return head
        if (git / branch).is_file():
            return (git / branch).read_text(encoding="ascii").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return next((line.partition(" ")[0] for line in packed if line.endswith(f" {branch}")), None)


def _one_line(error: BaseException, repo_dir: Path) -> str:
    """What an exception says, without the place where it happened."""
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is not installed"
    first = next(iter(str(error).splitlines()), "").replace(str(repo_dir), repo_dir.name)
    return f"{type(error).__name__}: {first}"
