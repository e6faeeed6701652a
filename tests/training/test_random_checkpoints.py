"""Random checkpoints for benchmarks: loaded like real ones, called random, of the official sizes."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from motion_service.config import Config
from motion_service.features.humanml3d import features_to_joints
from motion_service.features.statistics import load_statistics
from motion_service.main import load_service
from motion_service.mdm.official import load_official
from motion_service.schemas import GenerateRequest
from motion_service.text_bert import BertEncoder
from motion_service.text_clip import ClipEncoder
from motion_service.training.random_checkpoints import PROVIDERS, random_place, random_settings, write_random_assets
from motion_service.training.random_encoders import BERT_WORDS, CLIP_WORDS, bert_vocabulary, clip_merges

pytest.importorskip("tokenizers", reason="the extra `official` is not installed")

CAPTIONS = (
    "a person walks forward slowly and then turns left",
    "someone waves with the right hand while standing in place",
    "a man bends his knees and jumps over something",
    "she raises both arms above her head twice",
    "a person sits down on a chair and gets up again",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("random")
    write_random_assets(root, small=True)
    return root


def test_vocabularies_have_the_published_sizes() -> None:
    words, merges = bert_vocabulary(), clip_merges()
    assert len(words) == len(set(words)) == BERT_WORDS
    assert len({a + b for a, b in merges}) == len(merges) == CLIP_WORDS - 2 * 256 - 2


def test_captions_have_about_as_many_tokens_as_with_the_real_tokenizers(root: Path) -> None:
    """A word of motion is one token for DistilBERT, and at most two on average for CLIP; none is unknown."""
    bert, clip = BertEncoder(root / "text" / "distilbert"), ClipEncoder(root / "text" / "clip")
    num_words = statistics.mean(len(caption.split()) for caption in CAPTIONS)
    for encoder, most in ((bert, 1.3), (clip, 2.0)):
        num_tokens = statistics.mean(len(encoder._text_ids(caption)) for caption in CAPTIONS)
        assert num_words <= num_tokens <= most * num_words
    odd = bert._text_ids("xylophonist, 42 wugs!")
    assert bert._tokenizer.token_to_id("[UNK]") not in odd


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_loads_its_own(root: Path, provider: str) -> None:
    loaded = load_official(random_place(root, provider))
    assert loaded.name.startswith("random-") and loaded.warnings == ()
    assert (loaded.config.network.target_encoder is not None) == (provider == "dip")
    assert loaded.config.steps == (10 if provider == "dip" else 50)


def test_statistics_make_an_upright_figure(root: Path) -> None:
    statistics_ = load_statistics(None, root / "data")
    joints = features_to_joints(statistics_.mean[None].expand(20, -1))
    pelvis, head = joints[..., 0, 1], joints[..., 15, 1]
    assert torch.all((pelvis > 0.8) & (pelvis < 1.1)) and torch.all(head > pelvis + 0.4)


async def test_a_service_answers_with_them(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**random_settings(root), "DATA_ROOT": str(tmp_path), "MOTION_DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, value)
    service = load_service(Config())
    await service.start(warm_up=False)
    for provider in PROVIDERS:
        wish = GenerateRequest.model_validate(
            {"prompt": "walks", "provider": provider, "duration_sec": 1.0, "artifacts": []}
        )
        metadata = (await service.jobs.generate(wish, "generate")).metadata
        assert metadata["generator"] == provider and metadata["checkpoint"].startswith("random-")
    service.jobs.close()
    await service.stop()
