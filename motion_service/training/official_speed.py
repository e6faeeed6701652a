"""How long the official code takes for a batch on this machine: its network, guidance and loops, unchanged.

Texts are encoded before and noise is drawn on the device, so that nothing of ours is in its time; its own text encoder,
decoding and files would come on top.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from motion_service.diffusion.samplers import Noise
from motion_service.mdm.official import OfficialCheckpoint
from motion_service.mdm_adapter.official import Conditions
from motion_service.mdm_adapter.upstream import UpstreamSampler
from motion_service.mdm_adapter.upstream_program import load_program
from motion_service.verify import RandomTexts, no_statistics

CAPTION = "a person walks forward and waves with the right hand"
_LONG_MS = 500.0


class OfficialSpeed:
    """One checkpoint in the official code. Raises ModelUnavailable or CheckpointMismatch."""

    def __init__(self, checkpoint: OfficialCheckpoint, upstream: Path, device: str) -> None:
        """``upstream``: a checkout of the official repository."""
        self._texts = RandomTexts(checkpoint.config.text_encoder, checkpoint.config.network.text_width)
        program = load_program(upstream)
        self.version = program.commit or f"files {program.sha256[:12]}"
        """The commit of the checkout; without a ``.git``, the hash of what is imported."""
        self._sampler = UpstreamSampler(checkpoint, self._texts, no_statistics(), program, device=device)

    def batch_ms(self, num_frames: int, batch: int) -> list[float]:
        """Milliseconds of 3 or 5 runs of a batch, after one that does not count.

        A window model makes as many windows as ``num_frames`` need, one after the other.
        """
        self._run(num_frames, batch)
        times = [self._timed(num_frames, batch)]
        while len(times) < (3 if statistics.median(times) > _LONG_MS else 5):
            times.append(self._timed(num_frames, batch))
        return times

    def _timed(self, num_frames: int, batch: int) -> float:
        self._wait()
        started = time.perf_counter()
        self._run(num_frames, batch)
        self._wait()
        return 1000 * (time.perf_counter() - started)

    def _run(self, num_frames: int, batch: int) -> Tensor:
        sampler, spec = self._sampler, self._sampler.spec
        run, _ = sampler.new_run(None, None, self._draw)
        texts = self._texts.encode([CAPTION] * batch)
        if not sampler.is_windowed:
            return sampler.sample(texts, num_frames, run)
        prefix = torch.randn(batch, spec.context_frames, spec.features, device=sampler.device)
        if num_frames == spec.predict_frames:
            return sampler.sample(texts, num_frames, run, Conditions(prefix=prefix))
        return sampler.sample_windows(texts, num_frames, run, prefix)

    def _draw(self, shape: tuple[int, int, int]) -> tuple[Tensor, Noise]:
        return torch.randn(shape, device=self._sampler.device), torch.randn_like

    def _wait(self) -> None:
        if self._sampler.device.type == "cuda":
            torch.cuda.synchronize(self._sampler.device)
