"""The text reader: it names the action, keeps a style that was asked for, and draws one that was not."""

import pytest
import torch

from motion_service.clips import TextEmbedding
from motion_service.mdm.reader import UNDERSTOOD, WELCOME_STYLES, TextReader

KEYS = ("wave|normal", "wave|active", "wave|angry", "bow|normal", "guide|normal|left", "guide|normal|right")


@pytest.fixture
def reader() -> TextReader:
    """Logit of key k is twenty times the k-th number of the token; prototypes are numbered."""
    reader = TextReader(KEYS, width=len(KEYS), hidden=len(KEYS)).eval()
    with torch.no_grad():
        for layer in (reader.layers[0], reader.layers[2]):
            layer.weight.copy_(torch.eye(len(KEYS)))
            layer.bias.zero_()
        reader.layers[2].weight.mul_(20.0)
        reader.prototypes.copy_(torch.arange(6.0)[:, None].expand(6, 6))
    return reader


def text(*numbers: float) -> TextEmbedding:
    return TextEmbedding(torch.tensor([numbers]), torch.ones(1, dtype=torch.bool), "fake")


def seeds(reader: TextReader, embedding: TextEmbedding) -> set[str | None]:
    return {reader.read(embedding, torch.Generator().manual_seed(seed)).style for seed in range(40)}


def test_a_named_style_is_kept_whatever_the_seed(reader):
    assert seeds(reader, text(0.2, 0.2, 1.0, 0, 0, 0)) == {"angry"}


def test_an_unnamed_style_is_drawn_from_the_welcome_ones(reader):
    assert seeds(reader, text(1.0, 0.7, 0.8, 0, 0, 0)) == {"normal", "active"}
    assert "angry" not in WELCOME_STYLES


def test_the_side_is_never_drawn(reader):
    made = {
        float(reader.read(text(0, 0, 0, 0, 1.0, 0.9), torch.Generator().manual_seed(s)).embedding.tokens[0, 0])
        for s in range(40)
    }
    assert made == {4.0}


def test_the_prototype_stands_in_for_the_text(reader):
    reading = reader.read(text(0, 0, 0, 1.0, 0, 0), torch.Generator())
    assert (reading.action, reading.style, reading.lost) == ("bow", "normal", False)
    assert reading.embedding.tokens.tolist() == [[3.0] * 6]
    assert reading.embedding.encoder == "fake"


def test_what_is_not_understood_goes_through_unchanged(reader):
    with torch.no_grad():
        reader.layers[2].weight.mul_(0.0)
        reader.layers[2].bias.copy_(torch.tensor([-9.0, -9.0, -9.0, 0.0, 0.0, 0.0]))
    guess = reader.read(text(0, 0, 0, 0, 0, 0), torch.Generator())
    assert guess.confidence > UNDERSTOOD and not guess.lost  # two sides of one action count together
    wide = TextReader([f"a{i}|normal" for i in range(8)], width=6, hidden=4).eval()
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.zero_()
    embedding = text(1, 2, 3, 4, 5, 6)
    reading = wide.read(embedding, torch.Generator())
    assert reading.lost and reading.action is None
    assert reading.embedding is embedding


def test_reading_takes_one_number_from_the_generator(reader):
    for embedding in (text(1.0, 0, 0, 0, 0, 0), text(0, 0, 0, 0, 1.0, 0)):
        generator = torch.Generator().manual_seed(5)
        reader.read(embedding, generator)
        after = torch.rand((), generator=generator)
        fresh = torch.Generator().manual_seed(5)
        torch.rand((), generator=fresh)
        assert torch.equal(after, torch.rand((), generator=fresh))


def test_a_hint_from_the_words_tips_the_balance(reader):
    near = text(0.30, 0.0, 0.0, 0.34, 0, 0)
    assert reader.read(near, torch.Generator()).action == "bow"
    assert reader.read(near, torch.Generator(), hint="wave").action == "wave"
    assert reader.read(text(0, 0, 0, 1.0, 0, 0), torch.Generator(), hint="wave").action == "bow"  # it does not overrule
