"""DistilBERT texts: parity with the official batch, no padding, the cut at the last position, what goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from motion_service.engine.graphs import Graphs
from motion_service.errors import ModelUnavailable
from motion_service.text_bert import BertEncoder
from motion_service.text_encoder import LimitedTextEncoder, RememberingTextEncoder, TextEncoder, TextQueue
from tests.mdm.official_files import write_distilbert

pytest.importorskip("transformers", reason="the extra `dev` is not installed")

TEXTS = ["", "a person walking.", "Walk", "é naïve 手を振る 👋", "walk " * 30]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_distilbert(tmp_path_factory.mktemp("distilbert"), positions=64)


@pytest.fixture(scope="module")
def encoder(directory: Path) -> BertEncoder:
    return BertEncoder(directory)


@pytest.fixture
def copied(directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(directory, tmp_path / "distilbert")


def test_it_is_a_text_encoder_with_a_limit(encoder: BertEncoder) -> None:
    assert isinstance(encoder, TextEncoder)
    assert isinstance(encoder, LimitedTextEncoder) and isinstance(encoder, RememberingTextEncoder)
    assert (encoder.name, encoder.width) == ("distilbert-base-uncased", 768)


def test_it_equals_the_official_padded_batch(directory: Path, encoder: BertEncoder) -> None:
    """The official program pads to the longest text and hides the padding: real tokens come out the same."""
    from transformers import AutoTokenizer, DistilBertModel

    batch = AutoTokenizer.from_pretrained(directory)(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        states = DistilBertModel.from_pretrained(directory).eval()(**batch).last_hidden_state
    for embedding, row, mask in zip(encoder.encode(TEXTS), states, batch["attention_mask"].bool(), strict=True):
        assert embedding.mask.all()
        assert embedding.tokens.dtype == torch.float32
        torch.testing.assert_close(embedding.tokens, row[mask], atol=2e-6, rtol=1e-5)


def test_the_special_tokens_stay(encoder: BertEncoder) -> None:
    empty, walk = encoder.encode(["", "walk"])
    assert (len(empty.tokens), len(walk.tokens)) == (2, 3)


def test_texts_beyond_the_last_position_are_cut(encoder: BertEncoder) -> None:
    assert encoder.cut("walk " * 62) is None
    assert encoder.cut("walk " * 65) == 3
    full, longer = encoder.encode(["walk " * 62, "walk " * 65])
    assert full.tokens.shape == (64, 768)
    assert torch.equal(full.tokens, longer.tokens)


def test_bits_do_not_depend_on_the_neighbours(directory: Path, encoder: BertEncoder) -> None:
    fresh = BertEncoder(directory)
    alone = [fresh.encode([text])[0].tokens for text in reversed(TEXTS)][::-1]
    assert all(torch.equal(one, two.tokens) for one, two in zip(alone, encoder.encode(TEXTS), strict=True))


def test_weights_saved_with_a_head_are_read_quietly(
    copied: Path, encoder: BertEncoder, capfd: pytest.CaptureFixture[str]
) -> None:
    """As it is downloaded: for masked language modelling, names with a prefix and a head that is not used."""
    from transformers import DistilBertForMaskedLM, DistilBertModel

    body = DistilBertModel.from_pretrained(copied)
    whole = DistilBertForMaskedLM(body.config)
    whole.distilbert.load_state_dict(body.state_dict())
    whole.save_pretrained(copied)
    capfd.readouterr()
    found, expected = BertEncoder(copied).encode(["walk"])[0], encoder.encode(["walk"])[0]
    torch.testing.assert_close(found.tokens, expected.tokens, atol=1e-6, rtol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_a_vocabulary_of_another_model_is_refused(copied: Path) -> None:
    words = (copied / "vocab.txt").read_text().splitlines()
    (copied / "vocab.txt").write_text("\n".join(words[:-3]))
    with pytest.raises(ModelUnavailable, match="different models"):
        BertEncoder(copied)


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="motion download") as caught:
        BertEncoder(tmp_path / "distilbert")
    assert str(tmp_path) not in caught.value.detail


def test_recorded_lengths_give_the_same_embeddings(directory: Path, encoder: BertEncoder) -> None:
    recorded = BertEncoder(directory, recorder=Graphs("cpu"))
    texts = ["a person walks", "walk", "a person walks walk walk", "walk a person"]
    for again in range(2):
        for mine, expected in zip(recorded.encode(texts), encoder.encode(texts), strict=True):
            assert torch.equal(mine.tokens, expected.tokens), again


async def test_remembered_texts_need_no_thread(encoder: BertEncoder) -> None:
    assert encoder.remembered(["never read before"]) is None
    (first,) = await TextQueue(encoder).encode(["never read before"])
    found = encoder.remembered(["never read before"])
    assert found is not None and torch.equal(found[0].tokens, first.tokens)
    with encoder._lock:
        assert encoder.remembered(["never read before"]) is None
