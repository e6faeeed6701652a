"""What a text most likely means in the words a model was trained on: sentence embedding -> a known caption's embedding.

A sentence encoder puts an unseen wording near captions of several actions, and a denoiser fed with a point between two
actions does neither. So a small classifier, trained on the captions alone, names the group of captions (action, style,
hand) that a text belongs to, and the denoiser gets the most typical caption of that group. Where the text names no
style, the style is drawn: the same words with another seed make another motion.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from motion_service.clips import TextEmbedding

UNDERSTOOD: Final = 0.25
"""Below this probability of the best action a text counts as not understood, and goes to the denoiser as it is."""
OPENNESS: Final = 0.25
"""Exponent on the probabilities of styles when the text names none: 1 = as they are, 0 = every style alike."""
HINT: Final = 2.0
"""How much an action named by the words themselves counts, in doublings of its odds."""
PLAIN_STYLE: Final = "normal"
WELCOME_STYLES: Final = frozenset([PLAIN_STYLE, "active", "feminine", "masculine", "youthful"])
"""What may be drawn when the text names no style: nobody wants to be bowed at angrily, or run at with arms spread like
a happy child, without having asked."""
UNCLEAR_STYLES: Final = frozenset(["masculine", "youthful"])
"""Of these not for waving: hands then move so little that it looks like raising them (docs/training.md)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text was understood."""

    embedding: TextEmbedding
    """What the denoiser gets."""
    action: str | None
    """None: not understood."""
    style: str | None
    confidence: float
    """0..1, probability of the action; 1 where nobody read."""

    @property
    def lost(self) -> bool:
        """Whether the text was not understood."""
        return self.confidence < UNDERSTOOD

    def to_json(self) -> dict[str, str | float | None]:
        return {"action": self.action, "style": self.style, "confidence": round(self.confidence, 3)}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a text may mean: one reading, or one of several styles."""

    readings: tuple[Reading, ...]
    bounds: tuple[float, ...] = (1.0,)
    """Up to which number in 0..1 each of them is drawn, ascending; none where nobody draws."""

    def draw(self, generator: torch.Generator) -> Reading:
        """One of the readings. Takes one number from ``generator``, however many there are; none without bounds."""
        chance = float(torch.rand((), generator=generator)) if self.bounds else 0.0
        return self.readings[min(bisect.bisect_left(self.bounds, chance), len(self.readings) - 1)]


class TextReader(nn.Module):
    """Classifier over caption groups, and the most typical caption of each. Keys are "action|style" or with "|side"."""

    prototypes: Tensor

    def __init__(self, keys: Sequence[str], width: int, hidden: int) -> None:
        super().__init__()
        self.keys = tuple(keys)
        self.hidden = hidden
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, len(self.keys)))
        self.register_buffer("prototypes", torch.zeros(len(self.keys), width))  # (K, E)
        parts = [(key.split("|") + [""])[:3] for key in self.keys]
        self._style = [style for _, style, _ in parts]
        self._group = [(action, side) for action, _, side in parts]

    @property
    def actions(self) -> frozenset[str]:
        """The actions that it tells apart."""
        return frozenset(action for action, _ in self._group)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, K) of tokens (B, E)."""
        logits: Tensor = self.layers(tokens)
        return logits

    def read(
        self, embedding: TextEmbedding, generator: torch.Generator, hint: str | None = None, *, nearest: bool = False
    ) -> Reading:
        """Understand one text of a single token. Takes one number from ``generator``, whatever the text.

        ``hint`` is an action that the words name in so many letters; it counts as much as HINT doublings of its odds.
        ``nearest``: a text that is not understood becomes the known action that is likeliest all the same.
        """
        return self.understand(embedding, hint, nearest=nearest).draw(generator)

    @torch.inference_mode()
    def understand(self, embedding: TextEmbedding, hint: str | None = None, *, nearest: bool = False) -> Meaning:
        """What of :meth:`read` is the same for every seed."""
        shares = torch.softmax(self(embedding.tokens.float()), dim=-1)[0]  # (K,)
        totals: dict[tuple[str, str], float] = {}
        for group, share in zip(self._group, shares.tolist(), strict=True):
            totals[group] = totals.get(group, 0.0) + share * (2.0**HINT if group[0] == hint else 1.0)
        whole = sum(totals.values())
        totals = {group: total / whole for group, total in totals.items()}
        best = max(totals, key=lambda group: totals[group])
        confidence = sum(total for (action, _), total in totals.items() if action == best[0])
        if confidence < UNDERSTOOD and not nearest:
            return Meaning((Reading(embedding, None, None, confidence),))
        rows = [row for row, group in enumerate(self._group) if group == best]
        drawn, bounds = self._choices(rows, shares[rows])
        prototypes = [
            TextEmbedding(self.prototypes[row][None].clone(), embedding.mask, embedding.encoder) for row in drawn
        ]
        readings = [
            Reading(prototype, best[0], self._style[row], confidence)
            for row, prototype in zip(drawn, prototypes, strict=True)
        ]
        return Meaning(tuple(readings), bounds)

    def _choices(self, rows: Sequence[int], shares: Tensor) -> tuple[Sequence[int], tuple[float, ...]]:
        """The row of the style that the text names, or those to draw from when it names none."""
        best = rows[int(shares.argmax())]
        if self._style[best] != PLAIN_STYLE:
            return [best], (1.0,)
        waves = self._group[best][0].startswith("wave")
        styles = WELCOME_STYLES - UNCLEAR_STYLES if waves else WELCOME_STYLES
        welcome = torch.tensor([self._style[row] in styles for row in rows])
        weights = shares**OPENNESS * welcome
        return rows, tuple((weights.cumsum(0) / weights.sum()).tolist())
