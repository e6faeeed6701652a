"""DistilBERT and CLIP's text tower equal those of transformers; every published spelling of their files is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from motion_service.errors import ModelUnavailable
from motion_service.text_bert import BertEncoder
from motion_service.text_bert_network import DistilBert
from motion_service.text_clip import ClipEncoder
from motion_service.text_clip_network import ClipText
from tests.mdm.official_files import write_clip, write_distilbert

ROOT = Path(__file__).resolve().parents[1]
TEXT = "a person walks, walking"


def randomised(official: nn.Module, seed: int = 0) -> nn.Module:
    """With all parameters random, biases and normalisations too, which start as zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in official.named_parameters():
        centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        parameter.data.normal_(0, 0.05, generator=generator).add_(centre)
    return official.eval().requires_grad_(False)


def given_weights(network: nn.Module, official: nn.Module, prefix: str) -> None:
    """Strictly: the names are the published ones, neither more nor less."""
    weights = {name.removeprefix(prefix): value for name, value in official.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    network.eval().requires_grad_(False)


def random_ids(vocabulary: int, batch: int, length: int) -> Tensor:
    return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(length))


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


SMALL_BERT = {"vocab_size": 50, "max_position_embeddings": 40, "dim": 24, "n_layers": 3, "n_heads": 3, "hidden_dim": 40}
SMALL_CLIP = {
    "vocab_size": 60,
    "max_position_embeddings": 33,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "projection_dim": 10,
    "layer_norm_eps": 1e-3,
}


@pytest.mark.parametrize("sizes", [{}, SMALL_BERT, SMALL_BERT | {"activation": "relu"}], ids=["full", "small", "relu"])
def test_distilbert_is_the_official_one(sizes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `dev` is not installed")
    config = transformers.DistilBertConfig(**sizes)
    official = randomised(transformers.DistilBertModel(config))
    with torch.device("meta"):
        network = DistilBert.from_config(config.to_dict())
    given_weights(network, official, "distilbert.")
    for batch, length in ((1, 2), (2, 40)):
        ids = random_ids(config.vocab_size, batch, length)
        assert relative(network(ids), official(input_ids=ids).last_hidden_state) < 1e-5


@pytest.mark.parametrize("sizes", [{}, SMALL_CLIP, SMALL_CLIP | {"hidden_act": "gelu"}], ids=["full", "small", "gelu"])
def test_the_text_tower_of_clip_is_the_official_one(sizes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `dev` is not installed")
    vocabulary = sizes.get("vocab_size", 49_408)
    config = transformers.CLIPTextConfig(**sizes, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1)
    official = randomised(transformers.CLIPTextModelWithProjection(config))
    with torch.device("meta"):
        network = ClipText.from_config(config.to_dict())
    given_weights(network, official, "text_model.")
    ids = random_ids(vocabulary - 2, 2, config.max_position_embeddings)
    ids[[0, 1], [1, 12]] = vocabulary - 1  # an empty text, and one of eleven tokens
    assert relative(network(ids), official(input_ids=ids).text_embeds) < 1e-5


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_distilbert(tmp_path / "distilbert")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip")


def rename(directory: Path, old: str, new: str) -> None:
    weights = load_file(directory / "model.safetensors")
    renamed = {name.replace(old, new): value.clone() for name, value in weights.items()}
    assert set(renamed) != set(weights)
    save_file(renamed, directory / "model.safetensors", {"format": "pt"})


def change_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_files_that_we_write_are_read_by_transformers(bert: Path, clip: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `dev` is not installed")
    for kind, directory in ((transformers.DistilBertModel, bert), (transformers.CLIPTextModelWithProjection, clip)):
        model, info = kind.from_pretrained(directory, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("distilbert.", ""),
        ("LayerNorm.weight", "LayerNorm.gamma"),
        ("LayerNorm.bias", "LayerNorm.beta"),
    ],
)
def test_every_spelling_of_distilbert_is_read(bert: Path, old: str, new: str) -> None:
    expected = BertEncoder(bert).encode([TEXT])[0].tokens
    rename(bert, old, new)
    assert torch.equal(BertEncoder(bert).encode([TEXT])[0].tokens, expected)


def test_clip_is_read_without_the_prefix_and_from_the_whole_configuration(clip: Path) -> None:
    expected = ClipEncoder(clip).encode([TEXT])[0].tokens
    rename(clip, "text_model.", "")
    config = json.loads((clip / "config.json").read_text())
    (clip / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": config, "projection_dim": 3}))
    assert torch.equal(ClipEncoder(clip).encode([TEXT])[0].tokens, expected)


def test_weights_in_half_precision_are_read(bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    halves = {name: value.half() for name, value in weights.items()}
    save_file({name: value.float() for name, value in halves.items()}, bert / "model.safetensors", {"format": "pt"})
    expected = BertEncoder(bert).encode([TEXT])[0].tokens
    save_file(halves, bert / "model.safetensors", {"format": "pt"})
    found = BertEncoder(bert).encode([TEXT])[0].tokens
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_half_precision_is_near_the_exact_numbers(bert: Path, clip: Path) -> None:
    bert_pair = BertEncoder(bert, half=True), BertEncoder(bert)
    clip_pair = ClipEncoder(clip, compute_half=True), ClipEncoder(clip)
    for half, exact in (bert_pair, clip_pair):
        assert {parameter.dtype for parameter in half._network.parameters()} == {torch.float16}
        found, expected = half.encode([TEXT])[0].tokens, exact.encode([TEXT])[0].tokens
        assert found.dtype == torch.float32 and 0 < relative(found, expected) < 0.01


def test_files_may_change_once_they_are_read(bert: Path) -> None:
    encoder = BertEncoder(bert)
    expected = encoder.encode([TEXT])[0].tokens
    with (bert / "model.safetensors").open("r+b") as file:
        file.write(bytes((bert / "model.safetensors").stat().st_size))
    (again,) = encoder.encode([TEXT + " "])  # not remembered
    assert torch.equal(again.tokens, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 769}, "cannot be read as DistilBERT"),
        ({"n_layers": 0}, "cannot be read"),
        ({"n_layers": True}, "cannot be read"),
        ({"n_heads": "2"}, "cannot be read"),
        ({"activation": "tanh"}, "cannot be read"),
        ({"n_layers": 3}, r"lacks weights of DistilBERT: transformer\.layer\.1\..* and 31 more"),
        ({"dim": 384}, "lacks weights of DistilBERT"),
    ],
)
def test_a_configuration_of_another_model_is_refused(bert: Path, changes: dict[str, Any], message: str) -> None:
    change_config(bert, **changes)
    with pytest.raises(ModelUnavailable, match=message):
        BertEncoder(bert)


def test_each_encoder_refuses_the_directory_of_the_other(bert: Path, clip: Path) -> None:
    with pytest.raises(ModelUnavailable, match="lacks weights"):
        ClipEncoder(bert)
    with pytest.raises(ModelUnavailable, match="lacks weights"):
        BertEncoder(clip)


@pytest.mark.parametrize("content", ["", "<html>", "[]", "null", '{"text_config": null}'])
def test_a_damaged_configuration_is_one_line(clip: Path, content: str) -> None:
    (clip / "config.json").write_text(content)
    with pytest.raises(ModelUnavailable, match="cannot be read as CLIP's text tower"):
        ClipEncoder(clip)


def test_a_damaged_vocabulary_is_one_line(clip: Path) -> None:
    (clip / "vocab.json").write_text('{"a": ')
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        ClipEncoder(clip)


def test_texts_need_neither_transformers_nor_a_compiler(bert: Path, clip: Path) -> None:
    """Their import alone takes longer than everything else that a start has to do."""
    code = f"""
import sys
sys.modules["transformers"] = None
from pathlib import Path
from motion_service.text_bert import BertEncoder
from motion_service.text_clip import ClipEncoder
assert not {{"tokenizers", "ftfy"}} & set(sys.modules), "imported before an encoder was asked for"
for encoder in BertEncoder(Path({str(bert)!r})), ClipEncoder(Path({str(clip)!r})):
    encoder.encode(["walk"])
assert not {{"torch._dynamo", "sympy", "scipy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
