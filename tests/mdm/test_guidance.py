from typing import Any

import pytest
import torch

from motion_service.features.target_location import request_to_target
from motion_service.mdm.guidance import conditioned
from motion_service.mdm.network import Denoiser, NetworkSpec

SPEC = NetworkSpec(
    features=7,
    width=16,
    layers=2,
    heads=4,
    feedforward=24,
    text_width=10,
    context_frames=3,
    predict_frames=5,
    mask_frames=True,
    target_encoder="single",
)
X, T = torch.randn(2, 5, 7), torch.tensor([0, 8])
TOKENS, TEXT_MASK = torch.randn(2, 4, 10), torch.tensor([[True] * 4, [True, True, False, False]])


@pytest.fixture
def network() -> Denoiser:
    torch.manual_seed(3)
    return Denoiser(SPEC).eval().requires_grad_(False)


def conditions(network: Denoiser) -> dict[str, Any]:
    goal = request_to_target({"head": (0.1, 1.6, 0.4)})
    target = network.encode_target(goal.places[None], goal.asked[None]).expand(2, -1)
    return {"prefix": torch.randn(2, 3, 7), "frame_mask": torch.ones(2, 5).bool(), "target": target}


def test_each_sample_is_guided_by_its_own_scale(network: Denoiser) -> None:
    rest = conditions(network)
    with_text, without = (
        network(X, T, TOKENS, TEXT_MASK, rest["prefix"], rest["frame_mask"], torch.full((2,), drop), rest["target"])
        for drop in (False, True)
    )
    scale = torch.tensor([2.5, 7.5])[:, None, None]
    got = conditioned(network, TOKENS, TEXT_MASK, scale, **rest)(X, T)
    torch.testing.assert_close(got, without + scale * (with_text - without), atol=1e-5, rtol=0)
    torch.testing.assert_close(conditioned(network, TOKENS, TEXT_MASK, 0.0, **rest)(X, T), without)
    torch.testing.assert_close(conditioned(network, TOKENS, TEXT_MASK, 1.0, **rest)(X, T), with_text)


def test_scale_one_does_not_run_the_other_half(network: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    ask = Denoiser.denoise

    def counting(self: Denoiser, x_t: torch.Tensor, *rest: Any) -> torch.Tensor:
        batches.append(len(x_t))
        return ask(self, x_t, *rest)

    monkeypatch.setattr(Denoiser, "denoise", counting)
    for scale in (1, 1.0, 2.5, torch.ones(2, 1, 1)):
        conditioned(network, TOKENS, TEXT_MASK, scale)(X, T)
    assert batches == [2, 2, 4, 4]


def test_guidance_does_not_drop_the_target(network: Denoiser) -> None:
    rest = conditions(network)
    a = conditioned(network, TOKENS, TEXT_MASK, 0.0, **rest)(X, T)
    b = conditioned(network, TOKENS, TEXT_MASK, 0.0, **rest | {"target": None})(X, T)
    assert float((a - b).abs().max()) > 1e-4
