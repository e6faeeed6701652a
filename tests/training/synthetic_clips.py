"""Small clips of the canonical body made from sines, and captions for them: a corpus without data."""

from __future__ import annotations

import math

import torch

from motion_service.geometry.rotation import axis_angle_to_quat, quat_multiply
from motion_service.humanoid import canonical_index
from motion_service.training.caption_table import IDLE_KEY, CaptionTable, caption_key
from motion_service.training.corpus import CorpusClip, with_mirrors
from motion_service.training.standing import standing_pose


def waving(name: str, frames: int, *, action: str = "wave-right", speed: float = 0.0) -> CorpusClip:
    """Standing, or gliding ahead at ``speed`` m/s, with the right forearm going to and fro."""
    pose, place = standing_pose()
    time = torch.arange(frames) / 20
    rotations = pose.repeat(frames, 1, 1)
    arm = canonical_index("rightLowerArm")
    swing = axis_angle_to_quat(torch.tensor([0.0, 0.0, 1.0]), 0.8 * torch.sin(2 * math.pi * 1.1 * time))
    rotations[:, arm] = quat_multiply(rotations[:, arm], swing)
    hips = place.repeat(frames, 1)
    hips[:, 2] = speed * time
    return CorpusClip(name, "cmu", action, "normal", rotations, hips)


def corpus() -> list[CorpusClip]:
    """Waving in place and gliding ahead, long and short, with mirror images."""
    clips = [waving("a", 90), waving("b", 47), waving("c", 25), waving("d", 120, action="walk", speed=1.0)]
    return with_mirrors(clips)


def caption_table(clips: list[CorpusClip], width: int = 14) -> CaptionTable:
    """Two captions a language for each key, of numbers; the last six are flags."""
    keys = sorted({caption_key(clip) for clip in clips} | {IDLE_KEY})
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(4 * len(keys), width, generator=generator)
    embeddings[:, -6:] = (embeddings[:, -6:] > 0).float()
    return CaptionTable(embeddings, keys, torch.arange(4 * len(keys)).view(len(keys), 2, 2), "made-up")
