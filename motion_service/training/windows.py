"""Training windows drawn on the device: a prefix, the frames to predict and a caption, the whole corpus in memory.

A window is at most two takes spliced together. Before the splice runs the first take, after it the second, whose pose
and speed are pulled onto the first's and let go over some frames (inertialisation: Bollo, "Inertialization", GDC 2018),
so nothing jumps. Four kinds:

==========  ==========================================  ===================================================
kind        first take                                  second take, from the splice on
==========  ==========================================  ===================================================
plain       the asked clip                              none
transition  standing, or any other clip                 the asked clip, from where it fits best or from anywhere
idle        standing, or any other clip                 standing, with the captions of idling
ending      the asked clip to its end in place          standing, or the asked clip from its start again
==========  ==========================================  ===================================================

All chance is in :meth:`WindowSource.roll`; :meth:`WindowSource.compose` is a pure function of it, fixed in shape and
free of host synchronisation, so it can be compiled and captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from motion_service.errors import BadRequest
from motion_service.features.vrm_native import VRM_FPS, VRM_WIDTH
from motion_service.geometry.rotation import quat_to_rotmat
from motion_service.training.balance import clip_weights
from motion_service.training.caption_table import CaptionTable, caption_key
from motion_service.training.corpus import CorpusClip
from motion_service.training.facing import FacingBody, assemble_features, bone_steps
from motion_service.training.pose_table import (
    HEIGHT,
    IN_PLACE,
    LABELS,
    QUATS,
    RATES,
    STILL,
    feature_statistics,
    last_speeds,
    pose_rows,
    quats_of,
    soles_of,
    standing_row,
)
from motion_service.training.splice import (
    Fade,
    fade_after,
    frame_at,
    joined_pose,
    joined_rates,
    planted_root,
    untwisted,
    with_lifted_foot,
)
from motion_service.training.standing import NUM_SWAYS, standing_features, sway_table, swayed

ENTRIES: Final = 8
"""Places of the asked clip among which a transition finds the one that fits best."""

_CHANCES: Final = (
    "clip", "kind", "place", "fitting", "standing", "other_clip", "other_place", "blend", "hold", "repeat",
    "language", "caption", "second_language", "second_caption", "mixing", "mix", "noise", "sway_onset", "typical",
    *(f"entry_{number}" for number in range(ENTRIES)),
    *(f"sway_{what}_{row}" for what in ("size", "rate", "phase") for row in range(NUM_SWAYS)),
)  # fmt: skip
"""Uniform draws in 0..1, one a window."""

_NEVER: Final = 1 << 20
"""Splice frame of a window that has no second take."""
_MIN_TARGET: Final = 8
"""Frames of the asked clip that a window shows at least, so that its caption is true."""


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """The mix of windows. Shares are of all windows, lengths in frames."""

    context: int = 20
    predict: int = 40
    transitions: float = 0.45
    idle: float = 0.05
    endings: float = 0.15
    from_standing: float = 0.6
    """Share of transitions and idle windows that come from standing, not from another clip."""
    fitting: float = 0.6
    """Share of transitions that enter the asked clip where its pose and speed are nearest to those that are left, as
    in motion matching, not anywhere: nobody breaks into a run in the middle of a stride."""
    repeat: float = 0.5
    """Share of endings that do the action again instead of settling."""
    blend: tuple[int, int] = (6, 16)
    """Shortest and longest splice into a clip."""
    settle: tuple[int, int] = (10, 30)
    """Shortest and longest splice into standing."""
    hold: int = 10
    """Longest hold of the last pose of a clip that comes to rest, before the splice."""
    prefix_noise: float = 0.05
    """Largest standard deviation of noise on the normalised prefix; each window draws its own up to this."""
    caption_noise: float = 0.012
    """Standard deviation of noise on each number of a sentence embedding."""
    caption_mix: float = 0.3
    """Share of windows whose caption is a mix of two paraphrases, up to half and half."""
    typical: float = 0.0
    """Share of windows with the typical caption of their group, which is all that the network hears when it serves."""
    balance: float = 0.65
    """A class of n clips is drawn n**-balance as often a clip: 0 = as it comes, 1 = every class alike."""
    style_balance: float = 0.0
    """The same for the styles within a class, which as a whole is drawn as often as without."""
    longest: int = 200
    """Clips longer than this weigh no more."""

    def __post_init__(self) -> None:
        shares = (self.transitions, self.idle, self.endings, self.from_standing, self.fitting, self.repeat)
        if min(shares) < 0 or max(shares) > 1 or self.transitions + self.idle + self.endings > 1:
            raise BadRequest("windows: shares must lie in 0..1 and the three kinds sum to at most 1", field="windows")
        if self.context < 2 or self.predict < 2 or min(self.blend + self.settle) < 1:
            raise BadRequest("windows: context and predict need 2 frames or more, splices 1 or more", field="windows")


class Windows(NamedTuple):
    """A batch, normalised. C context frames, P predicted frames."""

    earlier: Tensor
    """(B, C, F) the frames before the prefix."""
    prefix: Tensor
    """(B, C, F)"""
    target: Tensor
    """(B, P, F)"""
    frame_mask: Tensor
    """(B, P) bool, True = a real frame; the first is always real."""
    tokens: Tensor
    """(B, 1, E)"""


class Chance(NamedTuple):
    """Everything random of a batch."""

    uniform: Tensor
    """(K, B) in 0..1, rows as in _CHANCES."""
    caption: Tensor
    """(B, E) normal."""
    prefix: Tensor
    """(B, C, F) normal."""


class Plan(NamedTuple):
    """Which frames a window shows. T counts all frames composed."""

    first: Tensor
    """(B,) clip of the first take."""
    first_index: Tensor
    """(B, T) frame of that clip; outside of it the nearest frame stands still."""
    first_stands: Tensor
    """(B,) bool, the first take is standing instead."""
    second: Tensor
    second_index: Tensor
    second_stands: Tensor
    splice: Tensor
    """(B,) first frame of the second take."""
    blend: Tensor
    """(B,) frames, how long the splice takes."""
    valid: Tensor
    """(B, T) bool"""
    caption_set: Tensor
    """(B,) row of the caption table."""


class WindowSource(nn.Module):
    """The corpus on one device, and the windows drawn from it. Buffers only, no parameters."""

    rows: Tensor
    starts: Tensor
    lengths: Tensor
    cumulative: Tensor
    ends_in_place: Tensor
    ends_still: Tensor
    mean: Tensor
    std: Tensor
    stand: Tensor
    sway: Tensor
    sway_rates: Tensor
    caption_set: Tensor
    up: Tensor

    def __init__(self, clips: Sequence[CorpusClip], captions: CaptionTable, settings: WindowSettings) -> None:
        """``clips`` mirror images included. Raises BadRequest for an empty corpus or a clip without captions."""
        super().__init__()
        if not clips:
            raise BadRequest("corpus: no clips to train on; run scripts/motion/prepare_dataset first", field="corpus")
        self.settings = settings
        self.body = FacingBody()
        self.captions = captions
        rows, features = pose_rows(clips)
        lengths = torch.tensor([len(clip.rotations) for clip in clips])
        starts = torch.cumsum(lengths, 0) - lengths
        mean, std = feature_statistics(features)
        hips_speed, bone_speed = last_speeds(features, starts + lengths)
        shape, rates = sway_table()
        weights = clip_weights(clips, settings.balance, settings.style_balance, settings.longest).cumsum(0)
        tables = {
            "rows": rows, "starts": starts, "lengths": lengths, "mean": mean, "std": std,
            "cumulative": (weights / weights[-1]).float(),
            "ends_in_place": hips_speed < IN_PLACE, "ends_still": bone_speed < STILL,
            "sway": shape, "sway_rates": rates, "stand": standing_row(), "up": torch.tensor([0.0, 1.0, 0.0]),
            "caption_set": torch.tensor([captions.row(caption_key(clip)) for clip in clips]),
        }  # fmt: skip
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        self.idle_set = captions.idle_row

    @property
    def first_prefix(self) -> Tensor:
        """(C, F) normalised, motionless standing: what the first window of a clip continues."""
        return (standing_features(self.settings.context).to(self.mean) - self.mean) / self.std

    @property
    def num_frames(self) -> int:
        """Frames composed for a window: earlier, prefix, target, and one before them to take rates from."""
        return 1 + 2 * self.settings.context + self.settings.predict

    @property
    def border(self) -> int:
        """Index of the first target frame among them."""
        return 1 + 2 * self.settings.context

    def draw(self, num_windows: int, generator: torch.Generator | None = None) -> Windows:
        """A batch; the same generator state gives the same batch."""
        return self.compose(self.roll(num_windows, generator))

    def roll(self, num_windows: int, generator: torch.Generator | None = None) -> Chance:
        device, width = self.rows.device, self.captions.width
        return Chance(
            torch.rand(len(_CHANCES), num_windows, device=device, generator=generator),
            torch.randn(num_windows, width, device=device, generator=generator),
            torch.randn(num_windows, self.settings.context, VRM_WIDTH, device=device, generator=generator),
        )

    @torch.no_grad()
    def compose(self, chance: Chance) -> Windows:
        """The batch that ``chance`` stands for."""
        u = dict(zip(_CHANCES, chance.uniform.unbind(0), strict=True))
        plan = self._plan(u)
        features = (self._features(plan, u) - self.mean) / self.std
        context = self.settings.context
        earlier, prefix, target = features.split([context, context, self.settings.predict], dim=1)
        prefix = prefix + chance.prefix * (u["noise"] * self.settings.prefix_noise)[:, None, None]
        valid = plan.valid[:, self.border :]
        noise, mix = self.settings.caption_noise, self.settings.caption_mix
        tokens = self.captions.tokens(
            plan.caption_set, u, chance.caption, noise=noise, mix=mix, typical=self.settings.typical
        )
        return Windows(earlier, prefix, target, valid, tokens)

    # --- which frames -----------------------------------------------------------------------------------------------

    def _plan(self, u: Mapping[str, Tensor]) -> Plan:
        """Decide for each window the kind, the clips, the places and the splice."""
        s, border, predict = self.settings, self.border, self.settings.predict
        clip, other = self._pick(u["clip"]), self._pick(u["other_clip"])
        length, other_length = self.lengths[clip], self.lengths[other]
        kind = u["kind"]
        idle = kind < s.idle
        ending = (kind > 1 - s.endings) & self.ends_in_place[clip]
        short = length < s.context + _MIN_TARGET  # too short to show a prefix and go on
        transition = ~idle & ~ending & ((kind < s.idle + s.transitions) | short)
        plain_place = s.context + _scaled(u["place"], length - predict // 2 - s.context + 1)
        other_place = s.context + _scaled(u["other_place"], other_length - s.context + 1)
        stands = (transition | idle) & (u["standing"] < s.from_standing)
        last = torch.where(stands[:, None], self.stand, self._clip_rows(other, other_place[:, None] - 1)[:, 0])
        entry = torch.where(u["fitting"] < s.fitting, self._best_entry(clip, last, u), self._entry(clip, u["place"]))
        left = _scaled(u["place"], torch.full_like(length, predict - _MIN_TARGET))  # frames of the clip in the target
        hold = _scaled(u["hold"], torch.full_like(length, s.hold + 1)) * self.ends_still[clip]
        own_place = torch.where(ending, length - left, plain_place)
        to_standing = idle | (ending & (u["repeat"] >= s.repeat))
        shortest, longest = (
            torch.where(to_standing, settle, blend) for settle, blend in zip(s.settle, s.blend, strict=True)
        )
        never = torch.full_like(length, _NEVER)
        splice = torch.where(transition | idle, border, torch.where(ending, border + left + hold, never))
        frames = torch.arange(self.num_frames, device=kind.device)
        from_other = (transition | idle)[:, None]
        first_index = frames - border + torch.where(from_other, other_place[:, None], own_place[:, None])
        second_index = frames + torch.where(transition, entry - border, 1 - splice)[:, None]
        second_valid = to_standing[:, None] | (second_index < length[:, None])
        first_valid = ending[:, None] | (first_index < length[:, None])
        return Plan(
            first=torch.where(from_other[:, 0], other, clip),
            first_index=first_index,
            first_stands=stands,
            second=clip,
            second_index=second_index,
            second_stands=to_standing,
            splice=splice,
            blend=shortest + u["blend"] * (longest - shortest),
            valid=torch.where(frames < splice[:, None], first_valid, second_valid),
            caption_set=torch.where(idle, self.idle_set, self.caption_set[clip]),
        )

    def _entry(self, clip: Tensor, chance: Tensor) -> Tensor:
        """A frame (B,) of each clip from which it still fills a target, where it is that long."""
        return 1 + _scaled(chance, self.lengths[clip] - self.settings.predict)

    def _best_entry(self, clip: Tensor, last: Tensor, u: Mapping[str, Tensor]) -> Tensor:
        """Of several such frames the one before which pose and speed are most like those of ``last`` (B, 104)."""
        places = torch.stack([self._entry(clip, u[f"entry_{number}"]) for number in range(ENTRIES)], dim=1)  # (B, n)
        rows = self._clip_rows(clip, places - 1)
        alike = (quats_of(rows) * quats_of(last)[:, None]).sum(-1) ** 2  # (B, n, 21), 1 = the same turn
        soles = (soles_of(rows) - soles_of(last)[:, None]).square().sum((-1, -2))
        rates = (rows[..., RATES] - last[:, None, RATES]).square().sum(-1)
        distance = (1 - alike).sum(-1) + 8 * soles + 0.2 * rates
        return places.gather(1, distance.argmin(1, keepdim=True))[:, 0]

    def _pick(self, chance: Tensor) -> Tensor:
        """Clips by weight: inverse of the cumulative distribution. (B,) long"""
        return torch.searchsorted(self.cumulative, chance).clamp(max=len(self.lengths) - 1)

    # --- what they show ---------------------------------------------------------------------------------------------

    def _features(self, plan: Plan, u: Mapping[str, Tensor]) -> Tensor:
        """Features (B, T - 1, 260) in physical units; the frame before the first only gave its rates."""
        standing = self._standing(u)
        first = torch.where(plan.first_stands[:, None, None], standing, self._clip_rows(plan.first, plan.first_index))
        second = torch.where(
            plan.second_stands[:, None, None], standing, self._clip_rows(plan.second, plan.second_index)
        )
        fade = fade_after(plan.splice, plan.blend, self.num_frames)
        local = quat_to_rotmat(self._pose(first, second, plan, fade))  # (B, T, 21, 3, 3)
        rates = joined_rates(first[..., RATES], second[..., RATES], plan.splice, fade)
        height = torch.where(fade.after, second[..., HEIGHT], first[..., HEIGHT])
        positions = self.body(local, height)
        lift = self._lift(self.body.clearance(positions), first, second, plan, fade)  # (B, T)
        height, positions = height + lift, positions + lift[..., None, None] * self.up
        labels = torch.where(fade.after[..., None], second[..., LABELS], first[..., LABELS])
        rates = self._planted(rates, positions, first, labels, plan, fade)
        steps = bone_steps(positions, positions[:, 0], rates[..., 0] / VRM_FPS, rates[..., 1:] / VRM_FPS)
        labels = torch.where(fade.active[..., None], self.body.contacts(positions, steps), labels)
        return assemble_features(rates, height, local, positions, steps, labels)[:, 1:]

    def _clip_rows(self, clip: Tensor, index: Tensor) -> Tensor:
        """Rows (B, T, 104) of clips; before the first and after the last frame the pose stands still."""
        length = self.lengths[clip][:, None]
        rows = self.rows[self.starts[clip][:, None] + torch.minimum(index.clamp_min(0), length - 1)]
        inside = ((index >= 0) & (index < length))[..., None]
        return torch.cat([rows[..., RATES] * inside, rows[..., HEIGHT:]], dim=-1)

    def _standing(self, u: Mapping[str, Tensor]) -> Tensor:
        """Rows (B, T, 104) of standing, motionless or swaying a little, some only from the border on."""
        frames = torch.arange(self.num_frames, device=self.rows.device)
        size, rate, phase = (
            torch.stack([u[f"sway_{what}_{row}"] for row in range(NUM_SWAYS)], dim=1)
            for what in ("size", "rate", "phase")
        )  # (B, 3)
        omega = self.sway_rates[:, 0] + rate * (self.sway_rates[:, 1] - self.sway_rates[:, 0])
        wave = torch.sin(omega[:, None] * frames[:, None] + 2 * torch.pi * phase[:, None])  # (B, T, 3)
        late = ((frames - self.border) / self.settings.context).clamp(0, 1)
        onset = torch.where((u["sway_onset"] < 0.4)[:, None], late * late * (3 - 2 * late), torch.ones_like(late))
        wave = wave * (1.4 * size[:, None] * onset[..., None])
        turns = (wave[..., None, None] * self.sway).sum(2)  # (B, T, 21, 3)
        pose = swayed(quats_of(self.stand), turns).flatten(-2)
        still = self.stand[: QUATS.start].expand(*pose.shape[:2], -1)
        return torch.cat([still, pose], dim=-1)

    def _pose(self, first: Tensor, second: Tensor, plan: Plan, fade: Fade) -> Tensor:
        """Joined local rotations (B, T, 21, 4)."""
        pose = joined_pose(quats_of(first), quats_of(second), plan.splice, fade)
        return untwisted(with_lifted_foot(pose, soles_of(first), soles_of(second), plan.splice, fade))

    def _lift(self, clearance: Tensor, first: Tensor, second: Tensor, plan: Plan, fade: Fade) -> Tensor:
        """Correction (B, T) m of the hips height that gives a spliced pose the clearance its takes have."""
        before, after = (self.body.lowest(soles_of(take)) for take in (first, second))  # (B, T)
        wanted = frame_at(before, plan.splice - 1)[:, None] * fade.place + after * (1 - fade.place)
        return torch.where(fade.active, wanted - clearance.amin(-1), torch.zeros_like(wanted))

    def _planted(
        self, rates: Tensor, positions: Tensor, first: Tensor, labels: Tensor, plan: Plan, fade: Fade
    ) -> Tensor:
        """Rates (B, T, 3) with the root held by the supporting foot while a splice lasts."""
        before = frame_at(first[..., LABELS], plan.splice - 1).amax(-1)[:, None]
        support = (before * fade.place + labels.amax(-1) * (1 - fade.place)) * (1 - fade.share**3) * fade.active
        step = planted_root(
            rates[..., 1:] / VRM_FPS, positions, self.body.clearance(positions), rates[..., 0] / VRM_FPS, support
        )
        return torch.cat([rates[..., :1], step * VRM_FPS], dim=-1)


def _scaled(chance: Tensor, count: Tensor) -> Tensor:
    """A whole number in 0 .. count - 1 from a chance in 0..1; 0 where the count is below 1. (B,) long"""
    return torch.minimum((chance * count.clamp_min(1)).long(), count.clamp_min(1) - 1)
