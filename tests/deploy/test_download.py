"""Assets from a local server to where the service looks for them; the table of the real ones."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from motion_service import cli_download
from motion_service.cli import app
from motion_service.config import Config
from motion_service.download import Downloader
from motion_service.download_manifest import Asset, choose_assets, load_manifest, parse_manifest
from motion_service.download_transfer import Retry
from motion_service.errors import DownloadFailed
from motion_service.loading import checkpoint_paths
from motion_service.mdm import convert
from motion_service.mdm.convert import pickle_to_safetensors
from motion_service.mdm.official import load_official
from motion_service.mdm.trust import file_sha256, find_trust
from tests.deploy.asset_server import AssetServer, answer, page, promise, serve_assets
from tests.deploy.test_download_transfer import QUOTA, Told
from tests.mdm.official_files import write_checkpoint_files, write_distilbert

pytestmark = pytest.mark.usefixtures("own_trust")

MANIFEST = """
[mdm]
title = "a checkpoint"
root = "models"
directory = "mdm/humanml_trans_dec_512_bert-50steps"
requires = ["args.json", "model*.pt|model*.safetensors"]
needs = ["statistics", "distilbert"]
usual = true
licence = "MIT"
files = [{{ name = "mdm.zip", unpack = true, url = "{url}/drive" }}]

[distilbert]
title = "a text encoder"
root = "models"
directory = "text/distilbert"
requires = ["config.json", "model.safetensors|pytorch_model.bin"]
licence = "Apache-2.0"
base = "{url}/hub"
files = [
  {{ name = "config.json" }},
  {{ name = "tokenizer_config.json", optional = true }},
  {{ name = "vocab.txt" }},
  {{ name = "model.safetensors", or = "pytorch_model.bin" }},
]

[statistics]
title = "two arrays"
root = "data"
directory = "dataset/HumanML3D"
requires = ["Mean.npy"]
licence = "MIT"
files = [{{ name = "Mean.npy", url = "{url}/Mean.npy", size = {size}, sha256 = "{sha256}" }}]

[smpl]
title = "a body"
root = "data"
directory = "body_models/smpl"
requires = ["SMPL_NEUTRAL.pkl"]
licence = "by registration"
by_hand = "Register."
"""


def npy() -> bytes:
    held = io.BytesIO()
    np.save(held, np.zeros(263, np.float32))
    return held.getvalue()


def zip_directory(directory: Path, top: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(f"__MACOSX/{top}/._args.json", b"\0")
        for path in sorted(directory.rglob("*")):
            archive.write(path, f"{top}/{path.relative_to(directory).as_posix()}")
    return held.getvalue()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the publishers serve: a tiny checkpoint in the official layout, a tiny DistilBERT, an array."""
    place = tmp_path_factory.mktemp("published")
    write_checkpoint_files(place / "mdm", "mdm", trust=False)
    write_distilbert(place / "distilbert")
    files = {f"/hub/{path.name}": path.read_bytes() for path in (place / "distilbert").iterdir()}
    files.setdefault("/hub/vocab.txt", b"a\nb\n")
    files.pop("/hub/tokenizer_config.json", None)
    return {**files, "/drive": zip_directory(place / "mdm", "save/humanml_trans"), "/Mean.npy": npy()}


@pytest.fixture
def server(published: dict[str, bytes]) -> Iterator[AssetServer]:
    with serve_assets() as assets:
        assets.files.update(published)
        yield assets


@pytest.fixture
def manifest(server: AssetServer) -> dict[str, Asset]:
    content = server.files["/Mean.npy"]
    return parse_manifest(
        MANIFEST.format(url=server.url, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    )


class Machine:
    """Two roots on a disk, and downloads into them."""

    def __init__(self, place: Path) -> None:
        self.models, self.data = place / "models", place / "data"
        self.told: list[str] = []

    def fetch(self, asset: Asset, **options: Any) -> Any:
        with httpx.Client() as http:
            downloader = self.downloader(http=http, **options)
            return downloader.fetch(asset)

    def downloader(self, **options: Any) -> Downloader:
        roots: dict[Any, Path] = {"models": self.models, "data": self.data}
        retry = Retry(tries=2, sleep=lambda seconds: None)
        return Downloader(roots, Told(), self.told.append, retry=retry, **options)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def tree(place: Path) -> dict[str, int]:
    """{path: modification time} of everything below, locks aside."""
    return {
        path.relative_to(place).as_posix(): path.stat().st_mtime_ns
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# --- one asset --------------------------------------------------------------------------------------------------------


def test_an_archive_is_unpacked_into_place(machine: Machine, manifest: dict[str, Asset]) -> None:
    outcome = machine.fetch(manifest["mdm"])
    assert outcome.state == "placed" and set(outcome.fetched) == {"args.json", "model000200000.pt"}
    directory = machine.models / "mdm/humanml_trans_dec_512_bert-50steps"
    assert outcome.fetched["model000200000.pt"].sha256 == file_sha256(directory / "model000200000.pt")
    assert set(tree(machine.models)) == {
        "downloads.json",
        *(f"mdm/humanml_trans_dec_512_bert-50steps/{name}" for name in outcome.fetched),
    }, "the archive is gone, and what came beside the checkpoint was not taken"
    (line,) = machine.told
    assert "SHA-256" in line and "bytes" in line and "first time: recorded" in line


def test_the_second_run_does_nothing(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    machine.fetch(manifest["mdm"])
    before, asked = tree(machine.models), len(server.asked)
    assert machine.fetch(manifest["mdm"]).state == "present"
    assert tree(machine.models) == before and len(server.asked) == asked


def test_a_file_that_exists_under_another_name_or_not_at_all(
    machine: Machine, manifest: dict[str, Asset], server: AssetServer
) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    del server.files["/hub/model.safetensors"]
    server.files["/hub/pytorch_model.bin"] = held.getvalue()
    fetched = machine.fetch(manifest["distilbert"]).fetched
    assert "pytorch_model.bin" in fetched and "tokenizer_config.json" not in fetched
    del server.files["/hub/config.json"]
    with pytest.raises(DownloadFailed, match="no such file"):
        Machine(machine.models).fetch(manifest["distilbert"])


def test_a_known_hash_must_be_met(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    server.files["/Mean.npy"] = server.files["/Mean.npy"][:-1] + b"\1"
    with pytest.raises(DownloadFailed, match="the manifest says"):
        machine.fetch(manifest["statistics"])
    assert not (machine.data / "dataset").exists()
    server.files["/Mean.npy"] = npy()
    assert machine.fetch(manifest["statistics"]).is_vouched
    assert "as in the manifest" in machine.told[-1]


def test_a_recorded_hash_must_be_met_from_then_on(
    machine: Machine, manifest: dict[str, Asset], server: AssetServer, tmp_path: Path
) -> None:
    machine.fetch(manifest["mdm"])
    directory = machine.models / manifest["mdm"].directory
    (directory / "args.json").unlink()
    machine.fetch(manifest["mdm"])
    assert "as on" in machine.told[-1]
    (directory / "args.json").unlink()
    write_checkpoint_files(tmp_path / "other", "mdm", trust=False, seed=5)
    server.files["/drive"] = zip_directory(tmp_path / "other", "x")
    with pytest.raises(DownloadFailed, match="--accept-changed"):
        machine.fetch(manifest["mdm"])
    assert not (directory / "args.json").exists()
    machine.fetch(manifest["mdm"], accept_changed=True)
    assert "recorded anew" in machine.told[-1] and not manifest["mdm"].missing(directory)


@pytest.mark.parametrize(
    "behave", [promise(1000), page(QUOTA), answer(200, b"<html>not an archive"), answer(200, b"neither is this")]
)
def test_what_is_no_archive_is_not_placed_and_not_kept(
    machine: Machine, manifest: dict[str, Asset], server: AssetServer, behave: Any
) -> None:
    server.trouble["/drive"] = [behave]
    with pytest.raises(DownloadFailed):
        machine.fetch(manifest["mdm"])
    assert not (machine.models / "mdm").exists()
    assert machine.fetch(manifest["mdm"]).state == "placed", "the next run starts anew"


def test_a_failure_says_how_to_go_on_by_hand(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    server.trouble["/drive"] = [page(QUOTA)]
    with pytest.raises(DownloadFailed) as told:
        machine.fetch(manifest["mdm"])
    assert "quota" in told.value.detail and f"{server.url}/drive" in told.value.detail
    by_hand = machine.models / "downloads/mdm/mdm.zip"
    assert str(by_hand) in told.value.detail
    by_hand.parent.mkdir(parents=True, exist_ok=True)
    by_hand.write_bytes(server.files["/drive"])
    outcome = machine.downloader(offline=True).fetch(manifest["mdm"])
    assert outcome.state == "placed" and not outcome.is_vouched, "who knows where it is from"


def test_an_archive_without_the_asset(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("readme.txt", b"moved")
    server.files["/drive"] = held.getvalue()
    with pytest.raises(DownloadFailed, match=r"lacks args.json.*holds readme.txt"):
        machine.fetch(manifest["mdm"])


def test_offline(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    machine.fetch(manifest["mdm"])
    server.asked.clear()
    assert machine.downloader(offline=True).fetch(manifest["mdm"]).state == "present"
    with pytest.raises(DownloadFailed, match=r"--offline.*downloads/statistics"):
        machine.downloader(offline=True).fetch(manifest["statistics"])
    assert not server.asked


def test_a_mirror(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    server.files["/m/mdm/mdm.zip"] = server.files["/drive"]
    outcome = machine.fetch(manifest["mdm"], mirror=f"{server.url}/m/")
    assert outcome.state == "placed" and not outcome.is_vouched
    assert [path for path, _ in server.asked] == ["/m/mdm/mdm.zip"]


def test_what_was_changed_since(machine: Machine, manifest: dict[str, Asset]) -> None:
    machine.fetch(manifest["mdm"])
    file = machine.models / manifest["mdm"].directory / "args.json"
    content = file.read_text()
    file.write_text(content.replace("cosine", "linear"))
    machine.downloader(offline=True).fetch(manifest["mdm"])
    with pytest.raises(DownloadFailed, match="not what was downloaded"):
        machine.downloader(offline=True).verify(manifest["mdm"])
    file.write_text(content[:50])
    with pytest.raises(DownloadFailed, match="were placed on"):
        machine.downloader(offline=True).fetch(manifest["mdm"])


def test_what_only_the_user_may_fetch(machine: Machine, manifest: dict[str, Asset]) -> None:
    outcome = machine.fetch(manifest["smpl"])
    assert (outcome.state, outcome.missing) == ("by hand", ("SMPL_NEUTRAL.pkl",))
    placed = machine.data / "body_models/smpl/SMPL_NEUTRAL.pkl"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(b"<!DOCTYPE html><html>Please log in")
    with pytest.raises(DownloadFailed, match="web page"):
        machine.fetch(manifest["smpl"])
    placed.write_bytes(b"\x80\x02}.")
    assert machine.fetch(manifest["smpl"]).state == "present"


def test_two_at_a_time(machine: Machine, manifest: dict[str, Asset], server: AssetServer) -> None:
    def meanwhile(handler: Any, content: bytes) -> None:
        with pytest.raises(DownloadFailed, match="another download"):
            machine.fetch(manifest["distilbert"])
        handler.send(200, content)

    server.trouble["/drive"] = [meanwhile]
    assert machine.fetch(manifest["mdm"]).state == "placed"


def test_a_damaged_record_is_told(machine: Machine, manifest: dict[str, Asset]) -> None:
    machine.models.mkdir(parents=True)
    (machine.models / "downloads.json").write_text('{"mdm": {"mdm.zip": 3}}')
    with pytest.raises(DownloadFailed, match=r"downloads.json is damaged"):
        machine.fetch(manifest["mdm"])


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(machine: Machine, manifest: dict[str, Asset], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cli_download, "load_manifest", lambda: manifest)
    monkeypatch.setattr(convert, "_run_child", pickle_to_safetensors)
    monkeypatch.setenv("MOTION_MODEL_DIR", str(machine.models))
    monkeypatch.setenv("MOTION_DATA_DIR", str(machine.data))
    return lambda *words: CliRunner().invoke(app, ["download", *words])


def test_from_nothing_to_a_checkpoint_that_loads(shell: Any, machine: Machine, manifest: dict[str, Asset]) -> None:
    done = shell("--only", "mdm", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [asset["asset"] for asset in told["assets"]] == ["statistics", "distilbert", "mdm"], "what it needs first"
    loaded = load_official(machine.models / manifest["mdm"].directory)
    assert loaded.config.text_encoder == "distilbert-base-uncased"
    assert (machine.models / manifest["mdm"].directory / "model000200000.safetensors").is_file()
    again = shell("--verify")
    assert again.exit_code == 0 and "present" in again.stdout and "placed" not in again.stdout


def test_a_pickle_of_http_is_trusted_only_as_far_as_it_goes(shell: Any, machine: Machine) -> None:
    """Nobody stands for plain http, so torch below 2.10 wants the hash repeated; over https the publisher does."""
    assert shell("mdm").exit_code == 0
    (file,) = machine.models.rglob("*.pt")
    trust = find_trust(file, file_sha256(file))
    assert trust is not None and not trust.hash_repeated


def test_one_failure_does_not_stop_the_others(shell: Any, server: AssetServer, machine: Machine) -> None:
    server.trouble["/Mean.npy"] = [answer(403)]
    done = shell("mdm", "--json")
    assert done.exit_code == 1 and set(json.loads(done.stdout)["failed"]) == {"statistics"}
    assert (machine.models / "mdm").is_dir()


def test_names_that_do_not_exist_and_assets_by_hand(shell: Any) -> None:
    wrong = shell("mmd")
    assert wrong.exit_code == 1 and "there are: mdm" in wrong.stderr
    assert shell("--only").exit_code == 1
    by_hand = shell("smpl")
    assert by_hand.exit_code == 1 and "yours to fetch" in by_hand.stdout and "Register" in by_hand.stderr


def test_listing(shell: Any, server: AssetServer) -> None:
    assert "no" in shell("--list").stdout
    told = json.loads(shell("--list", "--json").stdout)["assets"]
    assert {asset["asset"]: asset["complete"] for asset in told} == dict.fromkeys(
        ("mdm", "distilbert", "statistics", "smpl"), False
    )
    assert not server.asked


# --- the real table ---------------------------------------------------------------------------------------------------


def test_assets_go_where_the_service_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECKPOINT_DIR", "MOTION_MODEL_DIR", "MOTION_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    config, manifest = Config(), load_manifest()
    roots: dict[Any, Path] = {"models": config.checkpoint_dir, "data": config.data_dir}
    downloader = Downloader(roots, Told(), print, offline=True)
    for name, path in checkpoint_paths(config).items():
        assert downloader.directory(manifest[name]) == path
    for name in ("clip", "distilbert"):
        assert downloader.directory(manifest[name]) == config.checkpoint_dir / config.text_dir / name
    assert downloader.directory(manifest["statistics"]) == config.data_dir / "dataset/HumanML3D"
    assert downloader.directory(manifest["smpl"]) == config.data_dir / "body_models/smpl"


def test_the_usual_set_is_what_the_official_models_need() -> None:
    names = [asset.name for asset in choose_assets((), load_manifest())]
    assert set(names) == {"mdm", "mdm-encoder", "dip", "distilbert", "clip", "statistics"}
    assert names.index("distilbert") < names.index("mdm")


def test_every_asset_says_how_to_get_it_and_under_which_licence() -> None:
    for asset in load_manifest().values():
        assert bool(asset.files) != bool(asset.by_hand), asset.name
        assert asset.licence and asset.requires and asset.title
        assert all(file.url.startswith("https://") for file in asset.files)
        assert len(asset.files) == 1 or not any(file.unpack for file in asset.files)
        assert all(need in load_manifest() for need in asset.needs)
