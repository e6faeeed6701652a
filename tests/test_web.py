"""The built page and player as they are committed: small, complete, and asking nothing of other hosts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "motion_service/web"
STATIC = WEB / "static"
PAGE_LIMIT = 1_200_000
"""bytes of the page's one script"""
PLAYER_LIMIT = 30_000
"""bytes of the player"""
NAMES_OF_THINGS = {"www.w3.org", "vrm.dev", "hacksoflife.blogspot.ch"}
"""Hosts in the bundle that are names or comments: an XML namespace, a licence, a source of three.js."""


def test_sizes() -> None:
    scripts = [path for path in STATIC.rglob("*.js") if path.parent == STATIC]
    assert len(scripts) == 1, "one bundle"
    assert 100_000 < scripts[0].stat().st_size < PAGE_LIMIT
    assert 0 < (STATIC / "player/index.js").stat().st_size <= PLAYER_LIMIT


def test_the_page_knows_no_other_host() -> None:
    texts = [path.read_text(encoding="utf-8") for path in STATIC.rglob("*") if path.suffix in (".js", ".html", ".css")]
    hosts = {host for text in texts for host in re.findall(r"""(?:https?|wss?)://([\w-]+(?:\.[\w-]+)+)""", text)}
    assert hosts <= NAMES_OF_THINGS


def test_notices_of_what_is_bundled_ship_with_it() -> None:
    notices = (STATIC / "licences.md").read_text(encoding="utf-8")
    assert {"three", "@pixiv/three-vrm"} <= set(re.findall(r"^## (\S+) - ", notices, re.MULTILINE))


def test_player_is_a_package_with_types() -> None:
    package = json.loads((STATIC / "player/package.json").read_text(encoding="utf-8"))
    entry = package["exports"]["."]
    assert all((STATIC / "player" / entry[kind]).is_file() for kind in ("types", "default"))
    assert set(package["peerDependencies"]) == {"three", "@pixiv/three-vrm"}


@pytest.mark.parametrize("folder", ["motion_service/web", "tests/browser"])
def test_lock_files_name_versions_and_no_registry(folder: str) -> None:
    text = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")
    lock = json.loads(text)
    assert '"resolved"' not in text
    assert all("integrity" in entry for name, entry in lock["packages"].items() if name)
    wanted = json.loads((ROOT / folder / "package.json").read_text(encoding="utf-8"))
    pins = {**wanted.get("dependencies", {}), **wanted.get("devDependencies", {})}
    assert pins and all(re.fullmatch(r"[\d.]+(-[\w.]+)?", version) for version in pins.values())


def test_the_check_says_what_it_could_not_do(tmp_path: Path) -> None:
    """Without the npm packages it passes with a word; on CI it fails."""
    scripts = tmp_path / "scripts/motion"
    scripts.mkdir(parents=True)
    (tmp_path / "motion_service/web").mkdir(parents=True)
    (scripts / "build_web").write_bytes((ROOT / "scripts/motion/build_web").read_bytes())
    for ci, code in (("", 0), ("true", 1)):
        done = subprocess.run(
            ["bash", str(scripts / "build_web"), "--check"],
            env={"PATH": "/bin:/usr/bin", "CI": ci},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code and "setup_browser" in done.stderr
