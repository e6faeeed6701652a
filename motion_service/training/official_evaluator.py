"""The published evaluator of HumanML3D: networks that place texts and motions in one space, and its words.

Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text" (CVPR, section 5.1); sizes and names of
https://github.com/EricGuo5513/text-to-motion. Weights: ``text_mot_match/model/finest.tar``, converted like every
pickle (:mod:`motion_service.mdm.convert`). Words: GloVe vectors of 300 numbers, ``our_vab_data.npy``, with the row of
each word in the pickle ``our_vab_idx.pkl``, of which only strings and numbers are listed: nothing in it is run.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from motion_service.errors import CheckpointMismatch
from motion_service.features.humanml3d import HUMANML3D_WIDTH
from motion_service.mdm.conversion import read_named_part
from motion_service.mdm.convert import converted

WORD_WIDTH: Final = 300
MAX_WORDS: Final = 20
"""Words of a caption that are read, besides its start and its end."""
UNIT: Final = 4
"""Frames that the motion encoder sees as one."""
MAX_FRAMES: Final = 196
MIN_FRAMES: Final = 40
WIDTH: Final = 512
"""Of the common space."""
KINDS: Final = (
    "VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
    "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER",
)  # fmt: skip
"""Parts of speech, and five lists of words that matter; the place of each is its number."""
_VIP: Final[Mapping[str, str]] = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise"
    " wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
_KIND_OF: Final = {word: kind for kind, words in _VIP.items() for word in words.split()}
_PARTS: Final = ("movement_encoder", "text_encoder", "motion_encoder")


# --- words ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WordTable:
    """What the evaluator reads of a word."""

    vectors: npt.NDArray[np.float32]
    """(N, 300)."""
    rows: Mapping[str, int]

    def caption(self, tokens: Sequence[str]) -> tuple[Tensor, int]:
        """``word/KIND`` tokens as (22, 300 + 15), and how many of them count; the rest is padding."""
        inside = ["sos/OTHER", *tokens[:MAX_WORDS], "eos/OTHER"]
        padded = inside + ["unk/OTHER"] * (MAX_WORDS + 2 - len(inside))
        return torch.stack([self._token(token) for token in padded]), len(inside)

    def _token(self, token: str) -> Tensor:
        word, _, kind = token.partition("/")
        if word not in self.rows:
            word, kind = "unk", "OTHER"
        kind = _KIND_OF.get(word, kind)
        one_hot = torch.zeros(len(KINDS))
        one_hot[KINDS.index(kind if kind in KINDS else "OTHER")] = 1
        return torch.cat([torch.from_numpy(self.vectors[self.rows[word]].astype(np.float32)), one_hot])


def read_words(directory: Path) -> WordTable:
    """``our_vab_data.npy`` and ``our_vab_idx.pkl``. Raises CheckpointMismatch for files of another content."""
    vectors = np.load(directory / "our_vab_data.npy", mmap_mode="r", allow_pickle=False)
    rows = read_numbered_words(directory / "our_vab_idx.pkl")
    if vectors.ndim != 2 or vectors.shape[1] != WORD_WIDTH or not rows or max(rows.values()) >= len(vectors):
        raise CheckpointMismatch(f"our_vab_data.npy {vectors.shape} does not fit the {len(rows)} words of the index")
    if missing := {"unk", "sos", "eos"} - rows.keys():
        raise CheckpointMismatch(f"our_vab_idx.pkl does not number {', '.join(sorted(missing))}")
    return WordTable(vectors, rows)


def read_numbered_words(file: Path) -> dict[str, int]:
    """A pickled {word: number}, read by listing its opcodes. Raises CheckpointMismatch where it holds anything else."""
    words: dict[str, int] = {}
    waiting: str | None = None
    try:
        for opcode, argument, _ in pickletools.genops(file.read_bytes()):
            if opcode.name in {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD"}:
                raise CheckpointMismatch(
                    f"{file.name} holds more than words and numbers and is refused: it may run code"
                )
            if "UNICODE" in opcode.name or "STRING" in opcode.name:
                waiting = str(argument)
            elif opcode.name.startswith(("BININT", "INT", "LONG")) and waiting is not None:
                words[waiting], waiting = int(argument or 0), None
    except ValueError as error:
        raise CheckpointMismatch(f"{file.name} is damaged: fetch it again") from error
    return words


# --- networks ---------------------------------------------------------------------------------------------------------


class _Movement(nn.Module):
    """Features (B, T, 259) -> (B, T / 4, 512): two strided convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv1d(HUMANML3D_WIDTH - 4, WIDTH, 4, 2, 1), nn.Conv1d(WIDTH, WIDTH, 4, 2, 1)]
        self.main = nn.Sequential(
            layers[0], nn.Dropout(0.2), nn.LeakyReLU(0.2), layers[1], nn.Dropout(0.2), nn.LeakyReLU(0.2)
        )
        self.out_net = nn.Linear(WIDTH, WIDTH)

    def forward(self, features: Tensor) -> Tensor:
        placed: Tensor = self.out_net(self.main(features.transpose(1, 2)).transpose(1, 2))
        return placed


class _Recurrent(nn.Module):
    """Sequences (B, L, inputs), lengths (B,) -> places (B, 512): the last states of a GRU in both directions."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input_emb = nn.Linear(inputs, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, WIDTH)
        )
        self.hidden = nn.Parameter(torch.zeros(2, 1, hidden))

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.input_emb(sequence), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.repeat(1, len(sequence), 1))
        placed: Tensor = self.output_net(torch.cat([last[0], last[1]], dim=-1))
        return placed


class _Text(_Recurrent):
    """The same of captions (B, 22, 315), whose kinds of words are added to their vectors."""

    def __init__(self) -> None:
        super().__init__(WORD_WIDTH, WIDTH)
        self.pos_emb = nn.Linear(len(KINDS), WORD_WIDTH)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        words, kinds = sequence[..., :WORD_WIDTH], sequence[..., WORD_WIDTH:]
        return super().forward(words + self.pos_emb(kinds), lengths)


class OfficialEvaluator(nn.Module):
    """Texts and motions -> one space, where Euclidean distance is what is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.movement_encoder = _Movement()
        self.text_encoder = _Text()
        self.motion_encoder = _Recurrent(WIDTH, 1024)

    def place_texts(self, captions: Tensor, lengths: Tensor) -> Tensor:
        """(B, 22, 315) of :meth:`WordTable.caption`, (B,) -> (B, 512)."""
        placed: Tensor = self.text_encoder(captions, lengths)
        return placed

    def place_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, 263), normalised with the evaluator's own statistics, (B,) frames -> (B, 512)."""
        placed: Tensor = self.motion_encoder(self.movement_encoder(features[..., :-4]), lengths // UNIT)
        return placed


def load_official_evaluator(file: Path, cache_dir: Path | None = None) -> OfficialEvaluator:
    """From ``finest.tar``. Raises CheckpointMismatch with the remedy for a file that nobody vouched for, or another."""
    source = file if file.suffix == ".safetensors" else converted(file, cache_dir)
    evaluator = OfficialEvaluator()
    for part in _PARTS:
        try:
            getattr(evaluator, part).load_state_dict(read_named_part(source, part))
        except RuntimeError as error:
            first = str(error).splitlines()[1:2]
            raise CheckpointMismatch(f"{file.name}: {part} is another network:{' '.join(first)}") from error
    return evaluator.eval().requires_grad_(False)
