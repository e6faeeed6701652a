import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm.checkpoint import CheckpointConfig, load_checkpoint, write_checkpoint
from motion_service.mdm.eight_bits import from_eight_bits, to_eight_bits
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.reader import TextReader

SPEC = NetworkSpec(
    features=6, width=8, layers=1, heads=2, feedforward=8, text_width=4, context_frames=2, predict_frames=4
)
CONFIG = CheckpointConfig(SPEC, 10, "cosine", "fake", "vrm", 20.0, 2.5, "CC0", {"title": "試し", "epochs": 3})


@pytest.fixture
def network() -> Denoiser:
    torch.manual_seed(1)
    return Denoiser(SPEC)


@pytest.fixture
def directory(tmp_path: Path, network: Denoiser) -> Path:
    write_checkpoint(
        tmp_path / "tiny", network, CONFIG, torch.arange(6.0), torch.full((6,), 0.1), torch.full((2, 6), 0.3)
    )
    return tmp_path / "tiny"


def rewrite(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors and make the hashes fit again."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")
    seal(directory)


def seal(directory: Path) -> None:
    names = ("model.safetensors", "config.json")
    lines = [f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (directory / "SHA256SUMS").write_text("".join(lines))


def test_a_text_reader_travels_with_the_network(tmp_path: Path, network: Denoiser) -> None:
    torch.manual_seed(2)
    reader = TextReader(("walk|normal", "bow|happy"), width=4, hidden=3).requires_grad_(False)
    reader.prototypes.copy_(torch.tensor([[0.5, 1.0, 0.0, -2.0], [1.0, 0.0, 0.25, 0.0]]))
    statistics = torch.zeros(6), torch.ones(6), torch.zeros(2, 6)
    write_checkpoint(tmp_path / "reading", network, CONFIG, *statistics, reader)
    loaded = load_checkpoint(tmp_path / "reading")
    assert loaded.reader is not None and loaded.reader.keys == reader.keys
    assert loaded.config.about == CONFIG.about
    tokens = torch.randn(5, 4)
    torch.testing.assert_close(loaded.reader(tokens), reader(tokens), atol=5e-3, rtol=0)
    torch.testing.assert_close(loaded.reader.prototypes, reader.prototypes, atol=0, rtol=0)


def test_eight_bits_are_off_by_at_most_half_a_factor_and_rounding_again_changes_nothing() -> None:
    torch.manual_seed(3)
    rows = torch.logspace(-6, 3, 64)[:, None]
    tensors = {"large": torch.randn(64, 96) * rows, "zero": torch.zeros(64, 96), "bias": torch.randn(64)}
    packed = to_eight_bits(tensors)
    assert packed["large"].dtype == torch.int8 and packed["bias"] is tensors["bias"]
    read = from_eight_bits(packed)
    assert read.keys() == tensors.keys()
    error = (read["large"] - tensors["large"]).abs()
    assert bool((error <= tensors["large"].abs().amax(dim=1, keepdim=True) / 127 * 0.5001).all())
    assert bool((read["zero"] == 0).all())
    assert torch.equal(to_eight_bits(read)["large"], packed["large"])


def test_weights_in_eight_bits_are_read_like_others(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = Denoiser(replace(SPEC, width=64, feedforward=64))
    config, statistics = replace(CONFIG, network=network.spec), (torch.zeros(6), torch.ones(6), torch.zeros(2, 6))
    sizes = []
    for eight_bits in (False, True):
        write_checkpoint(tmp_path / "wide", network, config, *statistics, eight_bits=eight_bits)
        sizes.append((tmp_path / "wide/model.safetensors").stat().st_size)
    assert sizes[1] < 0.7 * sizes[0]
    read = load_checkpoint(tmp_path / "wide").network.state_dict()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(read[name], tensor, atol=0.005 * float(tensor.abs().max()) + 1e-7, rtol=0)


def test_a_rounded_matrix_without_factors_is_refused(directory: Path) -> None:
    rewrite(directory, lambda tensors: tensors.update({"embed_text.weight": torch.ones(8, 4, dtype=torch.int8)}))
    with pytest.raises(CheckpointMismatch, match=r"has no 'embed_text.weight.row_factor'"):
        load_checkpoint(directory)


def test_checkpoint_round_trip(directory: Path, network: Denoiser) -> None:
    loaded = load_checkpoint(directory)
    assert (loaded.name, loaded.config) == ("tiny", CONFIG)
    assert loaded.feature_mean.tolist() == list(range(6))
    torch.testing.assert_close(loaded.feature_std, torch.full((6,), 0.1), atol=0, rtol=0)
    assert loaded.first_prefix.shape == (2, 6)
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        got = loaded.network.state_dict()[name]
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, tensor.half().float(), atol=0, rtol=0)


def test_weights_are_half_precision_and_hashes_can_be_checked_by_hand(directory: Path) -> None:
    tensors = load_file(directory / "model.safetensors")
    assert tensors["embed_text.weight"].dtype == torch.float16
    before = (directory / "SHA256SUMS").read_text()
    seal(directory)
    assert (directory / "SHA256SUMS").read_text() == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "SHA256SUMS"])
def test_absent_files_are_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(CheckpointMissing, match=name) as caught:
        load_checkpoint(directory)
    assert str(directory.parent) not in caught.value.detail


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_byte_is_noticed(directory: Path, name: str) -> None:
    data = bytearray((directory / name).read_bytes())
    data[-2] ^= 1
    (directory / name).write_bytes(data)
    with pytest.raises(CheckpointMismatch, match=name):
        load_checkpoint(directory)


def test_hash_file_must_cover_both_files(directory: Path) -> None:
    (directory / "SHA256SUMS").write_text("\nnonsense\n")
    with pytest.raises(CheckpointMismatch, match=r"model\.safetensors"):
        load_checkpoint(directory)


def test_report_names_every_wrong_tensor(directory: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["feature_mean"]
        tensors["extra.weight"] = torch.zeros(3)
        tensors["embed_text.bias"] = torch.zeros(9)

    rewrite(directory, change)
    with pytest.raises(CheckpointMismatch) as caught:
        load_checkpoint(directory)
    for line in ("missing feature_mean (6,)", "unexpected extra.weight (3,)", "embed_text.bias has shape (9,)"):
        assert line in caught.value.detail


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("format", 2, "format 2"), ("network", {"width": 8}, "features"), ("fps", "fast", "fast"), ("fps", -1, "fps")],
)
def test_wrong_config_is_refused(directory: Path, field: str, value: object, message: str) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {field: value}))
    seal(directory)
    with pytest.raises(CheckpointMismatch, match=message):
        load_checkpoint(directory)


def test_config_without_a_field_names_it(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    del config["licence"]
    (directory / "config.json").write_text(json.dumps(config))
    seal(directory)
    with pytest.raises(CheckpointMismatch, match="licence"):
        load_checkpoint(directory)


@pytest.mark.parametrize("content", [b"", b"\x80\x02cposix\nsystem\n", b"[1, 2]"])
def test_files_of_another_kind_are_refused(directory: Path, content: bytes) -> None:
    for name in ("model.safetensors", "config.json"):
        kept = (directory / name).read_bytes()
        (directory / name).write_bytes(content)
        seal(directory)
        with pytest.raises(CheckpointMismatch):
            load_checkpoint(directory)
        (directory / name).write_bytes(kept)


def test_bad_tensors_are_not_written(tmp_path: Path, network: Denoiser) -> None:
    good = {"feature_mean": torch.zeros(6), "feature_std": torch.ones(6), "first_prefix": torch.zeros(2, 6)}
    for bad in (
        {"feature_mean": torch.zeros(5)},
        {"feature_std": torch.zeros(6)},
        {"first_prefix": torch.full((2, 6), torch.nan)},
    ):
        with pytest.raises(CheckpointMismatch):
            write_checkpoint(tmp_path / "new", network, CONFIG, **(good | bad))
    with torch.no_grad():
        network.embed_text.bias.fill_(1e6)  # type: ignore[union-attr,operator]  # infinite in half precision
    with pytest.raises(CheckpointMismatch, match=r"embed_text\.bias"):
        write_checkpoint(tmp_path / "new", network, CONFIG, **good)
    assert not (tmp_path / "new").exists()
