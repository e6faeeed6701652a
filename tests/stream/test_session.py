"""Sessions on a fake source in simulated time: whatever clients do, the protocol holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from motion_service.clips import PromptPlan, Segment
from motion_service.errors import GenerationFailed
from motion_service.stream import Session
from motion_service.stream_change import Change, StreamOptions, Understood
from motion_service.stream_pace import Outbox
from motion_service.stream_reel import open_reel
from motion_service.vrm.fitting import Fitting
from tests.stream.live_fakes import BatchingDevice, FakeLive, simulate
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


# --- single promises --------------------------------------------------------------------------------------------------


def test_a_text_shows_within_half_a_second_on_100_streams_of_one_device() -> None:
    """One device that makes windows together, in the time measured for a GPU; every stream changes its text often."""

    async def main() -> list[float]:
        device = BatchingDevice()
        source = FakeLive(gate=device.wait)
        serving = asyncio.create_task(device.serve())
        sessions = [await open_session(source, PROMPTS[i % 8], session_id=str(i), seed=i) for i in range(100)]

        async def act(player: Player) -> None:
            draw = random.Random(player.session.options.seed)
            await asyncio.sleep(draw.uniform(0, 2))
            for _ in range(6):
                await asyncio.sleep(draw.uniform(0.5, 1.5))
                player.asked_at = player.now
                player.session.ask(
                    Change("prompt", await understand(source, draw.choice(PROMPTS))), int(player.frame())
                )

        players = await asyncio.gather(*(play(session, 12.0, act) for session in sessions))
        serving.cancel()
        assert not sum(player.starved for player in players)
        assert not sum(player.session.counts.late_chunks for player in players)
        return [reaction for player in players for reaction in player.reactions]

    reactions = sorted(simulate(main()))
    assert len(reactions) > 500
    assert reactions[int(0.99 * len(reactions))] <= 0.5


def test_slow_and_dead_readers_do_not_disturb_others() -> None:
    async def main(bad: int) -> list[float]:
        source = FakeLive(device=asyncio.Semaphore(1), cost=lambda: 0.03)
        good = [await open_session(source, "walks", seed=i) for i in range(8)]
        others = [await open_session(source, "waves", seed=100 + i) for i in range(bad)]
        reads = [3.0 if i % 2 else 1e6 for i in range(bad)]
        playing = [play(session, 20.0) for session in good]
        running = [asyncio.create_task(session.run()) for session in others]
        slow = [
            asyncio.create_task(Player(session, reads_s=seconds, acknowledges=False).play())
            for session, seconds in zip(others, reads, strict=True)
        ]
        players = await asyncio.gather(*playing)
        for task in (*running, *slow):
            task.cancel()
        assert all(session.counts.gaps for session in others)
        assert all(session.outbox.waiting <= 2.1 * 20 for session in others)
        return sorted(b - a for player in players for a, b in zip(player.arrivals, player.arrivals[1:], strict=False))

    alone, beside = simulate(main(0)), simulate(main(8))
    assert beside[int(0.99 * len(beside))] <= 1.1 * alone[int(0.99 * len(alone))]


def test_a_paused_stream_makes_and_sends_no_more_than_its_lead() -> None:
    async def main() -> None:
        source = FakeLive()
        session = await open_session(source, "walks")

        async def act(player: Player) -> None:
            await asyncio.sleep(2.0)
            player.pause()
            session.pause()
            await asyncio.sleep(1.0)
            windows, chunks = len(source.windows), len(player.arrivals)
            await asyncio.sleep(30.0)
            assert (len(source.windows), len(player.arrivals)) == (windows, chunks)
            player.resume()
            session.resume()
            await asyncio.sleep(3.0)
            assert len(player.arrivals) > chunks and not player.starved

        await play(session, 0.0, act)

    simulate(main())


def test_texts_take_effect_when_asked() -> None:
    """next: after what is made; a time: at its frame; now: at once, and later texts of before are forgotten."""

    async def main() -> None:
        source = FakeLive()
        session = await open_session(source, "walks")

        async def act(player: Player) -> None:
            await asyncio.sleep(1.0)
            session.ask(Change("prompt", await understand(source, "bows"), 5.0))
            await asyncio.sleep(0.1)
            assert session.counts.changes == 1
            await asyncio.sleep(5.0)
            (at_five,) = player.messages
            assert (at_five["from_frame"], at_five["captions"]) == (100, ["bows"])
            session.ask(Change("prompt", await understand(source, "waves", 1.0), "next"))
            await asyncio.sleep(3.0)
            assert player.messages[1]["from_frame"] > 120
            session.ask(Change("prompt", await understand(source, "runs"), 100.0))
            session.ask(Change("prompt", await understand(source, "turns left")))
            await asyncio.sleep(1.0)
            assert player.messages[2]["captions"] == ["turns left"]

        player = await play(session, 0.0, act)
        starts = {caption: first for first, caption in reversed(source.windows)}
        assert starts["bows"] == 100
        assert starts["waves"] == player.messages[1]["from_frame"]
        assert ("runs" not in starts) and starts["idle"] == starts["waves"] + 20, "a text with a length ends in idle"

    simulate(main())


def test_stop_ends_in_idle_after_two_seconds() -> None:
    async def main() -> None:
        source = FakeLive()
        session = await open_session(source, "walks")

        async def act(player: Player) -> None:
            await asyncio.sleep(1.5)
            session.ask(Change("stop", await understand(source, "")), int(player.frame()))
            await asyncio.sleep(4.0)
            assert player.ended and player.messages[0]["reason"] == "stop"
            assert player.messages[-1]["frames"] == player.messages[0]["from_frame"] + 40

        await play(session, 0.0, act)

    simulate(main())


@pytest.mark.parametrize(("failures", "survives"), [(2, True), (3, False)])
def test_a_failing_window_is_tried_again_and_told(failures: int, survives: bool) -> None:
    async def main() -> None:
        source = FakeLive()
        session = await open_session(source, "walks")

        async def act(player: Player) -> None:
            await asyncio.sleep(2.0)
            source.failures += [GenerationFailed() for _ in range(failures)]
            await asyncio.sleep(6.0)
            assert player.ended is not survives
            told = [message["problem"] for message in player.messages if message["type"] == "error"]
            assert told and told[0]["status"] == 500

        await play(session, 0.0, act)

    simulate(main())


def test_frames_do_not_depend_on_how_they_were_cut() -> None:
    """A stream at 60 frames a second shows the poses of one at 20."""

    async def main() -> None:
        shown = []
        for fps in (20.0, 60.0):
            player = await play(await open_session(FakeLive(), "walks", fps=fps), 5.0)
            shown.append(player.shown)
        assert all(torch.allclose(shown[1][3 * i], shown[0][i], atol=1e-6) for i in range(80))

    simulate(main())
