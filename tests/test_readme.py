"""What the READMEs show is run here, against a service on fakes; what they name exists."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from motion_service.api.http import create_app
from motion_service.cli import app as command_line
from motion_service.config import Config, unknown_variables
from motion_service.schemas import MotionMetadata, MotionResponse
from tests.client.stream_server import StreamServer, serve_stream
from tests.fakes import FakeSource
from tests.live_server import free_port, make_jobs, serve
from tests.vrm.avatar_files import MANNEQUINS

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.ja.md")


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _text(name), re.DOTALL | re.MULTILINE)


def _commands(name: str) -> list[list[str]]:
    """Every command line in the ``sh`` blocks, as words, without comments."""
    lines = "\n".join(_blocks(name, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def service(start_api: Any) -> Iterator[TestClient]:
    """A service on fakes, for synchronous callers."""
    with TestClient(create_app(start_api().jobs)) as client:
        yield client


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A service on fakes on a real port, which what the READMEs show is told instead of :7100."""
    with serve(
        create_app(make_jobs(tmp_path / "service", {"mini": FakeSource()}, artifacts=["npy", "mp4"]))
    ) as address:
        yield address


@pytest.fixture
def stream_url() -> Iterator[str]:
    """A server of live streams without a model."""
    with serve_stream(StreamServer()) as server:
        yield server.url


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, with an avatar in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(MANNEQUINS["1.0"], "me.vrm")
    return tmp_path


@pytest.mark.parametrize("readme", READMES)
def test_make_commands_exist_and_ci_runs_the_readmes_test_command(readme: str) -> None:
    targets = {words[1] for words in _commands(readme) if words[0] == "make"}
    assert {"run", "test"} <= targets
    phony = re.search(r"^\.PHONY: (.*)$", _text("Makefile"), re.MULTILINE)
    assert phony and targets <= set(phony[1].split())
    ci = [line for line in _text(".ci/run").splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert ci == ["scripts/motion/setup_browser", "make test"]


def test_both_readmes_have_the_same_headings_and_commands() -> None:
    """Texts of prompts and comments apart. The list of files is in the English one only, which the other says."""
    english, japanese = ([*re.finditer(r"^(#{1,4}) (.*)$", _without_blocks(name), re.MULTILINE)] for name in READMES)
    assert [found[1] for found in english if found[2] != "Files"] == [found[1] for found in japanese]
    first, second = ([_shape(words) for words in _commands(name)] for name in READMES)
    assert first == second
    for language in ("python", "bash", "json"):
        assert len(_blocks("README.md", language)) == len(_blocks("README.ja.md", language))


def _without_blocks(name: str) -> str:
    return re.sub(r"^```.*?^```$", "", _text(name), flags=re.DOTALL | re.MULTILINE)


def _shape(words: list[str]) -> list[str]:
    """A command without what is said in a language."""
    return [word for word in words if re.fullmatch(r"https?://\S+|[\w./=-]+", word, re.ASCII)]


@pytest.mark.parametrize("readme", READMES)
def test_curl_command_is_answered(readme: str, service: TestClient) -> None:
    (curl,) = [words for words in _commands(readme) if words[0] == "curl"]
    path = next(word for word in curl if word.startswith("http")).removeprefix("http://127.0.0.1:7100")
    header = curl[curl.index("-H") + 1].split(": ")
    answer = service.post(path, content=curl[curl.index("-d") + 1].encode(), headers=dict([header]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["generator"] == "mini"


@pytest.mark.parametrize("readme", READMES)
def test_python_code_runs(
    readme: str, url: str, stream_url: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = _blocks(readme, "python")
    assert len(blocks) >= 3
    for code in blocks:
        where = stream_url if ".stream(" in code else url
        exec(compile(code.replace("http://127.0.0.1:7100", where), readme, "exec"), {})
    assert capsys.readouterr().out.startswith("mini 20.0 4.0 ['chest',")
    assert (here / "wave.vrma").read_bytes().startswith(b"glTF")


@pytest.mark.parametrize("readme", READMES)
def test_command_line_runs(readme: str, url: str, stream_url: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_PORT", str(free_port()))  # for doctor, whatever else runs on this machine
    lines = [words for words in _commands(readme) if words[0].endswith("/motion")]
    assert {"generate", "stream", "doctor", "download"} <= {words[1] for words in lines}
    (here / "prompts.txt").write_text("walks\n手を振る\n", encoding="utf-8")
    for words in lines:
        where = {"stream": ["--server", stream_url], "generate": ["--server", url], "bench": ["--server", url]}
        result = CliRunner().invoke(command_line, [*words[1:], *where.get(words[1], [])])
        assert result.exit_code == 0, f"{words}: {result.output}"
    assert json.loads((here / "bow.json").read_bytes())["metadata"]["generator"] == "mini"


@pytest.mark.parametrize("readme", READMES)
def test_shown_answer_has_the_fields_of_a_real_one(readme: str) -> None:
    (shown,) = (json.loads(block) for block in _blocks(readme, "json"))
    assert set(shown) <= set(MotionResponse.model_fields)
    assert set(shown["metadata"]) <= set(MotionMetadata.model_fields)


@pytest.mark.parametrize("readme", READMES)
def test_every_route_is_in_the_readme(readme: str, service: TestClient) -> None:
    table = _text(readme)
    paths = service.get("/openapi.json").json()["paths"]
    assert "/v1/motion/generate" in paths
    missing = {path for path in paths if path not in table} - {"/data/animations/{job_id}/{file_name}"}
    assert not missing


def test_example_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(_text("examples/generate.py"), "generate.py", "exec"), namespace)
    assert namespace["main"](service=url) == 0
    assert "4 s at 20 fps by mini" in capsys.readouterr().out


@pytest.mark.parametrize(
    "script",
    [
        "examples/generate.sh",
        *(f"scripts/motion/{n}" for n in ("setup", "setup_browser", "check", "serve", "download_mdm_assets.sh")),
    ],
)
def test_shell_scripts_parse(script: str) -> None:
    assert subprocess.run(["bash", "-n", script], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    "page", [*READMES, "THIRD_PARTY.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", _text(page))
    here = (ROOT / page).parent
    assert not [link for link in links if not (here / link).exists()]


def test_plan_changes_say_the_same_in_both_languages() -> None:
    english, japanese = _text("docs/plan-changes.md").split("\n---\n")
    rows = [len(re.findall(r"^\| .* \|$", part, re.MULTILINE)) for part in (english, japanese)]
    assert rows[0] == rows[1] > 2


def test_env_default_holds_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*Config.model_fields, "CHECKPOINT_DIR", "MOTION_MODEL_DIR"]:
        monkeypatch.delenv(name, raising=False)
    default = Config()
    settings = dict(re.findall(r"^([A-Z_]+)=(.*)$", _text(".env.default"), re.MULTILINE))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert Config() == default
    assert not unknown_variables()
    aliases = {
        str(field.validation_alias) for field in Config.model_fields.values() if isinstance(field.validation_alias, str)
    }
    assert aliases <= set(settings), "config.py reads a variable that .env.default does not show"
