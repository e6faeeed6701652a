import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from motion_service.mdm.network import Denoiser, NetworkSpec, sinusoids

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


@pytest.mark.parametrize("spec", [TINY, OFFICIAL])
def test_dropped_text_has_no_influence(spec: NetworkSpec) -> None:
    network, drop = tiny(spec), torch.tensor([True, False])
    a = network(**inputs(drop_text=drop))
    b = network(**inputs(drop_text=drop, tokens=inputs()["tokens"] + 1))
    torch.testing.assert_close(a[0], b[0])
    assert float((a[1] - b[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("spec", [TINY, OFFICIAL])
def test_padding_tokens_have_no_influence(spec: NetworkSpec) -> None:
    network, tokens = tiny(spec), inputs()["tokens"]
    loud = tokens.masked_fill(~inputs()["text_mask"][..., None], 1e3)
    torch.testing.assert_close(network(**inputs()), network(**inputs(tokens=loud)))


def test_masked_frames_have_no_influence_on_others() -> None:
    network, x = tiny(OFFICIAL), inputs()["x_t"]
    mask = torch.ones(2, 5).bool()
    mask[:, 4] = False
    loud = x.masked_fill(~mask[..., None], 1e3)
    a, b = (network(**inputs(x_t=frames, frame_mask=mask)) for frames in (x, loud))
    torch.testing.assert_close(a[:, :4], b[:, :4])
    unmasked = tiny(dataclasses.replace(OFFICIAL, mask_frames=False))
    torch.testing.assert_close(unmasked(**inputs(frame_mask=mask)), unmasked(**inputs()))


def test_prefix_time_and_text_each_matter() -> None:
    network = tiny()
    usual = network(**inputs())
    assert usual.shape == (2, 5, 7)
    for change in (
        {"prefix": inputs()["prefix"].flip(1)},
        {"prefix": None},
        {"t": torch.tensor([1, 9])},
        {"tokens": -inputs()["tokens"]},
    ):
        assert float((network(**inputs(**change)) - usual).abs().amax(dim=(1, 2)).min()) > 1e-4


def test_samples_of_a_batch_do_not_mix() -> None:
    network = tiny()
    alone = network(**{key: value[1:] if isinstance(value, Tensor) else value for key, value in inputs().items()})
    torch.testing.assert_close(network(**inputs())[1:], alone)


def test_dropout_acts_in_training_only() -> None:
    network = tiny()
    torch.testing.assert_close(network(**inputs()), network(**inputs()), atol=0, rtol=0)
    network.train()
    assert not torch.equal(network(**inputs()), network(**inputs()))


def test_every_parameter_learns() -> None:
    network = tiny().train().requires_grad_(True)
    network(**inputs()).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_sinusoids_follow_the_formula() -> None:
    table = sinusoids(50, 8).double()
    angle = 7 * 10000.0 ** (-2 / 8)
    assert table[7, 2:4].tolist() == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-5)


def test_spec_survives_json() -> None:
    assert NetworkSpec.from_json(json.loads(json.dumps(TINY.to_json()))) == TINY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "gru"}, "gru"),
        ({"emb_trans_dec": True}, "emb_trans_dec"),
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
