"""What clients ask of the body of their stream: to say a text, to be in a state, to stop at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from motion_service.pipeline import Pipeline
from motion_service.source import LiveText
from motion_service.speak.performance import Performance
from motion_service.speak.speech import Speech, new_speech
from motion_service.stream import Session
from motion_service.stream_change import Change, Understood
from motion_service.stream_schemas import Interrupt, SetState, Speak
from motion_service.timeline import IDLE, read_plan

Told = tuple[Performance, Mapping[str, Any]]


async def message_to_change(
    message: Speak | SetState | Interrupt, session: Session, idle: Understood, pipeline: Pipeline
) -> Change:
    """The change that a message asks for. ``idle``: what the source is told while it has nothing to do."""
    if isinstance(message, Speak):
        return await _speak(message, session, idle, pipeline)
    if isinstance(message, SetState):
        return Change("state", idle, message.at, body=partial(_enter, message))
    return Change("interrupt", idle, body=partial(_stop, message))


async def _speak(message: Speak, session: Session, idle: Understood, pipeline: Pipeline) -> Change:
    """Its text is read by the source only where that has to act."""
    loudness = None if message.audio_envelope is None else message.audio_envelope.model_dump()
    read = partial(new_speech, seconds=message.seconds, loudness=loudness, then=message.then)
    speech = await asyncio.to_thread(read, message.text, session.options.seed)
    plan = await pipeline.read_prompt(message.text)
    texts = list[LiveText]()
    parts = speech.parts(IDLE) if speech.acts else []
    for asked, seconds in parts:
        acting = (idle.texts[0],) if asked is IDLE else await read_plan(session.source, asked, session.options.seed)
        texts += [replace(text, seconds=seconds / len(acting), mood=None) for text in acting]
    understood = replace(idle, plan=plan, texts=(*texts, idle.texts[0]))
    return Change("speak", understood, message.at, body=partial(_say, message, speech))


def _say(message: Speak, speech: Speech, performance: Performance, at: float) -> Told:
    speech = replace(speech, emotion=message.emotion or performance.emotion)
    spoken, beats = speech.begin(performance, at)
    return spoken, {"speech": speech.to_wire(beats), "state": spoken.state}


def _enter(message: SetState, performance: Performance, at: float) -> Told:
    changed = performance.change(message.to, at, message.emotion)
    return changed, {"state": changed.state}


def _stop(message: Interrupt, performance: Performance, at: float) -> Told:
    stopped = performance.interrupt(at, message.to)
    return stopped, {"state": stopped.state}
