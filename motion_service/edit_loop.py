"""A clip that goes over into its own start: the last second is made anew so that it leads there.

The clip is lengthened by its own first frames and the end before them painted over, as a gap between what was and what
comes again. What a figure has travelled and turned by then is taken out evenly over the whole clip: a loop is played on
the spot.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from motion_service.clips import VrmClip
from motion_service.edit import put_in
from motion_service.features.vrm_native import heading
from motion_service.geometry.rotation import quat_multiply, quat_rotate, yaw_to_quat
from motion_service.mdm_adapter.decode import decode
from motion_service.source import EditingSource, EditPlan, SourceClip, SourceRequest, join_clips, slice_clip

SEAM_S: Final = 1.2
"""How much of the end is made anew, s; of a short clip at most half."""
SEEN_S: Final = 0.6
"""How much of the start its making sees, s."""
FAR_M: Final = 0.3
"""Travel that is worth a warning, m."""


@dataclass(slots=True)
class LoopingSource:
    """A :class:`~motion_service.source.MotionSource` whose clips can be repeated without a seam."""

    source: EditingSource
    max_seconds: float
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.source.name

    async def generate(self, request: SourceRequest) -> SourceClip:
        """One clip; what comes after its last frame is its first."""
        made = await self.source.generate(request)
        level, travel = await asyncio.to_thread(lambda: close_path(decode(made)[0]))
        longer, plan, seam = lengthen(level)
        edited = await self.source.edit(request, longer, plan)
        joined = await asyncio.to_thread(lambda: put_in(longer, decode(edited)[0], plan))
        warnings = made.warnings
        if travel > FAR_M:
            warnings += (f"loop: the figure moves on the spot; {travel:.1f} m of travel were taken out",)
        facts = {**made.facts, "loop": {"seam_frames": list(seam), "travel_m": round(travel, 3)}}
        clip = slice_clip(joined, 0, level.num_frames)
        return replace(made, clip=clip, joints=None, warnings=warnings, facts=facts)


def close_path(clip: VrmClip) -> tuple[VrmClip, float]:
    """The clip without what it travels and turns as a whole, and how far that was, m.

    The frame after the last one would be where the first is, and facing there.
    """
    frames = clip.num_frames
    share = torch.arange(frames) / max(frames - 1, 1)
    steps = torch.remainder(torch.diff(heading(clip.rotations["hips"])) + math.pi, math.tau) - math.pi
    back = yaw_to_quat(-float(steps.sum()) * share)  # (T, 4)
    moved = quat_rotate(back[1:], torch.diff(clip.hips, dim=0))
    path = torch.cat([clip.hips[:1], clip.hips[:1] + moved.cumsum(0)])
    way = (path[-1] - path[0]) * path.new_tensor([1.0, 0.0, 1.0])
    path = torch.stack([path[:, 0], clip.hips[:, 1], path[:, 2]], dim=-1) - way * share[:, None]
    turned = quat_multiply(back, clip.rotations["hips"])
    return replace(clip, rotations={**clip.rotations, "hips": turned}, hips=path), float(way.norm())


def lengthen(clip: VrmClip) -> tuple[VrmClip, EditPlan, tuple[int, int]]:
    """The clip with its first frames once more behind it, the plan to make its end anew, and which frames that is."""
    frames = clip.num_frames
    seen = min(frames, max(2, round(SEEN_S * clip.fps)))
    start = frames - min(frames // 2, max(2, round(SEAM_S * clip.fps)))
    longer = join_clips(clip, slice_clip(clip, 0, seen))
    whole = longer.num_frames  # half a frame more, since the plan counts in whole ones
    return longer, EditPlan("in_between", (start + 0.5) / whole, (frames + 0.5) / whole), (start, frames)
