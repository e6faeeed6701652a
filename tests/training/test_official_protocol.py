"""The published protocol on stand-ins of the published sizes: its files, its networks, its measures, its table."""

from __future__ import annotations

import json
import pickle
import random
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_service.errors import CheckpointMismatch
from motion_service.mdm.convert import pickle_to_safetensors
from motion_service.mdm.trust import file_sha256
from motion_service.training import official_protocol
from motion_service.training.official_evaluator import (
    KINDS,
    MAX_WORDS,
    OfficialEvaluator,
    load_official_evaluator,
    read_numbered_words,
    read_words,
)
from motion_service.training.official_protocol import OfficialAssets, main, multimodality, read_recordings, score
from tests.test_sampling import tiny

WORDS = ("unk", "sos", "eos", "a", "person", "walk", "left", "slowly")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory laid out like the published one, with random numbers and 36 short motions."""
    directory = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    glove, t2m = directory / "evaluators/glove", directory / "evaluators/t2m"
    for folder in (glove, t2m / "text_mot_match/model", t2m / "Comp_v6_KLD01/meta"):
        folder.mkdir(parents=True)
    np.save(glove / "our_vab_data.npy", generator.normal(size=(len(WORDS), 300)))
    (glove / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: row for row, word in enumerate(WORDS)}))
    np.save(t2m / "Comp_v6_KLD01/meta/mean.npy", np.zeros(263))
    np.save(t2m / "Comp_v6_KLD01/meta/std.npy", np.ones(263))
    torch.manual_seed(1)
    torch.save(published_parts(OfficialEvaluator()), t2m / "text_mot_match/model/finest.tar")
    humanml = directory / "dataset/HumanML3D"
    for folder in ("new_joint_vecs", "texts"):
        (humanml / folder).mkdir(parents=True)
    for number in range(36):
        np.save(humanml / f"new_joint_vecs/{number:06d}.npy", generator.normal(size=(40 + number, 263)))
        (humanml / f"texts/{number:06d}.txt").write_text("a person walks#a/DET person/NOUN walk/VERB#nan#0.0\n")
    (humanml / "texts/000035.txt").write_text(
        "it walks#a/DET#0.0#0.0\na part#walk/VERB#1.0#3.5\nshort#walk/VERB#1.0#1.5\n"
    )
    (humanml / "test.txt").write_text("".join(f"{number:06d}\n" for number in range(36)) + "M999999\n")
    return directory


def published_parts(evaluator: OfficialEvaluator) -> dict[str, object]:
    """What ``finest.tar`` holds: three state dicts and the state of the training."""
    parts = {name: OrderedDict(module.state_dict()) for name, module in evaluator.named_children()}
    return {**parts, "opt_text_encoder": {"param_groups": [{"lr": 1e-4}]}, "epoch": 7, "iter": 100}


@pytest.fixture(scope="module")
def weights(data: Path) -> Path:
    """``finest.tar``, converted."""
    file = data / "evaluators/t2m/text_mot_match/model/finest.tar"
    pickle_to_safetensors(file, file.with_suffix(".safetensors"), file_sha256(file))
    return file.with_suffix(".safetensors")


# --- words ------------------------------------------------------------------------------------------------------------


def test_captions_are_padded_and_words_that_matter_have_kinds_of_their_own(data: Path) -> None:
    words = read_words(data / "evaluators/glove")
    caption, count = words.caption(("a/DET", "unheard/VERB", "walk/NOUN", "left/ADJ"))
    assert caption.shape == (MAX_WORDS + 2, 315) and count == 6
    kinds = [KINDS[int(row.argmax())] for row in caption[:, 300:]]
    assert kinds[:6] == ["OTHER", "DET", "OTHER", "Act_VIP", "Loc_VIP", "OTHER"] and {*kinds[6:]} == {"OTHER"}
    torch.testing.assert_close(caption[2, :300], caption[-1, :300])  # unheard = unk = padding
    assert words.caption(("a/DET",) * 30)[1] == MAX_WORDS + 2


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_a_pickle_of_more_than_numbered_words_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "our_vab_idx.pkl"
    for protocol in range(2, 6):
        numbered = {f"w{i}": i for i in (0, 1, 255, 256, 70_000)}
        file.write_bytes(pickle.dumps(numbered, protocol=protocol))
        assert read_numbered_words(file) == numbered
        file.write_bytes(pickle.dumps({"a": Evil()}, protocol=protocol))
        with pytest.raises(CheckpointMismatch, match="may run code"):
            read_numbered_words(file)
    file.write_bytes(b"\x80\x04nonsense")
    with pytest.raises(CheckpointMismatch, match="damaged"):
        read_numbered_words(file)


# --- networks ---------------------------------------------------------------------------------------------------------


def test_the_networks_have_the_published_tensors(weights: Path) -> None:
    evaluator = load_official_evaluator(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in evaluator.state_dict().items()}
    assert len(shapes) == 6 + 2 * 17 + 2
    assert shapes["movement_encoder.main.0.weight"] == (512, 259, 4)
    assert shapes["movement_encoder.main.3.weight"] == (512, 512, 4)
    assert shapes["text_encoder.pos_emb.weight"] == (300, 15)
    assert shapes["text_encoder.gru.weight_ih_l0_reverse"] == (1536, 512)
    assert shapes["motion_encoder.hidden"] == (2, 1, 1024)
    assert shapes["motion_encoder.output_net.3.weight"] == (512, 1024)


def test_what_is_behind_the_end_does_not_matter(weights: Path) -> None:
    evaluator = load_official_evaluator(weights)
    torch.manual_seed(2)
    captions, features = torch.randn(2, 22, 315), torch.randn(2, 80, 263)
    counts, lengths = torch.tensor([5, 9]), torch.tensor([40, 64])
    text, motion = evaluator.place_texts(captions, counts), evaluator.place_motions(features, lengths)
    captions[0, 5:], captions[1, 9:], features[0, 48:], features[1, 72:] = 3.0, 3.0, 3.0, 3.0
    torch.testing.assert_close(evaluator.place_texts(captions, counts), text)
    torch.testing.assert_close(evaluator.place_motions(features, lengths), motion)
    assert text.shape == motion.shape == (2, 512)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    parts = published_parts(OfficialEvaluator())
    parts["motion_encoder"] = {"hidden": torch.zeros(2, 1, 8)}
    torch.save(parts, tmp_path / "finest.tar")
    pickle_to_safetensors(tmp_path / "finest.tar", tmp_path / "f.safetensors", file_sha256(tmp_path / "finest.tar"))
    with pytest.raises(CheckpointMismatch, match="motion_encoder is another network"):
        load_official_evaluator(tmp_path / "f.safetensors")


# --- measures ---------------------------------------------------------------------------------------------------------


def places(count: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(3)
    while True:
        yield torch.randn(count, 512, generator=generator)


def test_measures_are_those_of_their_definitions() -> None:
    some = places(64)
    texts = next(some)
    motions = texts + 4 * next(some)
    got = score(texts, motions, next(some), random.Random(0))
    hits = np.zeros(3)
    for first in (0, 32):
        distance = np.linalg.norm(
            texts[first : first + 32, None].numpy() - motions[None, first : first + 32].numpy(), axis=-1
        )
        order = distance.argsort(axis=1)
        hits += [(order[:, : k + 1] == np.arange(32)[:, None]).any(1).sum() for k in range(3)]
    assert [got[f"R-precision (top {k})"] for k in (1, 2, 3)] == pytest.approx(hits / 64)
    assert 0 < got["R-precision (top 1)"] < got["R-precision (top 3)"] < 1
    assert got["MM-Dist"] == pytest.approx(float((texts - motions).norm(dim=1).mean()), rel=1e-4)
    same = score(texts, texts, texts, random.Random(0))
    assert same["R-precision (top 1)"] == 1 and abs(same["FID"]) < 1e-3 and same["MM-Dist"] < 0.1
    assert multimodality(texts[:8, None].expand(-1, 5, -1), 3, random.Random(0)) == 0


def test_recordings_are_cut_as_their_captions_say(data: Path) -> None:
    recordings = read_recordings(OfficialAssets(data))
    assert len(recordings) == 37 and [len(r.features) for r in recordings[-2:]] == [50, 75]
    assert recordings[-2].captions == (("a part", ("walk/VERB",)),)


# --- the command ------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--official", "nowhere"], tmp_path, lambda path: tiny()) == 1
    told = capsys.readouterr().out
    assert "evaluators/t2m/text_mot_match/model/finest.tar (motion download t2m)" in told
    assert told.count("motion download") == 8


def test_the_table_has_recordings_beside_the_checkpoint(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        official_protocol, "load_official_evaluator", lambda file, cache: load_official_evaluator(weights)
    )
    options = ["--replications", "2", "--samples", "32", "--mm-texts", "4", "--mm-repeats", "2", "--mm-pairs", "1"]
    assert main(["--official", "model.pt", *options], data, lambda path: tiny(steps=2)) == 0
    *table, last = capsys.readouterr().out.splitlines()
    scores = json.loads(last)["scores"]
    assert [*scores] == ["real", "tiny"] and "MultiModality" in scores["tiny"] and any("±" in line for line in table)
    assert scores["real"]["FID"]["mean"] < scores["tiny"]["FID"]["mean"]
    assert all(value["interval"] >= 0 for row in scores.values() for value in row.values())
