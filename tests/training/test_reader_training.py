"""Training the text reader on captions: it learns groups, ignores contexts and drops remnants of styles."""

import random

import pytest
import torch

from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.reader import TextReader
from motion_service.training.caption_table import CaptionTable
from motion_service.training.contexts import with_context
from motion_service.training.phrases import phrases_by_key
from motion_service.training.reader import common_keys, restricted_reader, train_reader


@pytest.fixture(scope="module")
def captions() -> CaptionTable:
    """Three groups of twelve captions round three directions, flags last."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, 12, generator=generator), dim=1)
    noisy = centres.repeat_interleave(12, 0) + torch.randn(36, 12, generator=generator) * 0.05
    embeddings = torch.cat([noisy, torch.zeros(36, 6)], dim=1)
    index = torch.arange(36).reshape(3, 2, 6)
    return CaptionTable(embeddings, ["walk|normal", "wave|normal", "bow|normal"], index, "fake")


def test_the_reader_learns_its_groups(captions):
    network = Denoiser(NetworkSpec(features=4, width=8, layers=1, heads=1, feedforward=8, text_width=18)).eval()
    steps = []
    more = captions.embeddings[:2, None].repeat(1, 2, 1), torch.zeros(2, dtype=torch.long)
    reader = train_reader(
        captions, captions.embeddings.clone(), captions.keys, more, network, steps=60, on_step=lambda: steps.append(1)
    )
    assert len(steps) == 3 * 60
    with torch.no_grad():
        named = reader(captions.embeddings).argmax(dim=1)
    assert (named == torch.arange(3).repeat_interleave(12)).float().mean() > 0.95
    for group in range(3):
        mine = captions.embeddings[group * 12 : group * 12 + 12]
        assert (mine == reader.prototypes[group]).all(dim=1).any()  # a real caption of the group


def test_remnants_of_a_style_are_dropped():
    counts = {"raise|normal": 300, "raise|active": 280, "raise|feminine": 2, "jump|normal": 8}
    assert common_keys(counts) == ("raise|normal", "raise|active", "jump|normal")


@pytest.mark.parametrize("caption", ["a person waves the right hand", "右手を振る", "先生がお辞儀する", "kick"])
def test_a_context_adds_words_and_keeps_the_action(caption):
    rng = random.Random(0)
    made = {with_context(caption, rng) for _ in range(30)}
    assert len(made) > 5
    core = caption.removeprefix("a person ").removeprefix("先生が")
    assert all(core in text for text in made)


def test_phrases_belong_to_the_plain_style_of_their_side():
    keys = ["raise-left|normal", "raise-left|happy", "raise-right|normal", "bow|normal|right", "jump|normal"]
    table = phrases_by_key(keys)
    assert set(table) == {"raise-left|normal", "raise-right|normal", "bow|normal|right", "jump|normal"}
    assert len(table["raise-left|normal"]) == len(table["raise-right|normal"]) > 15
    assert not any("right" in text or "右" in text for text in table["raise-left|normal"])
    assert table["bow|normal|right"] and not table["jump|normal"]
    assert not any("{" in text for texts in table.values() for text in texts)


def test_a_smaller_reader_tells_the_groups_it_keeps_as_before() -> None:
    torch.manual_seed(0)
    reader = TextReader(["walk|normal", "bow|normal", "wave-left|normal"], 14, 8)
    reader.prototypes.copy_(torch.randn(3, 14))
    smaller = restricted_reader(reader, {"walk|normal", "wave-left|normal", "nod|normal"})
    assert smaller.keys == ("walk|normal", "wave-left|normal") and smaller.actions == {"walk", "wave-left"}
    text = torch.randn(4, 14)
    torch.testing.assert_close(smaller(text), reader(text)[:, [0, 2]])
    torch.testing.assert_close(smaller.prototypes, reader.prototypes[[0, 2]])
