"""The TypeScript types of the wire: current, complete, and right about what the service really answers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes import Api

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts/motion/write_wire"
TSC = ROOT / "tests/browser/node_modules/typescript/bin/tsc"


@pytest.fixture(scope="module")
def write_wire() -> ModuleType:
    loader = SourceFileLoader("write_wire", str(SCRIPT))
    spec = spec_from_loader("write_wire", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_committed_file_is_current() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_not_current_is_told(write_wire: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["write_wire", "--check"])
    assert write_wire.main() == 0
    old = tmp_path / "wire.ts"
    old.write_text(write_wire.TARGET.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setattr(write_wire, "TARGET", old)
    assert write_wire.main() == 1


def test_every_schema_has_a_type(write_wire: Any) -> None:
    schemas = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))["components"]["schemas"]
    text = write_wire.TARGET.read_text(encoding="utf-8")
    assert {"MotionResponse", "GenerateRequest", "EditRequest", "AvatarOut", "JobOut", "Problem"} <= set(schemas)
    assert not [name for name in schemas if f"export interface {name} {{" not in text and f"type {name} =" not in text]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "number"),
        ({}, "unknown"),
        ({"$ref": "#/components/schemas/JobOut"}, "JobOut"),
        ({"const": 1}, "1"),
        ({"enum": ["a", "b"]}, '"a" | "b"'),
        ({"anyOf": [{"type": "number"}, {"type": "integer"}, {"type": "null"}]}, "number | null"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}, "[string, number]"),
        ({"type": "object"}, "Record<string, unknown>"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "Record<string, number>"),
        ({"type": "object", "properties": {"a-b": {"type": "string"}}}, '{ "a-b"?: string; }'),
    ],
)
def test_types(write_wire: Any, schema: dict[str, Any], expected: str) -> None:
    assert write_wire.type_of(schema) == expected


@pytest.mark.skipif(not TSC.is_file(), reason="needs TypeScript (npm ci in tests/browser)")
async def test_the_compiler_accepts_a_real_answer_and_refuses_a_wrong_one(
    api: Api, write_wire: Any, tmp_path: Path
) -> None:
    answer = await api.generate(duration_sec=0.2, artifacts=["mp4"])
    problem = (await api.http.post("/v1/motion/generate", json={"prompt": ""})).json()
    values = {"MotionResponse": answer, "Problem": problem, "GenerateRequest": {"prompt": "walks", "fps": 30}}
    (tmp_path / "wire.ts").write_text(write_wire.TARGET.read_text(encoding="utf-8"), encoding="utf-8")

    def compiles(**changes: Any) -> bool:
        lines = [f"import type {{ {', '.join(values)} }} from './wire';"]
        lines += [f"export const a{name}: {name} = {json.dumps(value | changes)};" for name, value in values.items()]
        (tmp_path / "use.ts").write_text("\n".join(lines), encoding="utf-8")
        command = ["node", str(TSC), "--noEmit", "--strict", "--skipLibCheck", str(tmp_path / "use.ts")]
        return subprocess.run(command, capture_output=True).returncode == 0

    assert compiles()
    assert not compiles(fps="thirty", status="bad")
