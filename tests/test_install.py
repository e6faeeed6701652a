"""The install script decides without looking at the machine, and the wheel carries what it must."""

from __future__ import annotations

import re
import time
import tomllib
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def install_torch() -> ModuleType:
    loader = SourceFileLoader("install_torch", str(ROOT / "scripts/motion/install_torch"))
    spec = spec_from_loader("install_torch", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "arm64"])
def test_torch_without_gpu_is_the_cpu_build_of_pytorchs_index(install_torch: ModuleType, architecture: str) -> None:
    arguments = install_torch.torch_requirement(architecture, has_nvidia_gpu=False, index_reachable=True)
    assert arguments[0] == "torch==2.13.0"
    assert arguments[arguments.index("--index-url") + 1].endswith("/whl/cpu")
    assert "--no-deps" in arguments  # dependencies come pinned, from the configured index


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_torch_with_gpu_is_the_cu130_build(install_torch: ModuleType, architecture: str) -> None:
    arguments = install_torch.torch_requirement(architecture, has_nvidia_gpu=True, index_reachable=True)
    assert arguments[0] == "torch==2.13.0+cu130"
    assert arguments[arguments.index("--extra-index-url") + 1].endswith("/whl/cu130")


@pytest.mark.parametrize("has_gpu", [False, True])
def test_torch_is_left_to_pip_when_the_index_is_silent(install_torch: ModuleType, has_gpu: bool) -> None:
    assert install_torch.torch_requirement("x86_64", has_gpu, index_reachable=False) == ["torch==2.13.0"]
    assert "GB" in install_torch.note("x86_64", has_gpu, False)  # the user is told of the size before it starts


@pytest.mark.parametrize(
    ("architecture", "system"), [("arm64", "Darwin"), ("x86_64", "Darwin"), ("riscv64", "Linux"), ("ppc64le", "Linux")]
)
def test_torch_is_left_to_pip_where_pytorch_has_no_index(
    install_torch: ModuleType, architecture: str, system: str
) -> None:
    assert install_torch.wanted_index(architecture, False, system) is None
    assert install_torch.torch_requirement(architecture, False, True, system) == ["torch==2.13.0"]


@pytest.mark.parametrize(
    ("version", "has_gpu", "stays"),
    [
        (None, False, False),
        ("2.13.0+cpu", False, True),
        ("2.13.0", False, True),
        ("2.9.1+cu130", True, True),
        ("2.13.0+cpu", True, False),  # a GPU was added
        ("2.8.0", False, False),
        ("2.14.0", False, False),
    ],
)
def test_installed_torch_stays_only_when_it_fits(
    install_torch: ModuleType, version: str | None, has_gpu: bool, stays: bool
) -> None:
    assert install_torch.installed_fits(version, has_gpu) is stays


def test_supported_range_is_the_one_of_pyproject(install_torch: ModuleType) -> None:
    (requirement,) = [line for line in EXTRAS["server"] if line.startswith("torch")]
    oldest, newest = install_torch.OLDEST, install_torch.NEWEST
    assert requirement == f"torch>={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    assert install_torch.installed_fits(install_torch.TORCH, False)


def test_an_index_that_hangs_is_given_up(install_torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(0.5)
        raise TimeoutError

    monkeypatch.setattr(install_torch.urllib.request, "urlopen", hang)
    assert install_torch.answers("https://index.invalid", timeout_s=0.05) is False


def test_an_index_that_refuses_is_given_up(install_torch: ModuleType) -> None:
    assert install_torch.answers("http://127.0.0.1:1/whl/cpu", timeout_s=2) is False


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_is_pinned_once() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = [line.split("==")[0] for line in lines]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines), "one exact version a line"
    assert pins == sorted(set(pins)), "sorted, and each package once"
    wanted = {
        _canonical(re.split(r"[\[<>=]", requirement)[0])
        for requirements in (PYPROJECT["project"]["dependencies"], *EXTRAS.values())
        for requirement in requirements
    }
    assert wanted - set(pins) == {"motion-service", "torch"}  # torch: chosen for the machine by install_torch


def test_every_runtime_dependency_has_its_licence_named() -> None:
    listed = re.findall(
        r"^\| ([a-z0-9-]+) \| [^|]{3,} \|", (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    runtime = [PYPROJECT["project"]["dependencies"], *(lines for extra, lines in EXTRAS.items() if extra != "dev")]
    wanted = {_canonical(re.split(r"[\[<>=]", line)[0]) for lines in runtime for line in lines} - {"motion-service"}
    assert wanted <= set(listed)


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> set[str]:
    """Names in a wheel that is built from this checkout."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_carries_the_package_and_its_types(wheel_names: set[str]) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "motion_service").rglob("*.py")}
    assert modules | {"motion_service/py.typed"} <= wheel_names


def test_wheel_carries_the_shipped_files(wheel_names: set[str]) -> None:
    weights = (path for path in (ROOT / "models/motion/mini").rglob("*") if path.is_file())
    shipped = {f"motion_service/weights/mini/{path.name}" for path in weights}
    assert shipped <= wheel_names
    avatars = {path.relative_to(ROOT).as_posix() for path in (ROOT / "motion_service").rglob("*.vrm")}
    assert avatars <= wheel_names
    page = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "motion_service/web/static").rglob("*") if path.is_file()
    }
    assert {"motion_service/web/static/index.html", "motion_service/web/static/player/index.js"} <= page <= wheel_names
    assert not [name for name in wheel_names if "node_modules" in name or name.startswith("motion_service/web/tests/")]
    assert not [name for name in wheel_names if name.startswith(("tests/", "data/", "models/"))]
