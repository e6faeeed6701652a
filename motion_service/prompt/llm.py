"""Prompts read by a language model behind an OpenAI-compatible endpoint (llama.cpp, vLLM, Ollama, ...), if one is set.

The model fills in a strict JSON schema (structured outputs, ``response_format`` of
https://platform.openai.com/docs/guides/structured-outputs); whatever goes wrong or takes too long, the rules' plan
stays. The language, the normalised text and lengths that the rules have found come from the rules.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from motion_service.clips import PromptPlan, Segment
from motion_service.prompt.actions import ACTIONS, DETAILS
from motion_service.prompt.reading import MAX_SEGMENTS, sorted_detail
from motion_service.telemetry import log_event, trace

MAX_ANSWER_BYTES: Final = 65_536
"""A longer answer is no plan."""
LLM_CONFIDENCE: Final = 0.9
"""Confidence of a plan that the model made; it says none itself."""

_Detail = Literal["left", "right", "both", "forward", "backward", "turn"]
_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """Where the model is and how long it may take."""

    url: str
    """Base URL such as ``http://127.0.0.1:8080/v1``."""
    model: str = "default"
    timeout_ms: int = 800
    api_key: str = ""


class _Step(BaseModel):
    """One action as the model gives it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    action: str | None
    detail: list[_Detail] = Field(max_length=len(DETAILS))
    seconds: float | None = Field(gt=0, le=3600, allow_inf_nan=False)
    text: _Line
    caption: _Line


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    steps: list[_Step] = Field(min_length=1, max_length=MAX_SEGMENTS)


def _schema() -> dict[str, Any]:
    """JSON schema of an answer, in the subset that strict structured outputs take."""
    step = {
        "type": "object",
        "additionalProperties": False,
        "required": ["action", "detail", "seconds", "text", "caption"],
        "properties": {
            "action": {"type": ["string", "null"], "enum": [*ACTIONS, None]},
            "detail": {"type": "array", "items": {"type": "string", "enum": list(DETAILS)}},
            "seconds": {"type": ["number", "null"]},
            "text": {"type": "string"},
            "caption": {"type": "string"},
        },
    }
    steps = {"type": "array", "items": step}
    return {"type": "object", "additionalProperties": False, "required": ["steps"], "properties": {"steps": steps}}


_TASK: Final = """\
A voice assistant's avatar is animated from text. Read the user's text (any language) and list the bodily actions that
it asks for, in order of time, as JSON. For actions done at the same time give only the main one. Chat, facts, questions
and negations ("I can't dance") ask for none: one step with action "none". "Don't move" is "idle". An action without a
fitting name is null. detail: only sides and directions that the words say. seconds: only a length that the words ask
for, else null. text: the words of that action as they stand. caption: the action as one English sentence like "a person
waves with the left hand"."""


async def read_with_llm(prompt: str, plan: PromptPlan, settings: LlmSettings) -> PromptPlan:
    """``plan`` with what the model made of ``prompt``; ``plan`` itself when it gives no valid answer in time.

    Never raises and never takes longer than ``settings.timeout_ms``, apart from the cancellation of the caller.
    """
    try:
        async with asyncio.timeout(settings.timeout_ms / 1000):
            content = await _ask(prompt, settings)
        answer = _Answer.model_validate_json(content)
    except TimeoutError:
        return _fall_back(plan, "timeout")
    except (httpx.HTTPError, httpx.InvalidURL):
        return _fall_back(plan, "unreachable")
    except (ValidationError, ValueError, LookupError, TypeError):
        return _fall_back(plan, "invalid-answer")
    if any(step.action not in (None, *ACTIONS) for step in answer.steps):
        return _fall_back(plan, "invalid-answer")
    return _answer_to_plan(answer, plan)


def _fall_back(plan: PromptPlan, reason: str) -> PromptPlan:
    log_event("prompt model not used", level=logging.WARNING, reason=reason)
    return plan


async def _ask(prompt: str, settings: LlmSettings) -> str:
    """The model's message. Raises httpx.HTTPError, ValueError, LookupError or TypeError for anything else."""
    body = {
        "model": settings.model,
        "messages": [{"role": "system", "content": _TASK}, {"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 600,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "motion_plan", "strict": True, "schema": _schema()},
        },
    }
    headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    if (where := trace.get()) is not None:
        headers["traceparent"] = where.header
    url = settings.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
    content = bytearray()
    async with (
        httpx.AsyncClient(timeout=settings.timeout_ms / 1000, trust_env=False) as client,
        client.stream("POST", url, json=body, headers=headers) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
    message: str = json.loads(content)["choices"][0]["message"]["content"]
    return message


def _answer_to_plan(answer: _Answer, plan: PromptPlan) -> PromptPlan:
    """Lengths are the rules' where they found any, as far as both count the same actions; else the model's."""
    lengths = [part.seconds for part in plan.segments]
    total = plan.seconds
    if total is None and not any(lengths):
        lengths = [step.seconds for step in answer.steps]
        total = sum(seconds or 0.0 for seconds in lengths) if all(lengths) else None
    if len(lengths) != len(answer.steps):
        lengths = [None] * len(answer.steps)
    segments = tuple(
        Segment(step.text, step.action, sorted_detail(step.detail), seconds, step.caption)
        for step, seconds in zip(answer.steps, lengths, strict=True)
    )
    return replace(
        plan,
        segments=segments,
        seconds=total,
        action=segments[0].action,
        confidence=LLM_CONFIDENCE,
        captions=tuple(segment.caption for segment in segments),
    )
