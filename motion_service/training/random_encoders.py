"""Text encoders of the official models in full size with random weights, and a tokenizer of our own making.

What a service needs to run at its real speed without the real files. An embedding means nothing, but a caption has
about as many tokens as it would have: the words that motion is asked for with are whole tokens, others fall into
pieces of up to three letters.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any, Final

import torch
from safetensors.torch import save_file

from motion_service.text_bert_network import DistilBert
from motion_service.text_clip_network import ClipText
from motion_service.text_files import WEIGHTS, PublishedNetwork

BERT_WORDS: Final = 30_522
CLIP_WORDS: Final = 49_408
"""Vocabulary sizes of ``distilbert-base-uncased`` and CLIP ViT-B/32."""

_WORD_LISTS: Final = Path(__file__).resolve().parents[1] / "prompt" / "data"
_COMMON: Final = (
    "a an the person man woman someone figure he she they his her their its is are was to of in on at and then while"
    " with for from by as it that this slowly quickly walks runs jumps waves sits stands turns kicks raises lifts bends"
    " hand hands arm arms leg legs foot feet knee knees head body left right both forward forwards backward backwards"
    " up down around circle straight place twice times steps step again before after over under into off out"
)
_PUNCTUATION: Final = ".,;:!?'\"()-/&+*%#@="


def motion_words() -> list[str]:
    """English words that motion is asked for with, and their forms in -s, -ed and -ing; some 15,000."""
    text = (_WORD_LISTS / "english.toml").read_text(encoding="utf-8").lower()
    stems = [*_COMMON.split(), *re.findall(r"(?<![\\a-z])[a-z]{2,12}(?![a-z])", text)]
    return list(dict.fromkeys(stem + ending for ending in ("", "s", "ed", "ing") for stem in stems))


def _pieces(longest: int) -> Iterator[str]:
    """Every run of 1 to ``longest`` letters, short ones first."""
    for length in range(1, longest + 1):
        yield from map("".join, itertools.product(ascii_lowercase, repeat=length))


# --- DistilBERT -------------------------------------------------------------------------------------------------------


def bert_vocabulary(size: int = BERT_WORDS) -> list[str]:
    """Exactly ``size`` entries: special tokens, signs, words, pieces, and places that nothing uses."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [*_PUNCTUATION, *digits, *("##" + digit for digit in digits)]
    pieces = [*_pieces(2), *("##" + piece for piece in _pieces(3))]
    words = list(dict.fromkeys([*special, *signs, *motion_words(), *pieces]))
    return [*words[:size], *(f"[unused{i}]" for i in range(size - len(words)))]


def write_distilbert(directory: Path, vocabulary: Sequence[str], *, seed: int = 0, **sizes: Any) -> Path:
    """A DistilBERT with random weights; ``sizes``: fields of its configuration that differ from the published one's."""
    _save(DistilBert, {"model_type": "distilbert", "vocab_size": len(vocabulary), **sizes}, directory, seed)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    _write_json(directory / "tokenizer_config.json", {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True})
    return directory


# --- CLIP -------------------------------------------------------------------------------------------------------------

_BYTES: Final = [*map(chr, range(33, 127)), *map(chr, range(0xA1, 0xAD)), *map(chr, range(0xAE, 0x144))]
"""The characters that stand for the 256 bytes."""
_END: Final = "</w>"
Merge = tuple[str, str]


def clip_merges(size: int = CLIP_WORDS) -> list[Merge]:
    """Pairs that are joined, the most important first; as many as a vocabulary of ``size`` needs."""
    merges: dict[str, Merge] = {}
    known = set(_BYTES) | {byte + _END for byte in _BYTES}
    room = size - len(known) - 2
    for pair in itertools.chain(_word_merges(motion_words()), _piece_merges()):
        if len(merges) == room:
            break
        joined = pair[0] + pair[1]
        if joined not in known:
            known.add(joined)
            merges[joined] = pair
    return list(merges.values())


def _word_merges(words: Iterable[str]) -> Iterator[Merge]:
    """From the first letter on, one letter at a time."""
    for word in words:
        letters = [*word[:-1], word[-1] + _END]
        for i in range(1, len(letters)):
            yield "".join(letters[:i]), letters[i]


def _piece_merges() -> Iterator[Merge]:
    for length in (1, 2, 3):
        for start in map("".join, itertools.product(ascii_lowercase, repeat=length)):
            yield from ((start, letter + end) for letter in ascii_lowercase for end in ("", _END))


def write_clip(directory: Path, merges: Sequence[Merge], *, seed: int = 0, **sizes: Any) -> Path:
    """A text tower of CLIP with random weights, likewise."""
    words = [*_BYTES, *(byte + _END for byte in _BYTES), *(a + b for a, b in merges)]
    vocabulary = [*words, "<|startoftext|>", "<|endoftext|>"]
    config = {"model_type": "clip_text_model", "bos_token_id": len(words), "eos_token_id": len(words) + 1, **sizes}
    _save(ClipText, {"vocab_size": len(vocabulary), **config}, directory, seed)
    _write_json(directory / "vocab.json", {word: i for i, word in enumerate(vocabulary)})
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_json(directory / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer"})
    return directory


_PROJECTION: Final = "text_projection.weight"  # published beside CLIP's text tower, not in it


def _save(kind: type[PublishedNetwork], config: dict[str, Any], directory: Path, seed: int) -> None:
    """Normal numbers of deviation 0.02, around 1 for the scales of normalisations, under the published names."""
    with torch.device("meta"):
        network = kind.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, parameter in network.state_dict().items():
        centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        published = name if name == _PROJECTION else kind.prefix + name
        tensors[published] = centre + 0.02 * torch.randn(parameter.shape, generator=generator)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / WEIGHTS, {"format": "pt"})
    _write_json(directory / "config.json", config)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
