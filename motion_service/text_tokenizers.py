"""Tokenizers of DistilBERT and CLIP: texts -> ids of tokens, by the package tokenizers, from the published files.

``tokenizer.json`` says all by itself. Older directories hold a vocabulary only; what goes around it is written here.
Sennrich et al. 2016, arXiv:1508.07909 (byte pair encoding); Wu et al. 2016, arXiv:1609.08144 (WordPiece).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BERT_SPECIAL: Final = ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
CLIP_START: Final = "<|startoftext|>"
CLIP_END: Final = "<|endoftext|>"
_CLIP_WORDS: Final = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"  # special tokens and English endings
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # letters, one digit, signs
)


def open_bert_tokenizer(directory: Path) -> Tokenizer:
    """WordPiece from tokenizer.json or vocab.txt. Raises ValueError when the files cannot be read."""
    return _open(directory, _bert_from_vocabulary)


def open_clip_tokenizer(directory: Path) -> Tokenizer:
    """Byte pairs from tokenizer.json, or vocab.json and merges.txt. Raises ValueError when they cannot be read."""
    return _open(directory, _clip_from_vocabulary)


def _open(directory: Path, from_vocabulary: Callable[[Path], Tokenizer]) -> Tokenizer:
    from tokenizers import Tokenizer

    file = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else from_vocabulary(directory)
    except Exception as error:  # the package raises nothing narrower
        raise ValueError("the tokenizer cannot be read") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _bert_from_vocabulary(directory: Path) -> Tokenizer:
    """Uncased unless ``tokenizer_config.json`` says otherwise; accents go with the case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    settings = _settings(directory)
    words = models.WordPiece.from_file(str(directory / "vocab.txt"), unk_token=BERT_SPECIAL[0])
    tokenizer = Tokenizer(words)
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(BERT_SPECIAL))
    return tokenizer


def _clip_from_vocabulary(directory: Path) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    pairs = models.BPE.from_file(
        str(directory / "vocab.json"),
        str(directory / "merges.txt"),
        unk_token=CLIP_END,
        end_of_word_suffix="</w>",
    )
    tokenizer = Tokenizer(pairs)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([CLIP_START, CLIP_END])
    return tokenizer


def _settings(directory: Path) -> dict[str, Any]:
    file = directory / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return settings
