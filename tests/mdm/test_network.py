import dataclasses
import json
import math
import re
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from motion_service.mdm.network import Denoiser, NetworkSpec, sinusoids
from motion_service.mdm.target import TargetEncoder

TINY = NetworkSpec(
    features=7,
    width=16,
    layers=2,
    heads=4,
    feedforward=24,
    text_width=10,
    text_policy="concat",
    text_hidden=12,
    context_frames=3,
    predict_frames=5,
)
OFFICIAL = dataclasses.replace(TINY, text_policy="add", text_hidden=None, mask_frames=True)
TIME_TOKEN = dataclasses.replace(OFFICIAL, emb_trans_dec=True)
ENCODER = dataclasses.replace(OFFICIAL, arch="trans_enc")
TARGETED = dataclasses.replace(OFFICIAL, target_encoder="split", target_layers=2)
KINDS = get_args(TargetEncoder)
ALL = [TINY, OFFICIAL, TIME_TOKEN, ENCODER, TARGETED]

LAYER_KEYS = {
    *(f"{block}.{key}" for block in ("self_attn", "multihead_attn") for key in ("in_proj_weight", "in_proj_bias")),
    *(f"{block}.out_proj.{key}" for block in ("self_attn", "multihead_attn") for key in ("weight", "bias")),
    *(f"{block}.{key}" for block in ("linear1", "linear2", "norm1", "norm2", "norm3") for key in ("weight", "bias")),
}


def tiny(spec: NetworkSpec = TINY) -> Denoiser:
    torch.manual_seed(3)
    return Denoiser(spec).eval().requires_grad_(False)


def inputs(**changes: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    values = {
        "x_t": torch.randn(2, 5, 7, generator=generator),
        "t": torch.tensor([0, 8]),
        "tokens": torch.randn(2, 4, 10, generator=generator),
        "text_mask": torch.tensor([[True] * 4, [True, True, False, False]]),
        "prefix": torch.randn(2, 3, 7, generator=generator),
        "frame_mask": None,
        "drop_text": torch.tensor([False, False]),
    }
    return values | changes


def inputs_of(network: Denoiser, **changes: Any) -> dict[str, Any]:
    """Inputs that fit: one token where only one can be read, a target where there can be one."""
    values = inputs()
    if network.spec.arch == "trans_enc":
        values |= {"tokens": values["tokens"][:, :1], "text_mask": values["text_mask"][:, :1]}
    if network.spec.target_encoder:
        generator = torch.Generator().manual_seed(6)
        asked = torch.rand(2, 8, generator=generator) < 0.5
        places = torch.randn(2, 8, 3, generator=generator) * asked[..., None]
        values["target"] = network.encode_target(places, asked)
    return values | changes


def test_parameter_names_are_the_official_ones() -> None:
    expected = {f"seqTransDecoder.layers.{i}.{key}" for i in range(2) for key in LAYER_KEYS}
    for name in (
        "input_process.poseEmbedding",
        "embed_timestep.time_embed.0",
        "embed_timestep.time_embed.2",
        "embed_text",
        "output_process.poseFinal",
    ):
        expected |= {f"{name}.weight", f"{name}.bias"}
    assert set(tiny(OFFICIAL).state_dict()) == expected
    assert set(tiny(TIME_TOKEN).state_dict()) == expected
    encoder = {key.replace("Decoder", "Encoder") for key in expected if not re.search("multihead|norm3", key)}
    assert set(tiny(ENCODER).state_dict()) == encoder


def test_official_size_has_the_official_number_of_parameters() -> None:
    spec = NetworkSpec(features=263, width=512, layers=8, heads=4, feedforward=1024, text_width=768)
    with torch.device("meta"):
        network = Denoiser(spec)
    # 26,424,583 counts parameters only; "156 keys" counts two position tables that we recompute.
    assert sum(p.numel() for p in network.parameters()) == 26_424_583
    assert len(network.state_dict()) == 154


def test_decoder_layer_equals_the_stock_one() -> None:
    layer = tiny(OFFICIAL).seqTransDecoder["layers"][0]
    stock = torch.nn.TransformerDecoderLayer(16, 4, 24, 0.0, "gelu", batch_first=True).eval()
    stock.load_state_dict(layer.state_dict())
    h, memory = torch.randn(2, 8, 16), torch.randn(2, 4, 16)
    hidden_frames, hidden_tokens = torch.zeros(2, 8).bool(), torch.zeros(2, 4).bool()
    hidden_frames[1, 6:], hidden_tokens[0, 3] = True, True
    keys, values = layer.multihead_attn.keys_values(memory)
    got = layer(h, ~hidden_frames[:, None, None], keys, values, ~hidden_tokens[:, None, None])
    expected = stock(h, memory, tgt_key_padding_mask=hidden_frames, memory_key_padding_mask=hidden_tokens)
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)


def test_encoder_layer_equals_the_stock_one() -> None:
    layer = tiny(ENCODER).seqTransEncoder["layers"][0]
    stock = torch.nn.TransformerEncoderLayer(16, 4, 24, 0.0, "gelu", batch_first=True).eval()
    stock.load_state_dict(layer.state_dict())
    h, hidden_frames = torch.randn(2, 8, 16), torch.zeros(2, 8).bool()
    hidden_frames[1, 6:] = True
    # The stock layer's fast path is taken in inference only and zeroes hidden frames.
    expected = stock(h.requires_grad_(), src_key_padding_mask=hidden_frames)
    torch.testing.assert_close(layer(h, ~hidden_frames[:, None, None]), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("spec", ALL)
def test_dropped_text_has_no_influence(spec: NetworkSpec) -> None:
    network, drop = tiny(spec), torch.tensor([True, False])
    usual = inputs_of(network, drop_text=drop)
    a, b = network(**usual), network(**usual | {"tokens": usual["tokens"] + 1})
    torch.testing.assert_close(a[0], b[0])
    assert float((a[1] - b[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("spec", [TINY, OFFICIAL])
def test_padding_tokens_have_no_influence(spec: NetworkSpec) -> None:
    network, tokens = tiny(spec), inputs()["tokens"]
    loud = tokens.masked_fill(~inputs()["text_mask"][..., None], 1e3)
    torch.testing.assert_close(network(**inputs()), network(**inputs(tokens=loud)))


@pytest.mark.parametrize("spec", [OFFICIAL, TIME_TOKEN, ENCODER, TARGETED])
def test_masked_frames_have_no_influence_on_others(spec: NetworkSpec) -> None:
    network, x = tiny(spec), inputs()["x_t"]
    mask = torch.ones(2, 5).bool()
    mask[:, 4] = False
    loud = x.masked_fill(~mask[..., None], 1e3)
    a, b = (network(**inputs_of(network, x_t=frames, frame_mask=mask)) for frames in (x, loud))
    torch.testing.assert_close(a[:, :4], b[:, :4])
    unmasked = tiny(dataclasses.replace(spec, mask_frames=False))
    torch.testing.assert_close(unmasked(**inputs_of(unmasked, frame_mask=mask)), unmasked(**inputs_of(unmasked)))


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize("mask", [torch.ones(2, 5).bool(), torch.zeros(2, 1).bool()])
def test_masks_that_hide_nothing_do_nothing(spec: NetworkSpec, mask: Tensor) -> None:
    network = tiny(spec)
    torch.testing.assert_close(network(**inputs_of(network, frame_mask=mask)), network(**inputs_of(network)))


@pytest.mark.parametrize("spec", ALL)
def test_one_text_serves_a_whole_batch(spec: NetworkSpec) -> None:
    network = tiny(spec)
    usual = inputs_of(network)
    one = {key: usual[key][:1] for key in ("tokens", "text_mask", "drop_text")}
    repeated = {key: value.expand(2, *value.shape[1:]) for key, value in one.items()}
    torch.testing.assert_close(network(**usual | one), network(**usual | repeated))


def test_time_before_the_frames_matters() -> None:
    with_token, without = tiny(TIME_TOKEN), tiny(OFFICIAL)
    with_token.load_state_dict(without.state_dict())
    assert float((with_token(**inputs()) - without(**inputs())).abs().max()) > 1e-3


def test_no_target_is_a_target_of_zeros() -> None:
    network = tiny(TARGETED)
    without = network(**inputs())
    torch.testing.assert_close(network(**inputs(target=torch.zeros(2, 16))), without)
    assert float((network(**inputs_of(network)) - without).abs().max()) > 1e-3


def test_targets_need_a_network_that_takes_them() -> None:
    with pytest.raises(ValueError, match="takes no targets"):
        tiny().encode_target(torch.zeros(2, 8, 3), torch.zeros(2, 8).bool())


@pytest.mark.parametrize("arch", ["trans_dec", "trans_enc"])
def test_a_network_without_text_needs_none(arch: str) -> None:
    network = tiny(dataclasses.replace(OFFICIAL, arch=arch, text_width=0))
    assert not any("embed_text" in key for key in network.state_dict())
    no_text = {"tokens": torch.zeros(2, 1, 0), "text_mask": torch.ones(2, 1).bool()}
    usual = network(**inputs(**no_text))
    torch.testing.assert_close(network(**inputs(**no_text, drop_text=torch.tensor([True, True]))), usual)
    assert float((network(**inputs(**no_text, t=torch.tensor([9, 9]))) - usual).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="one token"):
        network(**inputs(tokens=torch.zeros(2, 4, 0)))


def test_texts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="10 wide, the network reads 12"):
        tiny(dataclasses.replace(TINY, text_width=12))(**inputs())
    with pytest.raises(ValueError, match="one token a text, got 4"):
        tiny(ENCODER)(**inputs())


@pytest.mark.parametrize("spec", ALL)
def test_prefix_time_and_text_each_matter(spec: NetworkSpec) -> None:
    network = tiny(spec)
    values = inputs_of(network)
    usual = network(**values)
    assert usual.shape == (2, 5, 7)
    for change in (
        {"prefix": values["prefix"].flip(1)},
        {"prefix": None},
        {"t": torch.tensor([1, 9])},
        {"tokens": -values["tokens"]},
    ):
        assert float((network(**values | change) - usual).abs().amax(dim=(1, 2)).min()) > 1e-4


@pytest.mark.parametrize("spec", ALL)
def test_samples_of_a_batch_do_not_mix(spec: NetworkSpec) -> None:
    network = tiny(spec)
    usual = inputs_of(network)
    alone = network(**{key: value[1:] if isinstance(value, Tensor) else value for key, value in usual.items()})
    torch.testing.assert_close(network(**usual)[1:], alone)


def test_dropout_acts_in_training_only() -> None:
    network = tiny()
    torch.testing.assert_close(network(**inputs()), network(**inputs()), atol=0, rtol=0)
    network.train()
    assert not torch.equal(network(**inputs()), network(**inputs()))


@pytest.mark.parametrize("spec", [*ALL, *(dataclasses.replace(OFFICIAL, target_encoder=kind) for kind in KINDS)])
def test_every_parameter_learns(spec: NetworkSpec) -> None:
    network = tiny(spec).train().requires_grad_(True)
    values = inputs_of(network)
    if spec.target_encoder:
        values["target"] = network.encode_target(torch.randn(2, 8, 3), torch.ones(2, 8).bool())
    network(**values).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_sinusoids_follow_the_formula() -> None:
    table = sinusoids(50, 8).double()
    angle = 7 * 10000.0 ** (-2 / 8)
    assert table[7, 2:4].tolist() == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-5)


@pytest.mark.parametrize("spec", ALL)
def test_spec_survives_json(spec: NetworkSpec) -> None:
    assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_specs_written_before_there_were_targets_still_load() -> None:
    values = TINY.to_json()
    del values["target_encoder"], values["target_layers"]
    assert NetworkSpec.from_json(values) == TINY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "gru"}, "gru"),
        ({"arch": "trans_enc", "text_policy": "add", "emb_trans_dec": True}, "emb_trans_dec"),
        ({"arch": "trans_enc"}, "'concat' need arch"),
        ({"target_encoder": "best"}, "target_encoder"),
        ({"target_encoder": "multi", "target_layers": 2}, "target_layers 2"),
        ({"target_encoder": "single", "target_layers": -1}, "target_layers -1"),
        ({"target_encoder": "split", "width": 20}, "divisible by 8"),
        ({"text_width": -1}, "size"),
        ({"text_policy": "mean"}, "text_policy"),
        ({"width": 15}, "width"),
        ({"layers": 0}, "size"),
        ({"colour": 1}, "colour"),
    ],
)
def test_impossible_specs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkSpec.from_json(TINY.to_json() | change)


def test_missing_spec_fields_are_named() -> None:
    values = TINY.to_json()
    del values["width"]
    with pytest.raises(ValueError, match="width"):
        NetworkSpec.from_json(values)
