"""The motion corpus: clips of the canonical body at 20 fps with their labels, in one compact file.

Sources and licences: Bandai-Namco-Research-Motiondataset 1 and 2 (CC BY-NC 4.0), the CMU motion capture database
(free), Mesh2Motion (CC0), and gestures of our own (``authored.py``). Rotations are true bone rotations, twist included
(see ``calibration``).
"""

from __future__ import annotations

import io
import lzma
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.features.vrm_native import NUM_BONES
from motion_service.geometry.rotation import quat_to_rotvec, quat_unroll, rotvec_to_quat
from motion_service.humanoid import LEFT_RIGHT

SourceName = Literal["bandai", "cmu", "mesh2motion", "own"]

ROTATION_UNIT: Final = float(np.pi / 32767)
"""One count of the stored rotation vectors, radians (0.0055 degrees)."""
POSITION_UNIT: Final = 0.001
"""One count of the stored hips positions, metres."""
MIRROR_SUFFIX: Final = "#mirror"
ENOUGH_RECORDINGS: Final = 10
"""With so many recordings of an action nobody has to author it."""


@dataclass(frozen=True, slots=True)
class CorpusClip:
    """One labelled clip of the canonical body, 20 fps, starting at x = z = 0 and facing +Z, floor at y = 0."""

    name: str
    source: SourceName
    action: str
    style: str
    rotations: Tensor
    """(T, 21, 4) xyzw local."""
    hips: Tensor
    """(T, 3) m."""
    captions: tuple[str, ...] = ()
    """Captions of this very clip, beside those of its action and style."""

    @property
    def is_free(self) -> bool:
        """Whether nothing non-commercial went into this clip."""
        return self.source != "bandai"

    @property
    def is_recorded(self) -> bool:
        """Whether a person moved so, not a drawing."""
        return self.source != "own"


def mirror_action(action: str) -> str:
    """The action seen in a mirror: left and right exchanged."""
    swap = {"left": "right", "right": "left"}
    return "-".join(swap.get(word, word) for word in action.split("-"))


def mirror_clip(clip: CorpusClip) -> CorpusClip:
    """The clip reflected at the plane x = 0. Mirroring twice gives the clip back."""
    rotations = clip.rotations[:, LEFT_RIGHT] * torch.tensor([1.0, -1.0, -1.0, 1.0])
    mirrored = clip.name.endswith(MIRROR_SUFFIX)
    return replace(
        clip,
        name=clip.name.removesuffix(MIRROR_SUFFIX) if mirrored else clip.name + MIRROR_SUFFIX,
        action=mirror_action(clip.action),
        rotations=rotations,
        hips=clip.hips * torch.tensor([-1.0, 1.0, 1.0]),
        captions=(),
    )


def without_stand_ins(clips: Sequence[CorpusClip]) -> list[CorpusClip]:
    """The clips without those authored for actions of which there are enough recordings among them."""
    recorded = Counter(clip.action for clip in clips if clip.is_recorded)
    return [clip for clip in clips if clip.is_recorded or recorded[clip.action] < ENOUGH_RECORDINGS]


def write_corpus(path: Path, clips: Iterable[CorpusClip]) -> None:
    """Write all clips: rotation vectors and positions as int16, differenced in time, xz-compressed.

    The error is at most 0.005 degrees and 0.5 mm. Differences wrap around, so no step is too large.
    """
    clips = list(clips)
    counts = torch.cat([_clip_to_counts(clip) for clip in clips]).numpy()
    steps = np.diff(counts, axis=0, prepend=np.zeros((1, counts.shape[1]), np.int16))  # int16 arithmetic wraps
    labels = [f"{c.name}\t{c.source}\t{c.action}\t{c.style}\t{'|'.join(c.captions)}" for c in clips]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        steps=np.ascontiguousarray(steps.T),  # one channel after the other compresses a third better
        lengths=np.array([len(c.hips) for c in clips], np.int32),
        labels=np.frombuffer("\n".join(labels).encode(), np.uint8),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(buffer.getvalue(), preset=6))


def read_corpus(path: Path) -> list[CorpusClip]:
    """Read a corpus file. Raises :class:`BadRequest` when there is none or it is not one."""
    if not path.is_file():
        raise BadRequest(f"no corpus file {path.name}: run scripts/motion/prepare_dataset first")
    try:
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False) as data:
            steps, lengths, labels = data["steps"], data["lengths"], data["labels"]
    except (lzma.LZMAError, ValueError, KeyError) as error:
        raise BadRequest(f"{path.name} is not a corpus file, or it is damaged: prepare it again") from error
    counts = torch.from_numpy(np.cumsum(np.ascontiguousarray(steps.T), axis=0, dtype=np.int16))
    clips: list[CorpusClip] = []
    rows = bytes(labels).decode().split("\n")
    for row, part in zip(rows, counts.split(lengths.tolist()), strict=True):
        name, source, action, style, captions = row.split("\t")
        rotations, hips = _counts_to_bones(part)
        extra = tuple(filter(None, captions.split("|")))
        clips.append(CorpusClip(name, source, action, style, rotations, hips, extra))  # type: ignore[arg-type]
    return clips


def _clip_to_counts(clip: CorpusClip) -> Tensor:
    """int16 (T, 66): rotation vectors of 21 bones and the hips position, in stored units."""
    rotvec = quat_to_rotvec(clip.rotations).flatten(1) / ROTATION_UNIT
    place = clip.hips / POSITION_UNIT
    if float(place.abs().max()) > 32767:
        raise BadRequest(f"{clip.name} travels farther than 32 m: cut it")
    return torch.cat([rotvec, place], dim=1).round().to(torch.int16)


def _counts_to_bones(counts: Tensor) -> tuple[Tensor, Tensor]:
    values = counts.float()
    rotvec = values[:, : NUM_BONES * 3].unflatten(1, (NUM_BONES, 3)) * ROTATION_UNIT
    rotations = quat_unroll(rotvec_to_quat(rotvec).movedim(0, -2)).movedim(-2, 0)
    return rotations, values[:, NUM_BONES * 3 :] * POSITION_UNIT


def with_mirrors(clips: Sequence[CorpusClip]) -> list[CorpusClip]:
    """Every clip followed by its mirror image."""
    return [each for clip in clips for each in (clip, mirror_clip(clip))]


def training_clips(path: Path, *, free: bool) -> list[CorpusClip]:
    """What a model learns from, mirror images included; ``free``: only clips without the non-commercial term."""
    allowed = [clip for clip in read_corpus(path) if clip.is_free or not free]
    return with_mirrors(without_stand_ins(allowed))
