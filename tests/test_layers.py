"""Who may import whom, how long a module may be, and where a few dangerous things are allowed: read off the AST."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "motion_service"

LEVELS: dict[str, int] = {
    **dict.fromkeys(["errors", "config", "geometry", "diffusion", "faults", "humanoid", "together", "wording"], 0),
    **dict.fromkeys(["clips", "schemas", "telemetry", "progress", "events"], 1),
    **dict.fromkeys(
        [
            "source",
            "features",
            "prompt",
            "text_encoder",
            "mdm",
            "engine",
            "store",
            "admission",
            "processes",
            "client",
        ],
        2,
    ),
    **dict.fromkeys(["vrm", "download", "figure", "retention"], 3),
    **dict.fromkeys(["export", "placeholder", "quality", "mdm_adapter"], 4),
    **dict.fromkeys(["edit", "speak", "timeline", "training", "answer", "finishing", "verify", "sampling", "draws"], 5),
    "pipeline": 6,
    **dict.fromkeys(["stream", "jobs", "diagnostics"], 7),
    "api": 8,
    **dict.fromkeys(["main", "cluster", "cli"], 9),
}
"""A unit (a module or a package of motion_service) may import the units of lower levels."""

SAME_LEVEL: dict[str, set[str]] = {
    "answer": {"speak"},
    "draws": {"edit"},
    "finishing": {"answer"},
    "jobs": {"stream"},
    "diagnostics": {"jobs", "stream"},
    "cluster": {"main"},
    "cli": {"main", "cluster"},
    "training": {"verify"},  # benchmarks time the official code on what `motion verify` compares it with
}
"""What a unit may import of its own level."""

ONLY: dict[str, set[str]] = {"store": {"clips", "errors", "faults"}, "client": {"schemas", "errors"}}
"""Units that may import less than their level allows."""

PART_OF = {
    "live_frames": "clips",
    "metrics": "telemetry",
    "tracing": "telemetry",
    "edit_schemas": "schemas",
    "speak_schemas": "schemas",
    "stream_schemas": "schemas",
    "stream_begin": "stream",
    "stream_body": "stream",
    "stream_branch": "stream",
    "stream_change": "stream",
    "stream_pace": "stream",
    "stream_reel": "stream",
    "stream_token": "stream",
    "streams": "stream",
    "edit_loop": "edit",
    "avatar_schemas": "schemas",
    "job_schemas": "schemas",
    "jobs_claims": "jobs",
    "jobs_stored": "jobs",
    "store_bucket": "store",
    "store_directory": "store",
    "store_place": "store",
    "diagnostics_schemas": "schemas",
    "diagnostics_benchmark": "diagnostics",
    **dict.fromkeys(
        [
            "download_archive",
            "download_content",
            "download_manifest",
            "download_page",
            "download_record",
            "download_transfer",
        ],
        "download",
    ),
    **dict.fromkeys(
        ["text_bert", "text_bert_network", "text_clip", "text_clip_network", "text_files", "text_tokenizers"],
        "text_encoder",
    ),
    "quality_body": "quality",
    "quality_clip": "quality",
    "quality_match": "quality",
    "cluster_control": "cluster",
    "loading": "main",
    "serving": "main",
    "__main__": "main",
    **dict.fromkeys(
        [
            "client_async",
            "client_errors",
            "client_exchange",
            "client_fallback",
            "client_http",
            "client_methods",
            "client_motion",
            "client_pose",
            "client_settings",
            "client_stream",
            "client_stream_async",
            "client_stream_sync",
        ],
        "client",
    ),
    **dict.fromkeys(
        [
            "cli_bench",
            "cli_cluster",
            "cli_doctor",
            "cli_download",
            "cli_edit",
            "cli_errors",
            "cli_evaluate",
            "cli_generate",
            "cli_official",
            "cli_prompt",
            "cli_service",
            "cli_stream",
            "cli_verify",
            "doctor",
        ],
        "cli",
    ),
}
"""Modules that belong to another unit."""

BUILDS_FROM_CONFIG = {"main", "cli", "cluster"}
"""The only units that know the settings; all others take values."""

FASTAPI = {"api", "main", "cluster"}
"""The only units that know the web framework."""

BANNED_NAMES = re.compile(r"(utils?|common|helpers?|misc|manager|handler|base|core|types|models|.*_v\d+)")

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

BROAD_EXCEPT: dict[str, str] = {
    "pipeline:_make_or_fall_back": "the edge of the models: whatever they throw, the avatar must not freeze",
    "jobs:_save": "the edge of the thread that writes files after the answer",
    "processes:_answer": "the edge of a process: whatever a call does, the next one is answered",
    "engine.worker:_main": "the edge of the model thread: whoever starts it gets to know what went wrong",
    "engine.batches:hand_out": "the edge of the model thread: a failing batch loses its own runs only",
    "engine.batches:complete": "the edge of the device: what it reports belongs to the runs of that batch",
    "engine.guard:_replace": "the edge of the device: what does not start again here needs another process",
    "engine.worker:_run_job": "the edge of the model thread: a job fails alone, whatever it raises",
    "mdm_adapter.pooled:_compile_ahead": "the edge of a compiler: this is only to save time",
    "mdm_adapter.pooled:prepare": "the edge of a compiler: whatever it throws, plain PyTorch needs none",
    "api.lifecycle:_start": "the edge of the process: it is not going to serve",
    "main:_prepare": "the edge of the device: the service starts, and answers say what is wrong",
    "text_tokenizers:_open": "the edge of a library whose errors have no class but Exception",
    "together:_answer": "the edge of the thread: what the work throws is for those who asked for it",
    "mdm.convert:_unpickle": "the edge of the converting child process: a broken or hostile file can raise anything",
}
"""``module:function`` -> why an ``except Exception`` stands there. Only a thread or process edge is a reason."""

MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), name) for name, path in MODULES.items()}


def _unit(dotted: str) -> str:
    """``motion_service.mdm.network`` -> ``mdm``; the package itself -> ``""``."""
    parts = dotted.split(".")
    name = parts[1] if len(parts) > 1 else ""
    return PART_OF.get(name, name)


def _dotted(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(module: str) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write imports in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _third_party(module: str) -> set[str]:
    tops = {name.partition(".")[0] for name in _imports(module)}
    return tops - set(sys.stdlib_module_names) - {"motion_service"}


def _internal(module: str) -> set[str]:
    units = {_unit(name) for name in _imports(module) if name.startswith("motion_service")}
    return units - {"", _unit(_dotted(module))}


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_unit_has_a_level() -> None:
    units = {_unit(_dotted(module)) for module in MODULES} - {""}
    assert units <= set(LEVELS), "a new unit needs a place in the table of levels"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downhill(module: str) -> None:
    unit = _unit(_dotted(module))
    imported = _internal(module)
    if unit == "":
        assert not imported, "the package itself imports nothing, so that importing it is free"
        return
    lower = {name for name, level in LEVELS.items() if level < LEVELS[unit]}
    allowed = ONLY.get(unit, lower | SAME_LEVEL.get(unit, set()))
    assert imported <= allowed, f"{module} may not import {sorted(imported - allowed)}"
    assert unit in BUILDS_FROM_CONFIG or "config" not in imported, f"{module}: take values, not the configuration"


@pytest.mark.parametrize("module", MODULES)
def test_web_framework_stays_at_the_edge(module: str) -> None:
    if _unit(_dotted(module)) not in FASTAPI:
        assert not _third_party(module) & {"fastapi", "starlette"}


@pytest.mark.parametrize("module", MODULES)
def test_environment_is_read_in_one_place(module: str) -> None:
    if module == "motion_service/config.py":
        return
    read = {
        node.lineno
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    assert not read, f"{module}: lines {sorted(read)} read the environment; config.py does that"
    assert not {"os.environ", "os.getenv"} & set(_imports(module))


def test_client_and_command_line_need_only_the_base_install() -> None:
    """They import with torch, fastapi and numpy absent, as they are after a plain ``pip install motion-service``."""
    names = [name for name in ("client", "cli") if (PACKAGE / f"{name}.py").exists()]
    code = "import sys\nfor name in ('torch', 'fastapi', 'numpy', 'uvicorn', 'av', 'PIL'): sys.modules[name] = None\n"
    code += "\n".join(f"import motion_service.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    declared = {re.split(r"[\[<>=]", line)[0].lower() for line in requirements}
    provided = importlib.metadata.packages_distributions()
    imported = {top for module in MODULES for top in _third_party(module)}
    assert "torch" in imported
    undeclared = {
        top for top in imported if not declared & {name.lower().replace("_", "-") for name in provided.get(top, [top])}
    }
    # starlette is fastapi's own foundation and the home of its base classes; triton comes with torch's CUDA build;
    # opentelemetry is many packages, the extra otel names two of them.
    assert undeclared <= {"starlette", "triton", "opentelemetry"}, (
        "name the package in pyproject.toml and pin it in constraints.txt"
    )


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_short(module: str) -> None:
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_MODULE_LINES, f"{module} has {lines} lines: it holds more than one concept"
    long = {
        f"{function.name} ({length} lines)"
        for function in _functions(TREES[module])
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert not long, f"{module}: {long}"


def test_names_say_what_is_inside() -> None:
    parts = {part.removesuffix(".py") for module in MODULES for part in Path(module).parts}
    assert not {part for part in parts if BANNED_NAMES.fullmatch(part)}


@pytest.mark.parametrize("module", [module for module in MODULES if not module.endswith("__init__.py")])
def test_every_module_says_what_it_does(module: str) -> None:
    assert ast.get_docstring(TREES[module]), f"{module} needs a docstring"


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Catches everything and does not pass it on as it is."""
    names = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"Exception"}
    )
    passes_on = isinstance(last := handler.body[-1], ast.Raise) and last.exc is None
    return bool(names & {"Exception", "BaseException"}) and not passes_on


def _broad_excepts() -> set[str]:
    return {
        f"{_dotted(module).removeprefix('motion_service.')}:{function.name}"
        for module, tree in TREES.items()
        for function in _functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node)
    }


def test_broad_excepts_are_the_listed_edges() -> None:
    assert _broad_excepts() == set(BROAD_EXCEPT), (
        "catch what you expect; a thread or process edge is listed with its reason"
    )


def _allows_pickle(call: ast.Call) -> bool:
    return any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in call.keywords)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_unpickled(module: str) -> None:
    """Only mdm/convert.py, which checks a recorded hash and uses ``weights_only``, may call torch.load."""
    assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & {name.partition(".")[0] for name in _imports(module)}
    if module == "motion_service/mdm/convert.py":
        return
    calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    loads = {
        call.lineno
        for call in calls
        if ast.unparse(call.func) in {"torch.load", "torch.hub.load"}
        or (ast.unparse(call.func).endswith("load") and _allows_pickle(call))
    }
    assert not loads, f"{module}: lines {sorted(loads)} read a file that can run code"


# --- the file tree of the README --------------------------------------------------------------------------------------


def _readme_tree() -> dict[str, str]:
    """{path: its line of text} of the tree in README.md; directories end with a slash."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## Files\n.*?```\n(.*?)```", readme, re.DOTALL | re.MULTILINE)
    assert block, "README.md needs a section Files with the tree in a code block"
    tree, folders = {}, [""]
    for line in block[1].splitlines():
        indent, name, text = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()  # type: ignore[union-attr]
        folders[len(indent) // 2 + 1 :] = []
        path = folders[-1] + name
        tree[path] = text
        if name.endswith("/"):
            folders.append(path)
    return tree


def test_readme_tree_is_the_real_tree() -> None:
    tree = _readme_tree()
    missing = {path for path in tree if not (ROOT / path).exists()}
    assert not missing, f"in the README, but not there: {sorted(missing)}"
    modules = {module for module in MODULES if not module.endswith("__init__.py")}
    scripts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts/motion").iterdir() if path.is_file()}
    unlisted = (modules | scripts) - set(tree)
    assert not unlisted, f"there, but not in the README: {sorted(unlisted)}"


def test_readme_tree_explains_every_file() -> None:
    silent = [path for path, text in _readme_tree().items() if not text and not path.endswith("/")]
    assert not silent
