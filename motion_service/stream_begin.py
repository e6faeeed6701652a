"""How streams begin: what does not depend on the stream is made once and shared, as reels never change."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Final

from motion_service.source import LiveSource
from motion_service.stream_reel import Reel, open_reel
from motion_service.vrm.fitting import Fitting

KEPT: Final = 256
"""So many ways to begin are remembered: avatars, and how they are to be played."""


class Beginnings:
    """Neutral stances on avatars. Of two streams alike they differ in the seed of what shows their signs of life, and
    that is never seen of frames before the first one."""

    def __init__(self) -> None:
        self._reels: dict[Hashable, Reel] = {}

    def stand(self, source: LiveSource, fitting: Fitting) -> Reel:
        """A reel whose first frame is number 0, after a neutral stance. The first of a kind takes milliseconds."""
        avatar = fitting.avatar
        key = (source.name, avatar and avatar.id, replace(fitting, avatar=None, seed=0))
        reel = self._reels.get(key)
        if reel is None:
            reel = self._reels[key] = open_reel(source, fitting)
            if len(self._reels) > KEPT:
                del self._reels[next(iter(self._reels))]
        return replace(reel, fitted=replace(reel.fitted, figure=reel.fitted.figure.seeded(fitting)))
