"""The Dockerfile, read and linted, and what it installs. No Docker engine is needed, and none is used."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from motion_service.config import Config, unknown_variables

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker/motion-mdm"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
CONTEXT_LIMIT = 32 << 20
"""Bytes sent to the builder: code and one model."""


def instructions() -> list[tuple[str, str, str]]:
    """(stage, instruction, rest) of every instruction, continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    stage, found = "", []
    for line in joined:
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2]
        found.append((stage, word, rest))
    return found


def environment(stage: str) -> dict[str, str]:
    """The ENV of a stage."""
    texts = [rest for where, word, rest in instructions() if where == stage and word == "ENV"]
    return dict(pair.split("=", 1) for text in texts for pair in text.split())


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path of the checkout through: the last rule that fits decides."""
    sent = True
    for rule in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!")
        above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
        names = [Path(one).name for one in above] if pattern.startswith("**/") else above
        levels = pattern.removeprefix("**/")
        if any(fnmatch(name, levels) and ("/" in levels or "/" not in name) for name in names):
            sent = rule.startswith("!")
    return sent


def tracked() -> list[str]:
    """Every file of the checkout that git knows."""
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(hadolint), "--config", str(ROOT / ".hadolint.yaml"), str(FOLDER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_copied_path_exists_and_is_sent() -> None:
    sources = [
        source
        for _, word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert len(sources) > 5
    for source in sources:
        assert (ROOT / source).exists(), source
        assert is_sent(source), f"{source} is kept back by .dockerignore"


def test_stages_that_are_named_exist() -> None:
    stages = {stage for stage, _, _ in instructions()}
    taken = re.findall(r"--(?:mount=)?from=([a-z]+)", DOCKERFILE)
    assert {"web", "wheels", "cpu", "runtime"} <= stages and set(taken) <= stages
    assert instructions()[-1][0] == "runtime", "the last stage is what a plain build makes"


def test_little_is_sent_to_the_builder_and_nothing_private() -> None:
    for path in (".env", "data/motion/x.npy", "models/motion/mdm/x/model.pt", ".git/config", "data/animations/x.json"):
        assert not is_sent(path), path
    assert not is_sent("motion_service/api/__pycache__/x.pyc")
    sent = [path for path in tracked() if is_sent(path) and (ROOT / path).is_file()]
    assert "motion_service/main.py" in sent and "models/motion/mini/model.safetensors" in sent
    assert sum((ROOT / path).stat().st_size for path in sent) < CONTEXT_LIMIT


def test_both_images_have_the_same_settings_and_the_service_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = environment("cpu"), environment("runtime")
    only_gpu = {name for name in gpu if name.startswith("TRITON_")}
    assert {name: value for name, value in gpu.items() if name not in only_gpu} == cpu
    for name in [*(str(field.validation_alias) for field in Config.model_fields.values()), "CHECKPOINT_DIR"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in gpu.items():
        if name.startswith(("MOTION_", "DATA_", "OUTPUT_", "CHECKPOINT_")):
            monkeypatch.setenv(name, value)
    config = Config()
    assert (config.host, config.port, config.allow_no_key) == ("0.0.0.0", 7100, True)
    assert [*map(str, (config.data_root, config.output_dir, config.checkpoint_dir, config.data_dir))] == [
        "/data",
        "/data/animations",
        "/checkpoint_dir",
        "/data/motion",
    ]
    assert not unknown_variables()


def test_it_runs_as_nobody_special_and_says_how_it_is() -> None:
    for stage in ("cpu", "runtime"):
        mine = [(word, rest) for where, word, rest in instructions() if where == stage]
        words = [word for word, _ in mine]
        assert ("USER", "${MOTION_UID}:${MOTION_GID}") in mine and words.index("USER") > words.index("ENV")
        (health,) = [rest for word, rest in mine if word == "HEALTHCHECK"]
        assert "/health" in health and "--interval=30s --timeout=10s" in health and "--retries=5" in health
        labels = " ".join(rest for word, rest in mine if word == "LABEL")
        assert {"title", "version", "revision", "licenses"} <= set(re.findall(r"image\.(\w+)=", labels))
        assert ("CMD", '["python", "-m", "motion_service"]') in mine
        packages = " ".join(rest for word, rest in mine if word == "RUN" and "apt-get" in rest)
        assert "curl" in packages and "ffmpeg" in packages


def test_triton_has_what_it_needs() -> None:
    """A C compiler and Python's headers for its launcher, and an assembler that knows sm_121."""
    installs = " ".join(rest for where, word, rest in instructions() if where == "runtime" and word == "RUN")
    assert {"gcc", "libc6-dev", "python3-dev"} <= set(installs.split())
    ptxas = environment("runtime")["TRITON_PTXAS_PATH"]
    assert f"bin/ptxas {ptxas}" in installs
    assert re.search(r"^nvidia-cuda-nvcc==13\.\d", (FOLDER / "requirements-ptxas.txt").read_text(), re.MULTILINE)


def test_torch_comes_after_the_rest_from_its_own_index_as_the_plan_has_it() -> None:
    for stage, index in (("cpu", "/whl/cpu"), ("runtime", "/whl/cu130")):
        mine = [(word, rest) for where, word, rest in instructions() if where == stage]
        arguments = dict(rest.split("=", 1) for word, rest in mine if word == "ARG")
        assert arguments["TORCH_VERSION"] == "2.9.0" and arguments["TORCH_INDEX"].endswith(index)
        runs = [rest for word, rest in mine if word == "RUN"]
        torch = next(place for place, run in enumerate(runs) if "torch==" in run)
        others = next(place for place, run in enumerate(runs) if "requirements.txt" in run)
        assert others < torch
        assert all("pip install" not in run or "--no-cache-dir" in run for run in runs)


# --- what is installed ------------------------------------------------------------------------------------------------


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_pin_is_the_tested_one_and_has_hashes() -> None:
    """constraints.txt is what CI installs: what stands in both files resolves."""
    text = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    image, tested = pins(FOLDER / "requirements.txt"), pins(ROOT / "constraints.txt")
    assert {name: version for name, version in image.items() if name in tested and tested[name] != version} == {}
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry) and len(entries) > 40
    assert "torch" not in image and "http" not in re.sub(r"httpcore|httptools|httpx|aiohttp", "", text)


def test_every_dependency_of_the_image_is_pinned() -> None:
    """Run scripts/motion/lock_image after a change in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in ("server", "official", "gpu", "prompts", "s3"):
        lines += project["optional-dependencies"][extra]
    wanted = {re.split(r"[\[<>=]", line)[0].lower() for line in lines} - {"torch", "motion-service"}
    assert wanted <= set(pins(FOLDER / "requirements.txt"))


def test_the_version_stands_in_one_place() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    elsewhere = [
        path
        for path in tracked()
        if path.endswith((".py", ".ts", ".yml", ".sh", "Dockerfile", "Makefile"))
        and (ROOT / path).is_file()
        and re.search(rf"version\W{{1,6}}{re.escape(version)}\b", (ROOT / path).read_text("utf-8"), re.IGNORECASE)
    ]
    assert not elsewhere
