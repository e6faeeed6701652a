"""A tiny program with the module layout and the interface of the official one, written for these tests.

It computes with our own network and schedule, so it agrees with our engine unless a test breaks it on purpose.
"""

from __future__ import annotations

from pathlib import Path

import torch

from motion_service.mdm.checkpoint import CheckpointConfig
from motion_service.mdm.network import Denoiser
from motion_service.mdm.official import OfficialCheckpoint
from motion_service.mdm.published import Kind
from tests.mdm.official_files import new_spec

FILES = {
    "utils/misc.py": """
        PE_ROWS = 7
        """,
    "data_loaders/humanml_utils.py": """
        HML_EE_JOINT_NAMES = ["left_foot"]
        """,
    "model/BERT/BERT_encoder.py": """
        raise RuntimeError("would load DistilBERT")
        """,
    "model/rotation2xyz.py": """
        raise RuntimeError("would load SMPL")
        """,
    "data_loaders/humanml/scripts/motion_process.py": """
        raise RuntimeError("would need scipy")
        """,
    "model/mdm.py": """
        import clip
        import torch
        from model.BERT.BERT_encoder import load_bert
        from model.rotation2xyz import Rotation2xyz
        from motion_service.mdm.network import Denoiser, NetworkSpec
        from motion_service.mdm.target import asked_rows
        from utils.misc import PE_ROWS

        class MDM(Denoiser):
            def __init__(self, *, ff_size, args):
                target = args.multi_encoder_type if args.multi_target_cond else None
                super().__init__(NetworkSpec(
                    features=263, width=args.latent_dim, layers=args.layers, heads=4, feedforward=ff_size,
                    text_width=768 if args.text_encoder_type == "bert" else 512, text_policy=args.emb_policy,
                    context_frames=args.context_len, predict_frames=args.pred_len, mask_frames=args.mask_frames,
                    arch=args.arch, emb_trans_dec=args.emb_trans_dec, target_encoder=target,
                    target_layers=args.target_enc_layers,
                ))
                self.text = load_bert("x") if args.text_encoder_type == "bert" else clip.load("x")[0]
                clip.model.convert_weights(self.text)
                self.body = Rotation2xyz(device="cpu").smpl_model
                self.cond_mask_prob = args.cond_mask_prob
                self.register_buffer("sequence_pos_encoder_table", torch.zeros(PE_ROWS))
                print("made")

            def forward(self, x, t, y=None):
                assert not self.training
                text, pad = y["text_embed"] if type(y["text_embed"]) is tuple else (y["text_embed"], None)
                tokens = text.transpose(0, 1)
                mask = torch.ones(tokens.shape[:2], dtype=torch.bool) if pad is None else ~pad
                drop = torch.full((len(tokens),), bool(y.get("uncond", False)))
                memory = Denoiser.encode_text(self, tokens, mask, drop)
                target = None
                if "target_cond" in y:
                    asked = asked_rows(y["target_joint_names"], y["is_heading"])
                    target = self.encode_target(y["target_cond"], asked)
                prefix = y["prefix"].squeeze(2).transpose(1, 2) if self.spec.context_frames else None
                frames = x.squeeze(2).transpose(1, 2)
                x0 = self.denoise(frames, t, memory, prefix, y["mask"][:, 0, 0], target)
                return x0.transpose(1, 2).unsqueeze(2)
        """,
    "utils/model_util.py": """
        from data_loaders.humanml_utils import HML_EE_JOINT_NAMES
        from diffusion import gaussian_diffusion as gd
        from diffusion.respace import SpacedDiffusion
        from model.mdm import MDM

        def get_model_args(args, data):
            assert not hasattr(data.dataset, "num_actions")
            return {"args": args, "ff_size": 1024}

        def create_gaussian_diffusion(args):
            steps = args.diffusion_steps
            return SpacedDiffusion(
                use_timesteps=range(steps), betas=gd.betas_of(args.noise_schedule, steps), model_mean_type="x0",
                model_var_type="small" if args.sigma_small else "large", loss_type="mse", rescale_timesteps=False,
            )
        """,
    "diffusion/gaussian_diffusion.py": """
        import torch as th
        from data_loaders.humanml.scripts.motion_process import get_target_location
        from motion_service.diffusion.schedule import Schedule, named_schedule, respace

        def betas_of(name, steps):
            return named_schedule(name, steps).betas.numpy()

        class GaussianDiffusion:
            def __init__(self, use_timesteps, betas, model_var_type, **rest):
                whole = Schedule(th.from_numpy(betas), th.arange(len(betas)))
                self.schedule = respace(whole, sorted(use_timesteps))
                self.betas = betas
                self.num_timesteps = self.schedule.num_steps
                self.model_var_type = model_var_type
                self.__dict__.update(rest)

            def p_sample_loop(self, model, shape, noise=None, clip_denoised=True, model_kwargs=None):
                steps = self.schedule.descending(self.model_var_type)
                return self.loop(model, shape, noise, clip_denoised, model_kwargs, steps)

            def ddim_sample_loop(self, model, shape, noise=None, clip_denoised=True, model_kwargs=None):
                return self.loop(model, shape, noise, clip_denoised, model_kwargs, self.schedule.descending_ddim())

            def loop(self, model, shape, noise, clip_denoised, model_kwargs, steps):
                assert not clip_denoised
                y = model_kwargs["y"]
                if "text" in y:
                    y["text_embed"] = model.encode_text(y["text"])
                x = th.randn(*shape, device=next(model.parameters()).device) if noise is None else noise
                for step in steps:
                    x0 = model(x, th.tensor([step.t] * shape[0]), **model_kwargs)
                    if "inpainting_mask" in y:
                        x0 = th.where(y["inpainting_mask"], y["inpainted_motion"], x0)
                    x = step.coef_x0 * x0 + step.coef_xt * x + step.sigma * th.randn_like(x)
                return x
        """,
    "diffusion/respace.py": """
        from .gaussian_diffusion import GaussianDiffusion

        class SpacedDiffusion(GaussianDiffusion):
            pass
        """,
    "utils/sampler_util.py": """
        import copy

        import joblib
        import torch

        class ClassifierFreeSampleModel(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                assert model.cond_mask_prob > 0
                self.model = model
                self.encode_text = model.encode_text

            def forward(self, x, t, y=None):
                told = self.model(x, t, y)
                untold = self.model(x, t, copy.deepcopy(y) | {"uncond": True})
                return untold + y["scale"].view(-1, 1, 1, 1) * (told - untold)

        class AutoRegressiveSampler:
            def __init__(self, args, sample_fn, required_frames):
                self.args, self.sample_fn, self.required_frames = args, sample_fn, required_frames

            def sample(self, model, shape, **kargs):
                prefix, made = kargs["model_kwargs"]["y"]["prefix"], []
                assert not self.args.autoregressive_include_prefix
                while len(made) * self.args.pred_len < self.required_frames:
                    now = copy.deepcopy(kargs)
                    now["model_kwargs"]["y"]["prefix"] = prefix
                    made.append(self.sample_fn(model, [*shape[:-1], self.args.pred_len], **now))
                    prefix = made[-1][..., -self.args.context_len :]
                return torch.cat(made, dim=-1)[..., : self.required_frames]
        """,
}
"""Path in the checkout -> its text, indented."""


def write_program(directory: Path, **changes: tuple[str, str]) -> Path:
    """The stand-in below ``directory``; a change, named like a module with ``__`` for dots, replaces a text in it."""
    for name, text in FILES.items():
        lines = [line.removeprefix(" " * 8) for line in text.strip("\n").splitlines()]
        content = "\n".join(lines).rstrip() + "\n"
        old, new = changes.get(name.removesuffix(".py").replace("/", "__"), ("", ""))
        assert old in content
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace(old, new) if old else content)
    return directory


def tiny_checkpoint(kind: Kind, *, steps: int = 5, cond_mask_prob: float = 0.1) -> OfficialCheckpoint:
    """Random weights of a width of 16 in the layout of a published checkpoint."""
    spec = new_spec(kind)
    torch.manual_seed(1)
    network = Denoiser(spec).eval().requires_grad_(False)
    encoder = "clip-vit-b-32" if spec.text_width == 512 else "distilbert-base-uncased"
    guidance = 2.5 if cond_mask_prob else 1.0
    config = CheckpointConfig(spec, steps, "cosine", encoder, "humanml3d", 20.0, guidance, "none")
    return OfficialCheckpoint("tiny", Path(), config, network, True, cond_mask_prob, None, "flat", "", ())
