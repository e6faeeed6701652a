"""The official program's own network and sampling loop behind the interface of ours (``MOTION_MDM_ENGINE=upstream``).

What its ``sample.generate`` does between loading a checkpoint and writing files is done here on a resident model, by
its code: network, guidance, ``p_sample_loop``, windows. Texts come from our encoders, noise from the request's seed;
data set, SMPL and its text encoders are not touched. It computes in float32, guidance in two passes, and knows nothing
of batches joined between steps: it is for comparison, not for speed.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from motion_service.clips import TextEmbedding
from motion_service.diffusion.samplers import Noise
from motion_service.diffusion.schedule import Schedule
from motion_service.errors import BadRequest, CheckpointMismatch, ModelUnavailable
from motion_service.features.statistics import Statistics
from motion_service.mdm.network import MAX_POSITIONS
from motion_service.mdm.official import TEXT_ENCODERS, OfficialCheckpoint
from motion_service.mdm.official_keys import is_parameter
from motion_service.mdm.target import GOALS
from motion_service.mdm_adapter.official import Conditions, Draw, OfficialSampler, Run, never, stack_texts
from motion_service.mdm_adapter.upstream_program import UpstreamProgram
from motion_service.text_encoder import TextEncoder


class UpstreamSampler(OfficialSampler):
    """MDM or DiP, computed by the official code. Not thread-safe: call it on the model thread only.

    A run is cancelled between steps, as with our own code.
    """

    engine = "upstream"

    def __init__(
        self,
        checkpoint: OfficialCheckpoint,
        encoder: TextEncoder,
        statistics: Statistics,
        program: UpstreamProgram,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises CheckpointMismatch when the official network has no place for the weights, or lacks some."""
        super().__init__(checkpoint, encoder, statistics, device=device)
        self._program = program
        self._embedded: Any = None
        self._model, self._diffusion = _new_model(program, checkpoint)
        self._model.encode_text = lambda texts: self._embedded  # its windows ask for texts again, one by one
        self._model.to(self.device)  # returns nothing, nor does eval()
        self._model.eval()
        self._guided = None
        if checkpoint.cond_mask_prob > 0:
            self._guided = program.sampler_util.ClassifierFreeSampleModel(self._model)
            self._guided.eval()

    def new_run(
        self,
        steps: int | None,
        guidance: float | None,
        draw: Draw,
        *,
        ddim: bool = False,
        check: Callable[[], None] = never,
    ) -> tuple[Run, tuple[str, ...]]:
        """As our own; raises BadRequest for a single step, which the official tables cannot hold."""
        run, warnings = super().new_run(steps, guidance, draw, ddim=ddim, check=check)
        if run.schedule.num_steps < 2:
            raise BadRequest("steps: the official code (MOTION_MDM_ENGINE=upstream) needs at least 2", field="steps")
        return run, warnings

    @torch.inference_mode()
    def sample(
        self, texts: Sequence[TextEmbedding], num_frames: int, run: Run, conditions: Conditions | None = None
    ) -> Tensor:
        """Normalised features (B, T, 263) for B texts, on the device; a window model makes one window."""
        start, noise = run.draw((len(texts), num_frames, self.spec.features))
        diffusion = self._respaced(run.schedule)
        loop = diffusion.ddim_sample_loop if run.deterministic else diffusion.p_sample_loop
        told = self._told(texts, num_frames, run.guidance, conditions or Conditions())

        def noise_like(x: Tensor) -> Tensor:
            run.check()
            return _official(noise(_frames(x)))

        with self._drawing(randn_like=noise_like):
            made = loop(
                self._asked(run.guidance),
                (len(texts), self.spec.features, 1, num_frames),
                noise=_official(start).to(self.device),
                clip_denoised=False,
                model_kwargs={"y": told},
            )
        return _frames(made)

    @torch.inference_mode()
    def sample_windows(self, texts: Sequence[TextEmbedding], num_frames: int, run: Run, prefix: Tensor) -> Tensor:
        """Normalised features (B, T, 263) made by the official loop over windows, after a prefix (B, C, 263)."""
        window = self.spec.predict_frames
        arguments = SimpleNamespace(
            pred_len=window, context_len=self.spec.context_frames, autoregressive_include_prefix=False
        )
        loop = self._respaced(run.schedule).p_sample_loop
        windows = self._program.sampler_util.AutoRegressiveSampler(arguments, loop, num_frames)
        told = self._told(texts, window, run.guidance, Conditions(prefix=prefix))
        told["text"] = [""] * len(texts)  # it looks at their number and type, then asks for their embeddings
        noise: Noise

        def start_of(*shape: int, device: torch.device) -> Tensor:
            nonlocal noise
            start, noise = run.draw((shape[0], shape[3], shape[1]))
            return _official(start).to(device)

        def noise_like(x: Tensor) -> Tensor:
            run.check()
            return _official(noise(_frames(x)))

        with self._drawing(randn=start_of, randn_like=noise_like):
            made = windows.sample(
                self._asked(run.guidance),
                (len(texts), self.spec.features, 1, num_frames),
                clip_denoised=False,
                model_kwargs={"y": told},
            )
        return _frames(made)

    @torch.inference_mode()
    def predict(
        self, x_t: Tensor, t: Tensor, texts: Sequence[TextEmbedding], guidance: float, conditions: Conditions
    ) -> Tensor:
        """One prediction of x0 (B, T, 263) from a noisy state (B, T, 263) at steps ``t`` (B,) of the training."""
        told = self._told(texts, x_t.shape[1], guidance, conditions)
        return _frames(self._asked(guidance)(_official(x_t).to(self.device), t.to(self.device), y=told))

    def _asked(self, guidance: float) -> Any:
        """The network, or the one around it that guides."""
        return self._model if guidance == 1 or self._guided is None else self._guided

    def _told(
        self, texts: Sequence[TextEmbedding], num_frames: int, guidance: float, conditions: Conditions
    ) -> dict[str, Any]:
        """The conditions in the names and layout of the official network, which writes into them: never shared."""
        mask = conditions.frame_mask
        if mask is None:
            mask = torch.ones(len(texts), num_frames, dtype=torch.bool)
        tokens, text_mask = stack_texts(texts)
        tokens = tokens.transpose(0, 1).to(self.device)  # (L, B, E)
        self._embedded = tokens if self._reads_clip else (tokens, ~text_mask.to(self.device))
        told = {
            "text_embed": self._embedded,
            "mask": mask[:, None, None].to(self.device),
            "scale": torch.full((len(texts),), guidance, device=self.device),
        }
        if conditions.prefix is not None:
            told["prefix"] = _official(conditions.prefix).to(self.device)
        if conditions.target is not None:
            told |= _told_target(*(part.to(self.device) for part in conditions.target))
        if conditions.keep is not None and conditions.motion is not None:
            told["inpainting_mask"] = _official(conditions.keep).to(self.device)
            told["inpainted_motion"] = _official(conditions.motion).to(self.device)
        return told

    def _respaced(self, schedule: Schedule) -> Any:
        """The official diffusion with the steps of ``schedule``."""
        whole = self._diffusion
        if schedule.num_steps == whole.num_timesteps:
            return whole
        return self._program.respace.SpacedDiffusion(
            use_timesteps=schedule.timesteps.tolist(),
            betas=whole.betas,
            model_mean_type=whole.model_mean_type,
            model_var_type=whole.model_var_type,
            loss_type=whole.loss_type,
            rescale_timesteps=whole.rescale_timesteps,
        )

    @contextlib.contextmanager
    def _drawing(self, **functions: Callable[..., Tensor]) -> Iterator[None]:
        """Inside, the official diffusion draws with ``functions``; torch itself stays as it is."""
        module = self._program.gaussian_diffusion
        whole, module.th = module.th, _TorchBut(functions)
        try:
            yield
        finally:
            module.th = whole

    @property
    def _reads_clip(self) -> bool:
        return self.spec.text_width == TEXT_ENCODERS["clip"][1]


class _TorchBut:
    """The module torch, with other functions in some places."""

    def __init__(self, functions: dict[str, Callable[..., Tensor]]) -> None:
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _official(frames: Tensor) -> Tensor:
    """(B, T, F) -> (B, F, 1, T)"""
    return frames.transpose(1, 2).unsqueeze(2)


def _frames(official: Tensor) -> Tensor:
    """(B, F, 1, T) -> (B, T, F)"""
    return official.squeeze(2).transpose(1, 2)


def _told_target(places: Tensor, asked: Tensor) -> dict[str, Any]:
    """Places (B, 8, 3) and which are asked (B, 8) as names; the heading, last of all, has a flag of its own."""
    names = [[goal for goal, wanted in zip(GOALS[:-1], row[:-1], strict=True) if wanted] for row in asked.tolist()]
    return {"target_cond": places, "target_joint_names": names, "is_heading": asked[:, -1]}


def _new_model(program: UpstreamProgram, checkpoint: OfficialCheckpoint) -> tuple[Any, Any]:
    """The official network with the weights of ``checkpoint``, and the diffusion it was trained with, on the CPU.

    What its factory does, but for the width of the feed-forward layers: that is fixed there and known here.
    """
    arguments = _arguments(checkpoint)
    no_data = SimpleNamespace(dataset=None)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes = program.model_util.get_model_args(arguments, no_data)
            sizes["ff_size"] = checkpoint.config.network.feedforward
            model = program.model_util.MDM(**sizes)
            diffusion = program.model_util.create_gaussian_diffusion(arguments)
    except (AttributeError, TypeError, KeyError, ValueError, AssertionError) as error:
        raise ModelUnavailable(f"the official program cannot make its network ({error})") from error
    tables = {name: table for name, table in model.state_dict().items() if not is_parameter(name)}
    try:
        model.load_state_dict({**tables, **checkpoint.network.state_dict()}, strict=True)
    except RuntimeError as error:
        raise CheckpointMismatch(
            f"checkpoint {checkpoint.name!r} does not fit the official network: {' '.join(str(error).split())}"
        ) from error
    model.requires_grad_(False)
    return model, diffusion


def _arguments(checkpoint: OfficialCheckpoint) -> Namespace:
    """The official arguments of a checkpoint, by their names in ``args.json``."""
    config, network = checkpoint.config, checkpoint.config.network
    return Namespace(
        dataset="humanml",
        unconstrained=False,
        arch=network.arch,
        text_encoder_type=next(kind for kind, (_, width) in TEXT_ENCODERS.items() if width == network.text_width),
        emb_trans_dec=network.emb_trans_dec,
        emb_policy=network.text_policy,
        layers=network.layers,
        latent_dim=network.width,
        cond_mask_prob=checkpoint.cond_mask_prob,
        mask_frames=network.mask_frames,
        pos_embed_max_len=MAX_POSITIONS,
        context_len=network.context_frames,
        pred_len=network.predict_frames,
        multi_target_cond=network.target_encoder is not None,
        multi_encoder_type=network.target_encoder or "single",
        target_enc_layers=network.target_layers,
        noise_schedule=config.schedule,
        diffusion_steps=config.steps,
        sigma_small=checkpoint.sigma_small,
        **dict.fromkeys(("lambda_vel", "lambda_rcxyz", "lambda_fc", "lambda_target_loc"), 0.0),
    )
