"""What the tensors of an official MDM or DiP checkpoint tell about its network, from their names and shapes alone.

Not to be seen in tensors, hence from args.json: heads (always 4), diffusion steps, ``mask_frames``, ``emb_trans_dec``,
``text_policy``, context and predicted frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from motion_service.errors import CheckpointMismatch
from motion_service.mdm.target import TargetEncoder

Shapes = Mapping[str, Sequence[int]]

_RECOMPUTED: Final = "sequence_pos_encoder"
"""Tables of sinusoids; older models saved other lengths, so they are made anew."""
_FROZEN: Final = "clip_model."
"""The text encoder, under this name for DistilBERT too; official programs leave it out."""
_TARGET_KEYS: Final[Mapping[TargetEncoder, str]] = {
    "multi": r"embed_target_cond\.target_loc_emb\.pelvis\.\d+\.weight",
    "single": r"embed_target_cond\.mlp\.\d+\.weight",
    "split": r"embed_target_cond\.mini_mlps\.0\.\d+\.weight",
}


def is_parameter(key: str) -> bool:
    """Whether a tensor of a state dict belongs into the network; others may be there and may be absent."""
    return _RECOMPUTED not in key and not key.startswith(_FROZEN)


def state_dict_to_spec_facts(shapes: Shapes) -> dict[str, Any]:
    """Fields of :class:`~motion_service.mdm.network.NetworkSpec` by name: all that shapes can tell.

    ``shapes`` maps each key of the state dict to its shape; keys that are no parameters do not matter. The facts are
    only read off, not checked against each other: loading does that. Raises CheckpointMismatch for tensors that are
    not of this family.
    """
    arch, stack = (
        ("trans_enc", "seqTransEncoder") if _has(shapes, "seqTransEncoder.") else ("trans_dec", "seqTransDecoder")
    )
    width, features = _matrix(shapes, "input_process.poseEmbedding.weight")
    feedforward, _ = _matrix(shapes, f"{stack}.layers.0.linear1.weight")
    text = "embed_text.weight" in shapes
    target = next((kind for kind, key in _TARGET_KEYS.items() if _count(shapes, key)), None)
    return {
        "features": features,
        "width": width,
        "layers": _count(shapes, stack + r"\.layers\.\d+\.linear1\.weight"),
        "feedforward": feedforward,
        "arch": arch,
        "text_width": _matrix(shapes, "embed_text.weight")[1] if text else 0,
        "target_encoder": target,
        "target_layers": _count(shapes, _TARGET_KEYS[target]) - 1 if target else 1,
    }


def _has(shapes: Shapes, start: str) -> bool:
    return any(key.startswith(start) for key in shapes)


def _count(shapes: Shapes, pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in shapes)


def _matrix(shapes: Shapes, key: str) -> tuple[int, int]:
    if len(shape := shapes.get(key, ())) != 2:
        found = f"the shape {tuple(shape)}" if key in shapes else "not there"
        raise CheckpointMismatch(f"not a checkpoint of MDM or DiP: {key} should be a matrix and is {found}")
    rows, columns = shape
    return rows, columns
