"""Networks with the weights of a golden, and its arrays in our layout."""

import json
from typing import Any

import torch
from torch import Tensor

from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.official_keys import state_dict_to_spec_facts


def frames(official: Tensor) -> Tensor:
    """(..., F, 1, T) -> (..., T, F)"""
    return official.squeeze(-2).transpose(-1, -2)


def network(golden: dict[str, Any], **changes: Any) -> Denoiser:
    """The model of a golden in eval mode; sizes from its tensors, the rest from its ``config_json``."""
    config = json.loads(golden["config_json"])
    weights = {key.removeprefix("sd/"): value for key, value in golden.items() if key.startswith("sd/")}
    facts = state_dict_to_spec_facts({key: value.shape for key, value in weights.items()})
    told = {
        "heads": config["num_heads"],
        "text_policy": config["emb_policy"],
        "emb_trans_dec": config["emb_trans_dec"],
        "mask_frames": config["mask_frames"],
        "context_frames": config["context_len"],
        "predict_frames": config["pred_len"],
    }
    model = Denoiser(NetworkSpec(**facts, **(told | changes))).eval().requires_grad_(False)
    model.load_state_dict(weights, strict=True)
    return model


def text(golden: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Tokens (B, L, E) and their mask (B, L), True = a token. A CLIP text is one token."""
    tokens = golden["in/text_embed"].transpose(0, 1)
    padding = golden.get("in/text_mask", torch.zeros(tokens.shape[:2]).bool())
    return tokens, ~padding


def scale(golden: dict[str, Any]) -> Tensor:
    """Guidance of each sample, (B, 1, 1)."""
    return golden["in/scale"][:, None, None]


def conditions(golden: dict[str, Any]) -> dict[str, Tensor | None]:
    """Frame mask and prefix of a golden, as keyword arguments of ``conditioned``."""
    prefix = frames(golden["in/prefix"]) if "in/prefix" in golden else None
    return {"frame_mask": golden["in/mask"][:, 0, 0], "prefix": prefix}
