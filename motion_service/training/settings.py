"""The one configuration file of training: TOML tables to checked, frozen values."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from motion_service.errors import BadRequest
from motion_service.features.vrm_native import VRM_WIDTH
from motion_service.mdm.network import NetworkSpec
from motion_service.training.losses import LossWeights
from motion_service.training.windows import WindowSettings

Table = TypeVar("Table")


@dataclass(frozen=True, slots=True)
class DiffusionSettings:
    """The noise the network learns to take away."""

    steps: int = 10
    schedule: str = "cosine"
    drop_text: float = 0.1
    """Share of windows without text, for guidance."""
    own_prefix: float = 0.12
    """Share of windows that continue the network's own version of the prefix, as every later window of a clip does."""
    own_levels: int = 7
    """Noise levels, from the cleanest, that such prefixes are made from."""
    own_state: float = 0.0
    """Share of windows whose noisy frames come from the network's own prediction, as in a sampler (own_states.py).
    As great as ``own_prefix`` the network is compiled once for both."""
    state_levels: int = 6
    """Such frames are at one of so many levels, from the cleanest: noisier ones hardly hold anything of the recording,
    and the network would learn to answer with a mean."""
    short_steps: int = 0
    """Steps of a second, deterministic way to sample that is learned from the weights a run starts from (shortcuts.py);
    0 = none."""
    short_share: float = 0.0
    """Share of windows that teach it."""
    state_jump: int = 3
    """Most levels between that prediction and its use; 2 or 3 are what 5 of 10 steps take."""


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """AdamW with warm-up and a cosine to ``lr_floor``."""

    batch: int = 512
    lr: float = 3e-4
    lr_floor: float = 0.02
    """Last learning rate as a share of ``lr``."""
    warmup: int = 500
    """Steps, at every start without the optimiser's own state."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Greatest norm of the gradient."""
    ema: float = 0.9995
    text_gain: float = 8.0
    """Factor on the first text layer at birth: the numbers of a sentence embedding are small, about 0.04 each."""


@dataclass(frozen=True, slots=True)
class ReleaseSettings:
    """What a finished checkpoint says of itself."""

    name: str = "mini"
    free_name: str = "mini-free"
    """Its name when only clips without a non-commercial term were used."""
    guidance: float = 3.0
    licence: str = "CC-BY-NC-4.0"
    free_licence: str = "CC0-1.0 AND LicenseRef-CMU-MoCap"
    """Its licence then; that of the CMU database allows everything but selling the data as such."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything a training run is made of."""

    network: NetworkSpec
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)

    def __post_init__(self) -> None:
        spec, windows = self.network, self.windows
        if (spec.features, spec.context_frames, spec.predict_frames) != (VRM_WIDTH, windows.context, windows.predict):
            raise BadRequest(
                f"network: needs features {VRM_WIDTH}, context_frames {windows.context} and predict_frames "
                f"{windows.predict}, as the windows have",
                field="network",
            )
        if self.diffusion.own_prefix > 0 and windows.predict < windows.context:
            raise BadRequest("diffusion: own_prefix needs predict >= context frames", field="diffusion.own_prefix")


def read_settings(path: Path) -> TrainSettings:
    """Read a TOML file. Raises BadRequest that names the table and the key that is wrong."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadRequest(f"there is no configuration file {path.name}", field="config") from error
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{path.name} is not TOML: {error}", field="config") from error
    kinds = {
        "diffusion": DiffusionSettings,
        "windows": WindowSettings,
        "loss": LossWeights,
        "optimiser": OptimiserSettings,
        "release": ReleaseSettings,
    }
    if unknown := sorted(set(tables) - set(kinds) - {"network"}):
        raise BadRequest(f"{path.name}: unknown tables {', '.join(unknown)}", field=unknown[0])
    try:
        network = NetworkSpec.from_json(tables.get("network", {}))
    except ValueError as error:
        raise BadRequest(f"{path.name}: {error}", field="network") from error
    return TrainSettings(network, **{name: _table(kind, name, tables.get(name, {})) for name, kind in kinds.items()})


def _table(kind: type[Table], name: str, values: Mapping[str, Any]) -> Table:
    known = {each.name: each.default for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise BadRequest(f"[{name}] has no key {', '.join(unknown)}", field=f"{name}.{unknown[0]}")
    checked = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key, value in checked.items():
        expected = type(known[key])
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) if expected is float else None
        if not (isinstance(value, expected) if fits is None else fits):
            raise BadRequest(f"[{name}] {key} must be a {expected.__name__}, got {value!r}", field=f"{name}.{key}")
    return kind(**checked)
