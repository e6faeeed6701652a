import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from motion_service.errors import CheckpointMismatch
from motion_service.mdm.checkpoint import match_keys
from motion_service.mdm.network import Denoiser, NetworkSpec
from motion_service.mdm.official_keys import is_parameter, state_dict_to_spec_facts

KEY_LISTS = Path(__file__).resolve().parents[2] / ".." / "shared" / "spec" / "state-dict-keys"
NAMES = [
    "humanml_trans_dec_512_bert-50steps",
    "humanml-encoder-512-50steps",
    "dip_no_target_10steps_context20_predict40",
    "dip_target_10steps_context20_predict40_multi",
    "dip_target_10steps_context20_predict40_single",
    "dip_target_10steps_context20_predict40_split",
]
SMALL = NetworkSpec(features=7, width=16, layers=3, heads=4, feedforward=24, text_width=10)


def key_list(name: str) -> dict[str, Any]:
    path = KEY_LISTS / f"state_dict_keys_{name}.json"
    if not path.is_file():
        pytest.skip("the key lists of the official checkpoints are not beside this checkout")
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def zeros(shape: list[int]) -> torch.Tensor:
    """Any number of zeros in the memory of one."""
    return torch.zeros(1).expand(shape)


def full_size(name: str) -> tuple[Denoiser, dict[str, torch.Tensor], dict[str, Any]]:
    told = key_list(name)
    facts = state_dict_to_spec_facts({key: value["shape"] for key, value in told["keys"].items()})
    with torch.device("meta"):
        network = Denoiser(NetworkSpec(**facts, heads=4))
    tensors = {key: zeros(value["shape"]) for key, value in told["keys"].items() if is_parameter(key)}
    return network, tensors, told


@pytest.mark.parametrize("name", NAMES)
def test_every_official_checkpoint_loads_at_full_size(name: str) -> None:
    network, tensors, told = full_size(name)
    match_keys(name, {key: tuple(value.shape) for key, value in network.state_dict().items()}, tensors)
    network.load_state_dict(tensors, strict=True, assign=True)
    assert sum(p.numel() for p in network.parameters()) == told["n_trainable_parameters"]
    assert set(told["keys"]) - set(tensors) == set(told["recomputed_not_loaded"])
    options = told["constructor"]
    assert network.spec.arch == options["arch"]
    assert network.spec.text_width == {"clip": 512, "bert": 768}[options["text_encoder_type"]]
    assert network.spec.target_encoder == options.get("multi_encoder_type")


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_checkpoint_is_reported_key_by_key(name: str) -> None:
    network, tensors, _ = full_size(name)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    missing, misshapen = "embed_timestep.time_embed.0.bias", "output_process.poseFinal.weight"
    tensors[misshapen] = tensors[misshapen][:, :-1]
    tensors["foreign.weight"] = tensors.pop(missing)
    with pytest.raises(CheckpointMismatch) as error:
        match_keys(name, expected, tensors)
    for line in (f"missing {missing}", "unexpected foreign.weight", f"{misshapen} has shape"):
        assert line in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"arch": "trans_enc"},
        {"text_width": 0},
        {"emb_trans_dec": True},
        {"target_encoder": "multi"},
        {"target_encoder": "single", "target_layers": 3},
        {"target_encoder": "single", "target_layers": 0},
        {"target_encoder": "split", "target_layers": 2},
    ],
)
def test_shapes_tell_what_they_can(change: dict[str, Any]) -> None:
    spec = dataclasses.replace(SMALL, **change)
    shapes = {key: tuple(value.shape) for key, value in Denoiser(spec).state_dict().items()}
    facts = state_dict_to_spec_facts(shapes)
    assert facts == {key: value for key, value in spec.to_json().items() if key in facts}
    tables = {"sequence_pos_encoder.pe": (5000, 1, 16), "embed_timestep.sequence_pos_encoder.pe": (60, 1, 16)}
    frozen = {"clip_model.embed_text.weight": (1, 2)}
    assert state_dict_to_spec_facts(shapes | tables | frozen) == facts
    assert not any(map(is_parameter, tables | frozen))
    assert all(map(is_parameter, shapes))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "poseEmbedding.weight should be a matrix and is not there"),
        ({"input_process.poseEmbedding.weight": (3,)}, r"is the shape \(3,\)"),
        ({"input_process.poseEmbedding.weight": (3, 3), "gru.weight_ih_l0": (3, 3)}, "linear1.weight"),
    ],
)
def test_other_checkpoints_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(CheckpointMismatch, match=message):
        state_dict_to_spec_facts(shapes)
