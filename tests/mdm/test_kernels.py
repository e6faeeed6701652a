"""Own kernels against the Denoiser: in Triton's interpreter on the CPU, as they are on a GPU."""

import importlib.util
import os

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton comes with torch's CUDA build only", allow_module_level=True)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

from motion_service.mdm.fast import Engine, FastDenoiser
from tests.mdm.fast_cases import (
    PLAIN,
    SPEC,
    STEPS,
    TARGETED,
    answer_of,
    ask,
    clip_of,
    network_of,
    together,
)

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, of rows that no clip has
@pytest.mark.parametrize("engine", ["few", "many"])
@pytest.mark.parametrize(
    ("spec", "tokens"), [(SPEC, 1), (PLAIN, 4), (TARGETED, 4)], ids=["one-token", "clip", "target"]
)
def test_mixed_clips_equal_the_denoiser(spec: object, tokens: int, engine: Engine) -> None:
    """Clips of other length, text, scale and place in the rows, one of them of a single frame."""
    network = network_of(spec)  # type: ignore[arg-type]
    fast = FastDenoiser(network, STEPS, device=DEVICE, dtype=torch.float32, kernels=True)
    asked = [
        ask(network, seed, frames, tokens=tokens, hidden=min(seed, tokens - 1), scale=2.5 + seed)
        for seed, frames in enumerate((14, 1, 17))
    ]
    clips = [clip_of(fast, one, tokens) for one in asked]
    made = together(fast, clips, [0, 23, 17 + 10], tokens, engine)
    exact = {"atol": 2e-5, "rtol": 2e-5} if DEVICE.type == "cpu" else {"atol": 2e-3, "rtol": 2e-3}
    for one, frames in zip(asked, made, strict=True):
        torch.testing.assert_close(frames.cpu(), answer_of(network, one), **exact)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("engine", ["plain", "few", "many"])
def test_half_precision_on_the_gpu(engine: Engine) -> None:
    network = network_of(SPEC)
    fast = FastDenoiser(network, STEPS, device="cuda", dtype=torch.float16)
    asked = [ask(network, seed, frames) for seed, frames in enumerate((14, 1, 17))]
    clips = [clip_of(fast, one, 4) for one in asked]
    made = together(fast, clips, [0, 20, 40], 4, engine)
    for one, frames in zip(asked, made, strict=True):
        expected = answer_of(network, one)
        assert (frames.cpu() - expected).norm() / expected.norm() < 0.02
