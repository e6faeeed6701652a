"""Directories laid out like the official downloads, with random weights: checkpoints and text encoders, tiny or full.

``write_checkpoint_files(directory, "dip")`` is all that a service needs to have ``dip``; ``trust`` makes it readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from motion_service.mdm.network import Denoiser, NetworkSpec, sinusoids
from motion_service.mdm.trust import file_sha256, record_trust

Kind = Literal["mdm", "mdm-encoder", "dip", "dip-target"]

DIRECTORIES: dict[Kind, str] = {
    "mdm": "humanml_trans_dec_512_bert-50steps",
    "mdm-encoder": "humanml-encoder-512-50steps",
    "dip": "DiP_no-target_10steps_context20_predict40",
    "dip-target": "target_10steps_context20_predict40",
}
FILES: dict[Kind, str] = {
    "mdm": "model000200000.pt",
    "mdm-encoder": "model000750000.pt",
    "dip": "model000600343.pt",
    "dip-target": "model000200000.pt",
}
_DECODER = {"arch": "trans_dec", "text_encoder_type": "bert", "mask_frames": True, "use_ema": True}
_WINDOWS = {**_DECODER, "diffusion_steps": 10, "context_len": 20, "pred_len": 40}
ARGS: dict[Kind, dict[str, Any]] = {
    "mdm": {**_DECODER, "diffusion_steps": 50},
    "mdm-encoder": {"arch": "trans_enc", "text_encoder_type": "clip", "diffusion_steps": 50, "mask_frames": True},
    "dip": _WINDOWS,
    "dip-target": {**_WINDOWS, "lambda_target_loc": 1.0, "multi_target_cond": True, "multi_encoder_type": "single"},
}
"""Fields of args.json that differ from one checkpoint to another (spec: expected settings)."""
_TRAINING = {"dataset": "humanml", "lr": 1e-4, "save_dir": "save/x", "lambda_fc": 0.0, "gen_during_training": False}


def new_args(kind: Kind, *, width: int = 16, layers: int = 2, **changes: Any) -> dict[str, Any]:
    """Content of an args.json; a change of None takes the field out."""
    fields = {**_TRAINING, "layers": layers, "latent_dim": width, "noise_schedule": "cosine", "sigma_small": True}
    fields |= {"cond_mask_prob": 0.1, "emb_trans_dec": False, "unconstrained": False, **ARGS[kind], **changes}
    return {name: value for name, value in fields.items() if value is not None}


def new_spec(kind: Kind, *, width: int = 16, layers: int = 2, feedforward: int = 24) -> NetworkSpec:
    """The network of a checkpoint, official in everything but its sizes."""
    args = ARGS[kind]
    return NetworkSpec(
        features=263,
        width=width,
        layers=layers,
        heads=4,
        feedforward=feedforward,
        text_width=768 if args["text_encoder_type"] == "bert" else 512,
        arch=args["arch"],
        context_frames=args.get("context_len", 0),
        predict_frames=args.get("pred_len", 0),
        mask_frames=True,
        target_encoder=args.get("multi_encoder_type"),
    )


def new_state_dict(spec: NetworkSpec, seed: int = 0) -> dict[str, Tensor]:
    """Random parameters and the tables of sinusoids, which official files hold too."""
    torch.manual_seed(seed)
    tables = dict.fromkeys(("sequence_pos_encoder.pe", "embed_timestep.sequence_pos_encoder.pe"))
    table = sinusoids(5000, spec.width)[:, None]  # (5000, 1, D)
    return {**Denoiser(spec).state_dict(), **{name: table.clone() for name in tables}}


def write_checkpoint_files(
    directory: Path, kind: Kind, *, full: bool = False, trust: bool = True, seed: int = 0, **changes: Any
) -> Path:
    """Write ``model*.pt`` and ``args.json``; the path of the first.

    ``full``: sizes of the real ones, else a width of 16. ``changes``: fields of args.json. With ``use_ema`` the file
    holds both sets of weights: the averaged ones of ``seed``, the others of ``seed + 1``.
    """
    sizes = {"width": 512, "layers": 8} if full else {"width": 16, "layers": 2}
    spec = new_spec(kind, **sizes, feedforward=1024 if full else 24)
    args = new_args(kind, **{**sizes, **changes})
    content: Mapping[str, Any] = new_state_dict(spec, seed)
    if args.get("use_ema"):
        content = {"model": new_state_dict(spec, seed + 1), "model_avg": content}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "args.json").write_text(json.dumps(args, indent=4, sort_keys=True))
    file = directory / FILES[kind]
    torch.save(content, file)
    if trust:
        record_trust(file, file_sha256(file), hash_repeated=True)
    return file


# --- text encoders ----------------------------------------------------------------------------------------------------


def write_clip(directory: Path, *, projection: int = 512, positions: int = 77, seed: int = 0) -> Path:
    """A text tower of CLIP with one layer and a vocabulary of single characters."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    letters = [*map(chr, range(33, 127)), *map(chr, range(0xA1, 0xAD)), *map(chr, range(0xAE, 0x144))]
    words = [*letters, *(letter + "</w>" for letter in letters), "wa", "walk</w>", "lk</w>"]
    vocabulary = [*words, "<|startoftext|>", "<|endoftext|>"]
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=positions,
        projection_dim=projection,
    )
    CLIPTextModelWithProjection(config).save_pretrained(directory)
    (directory / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
    (directory / "merges.txt").write_text("#version: 0.2\nw a\nl k</w>\nwa lk</w>\n")
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return directory


def write_distilbert(directory: Path, *, width: int = 768, positions: int = 512, seed: int = 0) -> Path:
    """A DistilBERT with one layer and a vocabulary of words and letters."""
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(seed)
    letters = [chr(code) for code in range(97, 123)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *("##" + letter for letter in letters), "walk", "##ing", "a", "person", "."]
    vocabulary = list(dict.fromkeys(vocabulary))
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=width, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=positions
    )
    DistilBertModel(config).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True})
    )
    return directory
