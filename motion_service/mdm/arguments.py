"""What the files beside an official checkpoint say: ``args.json`` and, if present, ``opt.txt`` -> settings.

Names and defaults are those of the official program's argument parser (GuyTevet/motion-diffusion-model,
``utils/parser_util.py``), so files of any age can be read: absent fields get the default, unknown ones are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from motion_service.errors import CheckpointMismatch, CheckpointMissing

ARGS: Final = "args.json"
OPT: Final = "opt.txt"
_MAX_BYTES: Final = 1 << 20  # the real files have 2 kB


@dataclass(frozen=True, slots=True)
class OfficialArguments:
    """The fields of ``args.json`` that matter for sampling, with the official defaults and names."""

    dataset: str = "humanml"
    arch: str = "trans_enc"
    text_encoder_type: str = "clip"
    emb_trans_dec: bool = False
    layers: int = 8
    latent_dim: int = 512
    cond_mask_prob: float = 0.1
    """How often text was dropped in training; 0: there is no unconditional prediction, so no guidance."""
    mask_frames: bool = False
    unconstrained: bool = False
    """Trained without text."""
    use_ema: bool = False
    """Whether the averaged weights are the good ones."""
    multi_target_cond: bool = False
    """Conditioned on target locations of joints."""
    multi_encoder_type: str = "single"
    target_enc_layers: int = 1
    context_len: int = 0
    pred_len: int = 0
    noise_schedule: str = "cosine"
    diffusion_steps: int = 1000
    sigma_small: bool = True
    emb_policy: str = "add"
    """Not a field of the public program but of CLoSD; how text meets time."""
    emb_before_mask: bool = False
    """Likewise; true: text was dropped after its projection, which the public program never does."""
    lambda_target_loc: float = 0.0
    """Weight of a training loss; above 0 the model is conditioned on target locations."""
    stated: frozenset[str] = frozenset()
    """Fields that the file really has."""
    warnings: tuple[str, ...] = ()
    """One line for each thing that a user should know."""


_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "dataset": ("humanml",),
    "arch": ("trans_enc", "trans_dec"),
    "text_encoder_type": ("clip", "bert"),
    "multi_encoder_type": ("single", "multi", "split"),
    "noise_schedule": ("cosine", "linear"),
    "emb_policy": ("add", "concat"),
}
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "layers": (1, 1000),
    "latent_dim": (2, 100_000),
    "cond_mask_prob": (0, 1),
    "target_enc_layers": (0, 100),
    "context_len": (0, 4999),
    "pred_len": (0, 4999),
    "diffusion_steps": (1, 5000),  # rows of the sinusoid table
}
_DEFAULTS: Final[Mapping[str, Any]] = {
    f.name: f.default for f in fields(OfficialArguments) if f.name not in ("stated", "warnings")
}
_TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
_OPT_FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dataset_name": ("t2m", "humanml"),
    "joints_num": ("22",),
    "dim_pose": ("263",),
}
"""What ``opt.txt`` must say where it says anything about the data."""


def read_arguments(directory: Path) -> OfficialArguments:
    """Settings of the checkpoint in ``directory``.

    Raises CheckpointMissing without an ``args.json``, CheckpointMismatch with one line that names the field for a file
    that cannot be understood, or for a model of another kind than text to HumanML3D motion.
    """
    path = directory / ARGS
    if not path.is_file():
        raise CheckpointMissing(
            f"checkpoint {directory.name!r} has no {ARGS}: it is in the same archive as the weights"
        )
    try:
        values = json.loads(_read_text(path))
    except OSError as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {ARGS} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {ARGS} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointMismatch(
            f"checkpoint {directory.name!r}: {ARGS} must be an object, got {type(values).__name__}"
        )
    try:
        arguments = arguments_from_json(values)
    except ValueError as error:
        raise CheckpointMismatch(f"checkpoint {directory.name!r}: {ARGS}: {error}") from error
    return replace(arguments, warnings=(*arguments.warnings, *_check_opt(directory)))


def arguments_from_json(values: Mapping[str, Any]) -> OfficialArguments:
    """Settings from the content of an ``args.json``. Raises ValueError that names the field.

    A field that is null counts as absent. Files of 2022 and 2023 have ``cond_mode`` in place of ``unconstrained``.
    """
    known = {name: _checked(name, values[name]) for name in _DEFAULTS if values.get(name) is not None}
    if "unconstrained" not in known and "cond_mode" in values:
        known["unconstrained"] = values["cond_mode"] == "no_cond"
    if known.get("unconstrained"):
        raise ValueError("unconstrained: a model without text cannot follow a prompt")
    arguments = OfficialArguments(**known, stated=frozenset(known), warnings=tuple(_cautions(known)))
    return replace(
        arguments,
        pred_len=arguments.pred_len or arguments.context_len,
        multi_target_cond=arguments.multi_target_cond or arguments.lambda_target_loc > 0,
    )


def _checked(name: str, value: Any) -> Any:
    """The value of a field, of the type of its default and in its range. Text is never taken for a bool or a number."""
    wanted = type(_DEFAULTS[name])
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ValueError(f"{name}: must be {_TYPE_NAMES[wanted]}, got {value!r}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name}: {value!r} is not supported, only {' or '.join(_CHOICES[name])}")
    low, high = _RANGES.get(name, (value, value))
    if not low <= value <= high:
        raise ValueError(f"{name}: must be {low} to {high}, got {value}")
    return value


def _cautions(known: Mapping[str, Any]) -> list[str]:
    """What published sources disagree about (CLoSD's fields that the public MDM program never reads)."""
    lines = []
    if known.get("emb_policy", "add") != "add":
        lines.append(f"args.json: emb_policy is {known['emb_policy']!r}; the public program always runs 'add'")
    if known.get("emb_before_mask"):
        lines.append(
            "args.json: emb_before_mask is true; text is dropped before its projection here, as the public program does"
        )
    return lines


def _check_opt(directory: Path) -> list[str]:
    """Warnings about ``opt.txt``, an option file of lines ``name: value`` that need not be there.

    Raises CheckpointMismatch when it describes other data than HumanML3D.
    """
    path = directory / OPT
    if not path.is_file():
        return []
    try:
        lines = _read_text(path).splitlines()
    except (ValueError, OSError) as error:
        return [f"{OPT} is ignored: {error.strerror if isinstance(error, OSError) else error}"]
    options = {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    for name, wanted in _OPT_FACTS.items():
        if name in options and options[name] not in wanted:
            raise CheckpointMismatch(
                f"checkpoint {directory.name!r}: {OPT}: {name} is {options[name]!r}, HumanML3D needs {wanted[0]!r}"
            )
    return []


def _read_text(path: Path) -> str:
    """A small UTF-8 file, with or without a byte order mark. Raises ValueError that says what is wrong."""
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError("more than 1 MiB")
    if data.lstrip()[:1] == b"<":
        raise ValueError("a web page: the download went wrong")
    return data.decode("utf-8-sig")
