"""Caption embeddings: every caption of the corpus encoded once on a CPU into one file, and drawn from it on the device.

The file ``captions.npz``, small enough to travel to a GPU, holds ``sentences`` (N, E - 6) int8 times ``scales`` (N,),
``flags`` (N, 6), ``texts`` (N,), ``keys`` (K,) "action|style", "action|style|side" or a name, ``index`` (K, 2, M) rows
of the English and Japanese captions of each key, -1 where there are fewer than M, and ``encoder``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from motion_service.clips import Language
from motion_service.errors import BadRequest
from motion_service.features.vrm_native import canonical_fk
from motion_service.humanoid import canonical_index
from motion_service.training.captions import SIDED_ACTIONS, Side
from motion_service.training.corpus import CorpusClip
from motion_service.wording import FLAGS

LANGUAGES: Final[tuple[Language, Language]] = ("en", "ja")
IDLE_KEY: Final = "idle|normal"

CaptionsFor = Callable[[str, str, Language, Side | None], Sequence[str]]
"""(action, style, language, side) -> captions; with a side, those that name the hand or foot."""
Encode = Callable[[Sequence[str]], Tensor]
"""N texts -> (N, E) float32."""
_BUSIER: Final = 1.5
"""A hand that travels this much farther than the other is the one that acts."""


def acting_side(clip: CorpusClip) -> Side | None:
    """Which hand or leg does an action whose name does not say so; None when neither does it alone.

    The hand that travels farther as seen from the hips, or the foot that rises higher.
    """
    if clip.action not in SIDED_ACTIONS:
        return None
    positions, _ = canonical_fk(clip.rotations, clip.hips)
    limb = "Hand" if SIDED_ACTIONS[clip.action] == "hand" else "Foot"
    left, right = (positions[:, canonical_index(side + limb)] - positions[:, 0] for side in ("left", "right"))
    if limb == "Foot":
        return "left" if left[:, 1].max() > right[:, 1].max() else "right"
    ways = [float(torch.linalg.vector_norm(track[1:] - track[:-1], dim=-1).sum()) for track in (left, right)]
    if max(ways) < _BUSIER * min(ways):
        return None
    return "left" if ways[0] > ways[1] else "right"


def caption_key(clip: CorpusClip) -> str:
    """Clips share the captions of their action, style and side, unless they bring captions of their own."""
    side = acting_side(clip)
    return clip.name if clip.captions else f"{clip.action}|{clip.style}" + (f"|{side}" if side else "")


def write_captions(
    path: Path, clips: Sequence[CorpusClip], captions_for: CaptionsFor, encode: Encode, encoder: str
) -> int:
    """Encode all captions of ``clips`` (mirrors included) and of idling; return how many there are."""
    lists = {IDLE_KEY: _captions(captions_for, "idle", "normal", None)}
    for clip in clips:
        if (key := caption_key(clip)) not in lists:
            english, japanese = _captions(captions_for, clip.action, clip.style, acting_side(clip))
            lists[key] = (english + clip.captions, japanese)
    texts = sorted({text for both in lists.values() for each in both for text in each})
    row_of = {text: row for row, text in enumerate(texts)}
    longest = max(len(each) for both in lists.values() for each in both)
    index = np.full((len(lists), len(LANGUAGES), longest), -1, np.int32)
    for row, both in enumerate(lists.values()):
        for language, each in enumerate(both):
            index[row, language, : len(each)] = [row_of[text] for text in each]
    path.parent.mkdir(parents=True, exist_ok=True)
    sentences, flags = encode(texts).tensor_split([-len(FLAGS)], dim=1)
    scales = sentences.abs().amax(1, keepdim=True).clamp_min(1e-6) / 127  # rounding: a twentieth of the training noise
    np.savez_compressed(
        path,
        sentences=(sentences / scales).round().to(torch.int8).numpy(),
        scales=scales[:, 0].numpy(),
        flags=flags.to(torch.int8).numpy(),
        texts=np.array(texts),
        keys=np.array(list(lists)),
        index=index,
        encoder=np.array(encoder),
    )
    return len(texts)


def _captions(
    captions_for: CaptionsFor, action: str, style: str, side: Side | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """English and Japanese captions; where a side is known, those that name it stand beside those that do not."""
    sides = (None, side) if side else (None,)
    english, japanese = (
        tuple(dict.fromkeys(text for named in sides for text in captions_for(action, style, language, named)))
        for language in LANGUAGES
    )
    return english, japanese


def read_texts(path: Path) -> list[str]:
    """The captions of a file of :func:`write_captions`, in the order of the table's embeddings."""
    with np.load(path, allow_pickle=False) as data:
        return [str(text) for text in data["texts"]]


class CaptionTable(nn.Module):
    """Embeddings on the device, and which of them belong to which key. Buffers only."""

    embeddings: Tensor
    index: Tensor
    counts: Tensor
    typical: Tensor
    has_typical: Tensor

    def __init__(self, embeddings: Tensor, keys: Sequence[str], index: Tensor, encoder: str) -> None:
        """``embeddings`` (N, E), ``index`` (K, 2, M) as in the file. Raises BadRequest for a key without captions."""
        super().__init__()
        counts = (index >= 0).sum(-1)  # (K, 2)
        if empty := [key for key, count in zip(keys, counts.tolist(), strict=True) if min(count) == 0]:
            raise BadRequest(
                f"captions: no English or no Japanese caption for {', '.join(empty[:5])}", field="captions"
            )
        self.register_buffer("embeddings", embeddings.float(), persistent=False)
        self.register_buffer("index", index.long(), persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("typical", torch.zeros(len(keys), embeddings.shape[1]), persistent=False)
        self.register_buffer("has_typical", torch.zeros(len(keys), dtype=torch.bool), persistent=False)
        self.encoder = encoder
        self._rows = {key: row for row, key in enumerate(keys)}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of :func:`write_captions`. Raises BadRequest when there is none."""
        if not path.is_file():
            raise BadRequest(f"no caption file {path.name}: run scripts/motion/train --prepare-text", field="captions")
        with np.load(path, allow_pickle=False) as data:
            sentences, scales, flags, index = (
                torch.from_numpy(data[name]) for name in ("sentences", "scales", "flags", "index")
            )
            embeddings = torch.cat([sentences.float() * scales[:, None], flags.float()], dim=1)
            return cls(embeddings, [str(key) for key in data["keys"]], index, str(data["encoder"]))

    @property
    def keys(self) -> tuple[str, ...]:
        """Name of each row of ``index``."""
        return tuple(self._rows)

    @property
    def width(self) -> int:
        return int(self.embeddings.shape[1])

    @property
    def idle_row(self) -> int:
        return self.row(IDLE_KEY)

    def row(self, key: str) -> int:
        """Index of a key. Raises BadRequest for one that the file does not know."""
        if key not in self._rows:
            raise BadRequest(f"captions: {key!r} is not in the caption file; prepare it again", field="captions")
        return self._rows[key]

    def set_typical(self, captions: Mapping[str, Tensor]) -> None:
        """Take the typical caption (E,) of some keys, which is what a reader hands to the network; others have none."""
        for key, row in self._rows.items():
            if key in captions:
                self.typical[row] = captions[key].to(self.typical)
                self.has_typical[row] = True

    def draw(self, rows: Tensor, language: Tensor, choice: Tensor) -> Tensor:
        """A caption of each key ``rows`` (B,); ``language`` and ``choice`` (B,) are uniform in 0..1. (B, E)"""
        tongue = (language * len(LANGUAGES)).long()
        counts = self.counts[rows, tongue]
        pick = torch.minimum((choice * counts).long(), counts - 1)
        return self.embeddings[self.index[rows, tongue, pick]]

    def tokens(
        self, rows: Tensor, uniform: Mapping[str, Tensor], normal: Tensor, *, noise: float, mix: float, typical: float
    ) -> Tensor:
        """Captions with ``noise`` of that deviation, a share ``mix`` of them blended with a paraphrase. (B, 1, E)

        A share ``typical`` is the typical caption of its key as it is, where there is one.

        ``uniform`` {name: (B,)} chances in 0..1, ``normal`` (B, E). The flags are those of the first caption, exactly.
        """
        one = self.draw(rows, uniform["language"], uniform["caption"])
        two = self.draw(rows, uniform["second_language"], uniform["second_caption"])
        share = (0.5 * uniform["mix"] * (uniform["mixing"] < mix))[:, None]
        sentence = one * (1 - share) + two * share + normal * noise
        is_sentence = torch.arange(self.width, device=one.device) < self.width - len(FLAGS)
        drawn = torch.where(is_sentence, sentence, one)
        is_typical = self.has_typical[rows] & (uniform["typical"] < typical)
        return torch.where(is_typical[:, None], self.typical[rows], drawn)[:, None]
