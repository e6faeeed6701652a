"""Token ids equal those of transformers' tokenizers, for any text and for every layout of the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_service.text_tokenizers import open_bert_tokenizer, open_clip_tokenizer
from motion_service.training.random_encoders import bert_vocabulary, clip_merges, write_clip, write_distilbert

transformers = pytest.importorskip("transformers", reason="the extra `dev` is not installed")

Ids = Callable[[str], list[int]]

ODD = (
    ["A person WALKS,  then runs.", "don't you've he'll I'M", "Édith İstanbul ǅ ß ﬁ ŉ", "e\u0301 ñ n\u0303 ü Å"]
    + ["手を振る", "ガ か\u3099 ｶﾞ ﾃﾚﾋﾞ", "한국어 ᄒ\u1161", "走って、止まる。", "\U00020000 \U0010fffd", "مشى עבר"]
    + [
        "👩\u200d👩\u200d👧 🇯🇵 👋🏽",
        "\x00\x01\x7f\x85\ufffd",
        "\u200b\ufeff\u2028\u3000\xa0\t\r\n",
        "walk</w>",
        "##ing ##",
    ]
    + ["[CLS] a [SEP] [MASK][PAD]", "[cls] [ CLS]", "<|endoftext|> walk", "<|ENDOFTEXT|><|startoftext|>", "<|end of|>"]
    + ["&amp; <b>", "3.14 1,000 ½ ² Ⅷ ٣", "it's 'S ’s", "a" * 101, "w" * 500, "", " ", "\\ \" ' ` ^ _ ~ – — … ¿"]
)
"""Case, accents, scripts, joined emoji, control characters, special tokens, numbers, words too long for WordPiece."""

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(ODD), max_size=4).map("".join),
    st.lists(st.sampled_from("".join(ODD)), max_size=30).map("".join),
    st.lists(st.sampled_from(["walk", "walking", "Person", "é", "手", "'s", " ", "<|endoftext|>", "[SEP]"])).map(
        "".join
    ),
)


def official_ids(directory: Path, **settings: Any) -> Ids:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True, **settings)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    return ids


def write_bert(directory: Path) -> Path:
    """Real words, and characters that lower-casing and the stripping of accents decide about."""
    odd = dict.fromkeys(
        character for text in ODD for character in text if not character.isspace() and character > "\x80"
    )
    vocabulary = [*bert_vocabulary(20_000), *odd, *("##" + character for character in odd)]
    sizes = {"dim": 4, "n_layers": 1, "n_heads": 1, "hidden_dim": 4}
    return write_distilbert(directory, list(dict.fromkeys(vocabulary)), **sizes)


def write_settings(directory: Path, **settings: Any) -> None:
    file = directory / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def save_json(directory: Path) -> None:
    """Only tokenizer.json, as transformers writes it."""
    transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True).save_pretrained(directory)
    for name in ("vocab.txt", "vocab.json", "merges.txt"):
        (directory / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Ids, Ids]]:
    """{layout: (ours, official)}"""
    plain = write_bert(tmp_path_factory.mktemp("bert") / "plain")
    layouts = {"plain": plain}
    changes = {"cased": {"do_lower_case": False}, "accents": {"strip_accents": False}}
    for name, settings in changes.items():
        layouts[name] = shutil.copytree(plain, plain.with_name(name))
        write_settings(layouts[name], **settings)
    layouts["json"] = shutil.copytree(plain, plain.with_name("json"))
    save_json(layouts["json"])
    cut_short(layouts["json"] / "tokenizer.json")
    return {name: (ours(open_bert_tokenizer, path), official_ids(path)) for name, path in layouts.items()}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Ids, Ids]]:
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    plain = write_clip(tmp_path_factory.mktemp("clip") / "plain", clip_merges(20_000), **sizes)
    layouts = {name: shutil.copytree(plain, plain.with_name(name)) for name in ("json", "normalized")}
    for path in layouts.values():
        save_json(path)
    normalize_special(layouts["normalized"])
    layouts["plain"] = plain
    return {name: (ours(open_clip_tokenizer, path), official_ids(path)) for name, path in layouts.items()}


def ours(open_tokenizer: Callable[[Path], Any], directory: Path) -> Ids:
    tokenizer = open_tokenizer(directory)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return found

    return ids


def cut_short(file: Path) -> None:
    """Some published files ask for truncation and padding, which is for whoever makes batches."""
    content = json.loads(file.read_text())
    content["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    file.write_text(json.dumps(content))


def normalize_special(directory: Path) -> None:
    """As OpenAI's files are: special tokens are looked for in the lower-cased text."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = json.loads((directory / name).read_text())
        declared = content.get("added_tokens", []) or content.get("added_tokens_decoder", {}).values()
        for token in declared:
            token["normalized"] = True
        (directory / name).write_text(json.dumps(content))


@pytest.mark.parametrize("layout", ["plain", "cased", "accents", "json"])
@given(text=TEXTS)
def test_bert_ids_are_the_official_ones(bert: dict[str, tuple[Ids, Ids]], layout: str, text: str) -> None:
    mine, official = bert[layout]
    assert mine(text) == official(text)


@pytest.mark.parametrize("layout", ["plain", "json", "normalized"])
@given(text=TEXTS)
def test_clip_ids_are_the_official_ones(clip: dict[str, tuple[Ids, Ids]], layout: str, text: str) -> None:
    mine, official = clip[layout]
    assert mine(text) == official(text)


@pytest.mark.parametrize("text", [*ODD, "a person walks 手を振る 👋 " * 2000])
def test_odd_and_very_long_texts(bert: dict[str, tuple[Ids, Ids]], clip: dict[str, tuple[Ids, Ids]], text: str) -> None:
    for mine, official in (*bert.values(), *clip.values()):
        assert mine(text) == official(text)


def test_layouts_differ_where_they_should(bert: dict[str, tuple[Ids, Ids]], clip: dict[str, tuple[Ids, Ids]]) -> None:
    """Else the comparisons above would say little."""
    assert bert["plain"][0]("Walk é") != bert["cased"][0]("Walk é")
    assert bert["plain"][0]("é") != bert["accents"][0]("é")
    assert len(clip["plain"][0]("<|ENDOFTEXT|>")) > len(clip["normalized"][0]("<|ENDOFTEXT|>")) == 1


def test_damaged_files_are_one_kind_of_error(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (tmp_path / name).write_bytes(b"\xff<html>")
        with pytest.raises(ValueError, match="cannot be read"):
            open_bert_tokenizer(tmp_path)
        (tmp_path / name).unlink()
    for open_tokenizer in (open_bert_tokenizer, open_clip_tokenizer):
        with pytest.raises(ValueError, match="cannot be read"):
            open_tokenizer(tmp_path)
