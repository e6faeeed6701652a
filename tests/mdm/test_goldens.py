"""Parity with recorded outputs of the reference implementation of MDM and DiP (tolerances: README of the goldens)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_service.diffusion.rollout import rollout
from motion_service.diffusion.samplers import Denoise, guided, sample_ddpm
from motion_service.diffusion.schedule import named_schedule
from motion_service.mdm.network import Denoiser, NetworkSpec, TextMemory

GOLDENS = Path(__file__).resolve().parents[2] / ".." / "shared" / "goldens"
MODELS = ["model_dip.npz", "model_dec_bert.npz", "model_dec_bert_concat.npz"]

pytestmark = pytest.mark.skipif(not GOLDENS.is_dir(), reason="the goldens are not beside this checkout")


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDENS / name, allow_pickle=False) as file:
        return {key: _tensor(file[key]) for key in file.files}


def _tensor(array: np.ndarray) -> Any:
    if array.dtype.kind == "U":
        return str(array)
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)


def frames(x: Tensor) -> Tensor:
    return x.squeeze(-2).transpose(-1, -2)  # (..., F, 1, T) -> (..., T, F)


def network(golden: dict[str, Any], **changes: Any) -> Denoiser:
    config = json.loads(golden["config_json"])
    spec = NetworkSpec(
        features=config["njoints"],
        width=config["latent_dim"],
        layers=config["num_layers"],
        heads=config["num_heads"],
        feedforward=config["ff_size"],
        text_width=golden["in/text_embed"].shape[-1],
        text_policy=config["emb_policy"],
        context_frames=config["context_len"],
        predict_frames=config["pred_len"],
        **{"mask_frames": config["mask_frames"], **changes},
    )
    model = Denoiser(spec).eval().requires_grad_(False)
    weights = {key.removeprefix("sd/"): value for key, value in golden.items() if key.startswith("sd/")}
    model.load_state_dict(weights, strict=True)
    return model


def pair_memory(model: Denoiser, tokens: Tensor, mask: Tensor) -> TextMemory:
    drop = torch.arange(2).repeat_interleave(len(tokens)).bool()
    return model.encode_text(tokens.repeat(2, 1, 1), mask.repeat(2, 1), drop)


def denoise_pair(model: Denoiser, golden: dict[str, Any], memory: TextMemory, prefix: Tensor | None) -> Denoise:
    pair_prefix = None if prefix is None else prefix.repeat(2, 1, 1)
    mask = golden["in/mask"][:, 0, 0].repeat(2, 1)
    return lambda x, t: model.denoise(x, t, memory, pair_prefix, mask)


def text(golden: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return golden["in/text_embed"].transpose(0, 1), ~golden["in/text_mask"]


def recorded_cases() -> Iterator[tuple[str, str, int]]:
    """Each model has all three rows of timesteps in one kind and the last row in the other."""
    for name in MODELS:
        often, once = ("masked", "nomask") if name == "model_dip.npz" else ("nomask", "masked")
        yield from ((name, often, case) for case in range(3))
        yield name, once, 2


@pytest.mark.parametrize(("name", "kind", "case"), list(recorded_cases()))
def test_forward_matches_reference(name: str, kind: str, case: int) -> None:
    golden = load(name)
    model = network(golden, mask_frames=kind == "masked")
    tokens, text_mask = text(golden)
    prefix = frames(golden["in/prefix"]) if "in/prefix" in golden else None
    x, t = frames(golden["in/x"]), golden["in/timesteps"][case]
    for drop, out in ((False, "cond"), (True, "uncond")):
        got = model(x, t, tokens, text_mask, prefix, golden["in/mask"][:, 0, 0], torch.full((len(x),), drop))
        torch.testing.assert_close(got, frames(golden[f"{kind}/out_{out}_{case}"]), atol=1e-5, rtol=0)
    pair = denoise_pair(model, golden, pair_memory(model, tokens, text_mask), prefix)
    got = guided(pair, golden["in/scale"][:, None, None])(x, t)
    torch.testing.assert_close(got, frames(golden[f"{kind}/out_cfg_{case}"]), atol=2e-5, rtol=0)


def test_one_text_serves_a_whole_batch() -> None:
    golden = load("model_dec_bert.npz")
    model = network(golden, mask_frames=True)
    tokens, text_mask = text(golden)
    memory = model.encode_text(tokens[:1], text_mask[:1], torch.tensor([False]))
    got = model.denoise(
        frames(golden["in/x"]), golden["in/timesteps"][2], memory, frame_mask=golden["in/mask"][:, 0, 0]
    )
    torch.testing.assert_close(got, frames(golden["bcast/out_cond"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["diffusion_loop_dip.npz", "diffusion_loop_dec_bert.npz"])
def test_sampling_loop_matches_reference(name: str) -> None:
    golden = load(name)
    model = network(load(golden["model_file"]), mask_frames=True)
    tokens, text_mask = text(golden)
    prefix = frames(golden["in/prefix"]) if "in/prefix" in golden else None
    schedule = named_schedule("cosine", int(golden["steps"]))
    pair = denoise_pair(model, golden, pair_memory(model, tokens, text_mask), prefix)
    start = frames(golden["noise_init"])

    def sample(denoise: Denoise) -> Tensor:
        noises = iter(frames(golden["noise_steps"]))
        return sample_ddpm(denoise, start, schedule, lambda x: next(noises))

    got = sample(guided(pair, golden["in/scale"][:, None, None]))
    torch.testing.assert_close(got, frames(golden["final"]), atol=1e-4, rtol=0)
    got = sample(guided(pair, 1.0))
    torch.testing.assert_close(got, frames(golden["final_noguidance"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_rollout_matches_reference(kind: str) -> None:
    golden = load("autoregressive.npz")
    model = network(load(golden["model_file"]))
    scale = golden["in/scale"][:, None, None]
    prompts = json.loads(golden["prompts_json"])

    def memory_of(names: list[str]) -> TextMemory:
        texts = [golden[f"text/{name}"] for name in names]
        tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=9.0)  # padding has no say
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(text) for text in texts])[:, None]
        return pair_memory(model, tokens, mask)

    def sample_window(index: int, prefix: Tensor) -> Tensor:
        memory = memory_of(json.loads(golden["static/texts_json"]) if kind == "static" else [prompts[index]] * 2)
        noises = iter(frames(golden["noise"][index]))
        denoise = guided(denoise_pair(model, golden, memory, prefix), scale)
        return sample_ddpm(denoise, next(noises), named_schedule("cosine", 10), lambda x: next(noises))

    windows = list(rollout(sample_window, frames(golden["in/prefix"]), len(prompts)))
    torch.testing.assert_close(torch.cat(windows, dim=1), frames(golden[f"{kind}/final"]), atol=2e-4, rtol=0)
