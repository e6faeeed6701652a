"""Speech, states and interruptions on live streams, on a fake source in simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from motion_service.errors import BadRequest
from motion_service.pipeline import Pipeline
from motion_service.stream import Session
from motion_service.stream_body import message_to_change
from motion_service.stream_change import Change
from motion_service.stream_schemas import read_message
from tests.stream.live_fakes import FakeLive, simulate
from tests.stream.player import Player
from tests.stream.test_session import open_session, play, understand

REPLY = "こんにちは、今日はいい天気ですね。散歩に行きましょうか。"


async def ask(session: Session, pipeline: Pipeline, **fields: Any) -> None:
    message: Any = read_message({"v": 1, **fields})
    idle = await understand(session.source, "")  # type: ignore[arg-type]
    session.ask(await message_to_change(message, session, idle, pipeline))


@pytest.fixture
def pipeline(start_api: Any) -> Pipeline:
    made: Pipeline = start_api().pipeline
    return made


def applied(player: Player, reason: str) -> list[Mapping[str, Any]]:
    return [message for message in player.messages if message.get("reason") == reason]


def test_a_speech_shows_without_a_window_of_its_own(pipeline: Pipeline) -> None:
    source = FakeLive(cost=lambda: 0.35)

    async def scene() -> Player:
        session = await open_session(source)

        async def act(player: Player) -> None:
            await asyncio.sleep(1.5)
            await ask(session, pipeline, type="speak", text=REPLY, seconds=3.0)
            player.asked_at = player.now

        return await play(session, 6.0, act)

    player = simulate(scene())
    (told,) = applied(player, "speak")
    assert told["speech"]["seconds"] == 3.0 and told["speech"]["beats"] and told["state"] == "idle"
    assert player.reactions and player.reactions[0] <= 0.15
    assert {caption for _, caption in source.windows} == {source.windows[0][1]}


def test_an_action_in_a_speech_is_made_by_the_model_at_its_place(pipeline: Pipeline) -> None:
    source = FakeLive()

    async def scene() -> Player:
        session = await open_session(source)

        async def act(player: Player) -> None:
            await asyncio.sleep(1.0)
            await ask(
                session, pipeline, type="speak", text="ありがとうございました。（お辞儀）またどうぞ。", seconds=5.0
            )

        return await play(session, 9.0, act)

    player = simulate(scene())
    (told,) = applied(player, "speak")
    (bow,) = told["speech"]["acts"]
    begun = [first for first, caption in source.windows if "お辞儀" in caption or "bow" in caption]
    assert begun and min(begun) == pytest.approx((told["t0"] + bow["start"]) * 20, abs=1)


async def random_body(seed: int, pipeline: Pipeline) -> Player:
    draw = random.Random(seed)
    source = FakeLive(cost=lambda: draw.uniform(0.02, 0.25))
    session = await open_session(source, fps=draw.choice([20.0, 30.0]))

    async def act(player: Player) -> None:
        for _ in range(draw.randint(2, 8)):
            await asyncio.sleep(draw.choice([0.05, 0.3, 1.0, 2.5]))
            kind = draw.choice(["speak", "speak", "state", "interrupt", "prompt"])
            fields = {
                "speak": {"text": draw.choice([REPLY, "Yes.", "（手を振る）"]), "seconds": draw.choice([None, 2.0])},
                "state": {"to": draw.choice(["idle", "listen", "think", "speak"]), "at": draw.choice(["now", "next"])},
                "interrupt": {},
                "prompt": {},
            }[kind]
            if kind == "prompt":
                session.ask(Change("prompt", await understand(source, draw.choice(["", "walks"]))))
            else:
                await ask(session, pipeline, type=kind, **{k: v for k, v in fields.items() if v is not None})

    return await play(session, draw.uniform(4, 9), act)


def test_random_bodies_keep_the_protocol_and_never_jump(pipeline: Pipeline) -> None:
    seams, inside = [], []
    for seed in range(60):
        player = simulate(random_body(seed, pipeline))
        assert player.ended and not player.session.counts.gaps
        at_seams, elsewhere = player.accelerations()
        seams.append(at_seams)
        inside.append(elsewhere)
    assert float(torch.cat(seams).max()) <= 1.5 * float(torch.cat(inside).max())


def test_the_same_asks_at_the_same_frames_give_the_same_motion(pipeline: Pipeline) -> None:
    first, again = [simulate(random_body(7, pipeline)) for _ in range(2)]
    assert all(torch.equal(first.shown[frame], again.shown[frame]) for frame in first.shown)


@pytest.mark.parametrize(
    "fields",
    [{"type": "speak", "text": ""}, {"type": "state", "to": "dance"}, {"type": "interrupt", "to": "speak"}],
)
def test_what_cannot_be_asked(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        read_message(fields)
