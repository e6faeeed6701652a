"""How well a motion fits a text: two small networks that put both into one space, trained on recorded motion only.

After Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text", whose evaluator is the judge of the
published tables; theirs reads joints and GloVe words, ours ``vrm`` features and the sentence embeddings of ``mini``,
and it is trained with a contrastive loss (Radford et al. 2021). Heads on the way name action, style and hand.

The weights are one file of at most 2 MiB, ``models/motion/evaluator``; ``training/matcher.py`` makes it. Without the
file there is no match, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from motion_service.clips import VrmClip
from motion_service.errors import CheckpointMismatch
from motion_service.features.vrm_native import ROOT_VELOCITY, VELOCITIES, VRM_WIDTH, YAW_RATE, bones_to_features
from motion_service.quality import clip_to_canonical
from motion_service.text_encoder import TextEncoder, UseEncoder

WINDOW: Final = 60  # 3 s at 20 fps
WINDOW_STRIDE: Final = 10
MATCH_WIDTH: Final = 128
"""Width of the space that texts and motions share."""
WEIGHTS: Final = "evaluator.safetensors"
Place = npt.NDArray[np.float32]
"""(128,) unit vector of a text in that space; it travels between processes."""
RATES: Final = torch.zeros(VRM_WIDTH, dtype=torch.bool)
"""(260,) which features are speeds: zero while a pose is held."""
RATES[[*range(VRM_WIDTH)][YAW_RATE] + [*range(VRM_WIDTH)][ROOT_VELOCITY] + [*range(VRM_WIDTH)][VELOCITIES]] = True


def vrm_clip_to_features(clip: VrmClip) -> Tensor:
    """Features (T, 260) of any clip on the canonical body."""
    features, _ = bones_to_features(*clip_to_canonical(clip), clip.fps)
    return features


def clip_to_windows(features: Tensor) -> Tensor:
    """All windows (W, 60, 260) of features (T, 260), every 10 frames and the last; a short clip holds its last pose."""
    frames = features.shape[0]
    index = torch.tensor(window_starts(frames))[:, None] + torch.arange(WINDOW)  # (W, 60)
    return hold_still(features[index.clamp(max=frames - 1)], index >= frames)


def window_starts(frames: int) -> list[int]:
    """The first frames of the windows of a clip."""
    last = max(frames - WINDOW, 0)
    return [*range(0, last, WINDOW_STRIDE), last]


def hold_still(windows: Tensor, held: Tensor) -> Tensor:
    """Windows (..., 60, 260) with the rates zeroed where ``held`` (..., 60) says that a pose is held."""
    return windows.masked_fill(held[..., None] & RATES.to(windows.device), 0.0)


@dataclass(frozen=True, slots=True)
class MatchSpec:
    """What shapes a :class:`MotionMatcher`; travels in the head of its file."""

    actions: tuple[str, ...]
    styles: tuple[str, ...]
    hands: tuple[str, ...]
    text_encoder: str
    text_width: int
    split: str
    """Names the recordings it has not seen."""

    def to_metadata(self) -> dict[str, str]:
        return {
            "actions": " ".join(self.actions), "styles": " ".join(self.styles), "hands": " ".join(self.hands),
            "text_encoder": self.text_encoder, "text_width": str(self.text_width), "split": self.split,
        }  # fmt: skip

    @classmethod
    def from_metadata(cls, facts: dict[str, str]) -> Self:
        """Inverse of :meth:`to_metadata`. Raises KeyError or ValueError for what is none."""
        actions, styles, hands = (tuple(facts[name].split()) for name in ("actions", "styles", "hands"))
        return cls(actions, styles, hands, facts["text_encoder"], int(facts["text_width"]), facts["split"])


@dataclass(frozen=True, slots=True)
class Seen:
    """What the motion network makes of windows."""

    place: Tensor
    """(B, 128) unit vectors in the shared space."""
    action: Tensor
    """(B, actions) logits; likewise the others."""
    style: Tensor
    hand: Tensor


class WindowNetwork(nn.Module):
    """What every judge of motion begins with: windows (B, 60, 260) of raw features to what is to be seen in them."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, seen: int, dropout: float) -> None:
        """``width`` of the convolutions, ``seen`` numbers come out."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(VRM_WIDTH))
        self.register_buffer("scale", torch.ones(VRM_WIDTH))
        self.lift = nn.Conv1d(VRM_WIDTH, width, 1)
        self.down = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2 * d, dilation=d) for d in (1, 2, 4))
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in self.blocks)
        self.hidden = nn.Linear(2 * width, seen)
        self.drop = nn.Dropout(dropout)

    def see(self, windows: Tensor, noise: float) -> Tensor:
        """(B, seen); ``noise``: standard deviation of noise on the normalised input, for training."""
        x = (windows - self.mean) * self.scale  # (B, T, F)
        if noise:
            x = x + noise * torch.randn_like(x)
        h = F.gelu(self.down(F.gelu(self.lift(x.transpose(1, 2)))))  # (B, D, T / 2)
        for conv, norm in zip(self.blocks, self.norms, strict=True):
            h = h + F.gelu(conv(norm(h)))
        pooled = torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1)  # (B, 2 D)
        return F.gelu(self.hidden(self.drop(pooled)))


class MotionMatcher(WindowNetwork):
    """Windows (B, 60, 260) of raw features, and sentence embeddings (B, E), to one space."""

    def __init__(self, spec: MatchSpec, width: int = 128) -> None:
        super().__init__(width, seen=width, dropout=0.25)
        self.spec = spec
        self.place = nn.Linear(width, MATCH_WIDTH)
        self.action, self.style, self.hand = (nn.Linear(width, len(n)) for n in (spec.actions, spec.styles, spec.hands))
        words = nn.Linear(spec.text_width, 256)
        nn.init.normal_(words.weight, 0.0, 0.35)  # numbers of a sentence embedding are small
        self.text = nn.Sequential(words, nn.SiLU(), nn.Dropout(0.25), nn.Linear(256, MATCH_WIDTH))
        self.sharpness = nn.Parameter(torch.tensor(2.3))
        """Logarithm of what similarities are multiplied with in training."""

    def forward(self, windows: Tensor, noise: float = 0.0) -> Seen:
        """``noise`` as for :meth:`see`."""
        h = self.drop(self.see(windows, noise))
        return Seen(F.normalize(self.place(h), dim=-1), self.action(h), self.style(h), self.hand(h))

    def place_texts(self, embeddings: Tensor) -> Tensor:
        """Unit vectors (B, 128) of sentence embeddings (B, E)."""
        placed: Tensor = F.normalize(self.text(embeddings), dim=-1)
        return placed

    @torch.inference_mode()
    def place_clip(self, features: Tensor) -> Tensor:
        """The unit vector (128,) of a clip's features (T, 260): the mean of those of its windows."""
        return F.normalize(self(clip_to_windows(features.float())).place.mean(dim=0), dim=-1)


class Words:
    """Places prompts in the space of an evaluator."""

    def __init__(self, matcher: MotionMatcher, encoder: TextEncoder) -> None:
        """Raises CheckpointMismatch for another encoder than the evaluator's."""
        if encoder.name != matcher.spec.text_encoder:
            raise CheckpointMismatch(f"the evaluator reads {matcher.spec.text_encoder}, not {encoder.name}")
        self._matcher, self._encoder = matcher, encoder

    def place(self, text: str) -> Place | None:
        """Where a text is; None for one without any words."""
        return self.place_all([text])[0]

    @torch.inference_mode()
    def place_all(self, texts: Sequence[str]) -> list[Place | None]:
        """Each of several. The encoder has to read its weights once for all texts, which is most of its time."""
        said = [text for text in texts if text.strip()]
        if not said:
            return [None] * len(texts)
        places = iter(self._matcher.place_texts(self._embed(said)).numpy())
        return [next(places) if text.strip() else None for text in texts]

    def _embed(self, texts: Sequence[str]) -> Tensor:
        """(N, E); a text alone is remembered."""
        if len(texts) > 1 and isinstance(self._encoder, UseEncoder):
            return self._encoder.encode_many(texts)
        return torch.cat([embedding.tokens[:1].float() for embedding in self._encoder.encode(texts)])


def load_matcher(directory: Path) -> MotionMatcher | None:
    """The evaluator of a directory; None when it has none. Raises CheckpointMismatch for a file that is not one."""
    path = directory / WEIGHTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            spec = MatchSpec.from_metadata(file.metadata() or {})
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
        matcher = MotionMatcher(spec)
        matcher.load_state_dict(weights)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointMismatch(f"{path.name} is not an evaluator of this version: train it again") from error
    return matcher.eval().requires_grad_(False)
