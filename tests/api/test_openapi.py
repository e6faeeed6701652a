from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from motion_service.schemas import OPTIONS
from tests.fakes import Api

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_document_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "motion" / "write_openapi", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


async def test_the_document_tells_every_option_and_every_problem(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {*OPTIONS, "prompt"} == set(schemas["GenerateRequest"]["properties"])
    operation = document["paths"]["/v1/motion/generate"]["post"]
    assert set(operation["responses"]) >= {"200", "400", "413", "422", "429", "500", "503", "504"}
    assert "application/problem+json" in operation["responses"]["422"]["content"]
    references = {word for word in str(document).split("'") if word.startswith("#/components/schemas/")}
    assert {reference.rsplit("/", 1)[1] for reference in references} <= set(schemas), "no reference leads nowhere"
    assert (await api.http.get("/docs")).status_code == 200
