"""Training: one step as one CUDA graph, a clock that decides the learning rate, and saves that a later run continues.

Everything of a step happens on the device: chance, windows, the network, the losses, AdamW and the moving average.
The host only writes two numbers (learning rate, weight of the average) and replays the graph. On a CPU the same step
runs eagerly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from motion_service.diffusion.schedule import evenly_spaced, named_schedule
from motion_service.errors import CheckpointMismatch, NonFiniteOutput
from motion_service.features.vrm_native import VRM_FPS
from motion_service.mdm.checkpoint import CheckpointConfig, load_checkpoint, write_checkpoint
from motion_service.mdm.network import Denoiser
from motion_service.mdm.reader import TextReader
from motion_service.training.budget import Budget, Progress
from motion_service.training.losses import LossWeights, MotionLoss
from motion_service.training.own_states import Jumps, draw_jumps
from motion_service.training.run_state import has_state, read_state, restore_rng, rng_tensors, write_state
from motion_service.training.settings import TrainSettings
from motion_service.training.shortcuts import Shortcuts
from motion_service.training.windows import Windows, WindowSource

TERMS: Final = (*(term.name for term in fields(LossWeights)), "grad_norm")
"""What is reported beside the loss: its terms, and the norm of the gradient before it is clipped."""


class Trainer:
    """The network, its moving average and its optimiser on one device, and the step that improves them."""

    def __init__(self, settings: TrainSettings, source: WindowSource, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.source = source.to(device)
        self.network = Denoiser(settings.network).to(device).train()
        with torch.no_grad():
            next(self.network.embed_text.parameters()).mul_(settings.optimiser.text_gain)
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.lr = torch.zeros((), device=device)
        self.keep = torch.zeros((), device=device)
        """Share of the moving average that a step keeps."""
        self.sums = torch.zeros(len(TERMS) + 1, device=device)
        """The loss and its terms, summed since the last report."""
        self.unreported = 0
        self.reader: TextReader | None = None
        """Of the weights that training started from: what it makes of a text, the network goes on hearing."""
        self.step_count = 0
        self.warm_steps = 0
        """Steps since the optimiser was born."""
        schedule = named_schedule(settings.diffusion.schedule, settings.diffusion.steps)
        self.shortcuts: Shortcuts | None = None
        """None until there are weights to learn them from."""
        alpha_bar = schedule.alpha_bar
        if short := settings.diffusion.short_steps:
            alpha_bar = torch.cat([alpha_bar, alpha_bar[evenly_spaced(len(alpha_bar), short)]])
        self.jumps = Jumps(schedule).to(device)
        self.signal = alpha_bar.sqrt().float().to(device)  # (S,)
        self.noise = (1 - alpha_bar).sqrt().float().to(device)
        self.loss = MotionLoss(source.mean, source.std, settings.loss).to(device)
        self.optimiser = self._new_optimiser()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._denoise: Callable[..., Tensor] = self.network
        self._teach: Callable[..., Tensor] = self.network

    def _new_optimiser(self) -> torch.optim.AdamW:
        # The rate is a tensor, so that a captured graph reads what the host writes between replays; the moments exist
        # from the start, so that they can be saved and restored in place at any time.
        optimiser = torch.optim.AdamW(
            self.parameters,
            lr=self.lr,
            weight_decay=self.settings.optimiser.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        for parameter in self.parameters:
            zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": torch.zeros((), device=self.device), **zeros}
        return optimiser

    def advance(self, progress: float) -> None:
        """One step; ``progress`` 0..1 is where the learning rate stands in its cosine."""
        self.lr.fill_(self.learning_rate(progress))
        self.keep.fill_(min(self.settings.optimiser.ema, (self.step_count + 1) / (self.step_count + 10)))
        if self._graph is not None:
            self._graph.replay()
        else:
            self._step()
        self.step_count += 1
        self.warm_steps += 1
        self.unreported += 1

    def learning_rate(self, progress: float) -> float:
        """Linear warm-up times a cosine from 1 to the floor."""
        options = self.settings.optimiser
        cosine = options.lr_floor + (1 - options.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress))
        return options.lr * min(1.0, (self.warm_steps + 1) / max(1, options.warmup)) * cosine

    def report(self) -> tuple[float, dict[str, float]]:
        """Means of the loss and its terms since the last report. Waits for the device. Raises NonFiniteOutput."""
        loss, *terms = (self.sums / max(1, self.unreported)).tolist()
        self.sums.zero_()
        self.unreported = 0
        if not math.isfinite(loss):
            raise NonFiniteOutput("the loss is not finite: go on from the last save with a lower learning rate")
        return loss, dict(zip(TERMS, terms, strict=True))

    # --- one step ---------------------------------------------------------------------------------------------------

    def capture(self) -> None:
        """Compile the network and hold the whole step in one CUDA graph. The steps taken to warm up leave no trace.

        Windows and losses are many small kernels, which a graph launches for almost nothing; compiling them too takes
        two minutes and a half for a few milliseconds a step.
        """
        tensors, counts = self.state()
        saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        # No pattern matcher: it would put the fused attention back that _plain_attention avoids.
        plain: dict[str, Any] = {"pattern_matcher": False}
        self._denoise = torch.compile(self.network, dynamic=False, options=plain)
        if self.shortcuts:
            self._teach = torch.compile(self._teach, dynamic=False, options=plain)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._graph = graph
        self.restore(saved, counts)

    def _step(self) -> None:
        diffusion, device, batch = self.settings.diffusion, self.device, self.settings.optimiser.batch
        chance = self.source.roll(batch)
        t = torch.randint(diffusion.steps, (batch,), device=device)
        eps = torch.randn(batch, self.settings.windows.predict, self.settings.network.features, device=device)
        drop = torch.rand(batch, device=device) < diffusion.drop_text
        windows = self.source.compose(chance)
        if (own := round(diffusion.own_prefix * batch)) > 0:
            windows = windows._replace(prefix=self._own_prefix(windows, own))
        noisy = self._noised(windows.target, t, eps)
        if (own := round(diffusion.own_state * batch)) > 0:
            noisy, t = self._own_states(windows, noisy, t, drop, own)
        target = windows.target
        if self.shortcuts and (short := round(diffusion.short_share * batch)) > 0:
            noisy, t, target, drop = self._short_states(self.shortcuts, windows, noisy, t, drop, short)
        made = self._predict(noisy, t, windows.tokens, windows.prefix, windows.frame_mask, drop)
        loss, terms = self.loss(made, target, windows.prefix, windows.frame_mask, self.signal[t] ** 2)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.optimiser.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            change = list(torch._foreach_sub(self.parameters, self.average))
            torch._foreach_mul_(change, 1 - self.keep)
            torch._foreach_add_(self.average, change)
            self.sums.add_(torch.cat([loss.detach()[None], terms, norm[None]]))

    def _noised(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Sample q(x_t | x0), eq. 4 Ho et al. 2020, from tables that already lie on the device."""
        return self.signal[t][:, None, None] * x0 + self.noise[t][:, None, None] * eps

    @torch.no_grad()
    def _own_prefix(self, windows: Windows, count: int) -> Tensor:
        """Prefixes (B, C, F) of which the first ``count`` are what the network makes of them in one step.

        A rollout continues its own output. Without this the network would only ever see recorded prefixes.
        """
        context, predict = windows.prefix.shape[1], windows.target.shape[1]
        t = torch.randint(self.settings.diffusion.own_levels, (count,), device=self.device)
        frames = torch.cat([windows.prefix, windows.target], dim=1)[:count, :predict]
        valid = torch.nn.functional.pad(windows.frame_mask[:count], (context, 0), value=True)[:, :predict]
        unconditional = torch.ones(count, dtype=torch.bool, device=self.device)  # the caption is that of the target
        noisy = self._noised(frames, t, torch.randn_like(frames))
        made = self._predict(noisy, t, windows.tokens[:count], windows.earlier[:count], valid, unconditional)
        return torch.cat([made[:, :context], windows.prefix[count:]])

    @torch.no_grad()
    def _own_states(
        self, windows: Windows, noisy: Tensor, t: Tensor, drop: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """``noisy`` (B, T, F) and ``t`` (B,) with the last ``count`` as a sampler of few steps would meet them."""
        diffusion = self.settings.diffusion
        left, reached = draw_jumps(count, diffusion.steps, diffusion.state_levels, diffusion.state_jump, self.device)
        tokens, prefix, valid = (each[-count:] for each in (windows.tokens, windows.prefix, windows.frame_mask))
        before = self._noised(windows.target[-count:], left, torch.randn_like(noisy[-count:]))
        made = self._predict(before, left, tokens, prefix, valid, drop[-count:])
        after = self.jumps(made, before, left, reached, torch.randn_like(made))
        return torch.cat([noisy[:-count], after]), torch.cat([t[:-count], reached])

    @torch.no_grad()
    def _short_states(
        self, shortcuts: Shortcuts, windows: Windows, noisy: Tensor, t: Tensor, drop: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Noisy frames, times, goals and dropped texts of a batch, whose first ``count`` windows learn shortcuts."""
        num_steps, guidance = self.settings.diffusion.steps, self.settings.release.guidance
        tokens, prefix, valid = (each[:count] for each in (windows.tokens, windows.prefix, windows.frame_mask))
        tokens, prefix, valid = (torch.cat([each, each]) for each in (tokens, prefix, valid))
        blind = torch.arange(2 * count, device=self.device) >= count

        def teacher(x: Tensor, level: Tensor) -> Tensor:
            made = self._predict(x.repeat(2, 1, 1), level.repeat(2), tokens, prefix, valid, blind, self._teach)
            return made[count:] + guidance * (made[:count] - made[count:])

        jump = torch.randint(len(shortcuts.left), (count,), device=self.device)
        start = self._noised(windows.target[:count], shortcuts.left[jump] - 1, torch.randn_like(noisy[:count]))
        goal = shortcuts.goal(start, shortcuts.ends(start, jump, teacher), jump)
        return (
            torch.cat([start, noisy[count:]]),
            torch.cat([num_steps + jump, t[count:]]),
            torch.cat([goal, windows.target[count:]]),
            torch.cat([torch.zeros_like(drop[:count]), drop[count:]]),
        )

    def _predict(
        self,
        noisy: Tensor,
        t: Tensor,
        tokens: Tensor,
        prefix: Tensor,
        valid: Tensor,
        drop: Tensor,
        denoise: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """What the network takes frames of noise level ``t`` for. (B, T, F) float32

        Of any two calls of one size all strides agree, so that they share what was compiled.
        """
        tokens, prefix, valid = tokens.contiguous(), prefix.contiguous(), valid.contiguous()
        text_mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        # Autocast keeps no copies of weights: a copy made in one part of a captured step must not serve another.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=False):
            made = (self._denoise if denoise is None else denoise)(noisy, t, tokens, text_mask, prefix, valid, drop)
        return made.float()

    # --- saving -----------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """The live tensors by name, and the counters."""
        names = [name for name, _ in self.network.named_parameters()]
        tensors: dict[str, Tensor] = {
            f"master.{name}": value for name, value in zip(names, self.parameters, strict=True)
        }
        tensors |= {f"average.{name}": value for name, value in zip(names, self.average, strict=True)}
        tensors |= {"feature_mean": self.source.mean, "feature_std": self.source.std}
        tensors |= rng_tensors(self.device)
        for name, parameter in zip(names, self.parameters, strict=True):
            tensors |= {f"{key}.{name}": value for key, value in self.optimiser.state[parameter].items()}
        return tensors, {"step": self.step_count, "warm_steps": self.warm_steps}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], counts: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`, in place. Raises CheckpointMismatch when the saved network is another one."""
        own, _ = self.state()
        for name, tensor in own.items():
            if name not in tensors or tensors[name].shape != tensor.shape:
                raise CheckpointMismatch(f"the saved run does not fit the configuration ({name}); start with --fresh")
            if not name.startswith("rng."):
                tensor.copy_(tensors[name])
        restore_rng(tensors, self.device)
        self.sums.zero_()
        self.unreported = 0
        self.step_count, self.warm_steps = int(counts["step"]), int(counts["warm_steps"])
        self._use_statistics(self.source.mean.clone(), self.source.std.clone())

    @torch.no_grad()
    def start_from(self, directory: Path) -> None:
        """Take the weights and statistics of a finished checkpoint; the optimiser starts fresh and warms up."""
        checkpoint = load_checkpoint(directory)
        if checkpoint.config.network != self.settings.network:
            raise CheckpointMismatch(f"checkpoint {directory.name!r} has another network than the configuration")
        self.network.load_state_dict(checkpoint.network.state_dict())
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.copy_(parameter)
        self.step_count = int(checkpoint.config.about.get("training", {}).get("steps", 0))
        if reader := checkpoint.reader:
            self.reader = reader
            self.source.captions.set_typical(dict(zip(reader.keys, reader.prototypes, strict=True)))
        self._use_statistics(checkpoint.feature_mean, checkpoint.feature_std)
        diffusion = self.settings.diffusion
        if diffusion.short_steps:
            schedule = named_schedule(diffusion.schedule, diffusion.steps)
            self.shortcuts = Shortcuts(schedule, diffusion.short_steps).to(self.device)
            self._teach = checkpoint.network.to(self.device).eval().requires_grad_(False)

    def _use_statistics(self, mean: Tensor, std: Tensor) -> None:
        for holder in (self.source, self.loss):
            holder.mean.copy_(mean)
            holder.std.copy_(std)

    def release(self, directory: Path, facts: Mapping[str, Any], *, free: bool) -> None:
        """Write the moving average as a checkpoint that the service loads. ``free``: no non-commercial clip in it."""
        settings = self.settings
        network = Denoiser(settings.network)
        names = [name for name, _ in self.network.named_parameters()]
        weights = {name: value.cpu() for name, value in zip(names, self.average, strict=True)}
        network.load_state_dict(network.state_dict() | weights)
        name = settings.release.free_name if free else settings.release.name
        config = CheckpointConfig(
            network=settings.network,
            steps=settings.diffusion.steps,
            schedule=settings.diffusion.schedule,
            text_encoder=self.source.captions.encoder,
            features="vrm",
            fps=VRM_FPS,
            guidance=settings.release.guidance,
            short_steps=settings.diffusion.short_steps if self.shortcuts else 0,
            licence=settings.release.free_licence if free else settings.release.licence,
            about={"name": name, "training": {"steps": self.step_count, **facts}},
        )
        mean, std, prefix = (each.cpu() for each in (self.source.mean, self.source.std, self.source.first_prefix))
        write_checkpoint(directory, network, config, mean, std, prefix, self.reader)


def train(
    trainer: Trainer,
    budget: Budget,
    run_dir: Path,
    *,
    started: float,
    tell: Callable[[Progress], None],
    every: int = 100,
    save_minutes: float = 3.0,
    on_save: Callable[[], None] = lambda: None,
) -> float:
    """Train until the budget is spent or Ctrl-C, saving now and then and at the end; return this run's minutes.

    ``started`` is ``time.monotonic()`` at the start of the process, since a lease counts from there. ``tell`` hears of
    the progress every ``every`` steps; between them the host runs ahead of the device. ``on_save`` is called after
    every save but the last.
    """

    def minutes() -> float:
        return (time.monotonic() - started) / 60

    def save() -> None:
        tensors, counts = trainer.state()
        write_state(run_dir, tensors, {**counts, "elapsed_minutes": budget.elapsed_minutes + minutes()})

    mark, mark_step, saved = time.monotonic(), trainer.step_count, minutes()
    try:
        while not budget.is_spent(trainer.step_count, minutes()):
            progress = budget.progress(trainer.step_count, minutes())
            trainer.advance(progress)
            if trainer.step_count % every == 0:
                loss, terms = trainer.report()
                speed = (trainer.step_count - mark_step) / max(time.monotonic() - mark, 1e-9)
                mark, mark_step = time.monotonic(), trainer.step_count
                share = progress if budget.minutes is None else min(1.0, minutes() / budget.minutes)
                tell(
                    Progress(trainer.step_count, minutes(), speed, trainer.learning_rate(progress), loss, terms, share)
                )
            if minutes() - saved > save_minutes:
                save()
                on_save()
                saved = minutes()
    except KeyboardInterrupt:
        pass  # an interrupted run is saved like a finished one, and goes on when started again
    trainer.report()
    save()
    return minutes()


def resume(trainer: Trainer, run_dir: Path) -> float | None:
    """Go on from a saved run: minutes spent so far, or None when there is none."""
    if not has_state(run_dir):
        return None
    tensors, facts = read_state(run_dir)
    trainer.restore(tensors, facts)
    return float(facts["elapsed_minutes"])
