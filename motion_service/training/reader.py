"""Trains the :class:`~motion_service.mdm.reader.TextReader` of a checkpoint on caption embeddings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_service.mdm.network import Denoiser
from motion_service.mdm.reader import TextReader
from motion_service.training.caption_table import CaptionTable
from motion_service.wording import FLAGS

MEMBERS: Final = 3
"""Classifiers trained from different seeds; their mean is one with a hidden layer as wide as all."""
HIDDEN: Final = 256
"""Hidden width of one member."""
_INPUT_GAIN: Final = 0.35
"""Standard deviation of the first weights: numbers of a sentence embedding are about 0.04 each."""


def train_reader(
    captions: CaptionTable,
    in_context: Tensor,
    keys: Sequence[str],
    more: tuple[Tensor, Tensor],
    network: Denoiser,
    *,
    steps: int = 2000,
    noise: float = 0.012,
    on_step: Callable[[], None],
) -> TextReader:
    """A reader of the caption groups ``keys``; prototypes are typical as ``network`` sees them.

    ``in_context`` (N V, E): V embeddings of each caption of the table, in order, put into some context. ``more``:
    further texts, embeddings (M, 1 + V, E) in the same way, and the index of their key (M,).
    """
    rows, labels = _labelled_rows(captions, keys)
    variants = torch.cat([captions.embeddings[:, None], in_context.unflatten(0, (len(captions.embeddings), -1))], dim=1)
    texts = torch.cat([variants, more[0]]), torch.cat([rows, len(variants) + torch.arange(len(more[0]))])
    groups = torch.cat([labels, more[1]])
    members = [_train_member(*texts, groups, len(keys), seed, steps, noise, on_step) for seed in range(MEMBERS)]
    reader = TextReader(keys, captions.width, MEMBERS * HIDDEN)
    mean = {
        "layers.0.weight": torch.cat([member.inner.weight for member in members]),
        "layers.0.bias": torch.cat([member.inner.bias for member in members]),
        "layers.2.weight": torch.cat([member.outer.weight for member in members], dim=1) / MEMBERS,
        "layers.2.bias": torch.stack([member.outer.bias for member in members]).mean(0),
        "prototypes": _prototypes(captions, network, rows, labels),
    }
    reader.load_state_dict(mean)
    return reader.eval().requires_grad_(False)


def restricted_reader(reader: TextReader, keys: Collection[str]) -> TextReader:
    """The reader of another checkpoint without the groups that are not among ``keys``."""
    rows = [row for row, key in enumerate(reader.keys) if key in keys]
    smaller = TextReader([reader.keys[row] for row in rows], reader.prototypes.shape[1], reader.hidden)
    weights = dict(reader.state_dict())
    for name in ("layers.2.weight", "layers.2.bias", "prototypes"):
        weights[name] = weights[name][rows]
    smaller.load_state_dict(weights)
    return smaller.eval().requires_grad_(False)


def keeping_prototypes(reader: TextReader, known: TextReader) -> TextReader:
    """``reader`` with the prototypes of ``known`` for the groups that both have: what a network was trained to hear."""
    of_key = dict(zip(known.keys, known.prototypes, strict=True))
    for row, key in enumerate(reader.keys):
        if key in of_key:
            reader.prototypes[row] = of_key[key]
    return reader


class _Member(nn.Module):
    """One classifier, with dropout on its hidden layer."""

    def __init__(self, width: int, num_groups: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, num_groups)
        nn.init.normal_(self.inner.weight, 0.0, _INPUT_GAIN)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.outer(F.dropout(F.silu(self.inner(tokens)), 0.2))
        return logits


def common_keys(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Keys that enough clips stand behind: {key: clips}; a style with under a tenth of its action's usual goes.

    Such styles are remnants, as of the feminine raises of which all but a few were left out.
    """
    of_action: dict[str, list[int]] = {}
    for key, count in counts.items():
        of_action.setdefault(key.split("|")[0], []).append(count)
    return tuple(key for key, count in counts.items() if count >= 0.1 * median(of_action[key.split("|")[0]]))


def _labelled_rows(captions: CaptionTable, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Row of each caption of each group (N,), and its group (N,). A caption may belong to several groups."""
    both = captions.index[[captions.row(key) for key in keys]].flatten(1)  # (K, 2 M)
    group = torch.arange(len(both))[:, None].expand_as(both)
    return both[both >= 0], group[both >= 0]


def _train_member(
    variants: Tensor,
    rows: Tensor,
    labels: Tensor,
    num_groups: int,
    seed: int,
    steps: int,
    noise: float,
    on_step: Callable[[], None],
) -> _Member:
    """One classifier: cross entropy on noisy captions (N, 1 + V, E), groups balanced by the root of their size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Member(variants.shape[2], num_groups)
        weights = torch.bincount(labels, minlength=num_groups).float().clamp_min(1.0) ** -0.5
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
        for _ in range(steps):
            pick = torch.multinomial(weights[labels], 512, replacement=True, generator=generator)
            variant = torch.randint(variants.shape[1], pick.shape, generator=generator)
            x = variants[rows[pick], variant]
            sentence = x[:, : -len(FLAGS)]
            sentence += torch.randn(sentence.shape, generator=generator) * noise
            loss = F.cross_entropy(model(x), labels[pick], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            on_step()
    return model


@torch.no_grad()
def _prototypes(captions: CaptionTable, network: Denoiser, rows: Tensor, labels: Tensor) -> Tensor:
    """Of each group the caption (K, E) whose projection lies nearest to the mean projection of the group."""
    projected = network.embed_text(captions.embeddings[rows])  # (N, D)
    best = []
    for group in range(int(labels.max()) + 1):
        mine = (labels == group).nonzero()[:, 0]
        distance = (projected[mine] - projected[mine].mean(0)).square().sum(-1)
        best.append(captions.embeddings[rows[mine[int(distance.argmin())]]])
    return torch.stack(best)
