"""An official directory of MDM or DiP (``model*.pt`` and ``args.json``) -> a network ready to use.

The weights are read from the safetensors that the pickle was converted to (:mod:`~motion_service.mdm.convert`). What
tensors tell (sizes, architecture, text and target encoder) is taken from them, the rest from ``args.json``; where both
speak, they must agree. Normalisation statistics are not part of it: they belong to the features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from motion_service.errors import CheckpointMismatch, CheckpointMissing
from motion_service.mdm.arguments import OfficialArguments, read_arguments
from motion_service.mdm.checkpoint import CheckpointConfig, match_keys
from motion_service.mdm.conversion import read_part
from motion_service.mdm.convert import converted
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.official_keys import is_parameter, state_dict_to_spec_facts

FPS: Final = 20.0
HEADS: Final = 4
"""The same in every official model; nothing in a file says so."""
FEATURES: Final = 263
KIT_FEATURES: Final = 251
TEXT_ENCODERS: Final[Mapping[str, tuple[str, int]]] = {
    "clip": ("clip-vit-b-32", 512),
    "bert": ("distilbert-base-uncased", 768),
}
"""``text_encoder_type`` -> name and width of the encoder in this service."""
GUIDANCE: Final = 2.5
WINDOW_GUIDANCE: Final = 7.5
"""What the authors recommend: for MDM, and for models with a prefix (DiP)."""
LICENCE: Final = "as published with MDM (code MIT); trained on HumanML3D/AMASS: non-commercial research"


@dataclass(frozen=True, slots=True)
class OfficialCheckpoint:
    """A loaded official model. Parameters float32 on the CPU, the network in eval mode."""

    name: str
    """Name of its directory."""
    directory: Path
    """Where it lies; ``meta/`` with the statistics may be in it. Not for answers to users."""
    config: CheckpointConfig
    """Network (context and predicted frames, mask_frames, text policy, target encoder), steps, schedule, name of the
    text encoder, default guidance; features ``humanml3d``, 20 fps."""
    network: Denoiser
    sigma_small: bool
    """Variance of the sampler: True = of the posterior, False = beta."""
    cond_mask_prob: float
    """How often text was dropped in training; 0 = guidance must be 1."""
    iteration: int | None
    """Training steps, from the file's name."""
    part: str
    """Which weights of the file these are: ``model``, ``model_avg`` (averaged) or ``flat`` (the only ones)."""
    sha256: str
    """Of the ``.pt``, as recorded when it was converted."""
    warnings: tuple[str, ...]
    """What a user should know about its settings, one line each."""

    def check_encoder(self, name: str, width: int) -> None:
        """Raise CheckpointMismatch unless ``name`` and ``width`` are those of the text encoder it was trained with."""
        reads = self.config.text_encoder, self.config.network.text_width
        if (name, width) != reads:
            raise CheckpointMismatch(
                f"checkpoint {self.name!r} reads {reads[0]} of width {reads[1]}, the encoder is {name} of width {width}"
            )


def load_official(path: Path, *, cache_dir: Path | None = None) -> OfficialCheckpoint:
    """Load from a directory (the newest ``model*.pt`` in it), a ``.pt``, or the ``.safetensors`` made of one.

    ``cache_dir``: where conversions are looked for and written when the directory is read-only, and where hashes are
    recorded. Raises CheckpointMissing for absent files and CheckpointMismatch for wrong ones, with a line that names
    the remedy.
    """
    file = find_weights(path)
    arguments = read_arguments(file.parent)
    name = file.parent.name
    source = file if file.suffix == ".safetensors" else converted(file, cache_dir)
    part, digest, tensors = read_part(source, arguments.use_ema)
    tensors = {key: tensor.float() for key, tensor in tensors.items() if is_parameter(key)}
    warnings = list(arguments.warnings)
    if arguments.use_ema and part != "model_avg":
        warnings.append("args.json: use_ema is true, but the file has no averaged weights; the others are used")
    config = _new_config(name, arguments, state_dict_to_spec_facts({key: t.shape for key, t in tensors.items()}))
    return OfficialCheckpoint(
        name=name,
        directory=file.parent,
        config=config,
        network=_new_network(name, config.network, tensors),
        sigma_small=arguments.sigma_small,
        cond_mask_prob=arguments.cond_mask_prob,
        iteration=iteration_of(file),
        part=part,
        sha256=digest,
        warnings=tuple(warnings),
    )


def find_weights(path: Path) -> Path:
    """The file of weights that ``path`` means. A converted file counts only where its pickle is gone.

    Raises CheckpointMissing when there is none, CheckpointMismatch for a file of another kind.
    """
    if path.is_dir():
        found = sorted(path.glob("model*.pt"), key=_age) or sorted(path.glob("model*.safetensors"), key=_age)
        if not found:
            raise CheckpointMissing(f"checkpoint {path.name!r} has no model*.pt")
        return found[-1]
    if not path.is_file():
        raise CheckpointMissing(f"checkpoint {path.name!r} was not found")
    if path.suffix not in (".pt", ".safetensors"):
        raise CheckpointMismatch(f"checkpoint {path.name!r} is neither a directory, a .pt nor a .safetensors")
    return path


def iteration_of(file: Path) -> int | None:
    """Training steps in a name such as ``model000600343.pt``; None without a number."""
    found = re.findall(r"\d+", file.stem)
    return int(found[-1]) if found else None


def _age(file: Path) -> tuple[int, str]:
    steps = iteration_of(file)
    return -1 if steps is None else steps, file.name


def _new_config(name: str, arguments: OfficialArguments, facts: Mapping[str, Any]) -> CheckpointConfig:
    """Join what tensors and arguments say. Raises CheckpointMismatch with both values where they differ."""
    if facts["features"] != FEATURES:
        kit = ": it was trained on KIT-ML" if facts["features"] == KIT_FEATURES else ""
        raise CheckpointMismatch(
            f"checkpoint {name!r} has {facts['features']} features{kit}; HumanML3D with {FEATURES} is needed"
        )
    text = next((kind for kind, (_, width) in TEXT_ENCODERS.items() if width == facts["text_width"]), None)
    if text is None:
        raise CheckpointMismatch(
            f"checkpoint {name!r} reads texts of width {facts['text_width']}; CLIP has 512 and DistilBERT 768"
        )
    for field, said, is_so in _contradictions(arguments, facts, text):
        raise CheckpointMismatch(f"checkpoint {name!r}: args.json says {field} {said!r}, the weights have {is_so!r}")
    decoder = facts["arch"] == "trans_dec"
    guidance = WINDOW_GUIDANCE if arguments.context_len else GUIDANCE
    try:
        network = NetworkSpec(
            **facts,
            heads=HEADS,
            text_policy="concat" if decoder and arguments.emb_policy == "concat" else "add",
            emb_trans_dec=decoder and arguments.emb_trans_dec,
            context_frames=arguments.context_len,
            predict_frames=arguments.pred_len,
            mask_frames=arguments.mask_frames,
        )
    except ValueError as error:
        raise CheckpointMismatch(f"checkpoint {name!r}: {error}") from error
    return CheckpointConfig(
        network=network,
        steps=arguments.diffusion_steps,
        schedule=arguments.noise_schedule,
        text_encoder=TEXT_ENCODERS[text][0],
        features="humanml3d",
        fps=FPS,
        guidance=guidance if arguments.cond_mask_prob else 1.0,
        licence=LICENCE,
    )


def _contradictions(
    arguments: OfficialArguments, facts: Mapping[str, Any], text: str
) -> Iterator[tuple[str, object, object]]:
    """(field, what args.json states, what the tensors are) wherever the two differ."""
    told: dict[str, object] = {
        "arch": facts["arch"],
        "text_encoder_type": text,
        "layers": facts["layers"],
        "latent_dim": facts["width"],
        "multi_target_cond": facts["target_encoder"] is not None,
    }
    if facts["target_encoder"] is not None:
        told["multi_encoder_type"] = facts["target_encoder"]
        if facts["target_encoder"] != "multi":  # which always has one layer and no use for the number
            told["target_enc_layers"] = facts["target_layers"]
    for field, is_so in told.items():
        said = getattr(arguments, field)
        stated = field in arguments.stated or (field == "multi_target_cond" and "lambda_target_loc" in arguments.stated)
        if stated and said != is_so:
            yield field, said, is_so


def _new_network(name: str, spec: NetworkSpec, tensors: Mapping[str, Tensor]) -> Denoiser:
    """Raises CheckpointMismatch with a report of keys and shapes when ``tensors`` are not those of ``spec``."""
    network = Denoiser(spec).eval().requires_grad_(False)
    match_keys(name, {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}, tensors)
    broken = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointMismatch(f"checkpoint {name!r} has weights that are not finite: {broken[0]}")
    network.load_state_dict(tensors)
    return network
