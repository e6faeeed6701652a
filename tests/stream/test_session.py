"""Sessions on a fake source in simulated time: whatever clients do, the protocol holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import torch

from motion_service.clips import PromptPlan, Segment
from motion_service.stream import Session
from motion_service.stream_change import Change, StreamOptions, Understood
from motion_service.stream_pace import Outbox
from motion_service.stream_reel import open_reel
from motion_service.vrm.fitting import Fitting
from tests.stream.live_fakes import FakeLive, simulate
from tests.stream.player import Player

PROMPTS = ("", "walks", "waves", "bows deeply", "turns left", "右手を振る", "踊る", "runs")


async def understand(source: FakeLive, text: str, seconds: float | None = None) -> Understood:
    plan = PromptPlan(text, "en", (Segment(text or "idle", seconds=seconds),))
    return Understood(text, plan, await source.read(plan, 0))


async def open_session(source: FakeLive, text: str = "", **options: Any) -> Session:
    fitting = Fitting(foot_lock=False, target=options.pop("target", "vrm1"), root=options.pop("root", "free"))
    chosen = StreamOptions(**{"session_id": "s", "seed": 1, "fps": 20.0, **options})
    idle = await understand(source, "")
    return Session(
        source,
        open_reel(source, fitting),
        await understand(source, text),
        idle,
        chosen,
        Outbox(chosen.fps, chosen.lead_sec),
    )


async def play(
    session: Session, seconds: float, act: Callable[[Player], Any] | None = None, **player_options: Any
) -> Player:
    """Run a session with a player for ``seconds``; ``act`` does things meanwhile."""
    player = Player(session, **player_options)
    running = [asyncio.create_task(session.run()), asyncio.create_task(player.play())]
    acting = asyncio.create_task(act(player)) if act else None
    await asyncio.sleep(seconds)
    if acting:
        await acting
    session.stop()
    await asyncio.gather(*running)
    return player


# --- the property: a thousand sessions --------------------------------------------------------------------------------


async def random_session(seed: int) -> tuple[Player, bool]:
    """One session with a client that does as it likes; and whether it reads well enough never to see a gap."""
    draw = random.Random(seed)
    source = FakeLive(cost=lambda: draw.uniform(0.02, 0.25))
    slow = draw.random() < 0.15
    session = await open_session(
        source,
        draw.choice(PROMPTS),
        fps=draw.choice([20.0, 20.0, 30.0, 24.0, 60.0]),
        lead_sec=draw.choice([0.5, 1.0, 2.0]),
        root=draw.choice(["free", "bounded", "in_place"]),
    )

    async def act(player: Player) -> None:
        for _ in range(draw.randint(1, 6)):
            await asyncio.sleep(draw.choice([0.01, 0.1, 0.5, 1.3]))
            frame = int(player.frame()) if player.shown and draw.random() < 0.7 else None
            deed = draw.random()
            if deed < 0.6:
                at = draw.choice(["now", "now", "next", draw.uniform(0, 12)])
                seconds = draw.choice([None, None, 1.0])
                session.ask(Change("prompt", await understand(source, draw.choice(PROMPTS), seconds), at), frame)
            elif deed < 0.75:
                pose = source.open(None).clip
                session.ask(Change("seek", await understand(source, draw.choice(PROMPTS)), pose=pose), frame)
            elif deed < 0.9:
                player.pause()
                session.pause()
                await asyncio.sleep(draw.uniform(0, 2))
                player.resume()
                session.resume()
            else:
                session.ask(Change("stop", await understand(source, "")), frame)

    player = await play(
        session,
        draw.uniform(2, 6),
        act,
        reads_s=draw.uniform(0.3, 1.5) if slow else 0.0,
        acknowledges=draw.random() < 0.8,
    )
    return player, not slow


def test_a_thousand_random_sessions() -> None:
    """No frame is lost or doubled within a revision, never more than the lead is sent, and seams are smooth."""
    seams, inside, starved, changes, late = [], [], 0, 0, 0
    for seed in range(1000):
        try:
            player, reads_well = simulate(random_session(seed))
        except Exception as error:
            raise AssertionError(f"session {seed}") from error
        assert player.ended
        if reads_well:
            assert not player.session.counts.gaps
            starved += player.starved
            changes, late = changes + player.session.counts.changes, late + player.late_changes
        at_seams, elsewhere = player.accelerations()
        if player.session.options.fps == 20.0:
            seams.append(at_seams)
            inside.append(elsewhere)
    print(
        changes,
        starved,
        late,
        [float(f(torch.cat(x))) for x in (seams, inside) for f in (torch.max, lambda t: t.quantile(0.99))],
    )
    assert changes > 1500 and starved <= 5 and late <= 0.02 * changes
    assert float(torch.cat(seams).max()) <= 1.5 * float(torch.cat(inside).max())
    assert float(torch.cat(seams).quantile(0.99)) <= 1.5 * float(torch.cat(inside).quantile(0.99))
