"""The checkpoints that were published with MDM and DiP: names, settings, networks.

For what stands in for them where they are not at hand: benchmarks, tests, ``motion verify``. What a real file says is
read by :mod:`~motion_service.mdm.official`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import torch

from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.official import FEATURES, HEADS, TEXT_ENCODERS

Kind = Literal["mdm", "mdm-encoder", "dip", "dip-target"]

DIRECTORIES: Final[Mapping[Kind, str]] = {
    "mdm": "humanml_trans_dec_512_bert-50steps",
    "mdm-encoder": "humanml-encoder-512-50steps",
    "dip": "DiP_no-target_10steps_context20_predict40",
    "dip-target": "target_10steps_context20_predict40",
}
FILES: Final[Mapping[Kind, str]] = {
    "mdm": "model000200000.pt",
    "mdm-encoder": "model000750000.pt",
    "dip": "model000600343.pt",
    "dip-target": "model000200000.pt",
}
_DECODER: Final = {"arch": "trans_dec", "text_encoder_type": "bert", "mask_frames": True, "use_ema": True}
_WINDOWS: Final = {**_DECODER, "diffusion_steps": 10, "context_len": 20, "pred_len": 40}
ARGS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "mdm": {**_DECODER, "diffusion_steps": 50},
    "mdm-encoder": {"arch": "trans_enc", "text_encoder_type": "clip", "diffusion_steps": 50, "mask_frames": True},
    "dip": _WINDOWS,
    "dip-target": {**_WINDOWS, "lambda_target_loc": 1.0, "multi_target_cond": True, "multi_encoder_type": "single"},
}
"""Fields of args.json that differ from one checkpoint to another."""
_TRAINING: Final = {"dataset": "humanml", "lr": 1e-4, "save_dir": "save/x", "lambda_fc": 0.0}


def new_args(kind: Kind, *, width: int = 512, layers: int = 8, **changes: Any) -> dict[str, Any]:
    """Content of an args.json; a change of None takes the field out."""
    fields = {**_TRAINING, "layers": layers, "latent_dim": width, "noise_schedule": "cosine", "sigma_small": True}
    fields |= {"cond_mask_prob": 0.1, "emb_trans_dec": False, "unconstrained": False, **ARGS[kind], **changes}
    return {name: value for name, value in fields.items() if value is not None}


def new_spec(kind: Kind, *, width: int = 512, layers: int = 8, feedforward: int = 1024) -> NetworkSpec:
    """The network of a checkpoint; other sizes than the published ones are for tests."""
    args = ARGS[kind]
    return NetworkSpec(
        features=FEATURES,
        width=width,
        layers=layers,
        heads=HEADS,
        feedforward=feedforward,
        text_width=TEXT_ENCODERS[args["text_encoder_type"]][1],
        arch=args["arch"],
        context_frames=args.get("context_len", 0),
        predict_frames=args.get("pred_len", 0),
        mask_frames=True,
        target_encoder=args.get("multi_encoder_type"),
    )


def random_network(spec: NetworkSpec, seed: int = 0) -> Denoiser:
    """A network as it is before training, in eval mode. Its outputs have about the size of a trained one's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser(spec).eval().requires_grad_(False)
