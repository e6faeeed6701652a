"""CLIP texts: parity with a plain computation, the cut at 20 tokens, old configurations, cache, what goes wrong."""

from __future__ import annotations

import importlib
import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_service.errors import ModelUnavailable
from motion_service.text_clip import ClipEncoder
from motion_service.text_encoder import LimitedTextEncoder, TextEncoder
from tests.mdm.official_files import write_clip

pytest.importorskip("transformers", reason="the extra `dev` is not installed")
pytest.importorskip("ftfy", reason="the extra `official` is not installed")

TEXTS = [
    "",
    "walk",
    "A person walks, then runs.",
    "x " * 19 + "y",
    "a b c d e f g h i j k l m n o p q r s t u v w",
    "手",
]

TEXT_BYTES = 512 * 4 + 128
"""More than a remembered short text takes, and less than one and a half."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def encoder(directory: Path) -> ClipEncoder:
    return ClipEncoder(directory)


@pytest.fixture
def copied(directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(directory, tmp_path / "clip")


def plain_feature(weights: dict[str, Tensor], ids: list[int]) -> Tensor:
    """The text tower of the CLIP paper, written down: (1, 512) at the largest of 77 ids."""
    row = torch.tensor(ids + [0] * (77 - len(ids)))
    w = {key.removeprefix("text_model."): value for key, value in weights.items()}
    x = w["embeddings.token_embedding.weight"][row] + w["embeddings.position_embedding.weight"]
    future = torch.ones(77, 77, dtype=torch.bool).triu(1)

    def linear(name: str, h: Tensor) -> Tensor:
        return F.linear(h, w[name + ".weight"], w[name + ".bias"])

    def norm(name: str, h: Tensor) -> Tensor:
        return F.layer_norm(h, h.shape[-1:], w[name + ".weight"], w[name + ".bias"])

    layer = "encoder.layers.0."
    h = norm(layer + "layer_norm1", x)
    q, k, v = (linear(f"{layer}self_attn.{n}_proj", h).view(77, 2, 8).transpose(0, 1) for n in "qkv")
    scores = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(future, -torch.inf)
    heads = (scores.softmax(-1) @ v).transpose(0, 1).reshape(77, 16)
    x = x + linear(layer + "self_attn.out_proj", heads)
    h = linear(layer + "mlp.fc1", norm(layer + "layer_norm2", x))
    x = x + linear(layer + "mlp.fc2", h * torch.sigmoid(1.702 * h))
    return F.linear(norm("final_layer_norm", x)[row.argmax()], weights["text_projection.weight"])[None]


def plain_ids(directory: Path, text: str) -> list[int]:
    """Start, at most 20 tokens, end, by the library's own tokeniser."""
    from transformers import AutoTokenizer

    ids: list[int] = AutoTokenizer.from_pretrained(directory)(text)["input_ids"]
    return [*ids[:21], ids[-1]] if len(ids) > 22 else ids


@pytest.mark.parametrize("text", TEXTS)
def test_it_equals_a_plain_computation(directory: Path, text: str) -> None:
    (embedding,) = ClipEncoder(directory, half=False).encode([text])
    expected = plain_feature(load_file(directory / "model.safetensors"), plain_ids(directory, text))
    assert embedding.mask.tolist() == [True]
    assert embedding.tokens.dtype == torch.float32
    torch.testing.assert_close(embedding.tokens, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_half_rounds_everything_but_the_norms(directory: Path, encoder: ClipEncoder, text: str) -> None:
    weights = load_file(directory / "model.safetensors")
    rounded = {key: value if "norm" in key else value.half().float() for key, value in weights.items()}
    expected = plain_feature(rounded, plain_ids(directory, text))
    torch.testing.assert_close(encoder.encode([text])[0].tokens, expected, atol=2e-6, rtol=1e-5)
    exact = plain_feature(weights, plain_ids(directory, text))
    assert 0 < (expected - exact).abs().max() < 0.01 * exact.std()


def test_it_is_a_text_encoder_with_a_limit(encoder: ClipEncoder) -> None:
    assert isinstance(encoder, TextEncoder)
    assert isinstance(encoder, LimitedTextEncoder)
    assert (encoder.name, encoder.width) == ("clip-vit-b-32", 512)


def test_only_twenty_tokens_are_read(encoder: ClipEncoder) -> None:
    twenty = " ".join("abcdefghijklmnopqrst")
    assert encoder.cut(twenty) is None
    assert encoder.cut(twenty + " u v") == 2
    assert encoder.cut("") is None
    one, two, three = encoder.encode([twenty, twenty + " u v", twenty[:-2]])
    assert torch.equal(one.tokens, two.tokens)
    assert not torch.equal(one.tokens, three.tokens)


def test_texts_are_cleaned_as_clip_does(encoder: ClipEncoder) -> None:
    one, *others = encoder.encode(["don't  walk & run", "DON’T walk &amp; run", " don't walk &amp;amp; run\n"])
    assert all(torch.equal(one.tokens, other.tokens) for other in others)


def test_an_end_token_in_the_text_ends_it(encoder: ClipEncoder) -> None:
    one, two = encoder.encode(["walk", "walk <|endoftext|> and run"])
    torch.testing.assert_close(one.tokens, two.tokens, atol=1e-6, rtol=0)


def test_old_configurations_give_the_same(copied: Path, encoder: ClipEncoder) -> None:
    """OpenAI's own config.json has end token 2, so the library looks for the end at another place."""
    for end in (2, 7):
        config = json.loads((copied / "config.json").read_text())
        (copied / "config.json").write_text(json.dumps(config | {"eos_token_id": end, "bos_token_id": 0}))
        for text in TEXTS:
            assert torch.equal(ClipEncoder(copied).encode([text])[0].tokens, encoder.encode([text])[0].tokens)


def test_a_directory_of_the_whole_clip_serves_quietly(
    copied: Path, encoder: ClipEncoder, capfd: pytest.CaptureFixture[str]
) -> None:
    """As it is downloaded: with the picture tower, which is not read."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig.from_pretrained(copied)
    vision = CLIPVisionConfig(image_size=8, patch_size=4, projection_dim=512, **sizes)
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=512))
    whole.load_state_dict(load_file(copied / "model.safetensors"), strict=False)
    whole.save_pretrained(copied)
    capfd.readouterr()
    found, expected = ClipEncoder(copied).encode(["walk"])[0], encoder.encode(["walk"])[0]
    torch.testing.assert_close(found.tokens, expected.tokens, atol=1e-6, rtol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_bits_do_not_depend_on_neighbours_or_threads(directory: Path, encoder: ClipEncoder) -> None:
    fresh = ClipEncoder(directory, cache_bytes=2 * TEXT_BYTES)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: fresh.encode([text, "walk"])[0].tokens, TEXTS * 3))
    together = [embedding.tokens for embedding in encoder.encode(TEXTS)]
    assert all(torch.equal(one, two) for one, two in zip(found, together * 3, strict=True))


def test_texts_are_remembered_and_cannot_be_spoilt(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, asked = ClipEncoder(directory, cache_bytes=2 * TEXT_BYTES), []
    embed = fresh._embed

    def counting(text: str) -> Tensor:
        asked.append(text)
        return embed(text)

    monkeypatch.setattr(fresh, "_embed", counting)
    first = fresh.encode(["walk"])[0].tokens
    kept = first.clone()
    first.zero_()
    for text in ("run", "walk", "bow", "walk"):
        found = fresh.encode([text])[0].tokens
    assert asked == ["walk", "run", "bow"]
    assert torch.equal(found, kept)


def test_nothing_is_fetched(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert ClipEncoder(copied).width == 512
    with pytest.raises(ModelUnavailable):
        ClipEncoder(copied.parent / "openai")


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["tokenizers", "ftfy"])
def test_a_missing_package_names_the_extra(directory: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name == missing:
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ModelUnavailable, match=f"{missing}: install the extra `official`"):
        ClipEncoder(directory)


@pytest.mark.parametrize(
    ("absent", "message"),
    [("config.json", "no config.json"), ("model.safetensors", "no model.safetensors"), ("vocab.json", "fetch")],
)
def test_absent_files_are_named(copied: Path, absent: str, message: str) -> None:
    (copied / absent).unlink()
    with pytest.raises(ModelUnavailable, match=message) as caught:
        ClipEncoder(copied)
    assert str(copied.parent) not in caught.value.detail


def test_a_pickle_names_the_command(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="motion convert --trust"):
        ClipEncoder(copied)


def change_weights(directory: Path, changes: dict[str, Any]) -> None:
    weights = load_file(directory / "model.safetensors") | changes
    kept = {key: value for key, value in weights.items() if value is not None}
    save_file(kept, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("value", [None, torch.zeros(3, 3)])
def test_missing_weights_are_not_made_up(copied: Path, value: Tensor | None) -> None:
    change_weights(copied, {"text_projection.weight": value})
    with pytest.raises(ModelUnavailable, match=r"text_projection|cannot be read"):
        ClipEncoder(copied)


def test_a_damaged_file_is_one_line(copied: Path) -> None:
    data = (copied / "model.safetensors").read_bytes()
    for content in (b"", b"<html>", data[:-100]):
        (copied / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelUnavailable, match="cannot be read") as caught:
            ClipEncoder(copied)
        assert "\n" not in caught.value.detail


def test_other_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="32 positions"):
        ClipEncoder(write_clip(tmp_path, positions=32))


def test_the_width_is_that_of_the_files(tmp_path: Path) -> None:
    assert ClipEncoder(write_clip(tmp_path, projection=24)).width == 24
